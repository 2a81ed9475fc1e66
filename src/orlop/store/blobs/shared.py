"""Content that another file has already, and that this store shares with it instead of writing it again.

Of two ways the first that works is taken:

- A *clone* (``ioctl_ficlone(2)``): the file system keeps the blocks once, and a change of one file does not appear in
  the other. It is always safe, and only some file systems can do it (Btrfs, XFS).
- A *hard link*, where the caller allows it: one file with two names. A program that wrote it in place would damage the
  store, and the store makes it read-only for all of its names. So it is made only where whoever has the other name
  never writes in place, and where the file belongs to the owner of a store that is for its owner alone.

The bytes are then read from the store's own file, and hashed: what changes in the other one after a clone changes
nothing, and what is wrong is discarded as ever.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.errors import StorageError
from orlop.store.blobs.store import Ingest
from orlop.streams.files import NewFile, explaining

if TYPE_CHECKING:
    from orlop.model.digest import DiffID, Digest
    from orlop.store.blobs.files import FileBlobStore
    from orlop.store.rows.metadata import WritableRows


def shared(blobs: FileBlobStore, descriptor: int, *, link: bool) -> SharedIngest | None:
    """Return content that shares the bytes of an open file, all of it `Ingest.kept`; nothing where neither way works.

    Args:
        blobs: where the content is to be.
        descriptor: the open file, which stays the caller's.
        link: whether a hard link will do. The store must be for its owner alone, see above.

    Raises:
        StorageError: the store cannot be written.
    """
    file = blobs.new()
    if file.clone(descriptor):
        return SharedIngest(blobs, file)
    file.discard()
    if not link or os.fstat(descriptor).st_uid != os.geteuid():
        return None
    linked = _linked(file, descriptor)
    return None if linked is None else SharedIngest(blobs, linked)


def _linked(free: NewFile, descriptor: int) -> NewFile | None:
    """Return the file under the name of one that was discarded; nothing where it cannot have that, or not be opened."""
    entry = free.entry
    try:
        entry.link_open(descriptor)
    except OSError:
        return None
    try:
        return NewFile(entry, flags=0)
    except StorageError:
        entry.unlink()
        return None


class SharedIngest(Ingest):
    """Content whose bytes are there; the caller reads them with `read_kept` and writes them again, to be hashed."""

    def __init__(self, blobs: FileBlobStore, file: NewFile) -> None:
        super().__init__(blobs)
        self._files = blobs
        self._file = file
        self._left = file.size

    @property
    def kept(self) -> int:
        """The number of bytes."""
        return self._file.size

    def read_kept(self, start: int, size: int) -> bytes:
        """Return some of them."""
        with explaining("read", self._file.entry.path):
            return os.pread(self._file.descriptor, min(size, self._file.size - start), start)

    def _append(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            msg = f"{-self._left} bytes more were written than are shared"
            raise ValueError(msg)

    def finish(self) -> None:
        """Begin to put the file on disk; it stays open, since the mode of a linked one is set by its descriptor."""
        self._file.start_sync()

    def sync(self) -> None:
        """Wait until the file is on disk."""
        self._file.sync()

    def _publish(self, rows: WritableRows, digest: Digest) -> None:
        self._files.publish(rows, self._file, digest)

    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Raise: a table of contents is never shared."""
        del rows
        msg = f"the table of contents of {diff_id} is not content that is shared"
        raise TypeError(msg)

    def discard(self) -> None:
        """Remove the store's name of the file."""
        self._file.discard()
