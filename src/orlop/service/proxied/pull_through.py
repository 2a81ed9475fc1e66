"""`PullThrough`: repositories of other registries, fetched when they are asked for, and kept.

A tag is believed for some time; after that the upstream is asked with HEAD, which counts as no pull, and only a tag
that means something else is fetched. What has a digest never changes, and is fetched once. Where the upstream does not
answer, or must not be asked (`orlop.service.proxied.budget`), what is here is served, and said to be stale. What the
upstream does not have is not asked for again at once, and neither is one that did not answer.

Whoever asks is anybody: credentials for the upstream are the server's own, never those of a client. A blob can be seen
through a repository only if one of its cached manifests names it, or the upstream says that it is there.
"""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    ContentNotFound,
    NotInRegistry,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsupported,
    RepositoryNotFound,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest, ImageID
from orlop.model.logger import Logger
from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.registry.client import MANIFEST_LIMIT
from orlop.registry.places import Places
from orlop.service.hosted.damage import Damage
from orlop.service.proxied.budget import Budget, Budgeted
from orlop.service.proxied.downloads import Downloads
from orlop.service.proxied.entries import Entries
from orlop.service.proxied.lists import ReferrerLists
from orlop.store.content import CACHED, node_of, sound_config, verified
from orlop.store.rows.metadata import ManifestRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from orlop.registry.registries import Registries
    from orlop.service.proxied.budget import Rate
    from orlop.service.proxied.downloads import Following
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, Rows

