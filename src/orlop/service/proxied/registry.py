"""`ProxiedRegistry`: a registry that also stands for others.

A client that says whose repository it means (``ns=``, as containerd does) gets what is of that registry, and nothing
else. One that does not, as Docker with ``registry-mirrors``, gets what this registry has itself, and else what the
first of the others has. Only reads go to others: what is pushed or deleted is this registry's own. A push has to work
when the others are away, too: whether a blob is here is not asked of them, and they need not know what is pushed.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from orlop.errors import ManifestIncomplete, NotFound, OrlopError, RepositoryNotFound
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.service.hosted.conditions import ALWAYS
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Repository
from orlop.service.hosted.uploads import protect
from orlop.streams.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from orlop.service.hosted.conditions import Condition
    from orlop.service.hosted.pushing import PushedManifest
    from orlop.service.hosted.registry import ReadBlob
    from orlop.service.hosted.repository import Hosts
    from orlop.service.proxied.budget import Budget
    from orlop.service.proxied.downloads import Following
    from orlop.service.proxied.pull_through import PullThrough
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ManifestRow, Rows

_STALE: Final = "the registry that this one stands for does not answer; what a tag means may be out of date"


class ProxiedRegistry(HostedRegistry):
    """The repositories of a store, and those of other registries through a cache in it.

    Args:
        store: what is served.
        cache: of the other registries.
        hosts: what this registry is called.
        most: as `HostedRegistry` has it.
        compress: as `HostedRegistry` has it.
    """

    waits: ClassVar[bool] = True

    def __init__(
        self,
        store: Store,
        cache: PullThrough,
        hosts: Hosts | None = None,
        *,
        most: int | None = None,
        compress: str = "gzip",
        redirect: int | None = None,
    ) -> None:
        super().__init__(store, hosts, most=most, compress=compress, redirect=redirect)
        self._cache = cache

    def repository(self, name: str, asked: str = "", namespace: str = "") -> Repository:
        """Return the repository that a client means. Raises `RepositoryNotFound` for a registry that is not cached."""
        if not namespace or namespace in self.hosts.names:
            return super().repository(name, asked)
        reference = self._cache.repository(name, namespace)
        if reference is None:
            raise RepositoryNotFound(f"this registry does not stand for {namespace}")
        return Repository(name, namespace, reference)

    @property
    def upstreams(self) -> Mapping[str, Budget]:
        """How often each of the other registries was asked, by its host."""
        return self._cache.budgets

    def _elsewhere(self, repository: Repository) -> Reference | None:
        """Return the repository of another registry that a client means, or may mean."""
        return self._cache.repository(repository.name, "" if self._is_own(repository) else repository.host)

    def _is_own(self, repository: Repository) -> bool:
        return repository.host in self.hosts.names

    def read_manifest(self, repository: Repository, asked: str | Digest) -> tuple[ManifestRow, str]:
        """Return a manifest, from here or from the upstream; see `PullThrough.manifest`."""
        other = self._elsewhere(repository)
        if self._is_own(repository):
            try:
                return super().read_manifest(repository, asked)
            except NotFound:
                if other is None:
                    raise
        assert other is not None
        tag, digest = (None, asked) if isinstance(asked, Digest) else (asked, None)
        found = self._cache.manifest(Reference(other.domain, other.path, tag, digest))
        return found.row, _STALE if found.stale else ""

    def blob(self, repository: Repository, digest: Digest, *, asks: bool = True) -> ReadBlob:
        """Return a blob, which may have to be fetched; see `PullThrough.blob`.

        Where the upstream may not be asked, a repository of this registry has what is here, and what a manifest names
        that came from the upstream.
        """
        other = self._elsewhere(repository)
        if self._is_own(repository):
            try:
                return super().blob(repository, digest)
            except NotFound:
                if other is None or not (asks or self._cache.names(other, digest)):
                    raise
        assert other is not None
        return ProxiedBlob(self._cache, other, digest, self._cache.blob_size(other, digest))

    def put_manifest(
        self,
        repository: Repository,
        raw: bytes,
        digest: Digest,
        *,
        media_type: str = "",
        tags: Sequence[str] = (),
        condition: Condition = ALWAYS,
        of: str | Digest = "",
    ) -> PushedManifest:
        """See `HostedRegistry.put_manifest`. Blobs that the upstream has need not have been pushed.

        Clients push no blob that they can see, and here they see those of the upstream.
        """
        put = partial(
            super().put_manifest,
            repository,
            raw,
            digest,
            media_type=media_type,
            tags=tags,
            condition=condition,
            of=of,
        )
        try:
            return put()
        except ManifestIncomplete as error:
            other = self._elsewhere(repository)
            if other is None or not self._take(repository, other, error.missing):
                raise
        return put()

    def _current(self, rows: Rows, repository: Repository, of: str | Digest) -> str | None:
        """Return the digest to which a tag or a digest leads: here, or else, as it was last read, at the upstream."""
        own, other = super()._current(rows, repository, of), self._elsewhere(repository)
        return self._cache.meant(rows, other, of) if own is None and other is not None else own

    def _take(self, repository: Repository, other: Reference, digests: Iterable[str]) -> bool:
        """Keep blobs of the upstream in a repository, and return whether all of them were said to be here, and are."""
        found = [Digest.parse(one) for one in digests]
        if not all(self._cache.names(other, one) for one in found):
            return False
        try:
            for digest in found:
                with self._cache.blob(other, digest) as reader:
                    while reader.read(CHUNK):
                        pass
        except OrlopError:
            # The client hears what is missing, and can send that.
            return False
        with self._store.metadata.write() as rows:
            protect(self._store, rows, repository, *found)
        return True

    def tags(self, repository: Repository, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the tags of a repository, as its registry lists them."""
        other = self._elsewhere(repository)
        if self._is_own(repository):
            try:
                return super().tags(repository, after=after, most=most)
            except NotFound:
                if other is None:
                    raise
        assert other is not None
        return [tag for tag in self._cache.tags(other) if tag > after][:most]

    def referrers(
        self, repository: Repository, digest: Digest, *, after: str = "", wants: Callable[[Node], bool] = lambda _: True
    ) -> tuple[list[Node], str]:
        """Return what refers to some content, here or, where nothing does, at the upstream."""
        other, look = self._elsewhere(repository), partial(super().referrers, repository, digest)
        if self._is_own(repository):
            own = look(after=after, wants=wants)
            if other is None or own[0] or own[1] or look()[0]:
                return own
        assert other is not None
        found, last = self._cache.referrers(other, digest, after=after)
        return [one for one in found if wants(one)], last


class ProxiedBlob:
    """A blob of another registry, an `orlop.service.hosted.registry.ReadBlob`."""

    document: bytes | None = None

    def __init__(self, cache: PullThrough, name: Reference, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self._cache = cache
        self._name = name

    @contextmanager
    def open(self) -> Iterator[Following | BinaryIO]:
        """Return, for a block, its bytes as they come."""
        with self._cache.blob(self._name, self.digest) as reader:
            yield reader
