"""Blobs and tables of contents as objects in a bucket: immutable, named by rows, deleted once nobody reads them.

What a blob is called and where it lies are two things: see `orlop.store.rows.keys`, whose rules make all of this safe.
The rows share the fate of every other row, so publishing and removing are changes of rows alone, and nothing has to be
put back after a crash.

Rows are believed where they say that an object is there and how large it is, with one exception: `has` asks the
bucket, as loads and repairs rely on it to find out what is missing. What was seen lately is not asked for again. Every
read compares sizes, and whoever reads verifies digests.

The bucket may hang. What is asked of it inside a block of rows, where others wait, is given up long before the database
ends the block.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, cast, final

from orlop.errors import ContentNotFound, InvalidDigest, LeaseLost, OrlopError, SizeMismatch
from orlop.model.digest import DiffID, Digest
from orlop.model.logger import Logger
from orlop.store.blobs.memory import MemorySpool
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.cache import CachedFetch
from orlop.store.blobs.s3.claiming import claimed
from orlop.store.blobs.s3.client import S3Client
from orlop.store.blobs.s3.ingest import S3Ingest, Upload, path_of
from orlop.store.blobs.s3.lending import Loans
from orlop.store.blobs.s3.reading import Fetch, S3Reader, Source
from orlop.store.blobs.s3.reclaim import listed_sizes, reclaim, require_own, sweep_bucket, unknown_objects
from orlop.store.blobs.s3.seen import Seen
from orlop.store.blobs.s3.sending import Senders
from orlop.store.blobs.s3.signing import require_expiry
from orlop.store.blobs.store import BlobStore, Leftover, Spool, StoredSize
from orlop.store.rows.keys import TOC
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orlop.store.blobs.s3.cache import BlockCache
    from orlop.store.blobs.s3.reading import Stream
    from orlop.store.blobs.s3.settings import S3Settings
    from orlop.store.blobs.store import Ingest, Swept
    from orlop.store.rows.keys import ObjectKeys, StoredObject
    from orlop.store.rows.metadata import BlobRow, Metadata, Rows, WritableRows

_log = Logger(__name__)

_FRESH: Final = 30.0
"""Seconds for which an object that was there is taken to be there still."""
_SWEPT: Final = 60.0
"""Seconds between two sweeps that only look for what dead sessions left."""


@final
class S3BlobStore(BlobStore):
    """Blobs in one bucket. Safe to share between threads; a forked child may go on with it.

    Args:
        settings: of the bucket.
        keys: the names and keys, in the database of the rows.
        cache: what keeps on this machine what is read.
        scratch: returns the directory for what is needed for a moment; without it that is kept in memory.
        doubting: ask the bucket also where the rows would do, and remember nothing: for tests and repairs.
        now: the time of day, in seconds since 1970; requests are signed with it.
        clock: seconds that never go back.
        sleep: what waits for some seconds.
    """

    def __init__(
        self,
        settings: S3Settings,
        keys: ObjectKeys,
        *,
        cache: BlockCache | None = None,
        scratch: Callable[[], str] | None = None,
        doubting: bool = False,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.where = settings.where
        self._client = S3Client(settings, now=now, clock=clock, sleep=sleep)
        self.bucket = Bucket(self._client)
        self._senders = Senders()
        self._cache = cache
        self._loans = Loans(keys, clock)
        self._scratch = scratch
        self._doubting = doubting
        self._seen = Seen(0.0 if doubting else _FRESH, clock)
        self._clock, self._sleep = clock, sleep
        self._swept: float | None = None
        self._is_own = False
        self._local = threading.local()

    # Reading.

    def open_unverified(self, blob: BlobRow) -> BinaryIO:
        """Return the raw bytes, see `BlobStore.open_unverified`. They can be sought in."""
        _require_valid(blob.digest)
        with ExitStack() as stack:
            stack.enter_context(self.keys.reading())
            return self._reader(self._stored(blob), f"the blob {blob.digest}", stack, blob.digest)

    def _reader(self, stored: StoredObject, label: str, held: ExitStack, digest: Digest | None = None) -> BinaryIO:
        """Return a reader that holds what the caller held until it is closed."""
        source = self._source(stored, label, digest)
        kept = ExitStack()
        reader = S3Reader(source, partial(self._stream, source), kept.close)
        kept.push(held.pop_all())
        return cast("BinaryIO", reader)

    def _read_range(self, blob: BlobRow, start: int, size: int) -> bytes:
        _require_valid(blob.digest)
        with self.keys.reading():
            stored = self._stored(blob)
            end = min(start + size, stored.size)
            if start >= end:
                return b""
            source = self._source(stored, f"the blob {blob.digest}", blob.digest)
            return b"".join(self._stream(source, start, end, haste=self.keys.in_block()).pieces())

    def _source(self, stored: StoredObject, label: str, digest: Digest | None) -> Source:
        return Source(self.settings.key(path_of(stored.key)), stored.size, label, digest)

    def _stream(self, source: Source, start: int, end: int, *, haste: bool = False) -> Stream:
        if self._cache is None:
            return Fetch(self._client, source, start, end, haste=haste)
        return CachedFetch(self._cache, self._client, source, start, end, haste=haste)

    def _stored(self, blob: BlobRow) -> StoredObject:
        stored = self._found(blob)
        if stored is None:
            raise ContentNotFound(
                f"the blob {blob.digest} is missing from {self.where}; check that prefix, or load its image again"
            )
        if stored.size != blob.size:
            msg = f"the blob {blob.digest} has {stored.size} bytes instead of {blob.size}; load its image again"
            raise SizeMismatch(msg)
        return stored

    lends: ClassVar[bool] = True

    def url_of(self, blob: BlobRow, *, seconds: int) -> str | None:
        """Return a URL from which anybody may read the bytes for some seconds, see `BlobStore.url_of`.

        The bytes stay as long, even if they are removed meanwhile; see `orlop.store.blobs.s3.lending`. There is none
        while nothing can be kept, as the session of this process is dead, nor where only those can read who have a key.
        """
        _require_valid(blob.digest)
        require_expiry(seconds)
        if self.settings.sse_c_key:
            return None
        try:
            self._loans.lend(seconds)
        except LeaseLost:
            return None
        return self.bucket.url(path_of(self._stored(blob).key), seconds)

    # Writing.

    def require_own(self) -> None:
        """Raise where the bucket is not marked as this store's: it may be misspelt. It is asked once."""
        if not self._is_own:
            require_own(self.bucket, self.keys)
            self._is_own = True

    def begin(self, algorithm: str = "sha256") -> Ingest:
        """Begin to write content. The first time, the bucket must be marked as this store's."""
        self.require_own()
        return self._begun(algorithm)

    def resume(
        self, digest: Digest, *, check: Callable[[], None] | None = None, metadata: Metadata | None = None
    ) -> Ingest:
        """Begin to write content of a digest once nobody else does, on whatever machine, see `BlobStore.resume`."""
        del metadata
        self.require_own()
        name = str(_require_valid(digest))
        return self._begun(digest.algorithm, claimed(self.keys, name, check, clock=self._clock, sleep=self._sleep))

    def _begun(self, algorithm: str, key: str = "") -> Ingest:
        first, equal = self.settings.part_size, self.settings.equal_parts
        upload = Upload(self.bucket, self.keys, self._senders, first=first, equal=equal, key=key)
        return S3Ingest(self, self.keys, upload, algorithm, self._seen.add)

    def spool(self, *, near: str | None = None) -> Spool:
        """Begin to keep bytes for a moment, in a file without a name."""
        del near
        return MemorySpool() if self._scratch is None else _FileSpool(self._scratch())

    def sweep_ingests(self) -> None:
        """Reclaim what dead sessions left, unless that was done a minute ago."""
        now = self._clock()
        if self._swept is None or now - self._swept >= _SWEPT:
            self._swept = now
            self.reclaim()

    # Keeping.

    def digests(self) -> Iterable[Digest]:
        """Return the digests of all blobs."""
        return [Digest.parse(one.name) for one in self.keys.objects(tocs=False)]

    def sizes(self) -> Iterable[tuple[Digest, int]]:
        """Return the digest and the size of each blob, as the rows say them or, in doubt, the bucket."""
        return ((digest, size) for digest, size in self.all_sizes() if not isinstance(digest, DiffID))

    def toc_sizes(self) -> Iterable[tuple[DiffID, int]]:
        """Return the layer and the size of each table of contents, as `sizes` does for blobs."""
        return ((digest, size) for digest, size in self.all_sizes() if isinstance(digest, DiffID))

    def all_sizes(self) -> Iterable[tuple[Digest, int]]:
        """Return both at once, so that the bucket is listed but once, see `BlobStore.all_sizes`."""
        for one in self._kept():
            kind = DiffID if one.name.startswith(TOC) else Digest
            yield kind.parse(one.name.removeprefix(TOC)), one.size

    def _kept(self) -> Iterable[StoredObject]:
        if self._doubting:
            return listed_sizes(self.bucket, self.keys)
        return chain(self.keys.objects(tocs=False), self.keys.objects(tocs=True))

    def has(self, blob: BlobRow) -> bool:
        """Return whether the bytes are there, by their size."""
        _require_valid(blob.digest)
        stored = self._found(blob)
        return stored is not None and stored.size == blob.size and self._is_there(stored)

    def _found(self, blob: BlobRow) -> StoredObject | None:
        stored = self.keys.find(str(blob.digest))
        if stored is None or stored.size == blob.size or not self._doubting:
            return stored
        size = self._size_in_bucket(stored)
        return stored if size is None else stored._replace(size=size)

    def misrecorded(self) -> Iterable[Digest]:
        """Return the blobs of which another size is recorded than their objects have, see `BlobStore.misrecorded`."""
        recorded = {one.name: one for one in self.keys.objects(tocs=False)}
        for listed in listed_sizes(self.bucket, self.keys):
            one = recorded.get(listed.name)
            # What is not listed may be there all the same.
            if one is not None and listed.size not in {0, one.size} and self._size_in_bucket(one) != one.size:
                yield Digest.parse(one.name)

    def record_size(self, rows: WritableRows, digest: Digest) -> bool:
        """Record the size of the object that holds a blob again, see `BlobStore.record_size`."""
        stored = self.keys.find(str(_require_valid(digest)))
        size = None if stored is None else self._size_in_bucket(stored)
        if stored is None or not size or size == stored.size:
            return False
        self.keys.resize(rows, stored.name, size)
        return True

    def _size_in_bucket(self, stored: StoredObject) -> int | None:
        return self.bucket.size(path_of(stored.key), haste=self.keys.in_block())

    def _is_there(self, stored: StoredObject) -> bool:
        if self._seen.has(stored.key):
            return True
        if self.bucket.size(path_of(stored.key), haste=self.keys.in_block()) != stored.size:
            return False
        self._seen.add(stored.key)
        return True

    def size_of(self, digest: Digest) -> StoredSize:
        """Return the size of a blob."""
        return self._size_of(digest, str(digest))

    def sizes_of(self, digests: Iterable[Digest]) -> Mapping[Digest, StoredSize]:
        """Return the sizes of blobs and tables of contents; the rows are asked once."""
        names = {digest: f"{TOC if isinstance(digest, DiffID) else ''}{_require_valid(digest)}" for digest in digests}
        found = self.keys.find_many(names.values()) if names else {}
        return {digest: self._size(found.get(name)) for digest, name in names.items()}

    def _size_of(self, digest: Digest, name: str) -> StoredSize:
        _require_valid(digest)
        return self._size(self.keys.find(name))

    def _size(self, stored: StoredObject | None) -> StoredSize:
        if stored is None:
            return StoredSize(0, 0)
        size = (self.bucket.size(path_of(stored.key)) or 0) if self._doubting else stored.size
        return StoredSize(size, size)

    def remove(self, rows: WritableRows, digests: Iterable[Digest]) -> None:
        """Remove blobs, see `BlobStore.remove`."""
        self._remove(rows, "", digests)

    def _remove(self, rows: WritableRows, kind: str, digests: Iterable[Digest]) -> None:
        names = [f"{kind}{_require_valid(digest)}" for digest in digests]
        if names:
            self.keys.doom(rows, names)
            self._reclaim_after(rows)

    def needs_recovery(self) -> bool:
        """Return False: a removal is done or undone with its write."""
        return False

    def put_back(self, rows: Rows) -> None:
        """Do nothing: a removal is undone with its write."""

    def sweep_trash(self, rows: WritableRows) -> None:
        """Reclaim what may go, once the write is durable."""
        self._reclaim_after(rows)

    def close(self) -> None:
        """Wait for what is being sent, and close the connections."""
        self._loans.close()
        self._senders.close()
        self._client.close()
        if self._cache is not None:
            self._cache.close()

    # Tables of contents.

    def open_toc(self, diff_id: DiffID) -> BinaryIO | None:
        """Return a layer's table of contents, if there is one."""
        _require_valid(diff_id)
        with ExitStack() as stack:
            stack.enter_context(self.keys.reading())
            stored = self.keys.find(f"{TOC}{diff_id}")
            if stored is None:
                return None
            try:
                return self._reader(stored, f"the table of contents of {diff_id}", stack)
            except (ContentNotFound, SizeMismatch):
                return None

    def tocs(self) -> Iterable[DiffID]:
        """Return the layers of which a table of contents is kept."""
        return [DiffID.parse(one.name.removeprefix(TOC)) for one in self.keys.objects(tocs=True)]

    def toc_size_of(self, diff_id: DiffID) -> StoredSize:
        """Return the size of a layer's table of contents."""
        return self._size_of(diff_id, f"{TOC}{diff_id}")

    def remove_tocs(self, rows: WritableRows, diff_ids: Iterable[DiffID]) -> None:
        """Remove tables of contents, see `BlobStore.remove_tocs`."""
        self._remove(rows, TOC, diff_ids)

    # What no row names.

    def unfinished(self) -> Iterable[Leftover]:
        """Return the uploads, by their sessions."""
        return [
            Leftover(f"upload/{one.key}", f"the upload {self._subject(one.key)}", 0, one.session)
            for one in self.keys.uploads()
        ]

    def trash(self, rows: Rows) -> Iterable[Leftover]:  # noqa: ARG002 - what is doomed has no row
        """Return what is doomed and was not deleted yet."""
        why = "nothing leads to it; it goes as soon as nobody can be reading it"
        return [Leftover(f"doomed/{one.key}", self._subject(one.key), one.size, why=why) for one in self.keys.doomed()]

    def strays(self, rows: Rows) -> Iterable[Leftover]:
        """Return the blobs and tables of contents that no row names."""
        return sorted(self._strays(rows))

    def _strays(self, rows: Rows) -> Iterator[Leftover]:
        for one in self.keys.unnamed(rows):
            folder, name = ("toc", one.name.removeprefix(TOC)) if one.name.startswith(TOC) else ("blobs", one.name)
            yield Leftover(f"{folder}/{name.replace(':', '/')}", self._subject(one.key), one.size)

    def lacks_any(self, rows: Rows) -> bool:
        """Return whether the rows name blobs that no object is for."""
        return self.keys.lacks_any(rows)

    def _subject(self, key: str) -> str:
        return f"{self.where}/{path_of(key)}"

    def clear(self, rows: WritableRows, leftover: Leftover) -> None:
        """Remove something that no row names, see `BlobStore.clear`."""
        folder, _, name = leftover.key.partition("/")
        if folder == "blobs":
            digest = Digest.parse(name.replace("/", ":"))
            rows.will_go(blobs=[digest])
            self.remove(rows, [digest])
        elif folder == "toc":
            diff_id = DiffID.parse(name.replace("/", ":"))
            rows.will_go(contents=[diff_id])
            self.remove_tocs(rows, [diff_id])
        else:
            self._reclaim_after(rows)

    # Giving back.

    def reclaim(self) -> int:
        """Delete what may be deleted, and return how many objects; see `orlop.store.blobs.s3.reclaim.reclaim`."""
        self._loans.settle()
        return reclaim(self.bucket, self.keys)

    def unknown(self) -> Iterator[tuple[int, Callable[[], BinaryIO]]]:
        """Yield what no row knows, see `BlobStore.unknown`."""
        for one in unknown_objects(self.bucket, self.keys):
            yield one.size, partial(self._reader, one, f"the object {self._subject(one.key)}", ExitStack())

    def sweep_bucket(self, *, dry_run: bool = False) -> Swept:
        """Delete what no row knows, see `orlop.store.blobs.s3.reclaim.sweep_bucket`. It lists the whole bucket."""
        return sweep_bucket(self.bucket, self.keys, dry_run=dry_run)

    def _reclaim_after(self, rows: WritableRows) -> None:
        """Reclaim what may go once a write is durable, once for each write."""
        if not getattr(self._local, "is_due", False):
            self._local.is_due = True
            rows.after_commit(self._reclaim_quietly)
            rows.after_rollback(self._not_due)

    def _not_due(self) -> None:
        self._local.is_due = False

    def _reclaim_quietly(self) -> None:
        self._not_due()
        try:
            self.reclaim()
        except OrlopError as error:
            _log.warning("what was removed stays in the bucket until the next removal or `orlop gc`: %s", error)


class _FileSpool(Spool):
    """Bytes in a file that has no name and goes with its last descriptor."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with explaining("write a file in", self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by its owner
        self._size = 0

    def append(self, data: bytes) -> int:
        start = self._size
        view = memoryview(data)
        with explaining("write a file in", self._folder):
            self._file.seek(start)
            while view:
                view = view[self._file.write(view) or 0 :]
        self._size += len(data)
        return start

    def read(self, start: int, size: int) -> bytes:
        with explaining("read a file in", self._folder):
            self._file.seek(start)
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self._size = 0


def _require_valid(digest: Digest) -> Digest:
    if not digest.is_valid:
        raise InvalidDigest(f"{str(digest)!r} is not a digest, and no blob can have it as its name")
    return digest
