"""Blobs in memory, for tests and for programs that keep nothing."""

from __future__ import annotations

import io
import threading
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, final
from weakref import WeakValueDictionary

from orlop.errors import ContentNotFound, InvalidDigest, SizeMismatch, StorageError
from orlop.model.digest import DiffID, Digest
from orlop.store.blobs.store import BlobStore, Ingest, Leftover, Spool, StoredSize
from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.store.rows.metadata import BlobRow, Metadata, Rows, WritableRows

D = TypeVar("D", bound=Digest)

_TICK: Final = 0.05
_BLOB: Final = "blob "
_TOC: Final = "toc "


@final
class MemoryBlobStore(BlobStore):
    """Blobs and tables of contents in dictionaries: complete, thread-safe, and gone with the process.

    Several stores of one process may share it, each with rows of its own opening. Nothing survives a crash, so nothing
    is ever found half done: what is written belongs to its `Ingest` alone until it is committed, and what is removed
    belongs to the write that removes it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._blobs: dict[Digest, bytes] = {}
        self._tocs: dict[DiffID, bytes] = {}
        self._resumed = WeakValueDictionary[Digest, _MemoryIngest]()
        self._ended = threading.Condition(self._guard)

    def open_unverified(self, blob: BlobRow) -> BinaryIO:
        """Return the raw bytes, see `BlobStore.open_unverified`."""
        return io.BytesIO(self._content(blob))

    def _read_range(self, blob: BlobRow, start: int, size: int) -> bytes:
        return self._content(blob)[start : start + size]

    def _content(self, blob: BlobRow) -> bytes:
        with self._guard:
            content = self._blobs.get(_checked(blob.digest))
        if content is None:
            raise ContentNotFound(f"the blob {blob.digest} is missing from memory; load its image again")
        if len(content) != blob.size:
            msg = f"the blob {blob.digest} has {len(content)} bytes instead of {blob.size}; load its image again"
            raise SizeMismatch(msg)
        return content

    def begin(self, algorithm: str = "sha256") -> Ingest:
        """Begin to write content."""
        return _MemoryIngest(self, algorithm)

    def resume(
        self, digest: Digest, *, check: Callable[[], None] | None = None, metadata: Metadata | None = None
    ) -> Ingest:
        """Begin to write content of a digest once nobody else does, see `BlobStore.resume`; nothing is left of it."""
        del metadata
        ingest = _MemoryIngest(self, _checked(digest).algorithm)
        while True:
            check_interruption()
            if check is not None:
                check()
            with self._guard:
                other = self._resumed.get(digest)
                if other is None or other.has_ended:
                    self._resumed[digest] = ingest
                    return ingest
                self._ended.wait(_TICK)
            del other

    def end(self, ingest: _MemoryIngest) -> None:
        """Note that others may write the content of the same digest."""
        with self._guard:
            ingest.has_ended = True
            self._ended.notify_all()

    def spool(self, *, near: str | None = None) -> Spool:
        """Begin to keep bytes for a moment."""
        del near
        return MemorySpool()

    def sweep_ingests(self) -> None:
        """Do nothing: what is being written goes with its last reference."""

    def digests(self) -> Iterable[Digest]:
        """Return the digests of all blobs."""
        with self._guard:
            return tuple(self._blobs)

    def has(self, blob: BlobRow) -> bool:
        """Return whether the bytes are there, by their size."""
        digest = _checked(blob.digest)
        with self._guard:
            return digest in self._blobs and len(self._blobs[digest]) == blob.size

    def size_of(self, digest: Digest) -> StoredSize:
        """Return the size of a blob."""
        return self._size(self._blobs, digest)

    def remove(self, rows: WritableRows, digests: Iterable[Digest]) -> None:
        """Remove blobs, see `BlobStore.remove`."""
        self._remove(self._blobs, rows, digests)

    def needs_recovery(self) -> bool:
        """Return False: a removal is done or undone with its write."""
        return False

    def put_back(self, rows: Rows) -> None:
        """Do nothing: nothing is on its way out."""

    def sweep_trash(self, rows: WritableRows) -> None:
        """Do nothing: nothing is on its way out."""

    def close(self) -> None:
        """Do nothing: the blobs stay as long as anybody refers to this object."""

    def open_toc(self, diff_id: DiffID) -> BinaryIO | None:
        """Return a layer's table of contents, if there is one."""
        with self._guard:
            content = self._tocs.get(_checked(diff_id))
        return None if content is None else io.BytesIO(content)

    def tocs(self) -> Iterable[DiffID]:
        """Return the layers of which a table of contents is kept."""
        with self._guard:
            return tuple(self._tocs)

    def toc_size_of(self, diff_id: DiffID) -> StoredSize:
        """Return the size of a layer's table of contents."""
        return self._size(self._tocs, diff_id)

    def remove_tocs(self, rows: WritableRows, diff_ids: Iterable[DiffID]) -> None:
        """Remove tables of contents, see `BlobStore.remove`."""
        self._remove(self._tocs, rows, diff_ids)

    def unfinished(self) -> Iterable[Leftover]:
        """Return nothing: what is being written goes with its last reference."""
        return ()

    def trash(self, rows: Rows) -> Iterable[Leftover]:  # noqa: ARG002 - there is nothing to look for
        """Return nothing: nothing is on its way out."""
        return ()

    def strays(self, rows: Rows) -> Iterable[Leftover]:
        """Return the blobs and tables of contents that no row names."""
        blobs = [digest for digest in self.digests() if rows.blob(digest) is None]
        tocs = [diff_id for diff_id in self.tocs() if rows.diff(diff_id) is None]
        found = [Leftover(f"{_BLOB}{one}", f"the blob {one} in memory", self.size_of(one).freed) for one in blobs]
        found += [Leftover(f"{_TOC}{one}", f"the table {one} in memory", self.toc_size_of(one).freed) for one in tocs]
        return sorted(found)

    def clear(self, rows: WritableRows, leftover: Leftover) -> None:
        """Remove a blob or table that no row names, see `BlobStore.clear`."""
        if leftover.key.startswith(_TOC):
            diff_id = DiffID.parse(leftover.key.removeprefix(_TOC))
            rows.will_go(contents=[diff_id])
            self.remove_tocs(rows, [diff_id])
        else:
            digest = Digest.parse(leftover.key.removeprefix(_BLOB))
            rows.will_go(blobs=[digest])
            self.remove(rows, [digest])

    # What ingests and removals do to the dictionaries.

    def publish(self, rows: WritableRows, digest: Digest, content: bytes) -> None:
        """Keep a blob; unless a row names it, it goes if the write of the rows is undone."""
        self._publish(self._blobs, digest, content)
        if rows.blob(digest) is None:
            rows.after_rollback(partial(self._forget, self._blobs, digest), if_sure=True)

    def publish_toc(self, rows: WritableRows, diff_id: DiffID, content: bytes) -> None:
        """Keep a table of contents; unless there is a row of its layer, it goes if the write of the rows is undone."""
        self._publish(self._tocs, _checked(diff_id), content)
        if rows.diff(diff_id) is None:
            rows.after_rollback(partial(self._forget, self._tocs, diff_id), if_sure=True)

    def _publish(self, kept: dict[D, bytes], digest: D, content: bytes) -> None:
        with self._guard:
            kept[digest] = content

    def _forget(self, kept: dict[D, bytes], digest: D) -> None:
        with self._guard:
            kept.pop(digest, None)

    def _remove(self, kept: dict[D, bytes], rows: WritableRows, digests: Iterable[D]) -> None:
        for digest in digests:
            with self._guard:
                content = kept.pop(_checked(digest), None)
            if content is not None:
                rows.after_rollback(partial(self._publish, kept, digest, content))

    def _size(self, kept: dict[D, bytes], digest: D) -> StoredSize:
        with self._guard:
            size = len(kept.get(_checked(digest), b""))
        return StoredSize(size, size)


