"""`HostedRegistry`: what a registry does, over a store, below any protocol."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from orlop.errors import ContentNotFound, NotSupported, RepositoryNotFound
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import Manifest, parse_manifest
from orlop.service.hosted import removal
from orlop.service.hosted.damage import Damage
from orlop.service.hosted.made import manifest_of
from orlop.service.hosted.pushing import is_elsewhere, put_manifest
from orlop.service.hosted.repository import Hosts, holders, holds_blob, holds_manifest, is_there
from orlop.service.hosted.uploads import Uploads, protect
from orlop.store.content import node_of
from orlop.store.rows.content import LAYER
from orlop.streams.compressing import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from orlop.service.hosted.pushing import PushedManifest
    from orlop.service.hosted.repository import Repository
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, ManifestRow, Rows

_GZIP = "gzip"
LENT: Final = 300
"""Seconds within which a client has to begin to fetch what it was sent for elsewhere."""


class HostedRegistry:
    """The repositories of a store. Threads may share it.

    Args:
        store: what is served.
        hosts: what it is called.
        most: how many bytes a blob that is pushed may have, if they are bounded.
        compress: how layers that the store keeps plain are given away: ``gzip``, ``zstd``, both with a level as in
            ``gzip:9``, or ``none``.
        redirect: from how many bytes on clients fetch a blob from the object store themselves, if they do at all.

    Raises:
        InvalidInput: the compression is not known. NotSupported: clients can fetch nothing from the store itself.
    """

    waits: ClassVar[bool] = False
    """Whether a read may have to wait for another registry."""

    def __init__(
        self,
        store: Store,
        hosts: Hosts | None = None,
        *,
        most: int | None = None,
        compress: str = _GZIP,
        redirect: int | None = None,
    ) -> None:
        if redirect is not None and not store.blobs.lends:
            msg = "clients can fetch blobs only from an object store; name one as the store, or leave out redirects"
            raise NotSupported(msg)
        self._store = store
        self._redirect = redirect
        self.hosts = hosts or Hosts()
        self._damage = Damage(store)
        self.uploads = Uploads(store, most=most, damage=self._damage)
        self._recipe = Recipe.parse(compress)

    @property
    def upstreams(self) -> Mapping[str, Asked]:
        """How often each of the registries was asked that this one stands for, by its host."""
        return {}

    # What is there.

    def repositories(self, host: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the names of the repositories of one of the hosts, sorted.

        Args:
            host: one of the names in `hosts`.
            after: only those that sort behind this one.
            most: at most so many.
        """
        with self._store.metadata.read() as rows:
            found = rows.repositories(host, after=f"{host}/{after}", most=most)
        return [name.removeprefix(f"{host}/") for name in found]

    def tags(self, repository: Repository, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the tags of a repository, sorted by their bytes; takes what `repositories` takes.

        Raises:
            RepositoryNotFound: there is nothing in the repository.
        """
        with self._store.metadata.read() as rows:
            found = rows.tags(repository.key, after=after, most=most)
            if not found and not is_there(self._store, rows, repository):
                raise RepositoryNotFound(f"there is no repository {repository.name}")
        return found

    def repository(self, name: str, asked: str = "", namespace: str = "") -> Repository:
        """Return the repository that a client means; see `Hosts.repository`.

        Args:
            name: of the repository.
            asked: the host by which the client asks.
            namespace: another registry whose repository it means, where this one stands for others.

        Raises:
            InvalidReference: no repository can have the name.
        """
        del namespace
        return self.hosts.repository(name, asked)

    def read_manifest(self, repository: Repository, asked: str | Digest) -> tuple[ManifestRow, str]:
        """Return what `manifest` returns, and a warning for whoever asks, if there is any."""
        return self.manifest(repository, asked), ""

    def manifest(self, repository: Repository, asked: str | Digest) -> ManifestRow:
        """Return the manifest or the index that a tag or a digest leads to. An image that has none gets one.

        Raises:
            ContentNotFound: there is none in the repository. DigestMismatch: it is damaged.
        """
        if isinstance(asked, Digest):
            return self._manifest(repository, asked)
        with self._store.metadata.read() as rows:
            top = rows.top(repository.key, f":{asked}")
            row = None if top is None else rows.manifest(top.digest)
            named = rows.reference(repository.key, f":{asked}")
            if row is not None and (named is None or _has_all(rows, row)):
                return row
        if named is None:
            raise ContentNotFound(f"the repository {repository.name} has no tag {asked!r}")
        digest = manifest_of(self._store, repository.tagged(asked), named.image, self._recipe)
        with self._store.metadata.read() as rows:
            row = rows.manifest(digest)
        if row is None:
            raise ContentNotFound(f"the repository {repository.name} has no tag {asked!r} any more")
        return row

    def _manifest(self, repository: Repository, digest: Digest) -> ManifestRow:
        with self._store.metadata.read() as rows:
            row = rows.manifest(digest) if holds_manifest(rows, repository, digest) else None
        if row is None:
            raise ContentNotFound(f"the repository {repository.name} has no manifest {digest}")
        return row

    def referrers(self, repository: Repository, digest: Digest) -> list[Node]:
        """Return what refers to some content in a repository, sorted by digest. The content need not be there."""
        with self._store.metadata.read() as rows:
            parents = [edge.parent for edge in rows.edges_to(digest) if edge.role == "subject"]
            held = [one for one in parents if holds_manifest(rows, repository, one)]
            found = [row for one in held if (row := rows.manifest(one)) is not None]
        return [node_of(row) for row in found]

    def blob(self, repository: Repository, digest: Digest, *, asks: bool = True) -> ReadBlob:
        """Return a blob of a repository, which may be the config of an image.

        Args:
            repository: where it is.
            digest: which.
            asks: whether another registry may be asked for it.

        Raises:
            ContentNotFound: the repository does not have it, or its bytes are missing or known to be damaged: whoever
                pushes it mends that.
        """
        del asks
        store = self._store
        with store.metadata.read() as rows:
            is_held = holds_blob(store, rows, repository, digest)
            row = rows.blob(digest) if is_held else None
            config = rows.config(ImageID.wrap(digest)) if is_held else None
        # This may read the blob, and a transaction must not last as long.
        if row is not None and self._damage.has(row):
            is_lent = self._redirect is not None and row.size >= self._redirect
            return HeldBlob(store, digest, row.size, row=row, is_lent=is_lent, damage=self._damage)
        if config is not None:
            return HeldBlob(store, digest, len(config), document=config)
        raise ContentNotFound(f"the repository {repository.name} has no blob {digest}")

    def holders(self, repository: Repository, digest: Digest) -> list[str]:
        """Return the names of repositories beside one that may hold a blob, sorted; of very many, some."""
        with self._store.metadata.read() as rows:
            return holders(self._store, rows, repository.host, digest)

    # What changes.

    def mount(self, repository: Repository, digest: Digest, sources: Sequence[Repository]) -> Repository | None:
        """Keep a blob in a repository that one of some others holds, and return the first that does, if any does."""
        store = self._store
        store.require_writable()
        with store.metadata.read() as rows:
            row = rows.blob(digest)
        if row is None or not self._damage.has(row):
            return None
        with store.metadata.write() as rows:
            row = rows.blob(digest)
            found = next((one for one in sources if holds_blob(store, rows, one, digest)), None)
            if row is None or found is None or not store.blobs.has(row):
                return None
            protect(store, rows, repository, digest)
        return found

    def put_manifest(
        self, repository: Repository, raw: bytes, digest: Digest, *, media_type: str = "", tags: Sequence[str] = ()
    ) -> PushedManifest:
        """See `orlop.service.hosted.pushing.put_manifest`."""
        return put_manifest(self._store, repository, raw, digest, media_type=media_type, tags=tags, damage=self._damage)

    def delete_tag(self, repository: Repository, tag: str) -> None:
        """See `orlop.service.hosted.removal.delete_tag`."""
        removal.delete_tag(self._store, repository, tag)

    def delete_manifest(self, repository: Repository, digest: Digest) -> None:
        """See `orlop.service.hosted.removal.delete_manifest`."""
        removal.delete_manifest(self._store, repository, digest)

    def delete_blob(self, repository: Repository, digest: Digest) -> None:
        """See `orlop.service.hosted.removal.delete_blob`."""
        removal.delete_blob(self._store, repository, digest)


class Asked(Protocol):
    """How often another registry was asked."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many requests were ``sent``, ``refused`` with 429, and ``held`` back."""

    @property
    def remaining(self) -> int | None:
        """How many more requests it allows, by what it said last."""

    def held(self) -> float:
        """Return for how many seconds it is not asked, as it wants."""


class ReadBlob(Protocol):
    """A blob that is read: its ``digest`` and ``size``, and its bytes, which are a ``document`` where they are few."""

    @property
    def digest(self) -> Digest:
        """Its digest."""

    @property
    def size(self) -> int:
        """The number of its bytes."""

    @property
    def document(self) -> bytes | None:
        """Its bytes, where they are few and at hand."""

    def open(self) -> AbstractContextManager[Sought]:
        """Return, for a block, its bytes. Raises errors of the store, and of where it comes from."""


class Sought(Protocol):
    """Bytes in which an offset can be sought."""

    def seek(self, offset: int, /) -> object:
        """Go to an offset."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, none at the end."""


class HeldBlob:
    """A blob of a repository that is in the store, a `ReadBlob`."""

    def __init__(
        self,
        store: Store,
        digest: Digest,
        size: int,
        *,
        row: BlobRow | None = None,
        document: bytes | None = None,
        is_lent: bool = False,
        damage: Damage | None = None,
    ) -> None:
        self.digest = digest
        self.size = size
        self.document = document
        """Its bytes, where they are few and at hand."""
        self._store = store
        self._row = row
        self._damage = damage
        self.is_lent = is_lent
        """Whether clients fetch it themselves, from where `url` says."""

    def url(self) -> str | None:
        """Return where anybody can fetch it for some minutes, if it is lent. Raises errors of the store."""
        if self._row is None or not self.is_lent:
            return None
        return self._store.blobs.url_of(self._row, seconds=LENT)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, which the kernel can send."""
        return self._row is not None and self._store.is_local

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Return, for a block, its raw bytes, which whoever gets them verifies. Raises `ContentNotFound`."""
        if self._row is None:
            raise ContentNotFound(f"{self.digest} is not a file")
        with self._store.blobs.open_unverified(self._row) as file:
            yield file
        if self._damage is not None:
            self._damage.was_read(self._row)


def _has_all(rows: Rows, row: ManifestRow) -> bool:
    """Return whether all layers are there that a manifest names, in these forms, but for those that are elsewhere."""
    missing = {edge.child for edge in rows.edges(row.digest) if edge.role == LAYER and rows.blob(edge.child) is None}
    if not missing:
        return True
    document = parse_manifest(row.raw)
    return isinstance(document, Manifest) and all(is_elsewhere(one) for one in document.layers if one.digest in missing)
