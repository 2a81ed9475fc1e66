"""Repositories: what a registry calls ``team/app`` and the store calls ``registry.example.com/team/app``.

A repository is a view of the store. Its tags are the names of images and of other content under its name; it holds the
manifests that are named there by tag or digest, or that belong to what is, and the blobs that these name. For a day it
also holds what was pushed to it and no manifest names yet, or no manifest names any more: a lease keeps that, see
`orlop.store.leases.Leases.keep`. What a repository does not hold cannot be seen through it, wherever else it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidReference
from orlop.model.digest import ImageID
from orlop.model.reference import Reference
from orlop.store.rows.content import CHILD, CONFIG, LAYER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import Digest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_MOST_DOCUMENTS: Final = 1000
_AT_ONCE: Final = 1000
LOCAL: Final = "localhost"
"""What a registry is called that has no other name."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of a registry, the first of which is meant where a client asks by none of them.

    The repository ``team/app``, asked for at ``registry.example.com``, is ``registry.example.com/team/app`` in the
    store if that is one of the names, and has the first of them before it otherwise: whoever asks by an address, or
    through a proxy, means the same.
    """

    names: tuple[str, ...] = (LOCAL,)

    def __post_init__(self) -> None:
        for name in self.names:
            try:
                is_domain = Reference.parse(f"{name}/a/b").domain == name
            except InvalidReference:
                is_domain = False
            if not is_domain:
                raise InvalidReference(
                    f"{name!r} is not a valid name of a registry; write it as in the names of its images, such as"
                    " registry.example.com or localhost:5000"
                )

    def repository(self, name: str, asked: str = "") -> Repository:
        """Return the repository that a client means.

        Args:
            name: of the repository.
            asked: the host by which the client asks, with its port if it names one.

        Raises:
            InvalidReference: no repository can have the name.
        """
        host = next((one for one in self.names if one.lower() == asked.lower()), self.names[0])
        reference = Reference.parse(f"{host}/{name}")
        if reference.domain != host or not reference.is_name_only:
            raise InvalidReference(f"{name!r} is not a valid name of a repository")
        return Repository(name, host, reference)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository: the ``name`` that clients call it, the ``host`` of its registry, and what images are called in it.

    Its ``reference`` has neither tag nor digest.
    """

    name: str
    host: str
    reference: Reference

    @property
    def key(self) -> str:
        """What the rows call it."""
        return self.reference.name

    def tagged(self, tag: str) -> Reference:
        """Return the name of a tag. Raises `InvalidReference`."""
        return self.reference.with_tag(tag)

    def digested(self, digest: Digest) -> Reference:
        """Return the name of what has a digest."""
        return Reference(self.reference.domain, self.reference.path, None, digest)


def is_there(store: Store, rows: Rows, repository: Repository) -> bool:
    """Return whether a repository has anything: something that has a name in it, or blobs that stay for a day."""
    return rows.has_names(repository.key) or store.leases.keeps(rows, repository.key)


def holds_blob(store: Store, rows: Rows, repository: Repository, digest: Digest) -> bool:
    """Return whether some content can be seen as a blob of a repository."""
    kept = store.leases.kept_for(rows, digest)
    if repository.key in kept or rows.holds_blob(repository.key, digest):
        return True
    # Whoever names a layer that is said to be elsewhere need not have it: what others have here stays theirs, unless
    # they say of it as well that it is elsewhere.
    return (
        rows.names_elsewhere(repository.key, digest)
        and all(rows.names_elsewhere(one, digest) for one in kept)
        and not _is_of_image(rows, digest)
    )


def _is_of_image(rows: Rows, digest: Digest) -> bool:
    """Return whether some content may be part of an image that no manifest names: a config, or a plain layer."""
    return rows.config(ImageID.wrap(digest)) is not None or str(digest) in map(str, rows.diffs_of(digest))


def holders(store: Store, rows: Rows, host: str, digest: Digest) -> list[str]:
    """Return the names of repositories of a registry that may hold a blob, sorted; of very many, some."""
    found = set(store.leases.kept_for(rows, digest))
    near = [edge.parent for edge in rows.edges_to(digest) if edge.role in {CONFIG, LAYER}]
    seen = set(near)
    while near and len(seen) < _MOST_DOCUMENTS:
        one = near.pop()
        found.update(top.name for top in rows.tops(one))
        found.update(named.name for image in rows.images_of(one) for named in rows.references(image=image))
        above = {edge.parent for edge in rows.edges_to(one) if edge.role == CHILD} - seen
        seen |= above
        near += above
    return sorted(key.removeprefix(f"{host}/") for key in found if key.startswith(f"{host}/"))


def held_referrers(rows: Rows, repository: Repository, subject: Digest, after: str) -> Iterator[Digest]:
    """Yield what refers to some content and can be seen in a repository, sorted, behind the text of a digest.

    There may be very many, of which only those are read that are asked for.
    """
    while some := rows.referring(subject, after=after, most=_AT_ONCE):
        named = rows.named_manifests(repository.key, some)
        yield from (
            one for one in some if named.get(one) or (one not in named and holds_manifest(rows, repository, one))
        )
        after = str(some[-1])


def holds_manifest(rows: Rows, repository: Repository, digest: Digest) -> bool:
    """Return whether a manifest or an index can be seen in a repository."""
    return rows.holds_manifest(repository.key, digest)