_ANY: Final = "application/octet-stream"
_TURNS: Final = 64
_MOST_REMEMBERED: Final = 10_000
_MOST_LOOKED_AT: Final = 1_000
_MOST_TAGS: Final = 100_000
_MOST_REFERRERS: Final = 100
"""How many referrers are fetched for one list."""
_SECOND: Final = 1_000_000_000
_log: Final = Logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long what an upstream says is believed, in seconds.

    Attributes:
        fresh: a tag is not asked for again.
        stale: a tag is served beyond that where the upstream is away.
        missing: the upstream is not asked again for what it does not have.
        away: an upstream that did not answer is not asked for tags again.
    """

    fresh: float = 300
    stale: float = 7 * 86_400
    missing: float = 30
    away: float = 10


@dataclass(frozen=True, slots=True)
class CachedManifest:
    """A manifest or an index, and why it may be out of date, if the upstream could not be asked."""

    row: ManifestRow
    stale: str = ""


class PullThrough:
    """A cache of other registries in a store. Threads may share it; any number of processes may share the store.

    Args:
        store: where it is kept; one in a directory.
        registries: how the upstreams are reached, with the server's own credentials.
        hosts: which registries are cached, as in names of images, with the rules for each. The first is meant where a
            client does not say (``ns=``) whose names it asks for.
        quota: how many bytes of blobs are kept for the cache alone; None for any number.
        rates: how often some of them may be asked, where that is bounded.
    """

    def __init__(
        self,
        store: Store,
        registries: Registries,
        hosts: Mapping[str, Rules],
        *,
        quota: int | None = None,
        rates: Mapping[str, Rate] = MappingProxyType({}),
    ) -> None:
        store.require_writable()
        self._store = store
        self._hosts = dict(hosts)
        self.budgets = {host: Budget(host, store.now, rates.get(host)) for host in hosts}
        self._registries = {
            host: registries.through(partial(Budgeted, budget=budget)) for host, budget in self.budgets.items()
        }
        self._quota = quota
        self._entries = Entries(store)
        self._damage = Damage(store)
        self._downloads = Downloads(store, self._stored, self._damage)
        self._turns = [threading.Lock() for _ in range(_TURNS)]
        self._missing: dict[str, int] = {}
        self._confirmed: set[str] = set()
        self._away: dict[str, tuple[int, str]] = {}
        self._lists = ReferrerLists()
        self._counting = threading.Lock()
        self._size: int | None = None

    def repository(self, path: str, namespace: str = "") -> Reference | None:
        """Return the repository that a client means; nothing where its registry is not cached.

        Args:
            path: as the client asks for it.
            namespace: the registry that it names with ``ns=``, as containerd does; empty where it names none.

        Raises:
            InvalidReference: no repository can be called so.
        """
        host = namespace or next(iter(self._hosts), "")
        return Reference.parse(f"{host}/{path}") if host in self._hosts else None

    def manifest(self, name: Reference) -> CachedManifest:
        """Return the manifest or index that a tag or a digest leads to, from here or from the upstream.

        Raises:
            ContentNotFound: the upstream does not have it. RegistryError: it refuses, or fails, and nothing is here.
            IntegrityError, InvalidInput: what it sends is not what it says. StorageError: it cannot be kept.
        """
        with self._turns[hash((name.name, name.tag, name.digest)) % _TURNS]:
            found = self._tagged(name) if name.digest is None else CachedManifest(self._digested(name, name.digest))
        verified(found.row.digest, found.row.raw)
        self._entries.use(name, found.row.digest)
        return found

    def meant(self, rows: Rows, name: Reference, of: str | Digest) -> str | None:
        """Return the digest to which a tag or a digest of a repository leads, as far as it is kept."""
        return self._entries.meant(rows, name, of)

    def names(self, name: Reference, digest: Digest) -> bool:
        """Return whether a manifest of a repository that is kept names a blob."""
        return self._entries.size_of_blob(name, digest) is not None

    def blob_size(self, name: Reference, digest: Digest) -> int:
        """Return the size of a blob of a repository. Raises what `manifest` raises."""
        size = self._entries.size_of_blob(name, digest)
        if size is not None:
            return size
        return self._size_upstream(name, digest)

    def _size_upstream(self, name: Reference, digest: Digest) -> int:
        key = f"{name.name} {digest}"
        self._check_missing(key, name)
        try:
            size = self._places(name).blob_size(digest)
        except NotInRegistry as error:
            raise self._lacks(key, name, error) from error
        if size is None:
            raise ContentNotFound(f"the registry of {name.name} does not say how large the blob {digest} is")
        return size

    @contextmanager
    def blob(self, name: Reference, digest: Digest) -> Iterator[Following | BinaryIO]:
        """Return, for a block, a reader of a blob, which is fetched while it is read if it is not here.

        Any number may read one at once, also in other processes: it is fetched once. The reader of a blob under way
        fails before the last byte if the blob does not match its digest; what is here is proved afterwards.

        Raises what `manifest` raises, before there is a reader as far as it is known then.
        """
        size = self.blob_size(name, digest)
        held = self._held(digest)
        if held is not None:
            file, row = held
            try:
                with file:
                    self._require_there(name, digest)
                    yield file
            except OSError:
                # It may be the disk, which a proof tells for sure.
                self._was_read(row)
                raise
            self._was_read(row)
            return
        with self._downloads.follow(Descriptor(_ANY, digest, size), self._places(name)) as following:
            try:
                following.ready()
            except NotInRegistry as error:
                raise self._lacks(f"{name.name} {digest}", name, error) from error
            yield following

    def _was_read(self, row: BlobRow | None) -> None:
        if row is not None:
            self._damage.was_read(row)

    def _require_there(self, name: Reference, digest: Digest) -> None:
        """Check that the upstream has content that is here for others, whatever its manifests name.

        Raises what `manifest` raises.
        """
        key = f"{name.name} {digest}"
        if key in self._confirmed or not self._is_of_others(digest):
            return
        self._size_upstream(name, digest)
        if len(self._confirmed) >= _MOST_REMEMBERED:
            self._confirmed.clear()
        self._confirmed.add(key)

    def _is_of_others(self, digest: Digest) -> bool:
        """Return whether anything but what is cached has some content."""
        with self._store.metadata.read() as rows:
            if rows.diffs_of(digest) or rows.config(ImageID.wrap(digest)) is not None:
                return True
            if self._store.leases.kept_for(rows, digest):
                return True
            waiting, seen = [digest], {digest}
            while waiting and len(seen) < _MOST_LOOKED_AT:
                for parent in {edge.parent for edge in rows.edges_to(waiting.pop())} - seen:
                    tops = rows.tops(parent)
                    if rows.images_of(parent) or any(not top.name.startswith(CACHED) for top in tops):
                        return True
                    seen.add(parent)
                    waiting.append(parent)
            # Where very much leads to it, asking costs less than looking.
            return bool(waiting)

    def _held(self, digest: Digest) -> tuple[BinaryIO, BlobRow | None] | None:
        """Open a blob that is here, and return it with its row; nothing where it is not, or is known to be damaged.

        An open file can be read to its end, whatever is removed meanwhile.
        """
        with self._store.metadata.read() as rows:
            config, row = sound_config(rows, digest), rows.blob(digest)
        if config is not None:
            return io.BytesIO(config), None
        try:
            if row is None or not self._damage.has(row):
                return None
            return self._store.blobs.open_unverified(row), row
        except ContentNotFound:
            return None

    def tags(self, name: Reference) -> list[str]:
        """Return the tags of a repository as the upstream lists them, sorted. Raises what `manifest` raises."""
        client, repository = self._registries[name.domain].to_pull(name)[-1]
        try:
            return sorted(islice(client.tags(repository), _MOST_TAGS))
        except NotInRegistry as error:
            raise RepositoryNotFound(str(error)) from error

    def referrers(self, name: Reference, digest: Digest, *, after: str = "") -> tuple[list[Node], str]:
        """Return what the upstream says refers to some content, fetched and kept, and behind which digest more sorts.

        It is sorted by digest, and only what sorts behind ``after``. Raises what `manifest` raises.
        """
        now = self._store.now()
        since = now - int(self._hosts[name.domain].fresh * _SECOND)
        left = self._lists.behind(
            name,
            digest,
            lambda: [one.digest for one, _ in self._places(name).referrers(digest)],
            after=after,
            since=since,
            now=now,
        )
        names = [Reference(name.domain, name.path, None, Digest.parse(one)) for one in left[:_MOST_REFERRERS]]
        last = left[_MOST_REFERRERS - 1] if len(left) > _MOST_REFERRERS else ""
        found: list[Node] = []
        for one in names:
            # A list under a tag may name what was deleted.
            with suppress(ContentNotFound):
                found.append(node_of(self.manifest(one).row))
        return found, last

    def close(self) -> None:
        """End all downloads; what they have got stays for the next ones."""
        self._downloads.close()

    # Manifests.

    def _tagged(self, name: Reference) -> CachedManifest:
        name = name.with_default_tag()
        rules, now = self._hosts[name.domain], self._store.now()
        held = self._entries.tagged(name)
        age = 0.0 if held is None else (now - held[1]) / _SECOND
        if held is not None and 0 <= age < rules.fresh:
            return CachedManifest(held[0])
        self._check_missing(str(name), name)
        until, why = self._away.get(name.domain, (0, ""))
        if now >= until:
            try:
                return CachedManifest(self._asked(name, None if held is None else held[0]))
            except (RegistryDenied, RegistryUnsupported):
                raise
            except RegistryError as error:
                why = str(error)
                if held is not None or isinstance(error, RegistryUnreachable):
                    self._away[name.domain] = (self._store.now() + int(rules.away * _SECOND), why)
                if held is None or age >= rules.stale:
                    raise
                _log.warning("%s is served as it was %d seconds ago: %s", name, age, why)
        if held is None or age >= rules.stale:
            raise RegistryUnreachable(f"{why}; it is not asked again yet", registry=name.domain)
        return CachedManifest(held[0], why)

    def _asked(self, name: Reference, held: ManifestRow | None) -> ManifestRow:
        """Return what the upstream says that a tag means, and keep it."""
        places, tag = self._places(name), name.tag or ""
        try:
            if held is not None and places.head(tag).digest == held.digest:
                self._entries.confirm(name)
                return held
            fetched = places.manifest(tag, limit=self._limit)
        except NotInRegistry as error:
            if held is not None:
                self._entries.forget_tag(name)
            raise self._lacks(str(name), name, error) from error
        row = ManifestRow(fetched.digest, fetched.media_type, fetched.raw)
        self._entries.keep(name, row)
        return row

    def _digested(self, name: Reference, digest: Digest) -> ManifestRow:
        held = self._entries.manifest(name, digest)
        if held is not None:
            return held
        self._check_missing(str(name), name)
        try:
            fetched = self._places(name).manifest(digest, limit=self._limit)
        except NotInRegistry as error:
            raise self._lacks(str(name), name, error) from error
        row = ManifestRow(fetched.digest, fetched.media_type, fetched.raw)
        self._entries.keep(Reference(name.domain, name.path), row)
        return row

    @property
    def _limit(self) -> int:
        return min(MANIFEST_LIMIT, self._store.limits.manifest_size)

    def _places(self, name: Reference) -> Places:
        return Places(self._registries[name.domain].to_pull(name))

    # What the upstream does not have.

    def _check_missing(self, key: str, name: Reference) -> None:
        if self._store.now() < self._missing.get(key, 0):
            raise ContentNotFound(
                f"the registry of {name.name} did not have it a moment ago; it is not asked again yet"
            )

    def _lacks(self, key: str, name: Reference, error: NotInRegistry) -> ContentNotFound:
        """Remember that the upstream does not have something, and return the error that says so."""
        if len(self._missing) >= _MOST_REMEMBERED:
            self._missing.clear()
        self._missing[key] = self._store.now() + int(self._hosts[name.domain].missing * _SECOND)
        return ContentNotFound(str(error))

    # The quota.

    def _stored(self, digest: Digest, size: int) -> None:
        """Count what was kept, and make room where that is too much. All is counted only where it may matter."""
        if self._quota is None or self._entries.drop_loose(digest):
            return
        with self._counting:
            self._size = self._entries.size() if self._size is None else self._size + size
            if self._size > self._quota:
                self._size = self._entries.evict(self._quota)