class _MemoryIngest(Ingest):
    """Content in pieces, until it is published whole."""

    def __init__(self, blobs: MemoryBlobStore, algorithm: str) -> None:
        super().__init__(blobs, algorithm)
        self._memory = blobs
        self._pieces: list[bytes] | None = []
        self.has_ended = False
        """Whether another one may write the content of the same digest."""

    def _append(self, data: bytes) -> None:
        if self._pieces is None:
            raise StorageError("cannot write to memory: the content was committed or discarded; start again")
        self._pieces.append(bytes(data))

    def finish(self) -> None:
        """Do nothing: the pieces are needed until they are published."""

    def sync(self) -> None:
        """Do nothing: nothing in memory is durable."""

    def _publish(self, rows: WritableRows, digest: Digest) -> None:
        self._memory.publish(rows, digest, self._taken())
        # Whoever waits for it looks for its rows.
        for after in (rows.after_commit, rows.after_rollback):
            after(partial(self._memory.end, self))

    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Make the bytes the table of contents of a layer, see `Ingest.commit_toc`."""
        self._memory.publish_toc(rows, diff_id, self._taken())

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, None
        return b"".join(pieces or ())

    def discard(self) -> None:
        """Forget the pieces."""
        if self._pieces is not None:
            self._pieces = None
            self._memory.end(self)


class MemorySpool(Spool):
    """Bytes in memory, for a moment."""

    def __init__(self) -> None:
        self._content = bytearray()

    def append(self, data: bytes) -> int:
        """Keep bytes, see `Spool.append`."""
        start = len(self._content)
        self._content += data
        return start

    def read(self, start: int, size: int) -> bytes:
        """Return bytes that were kept."""
        return bytes(self._content[start : start + size])

    def close(self) -> None:
        """Forget them all."""
        self._content = bytearray()


def _checked(digest: D) -> D:
    if not digest.is_valid:
        msg = f"{str(digest)!r} is not a digest, and no blob can have it as its name"
        raise InvalidDigest(msg)
    return digest
