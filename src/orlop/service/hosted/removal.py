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
    from collections.abc import Callable, Sequence

    from orlop.model.digest import ImageID
    from orlop.model.reference import Reference
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
        if not _untag(store, rows, repository, [tag]):
            raise ContentNotFound(f"the repository {repository.name} has no tag {tag!r}")
        store.content.sweep(rows)


def _is_tag(rows: Rows, repository: Repository, tag: str) -> bool:
    suffix = f":{tag}"
    return rows.top(repository.key, suffix) is not None or rows.reference(repository.key, suffix) is not None


def _untag(store: Store, rows: WritableRows, repository: Repository, tags: Sequence[str]) -> int:
    """Take tags from a repository, in as many statements as they lead to images, and return how many meant anything."""
    by_image: dict[ImageID, list[Reference]] = {}
    for row in rows.references_in(repository.key, (f":{tag}" for tag in tags)):
        by_image.setdefault(row.image, []).append(repository.tagged(row.suffix[1:]))
    for image, going in by_image.items():
        here = sum(one.name == repository.key for one in rows.references(image=image))
        if here == len(going) or rows.image_row(image) is None:
            # Nothing but these tags keeps it here.
            Removal(StoreGround(store)).take_names(going, image)
        else:
            StoreGround(store).untag(going, image)
    meant = [top_row(repository.tagged(tag), Digest.unchecked(""), 0) for tag in tags]
    # A name of an image took what it meant along.
    return sum(map(len, by_image.values())) + rows.delete_tops((row.name, row.suffix) for row in meant)


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
        tops = [row.suffix for row in rows.tops(digest) if row.name == repository.key]
        _untag(store, rows, repository, [suffix[1:] for suffix in tops if suffix.startswith(":")])
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
