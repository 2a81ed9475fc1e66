"""`HostedRegistry`: what a registry does, over a store, below any protocol."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from orlop.errors import ContentNotFound, NotSupported, RepositoryNotFound
from orlop.model.digest import Digest
from orlop.model.logger import Logger
from orlop.model.manifest import Manifest, parse_manifest
from orlop.service.hosted import removal
from orlop.service.hosted.conditions import ALWAYS, meant
from orlop.service.hosted.damage import Damage
from orlop.service.hosted.made import manifest_of
from orlop.service.hosted.pushing import is_elsewhere, put_manifest
from orlop.service.hosted.repository import Hosts, held_referrers, holders, holds_blob, holds_manifest, is_there
from orlop.service.hosted.uploads import Uploads, protect
from orlop.store.content import is_sound, node_of, sound_config, sound_manifest
from orlop.store.rows.content import LAYER
from orlop.streams.compressing import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from orlop.service.hosted.conditions import Condition
    from orlop.service.hosted.pushing import PushedManifest
    from orlop.service.hosted.repository import Repository
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, ManifestRow, Rows

_GZIP = "gzip"
MOST_REFERRERS: Final = 1000
"""How many referrers are listed at once."""
_REFERRERS_SIZE: Final = 4 << 20
"""How many bytes their manifests may have together, but for the first: their annotations are listed, too."""
_LOOKED_AT: Final = 16 << 20
"""How many bytes of manifests are looked at for one list, of which few may be wanted."""
_LEAST: Final = 1 << 10
"""As how many bytes one counts that has fewer."""
LENT: Final = 300
"""Seconds within which a client has to begin to fetch what it was sent for elsewhere."""


_log: Final = Logger(__name__)


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
            ContentNotFound: there is none in the repository, or it is damaged: whoever pushes it mends that.
        """
        if isinstance(asked, Digest):
            return self._manifest(repository, asked)
        with self._store.metadata.read() as rows:
            top = rows.top(repository.key, f":{asked}")
            row = None if top is None else rows.manifest(top.digest)
            named = rows.reference(repository.key, f":{asked}")
            if row is not None:
                _require_sound(row, repository)
                if named is None or _has_all(rows, row):
                    return row
        if named is None:
            raise ContentNotFound(f"the repository {repository.name} has no tag {asked!r}")
        digest = manifest_of(self._store, repository.tagged(asked), named.image, self._recipe)
        with self._store.metadata.read() as rows:
            row = rows.manifest(digest)
        if row is None:
            raise ContentNotFound(f"the repository {repository.name} has no tag {asked!r} any more")
        return _require_sound(row, repository)

    def _manifest(self, repository: Repository, digest: Digest) -> ManifestRow:
        with self._store.metadata.read() as rows:
            row = rows.manifest(digest) if holds_manifest(rows, repository, digest) else None
        if row is None:
            raise ContentNotFound(f"the repository {repository.name} has no manifest {digest}")
        return _require_sound(row, repository)

    def referrers(
        self, repository: Repository, digest: Digest, *, after: str = "", wants: Callable[[Node], bool] = lambda _: True
    ) -> tuple[list[Node], str]:
        """Return what refers to some content in a repository, sorted by digest, and behind which digest more may sort.

        The latter is empty where no more does.

        Args:
            repository: which.
            digest: of the content, which need not be there.
            after: only what sorts behind this one.
            wants: whether one of them is to be returned.
        """
        found: list[Node] = []
        left, looked, last = _REFERRERS_SIZE, 0, ""
        with self._store.metadata.read() as rows:
            for one in held_referrers(rows, repository, digest, after):
                row = sound_manifest(rows, one)
                if row is None:
                    continue
                if len(found) >= MOST_REFERRERS or looked >= _LOOKED_AT:
                    return found, last
                looked += max(len(row.raw), _LEAST)
                node = node_of(row)
                if wants(node):
                    left -= node.size
                    if found and left < 0:
                        return found, last
                    found.append(node)
                last = str(one)
        return found, ""

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
            config = sound_config(rows, digest) if is_held else None
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
        """See `orlop.service.hosted.pushing.put_manifest`.

        Args:
            repository: as there.
            raw: as there.
            digest: as there.
            media_type: as there.
            tags: as there.
            condition: is asked under the lock of the write.
            of: the tag or the digest that the condition is about.

        Raises:
            PreconditionFailed: the condition is not met. What is raised there.
        """
        return put_manifest(
            self._store,
            repository,
            raw,
            digest,
            media_type=media_type,
            tags=tags,
            damage=self._damage,
            require=partial(self._check, repository, of, condition),
        )

    def delete_tag(self, repository: Repository, tag: str, *, condition: Condition = ALWAYS) -> None:
        """See `orlop.service.hosted.removal.delete_tag`. Raises `PreconditionFailed` where the condition is not met."""
        removal.delete_tag(self._store, repository, tag, require=partial(self._check, repository, tag, condition))

    def delete_manifest(self, repository: Repository, digest: Digest) -> None:
        """See `orlop.service.hosted.removal.delete_manifest`."""
        removal.delete_manifest(self._store, repository, digest)

    def delete_blob(self, repository: Repository, digest: Digest) -> None:
        """See `orlop.service.hosted.removal.delete_blob`."""
        removal.delete_blob(self._store, repository, digest)

    def _check(self, repository: Repository, of: str | Digest, condition: Condition, rows: Rows) -> None:
        if condition:
            condition.check(self._current(rows, repository, of), f"{repository.name}{_suffix(of)}")

    def _current(self, rows: Rows, repository: Repository, of: str | Digest) -> str | None:
        """Return the digest to which a tag or a digest leads, as `Condition.check` takes it."""
        if isinstance(of, Digest):
            is_there = holds_manifest(rows, repository, of) and sound_manifest(rows, of) is not None
            return str(of) if is_there else None
        return meant(rows, repository, of)


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
        try:
            with self._store.blobs.open_unverified(self._row) as file:
                yield file
        except OSError:
            # It may be the disk, which a proof tells for sure.
            self._was_read(self._row)
            raise
        self._was_read(self._row)

    def _was_read(self, row: BlobRow) -> None:
        if self._damage is not None:
            self._damage.was_read(row)


def _require_sound(row: ManifestRow, repository: Repository) -> ManifestRow:
    """Return a manifest whose bytes are as its digest says. Raises `ContentNotFound`."""
    if not is_sound(row.digest, row.raw):
        _log.warning("the manifest %s of %s is damaged; push it again", row.digest, repository.name)
        raise ContentNotFound(f"the manifest {row.digest} of {repository.name} is damaged here; push it again")
    return row


def _suffix(of: str | Digest) -> str:
    return f"@{of}" if isinstance(of, Digest) else f":{of}"


def _has_all(rows: Rows, row: ManifestRow) -> bool:
    """Return whether all layers are there that a manifest names, in these forms, but for those that are elsewhere."""
    missing = {edge.child for edge in rows.edges(row.digest) if edge.role == LAYER and rows.blob(edge.child) is None}
    if not missing:
        return True
    document = parse_manifest(row.raw)
    return isinstance(document, Manifest) and all(is_elsewhere(one) for one in document.layers if one.digest in missing)
