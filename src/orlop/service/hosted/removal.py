"""What is taken from a repository: tags, manifests, blobs.

A tag goes alone: what it meant stays under its digest. A manifest goes with its tags in the repository, and with the
image that nothing else names; what it named stays a day longer in the repository, as pushed blobs do, so that whoever
is just pushing something that shares them is not disturbed. What an index or another repository needs stays where that
needs it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import ContentNotFound, ImageInUse
from orlop.model.digest import Digest
from orlop.service.hosted.repository import holds_blob, holds_manifest
from orlop.service.hosted.uploads import protect
from orlop.service.space.remove import Removal, StoreGround
from orlop.store.content import home_row, top_row
from orlop.store.rows.content import CHILD

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.digest import ImageID
    from orlop.service.hosted.repository import Repository
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows


def delete_tag(
    store: Store, repository: Repository, tag: str, *, require: Callable[[Rows], object] = lambda _: None
) -> None:
    """Take a tag from a repository. Raises `ContentNotFound` where it has no such tag.

    Args:
        store: where.
        repository: which.
        tag: of it.
        require: called under the lock of the write, where the tag is there; raises where it must not be taken.
    """
    store.require_writable()
    store.with_reserve(partial(_delete_tag, store, repository, tag, require))


def _delete_tag(store: Store, repository: Repository, tag: str, require: Callable[[Rows], object]) -> None:
    with store.metadata.write() as rows:
        # A tag of what is damaged is there, to be deleted, and leads to nothing that a condition could name.
        if _is_tag(rows, repository, tag):
            require(rows)
        store.blobs.sweep_trash(rows)
        if not _Untagging(store, rows, repository).untag(tag):
            raise ContentNotFound(f"the repository {repository.name} has no tag {tag!r}")
        store.content.sweep(rows)


def _is_tag(rows: Rows, repository: Repository, tag: str) -> bool:
    suffix = f":{tag}"
    return rows.top(repository.key, suffix) is not None or rows.reference(repository.key, suffix) is not None


class _Untagging:
    """Tags that are taken from a repository in one write. An image may have very many, which are looked at once."""

    def __init__(self, store: Store, rows: WritableRows, repository: Repository) -> None:
        self._store = store
        self._rows = rows
        self._repository = repository
        self._left: dict[ImageID, int] = {}

    def untag(self, tag: str) -> bool:
        """Take a tag from what it means, and return whether it meant something."""
        rows, repository = self._rows, self._repository
        reference = repository.tagged(tag)
        named = rows.reference(repository.key, f":{tag}")
        row = top_row(reference, Digest.unchecked(""), 0)
        meant = rows.top(row.name, row.suffix)
        if named is not None:
            if self._took(named.image) == 0 or rows.image_row(named.image) is None:
                # Nothing but this tag keeps it here.
                Removal(StoreGround(self._store)).take_name(reference, named.image)
            else:
                StoreGround(self._store).untag(reference, named.image)
        rows.delete_top(row.name, row.suffix)
        return named is not None or meant is not None

    def _took(self, image: ImageID) -> int:
        """Return how many names of an image are left in the repository, without the one that is taken now."""
        if image not in self._left:
            named = self._rows.references(image=image)
            self._left[image] = sum(one.name == self._repository.key for one in named)
        self._left[image] -= 1
        return self._left[image]


def delete_manifest(store: Store, repository: Repository, digest: Digest) -> None:
    """Take a manifest or an index from a repository, with its tags there.

    Raises:
        ContentNotFound: the repository does not have it. ImageInUse: an index in it needs it.
    """
    store.require_writable()
    store.with_reserve(partial(_delete_manifest, store, repository, digest))


def _delete_manifest(store: Store, repository: Repository, digest: Digest) -> None:
    with store.metadata.write() as rows:
        store.blobs.sweep_trash(rows)
        if not holds_manifest(rows, repository, digest):
            raise ContentNotFound(f"the repository {repository.name} has no manifest {digest}")
        _require_no_index(rows, repository, digest)
        below = [one for one in _blobs_below(rows, digest) if holds_blob(store, rows, repository, one)]
        elsewhere = [one for one in below if rows.names_elsewhere(repository.key, one)]
        protect(store, rows, repository, *below)
        untagging = _Untagging(store, rows, repository)
        for row in rows.tops(digest):
            if row.name == repository.key and row.suffix.startswith(":"):
                untagging.untag(row.suffix[1:])
        name = repository.digested(digest)
        named = rows.reference(repository.key, f"@{digest}")
        if named is not None:
            Removal(StoreGround(store)).take_name(name, named.image)
        home = home_row(repository.key, digest, 0)
        rows.delete_top(home.name, home.suffix)
        rows.drop_manifest(digest)
        if holds_manifest(rows, repository, digest):
            raise ImageInUse(
                f"{digest} belongs to other content of {repository.name}, which needs it; delete that first"
            )
        store.content.sweep(rows)
        for layer in elsewhere:
            if rows.edges_to(layer):
                # Other manifests keep it, and it would not be theirs while it is kept here.
                store.leases.keep_no_longer(rows, repository.key, layer)


def _require_no_index(rows: WritableRows, repository: Repository, digest: Digest) -> None:
    for edge in rows.edges_to(digest):
        if edge.role == CHILD and holds_manifest(rows, repository, edge.parent):
            raise ImageInUse(f"the index {edge.parent} in {repository.name} needs {digest}; delete the index first")


def _blobs_below(rows: WritableRows, digest: Digest) -> list[Digest]:
    """Return the config and the layers of a manifest that are there as blobs."""
    found = dict.fromkeys(edge.child for edge in rows.edges(digest) if edge.role in {"config", "layer"})
    return [one for one in found if rows.blob(one) is not None]


def delete_blob(store: Store, repository: Repository, digest: Digest) -> None:
    """Take a blob from a repository.

    Raises:
        ContentNotFound: the repository does not have it. ImageInUse: a manifest in it needs it.
    """
    store.require_writable()
    with store.metadata.write() as rows:
        if not holds_blob(store, rows, repository, digest):
            raise ContentNotFound(f"the repository {repository.name} has no blob {digest}")
        store.leases.keep_no_longer(rows, repository.key, digest)
        if holds_blob(store, rows, repository, digest):
            raise ImageInUse(f"a manifest in {repository.name} names the blob {digest}; delete the manifest first")
