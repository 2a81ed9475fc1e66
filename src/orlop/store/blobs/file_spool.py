"""Bytes that a store in a directory keeps for a moment, in a file, which may become a file of somebody else's."""

from __future__ import annotations

import os

from orlop.store.blobs.store import Spool
from orlop.streams.files import explaining, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.streams.files import NewFile


def is_beside(descriptor: int, path: str) -> bool:
    """Return whether a path, or the place for it, is on the same file system as an open directory."""
    try:
        return os.stat(os.path.dirname(os.path.realpath(path))).st_dev == os.fstat(descriptor).st_dev
    except OSError:
        return False


class FileSpool(Spool):
    """Bytes in a new file. If they are to last, they go to the disk while more of them come."""

    def __init__(self, file: NewFile, *, lasts: bool) -> None:
        self._file = file
        self._lasts = lasts
        self._end = 0

    def append(self, data: bytes) -> int:
        """See `Spool.append`."""
        if self._lasts:
            self._file.write(data)
        else:
            with explaining("write", self._file.entry.path):
                write_all(self._file.descriptor, data)
        start, self._end = self._end, self._end + len(data)
        return start

    def read(self, start: int, size: int) -> bytes:
        """See `Spool.read`."""
        with explaining("read", self._file.entry.path):
            return os.pread(self._file.descriptor, size, start)

    def give(self, file: NewFile) -> bool:
        """See `orlop.streams.files.Giving`."""
        return file.take(self._file)

    def close(self) -> None:
        """See `Spool.close`."""
        self._file.discard()
