"""Bytes by their digest, as a seam: what a store of blobs must offer, wherever it keeps them.

A blob is what its digest says, or it is not there: nothing becomes visible before it is complete, durable and verified,
and nothing changes afterwards. Four parts, each as safe as its public methods make it, whatever lies beneath:

- Reading. `BlobStore.open` fails before the last byte where the bytes are not what their digest says. Whoever reads raw
  bytes or a part of them verifies what it makes of them.
- Writing. ``begin``, ``write`` any number of times, ``sync``, then ``commit`` with what was expected, inside a write of
  the rows. An `Ingest` that is left before is discarded, and one that a dead process left is swept up.
- Keeping. Publishing and removing belong to a write of the rows and share its fate: what the write brought goes again
  if it is undone, and what it removed comes back. What a crash interrupts in between is put back, if a row names it,
  or goes with the next removal.
- Tables of contents. What is derived from a layer lies beside the blobs under its diff ID, is written the same way, and
  can be made again at any time; so it is replaced where a blob never is.

No method takes or gives a path, a descriptor or a mode. What only local files can do is a capability of its own, see
`orlop.store.files`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from itertools import chain

from orlop.errors import DigestMismatch, InvalidInput, SizeMismatch
from orlop.model.digest import DiffID
from orlop.model.generic import final
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import BinaryIO, ClassVar, Self

    from orlop.model.digest import Digest
    from orlop.store.rows.metadata import BlobRow, Metadata, Rows, WritableRows
    from orlop.streams.verify import VerifyingReader


class StoredSize(NamedTuple):
    """The bytes that are kept, and those that their removal gives back: none where somebody else shares them."""

    size: int
    freed: int


class Leftover(NamedTuple):
    """Something in a store of blobs that no row names.

    ``key`` is the store's own name for it, ``subject`` says where it is, for people; ``size`` is the bytes that its
    removal gives back; ``owner`` is the lease of who writes or wrote it, and ``why`` says why it is still there,
    where that is known.
    """

    key: str
    subject: str
    size: int
    owner: str = ""
    why: str = ""


class Swept(NamedTuple):
    """What a sweep of a whole bucket found: ``objects`` with their ``size`` in bytes, and ``uploads`` in parts."""

    objects: int
    size: int
    uploads: int


class Ingest(ABC):
    """Content on its way in. Nobody sees it before `commit`; leaving the block before that discards it.

    Used by one thread at a time, except that `append` and `hash`, the two halves of `write`, may run in one each.
    """

    def __init__(self, blobs: BlobStore, algorithm: str = "sha256") -> None:
        self._blobs = blobs
        import hashlib  # noqa: PLC0415 - what only reads rows hashes no content

        self._hash = hashlib.new(algorithm)
        self._size = 0
        self.algorithm = algorithm
        """By which the content is named."""

    @property
    def kept(self) -> int:
        """How many bytes an earlier try has left. They are to be read (`read_kept`) and written again, to be hashed."""
        return 0

    def read_kept(self, start: int, size: int) -> bytes:
        """Return some of the bytes that were left, which nobody vouches for. Raises errors of storage."""
        msg = f"nothing was left of {size} bytes from byte {start} on"
        raise InvalidInput(msg)

    def reject(self) -> None:
        """Discard, and leave nothing for a later try: the bytes are wrong. Idempotent."""
        self.discard()

    @property
    def size(self) -> int:
        """The number of bytes that were written so far."""
        return self._size

    @property
    def digest(self) -> Digest:
        """The digest of the bytes that were written so far."""
        from orlop.model.digest import Digest  # noqa: PLC0415 - only where content comes in

        return Digest(self.algorithm, self._hash.hexdigest())

    @final
    def write(self, data: bytes, /) -> int:
        """Write bytes, all of them, and return their number. Raises `NoSpace` and other errors of storage."""
        self.append(data)
        self.hash(data)
        return len(data)

    @final
    def append(self, data: bytes, /) -> None:
        """Store bytes that are also given to `hash`, which another thread may do meanwhile. Raises as `write` does."""
        self._append(data)
        self._size += len(data)

    @final
    def hash(self, data: bytes, /) -> None:
        """Hash bytes that are also given to `append`."""
        self._hash.update(data)

    @abstractmethod
    def finish(self) -> None:
        """Note that nothing more is written. What holds resources while it waits for its name lets go of them."""

    @abstractmethod
    def sync(self) -> None:
        """Return once every byte is durable. Slow: never call it with the write lock. Raises errors of storage."""

    @final
    def commit(self, rows: WritableRows, expected: BlobRow) -> None:
        """Make the bytes visible under their digest; if the write of the rows is undone, they go again.

        Bytes that are there already stay. The caller keeps their row in the same write, and has called `sync` before.

        Args:
            rows: a write.
            expected: what the bytes must be.

        Raises:
            SizeMismatch, DigestMismatch: they are something else; nothing has changed. StorageError: they cannot be
            published.
        """
        if self.size != expected.size:
            raise SizeMismatch(f"{self.size} bytes were written of the blob {expected.digest}, not {expected.size}")
        if self.digest != expected.digest:
            raise DigestMismatch(f"what was written has the digest {self.digest}, not {expected.digest}")
        if rows.blob(expected.digest) is not None and self._blobs.has(expected):
            self.reject()
        else:
            self._publish(rows, expected.digest)

    @abstractmethod
    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Make the bytes the table of contents of a layer, in place of another; if the write is undone, they go again.

        The caller has called `sync` before. The row of the layer is kept in the same write, unless it is there.
        """

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind of what was not committed. Idempotent; raises nothing."""

    @abstractmethod
    def _append(self, data: bytes) -> None: ...

    @abstractmethod
    def _publish(self, rows: WritableRows, digest: Digest) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class Spool(ABC):
    """Bytes that are needed for a moment and are too many for memory. They are neither durable nor content."""

    @abstractmethod
    def append(self, data: bytes) -> int:
        """Keep bytes and return where they begin. Raises `NoSpace` and other errors of storage."""

    @abstractmethod
    def read(self, start: int, size: int) -> bytes:
        """Return bytes that were kept. Raises errors of storage."""

    @abstractmethod
    def close(self) -> None:
        """Forget them all. Idempotent; raises nothing."""


class BlobStore(ABC):
    """Immutable bytes by digest, and the tables of contents beside them. Safe to share between threads."""

    # Reading.

    @final
    @contextmanager
    def open(self, blob: BlobRow) -> Iterator[VerifyingReader]:
        """Return, for a block, a reader that fails before its last byte where the bytes are not what their digest says.

        Raises:
            ContentNotFound: the bytes are not there. SizeMismatch: there are more or fewer than there should be.
            InvalidDigest: the row does not name content.
        """
        from orlop.streams.verify import VerifyingReader  # noqa: PLC0415 - listing images reads no blob

        with self.open_unverified(blob) as file:
            yield VerifyingReader(file, digest=blob.digest, size=blob.size)

    @abstractmethod
    def open_unverified(self, blob: BlobRow) -> BinaryIO:
        """Return the raw bytes to a caller that verifies a digest of what it makes of them. Raises as `open` does.

        A reader that was opened before its blob is removed still reads all of it.
        """

    @final
    def read_range(self, blob: BlobRow, start: int, size: int) -> bytes:
        """Return some of the raw bytes, fewer where they end: to a caller that verifies what it makes of them.

        Args:
            blob: of which bytes.
            start: the number of bytes before them.
            size: how many; choose what memory can hold.

        Raises:
            InvalidInput: a number is negative. Beside it, what `open` raises.
        """
        if start < 0 or size < 0:
            msg = f"{size} bytes from byte {start} on are not a range; use numbers of 0 or more"
            raise InvalidInput(msg)
        return self._read_range(blob, start, size)

    @abstractmethod
    def _read_range(self, blob: BlobRow, start: int, size: int) -> bytes: ...

    lends: ClassVar[bool] = False
    """Whether `url_of` returns URLs."""

    def url_of(self, blob: BlobRow, *, seconds: int) -> str | None:
        """Return a URL from which anybody may read the raw bytes for some seconds; nothing where there are no such.

        Raises:
            ContentNotFound: the bytes are not there. InvalidInput: a URL cannot be good for so long.
        """
        del blob, seconds
        return None

    # Writing.

    @abstractmethod
    def begin(self, algorithm: str = "sha256") -> Ingest:
        """Begin to write content whose digest need not be known yet. Raises errors of storage.

        Args:
            algorithm: by which it is named, one of `orlop.model.digest.ALGORITHMS`.
        """

    def resume(
        self, digest: Digest, *, check: Callable[[], None] | None = None, metadata: Metadata | None = None
    ) -> Ingest:
        """Begin to write content of a digest, or go on where an earlier try was left, see `Ingest.kept`.

        One at a time has the content of one digest: others wait until it is committed or discarded, and should then
        look whether it is there. That spares work, and nothing is right because of it: a store that several machines
        share stops waiting for one that is silent, which may go on. What was written stays for a later try unless it is
        rejected, in a store that keeps such.

        Args:
            digest: what is to be written.
            check: called now and then while another one has it; what it raises ends the wait.
            metadata: where the rows are. With it, content that was given its name by a write which was killed, and has
                no row, is what an earlier try has left.

        Raises:
            StorageError: it cannot be written.
        """
        del check, metadata
        return self.begin(digest.algorithm)

    def partials(self) -> Iterable[Leftover]:
        """Return what tries have left for later, and nobody works at."""
        return ()

    def free_partials(self, *, most: int, before: float) -> int:
        """Remove some of that: all that is older than a time, then the oldest beyond a number of bytes.

        Args:
            most: how many bytes may stay.
            before: seconds since 1970.

        Returns:
            How many bytes that freed.
        """
        del most, before
        return 0

    @abstractmethod
    def spool(self, *, near: str | None = None) -> Spool:
        """Begin to keep bytes for a moment; the caller closes it.

        Args:
            near: the path of a file or directory that all of them are likely to become a part of, and that is to be on
                disk. A store may then have them on the way to the disk earlier.

        Raises errors of storage.
        """

    @abstractmethod
    def sweep_ingests(self) -> None:
        """Remove what was being written by owners that have ended. Raises errors of storage."""

    # Keeping.

    @abstractmethod
    def digests(self) -> Iterable[Digest]:
        """Return the digests of all blobs that are kept, once each, in no promised order, with or without a row."""

    @abstractmethod
    def has(self, blob: BlobRow) -> bool:
        """Return whether the bytes are there, by their size. Raises `InvalidDigest`."""

    def is_missing(self, digest: Digest) -> bool:
        """Return whether nothing is there under a digest, not even of a write under way; False where that is slow.

        What is not there then may be asked for without a look at the rows.
        """
        del digest
        return False

    named_early: ClassVar[bool] = False
    """Whether bytes get their name, and whoever waits for them in `resume` goes on, before their rows are committed.

    To find out whether both are there, the rows are then read under the lock of the writes.
    """

    @abstractmethod
    def size_of(self, digest: Digest) -> StoredSize:
        """Return the size of what is kept under a digest; what is missing has none. Raises `InvalidDigest`."""

    def sizes(self) -> Iterable[tuple[Digest, int]]:
        """Return the digest and the size of each blob that is kept, once each, in no promised order."""
        return ((digest, self.size_of(digest).size) for digest in self.digests())

    def toc_sizes(self) -> Iterable[tuple[DiffID, int]]:
        """Return the layer and the size of each table of contents that is kept, as `sizes` does for blobs."""
        return ((diff_id, self.toc_size_of(diff_id).size) for diff_id in self.tocs())

    def all_sizes(self) -> Iterable[tuple[Digest, int]]:
        """Return what `sizes` and `toc_sizes` do; the layer of a table of contents is a `DiffID`."""
        return chain(self.sizes(), self.toc_sizes())

    def misrecorded(self) -> Iterable[Digest]:
        """Return the blobs of which another size is recorded than they have, where sizes are recorded beside rows."""
        return ()

    def record_size(self, rows: WritableRows, digest: Digest) -> bool:
        """Record the size of such a blob again, inside a write, and return whether another one was recorded."""
        del rows, digest
        return False

    def sizes_of(self, digests: Iterable[Digest]) -> Mapping[Digest, StoredSize]:
        """Return what `size_of` does for some blobs and, for each `DiffID` among them, what `toc_size_of` does."""
        return {
            digest: self.toc_size_of(digest) if isinstance(digest, DiffID) else self.size_of(digest)
            for digest in digests
        }

    def require_own(self) -> None:  # noqa: B027 - most places are one store's alone
        """Check that what holds the bytes is this store's, where it could be another's.

        Raises:
            StoreInUse: it belongs to another store. StoreNotFound: it belongs to none. StorageError: it cannot be read.
        """

    @abstractmethod
    def remove(self, rows: WritableRows, digests: Iterable[Digest]) -> None:
        """Remove bytes once the write of the rows is durable, and keep them if it is undone. Idempotent."""

    @abstractmethod
    def needs_recovery(self) -> bool:
        """Return whether anything is on its way out: the work of a process at this moment, or what a crash left."""

    @abstractmethod
    def put_back(self, rows: Rows) -> None:
        """Put back, with the write lock, what is on its way out and has a row: its removal was undone."""

    @abstractmethod
    def sweep_trash(self, rows: WritableRows) -> None:
        """Finish, inside a write, what a crash interrupted: what a row names is put back, anything else goes.

        Only what removes things does this. A command that reads puts back, and leaves the rest.
        """

    def reclaim(self) -> int:
        """Remove what was taken away and could not go at once, as others were reading it; return how many things went.

        Raises:
            StoreInUse: what lies there is another store's. StorageError: it cannot be removed.
        """
        return 0

    def unknown(self) -> Iterator[tuple[int, Callable[[], BinaryIO]]]:
        """Yield the size of each object that `sweep_bucket` would remove, and what opens it; nothing is verified."""
        yield from ()

    def sweep_bucket(self, *, dry_run: bool = False) -> Swept:
        """Find what lies where blobs do and is known to nobody, remove it unless that is not wanted, and return it.

        It may take long: everything is listed. Raises what `reclaim` raises.
        """
        del dry_run
        return Swept(0, 0, 0)

    @abstractmethod
    def close(self) -> None:
        """Release everything that is held; it may be used again."""

    # Tables of contents.

    @abstractmethod
    def open_toc(self, diff_id: DiffID) -> BinaryIO | None:
        """Return a layer's table of contents, or nothing where there is none that can be read. It verifies itself."""

    @abstractmethod
    def tocs(self) -> Iterable[DiffID]:
        """Return the layers of which a table of contents is kept, once each, in no promised order."""

    @abstractmethod
    def toc_size_of(self, diff_id: DiffID) -> StoredSize:
        """Return the size of a layer's table of contents; one that is missing has none. Raises `InvalidDigest`."""

    @abstractmethod
    def remove_tocs(self, rows: WritableRows, diff_ids: Iterable[DiffID]) -> None:
        """Remove tables of contents as `remove` removes blobs."""

    # What no row names.

    @abstractmethod
    def unfinished(self) -> Iterable[Leftover]:
        """Return what is being written, by its owner; what dead owners left is garbage."""

    @abstractmethod
    def trash(self, rows: Rows) -> Iterable[Leftover]:
        """Return what is on its way out and has no row to go back to."""

    @abstractmethod
    def strays(self, rows: Rows) -> Iterable[Leftover]:
        """Return the blobs and tables that no row names, and what is neither, sorted by where they are."""

    def lacks_any(self, rows: Rows) -> bool:
        """Return whether the rows name blobs that are not there."""
        there = set(self.digests())
        return any(blob.digest not in there for blob in rows.blobs())

    @abstractmethod
    def clear(self, rows: WritableRows, leftover: Leftover) -> None:
        """Remove something that no row names once the write is durable, and keep it if it is undone. Idempotent."""
