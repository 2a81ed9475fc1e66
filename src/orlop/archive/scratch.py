"""Where the small members of a streamed archive wait until something names them.

An archive that comes through a pipe may name its layers at its end. Until then any member may be one, and to treat it
as a layer takes much more than to read it: threads, files, a table of contents, syncs. So small members are kept as
they came. Together they take a bounded amount of memory; what exceeds that is appended to one file of the store, where
there is a store, without a sync. Without a store nothing may be written, and `Scratch.put` declines.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.streams.files import explaining, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.streams.files import NewFile

SMALL: Final = 1 << 20
"""Members of fewer bytes wait; of larger ones, reading takes the most time, and to write them twice would be slower."""

_IN_MEMORY: Final = 16 << 20

Held: TypeAlias = "Callable[[], bytes]"
"""Returns the bytes of a member that waits."""


class Scratch:
    """The bytes of members that nothing has named yet.

    Args:
        new: makes the file for what is too much for memory; without it there is none.
    """

    def __init__(self, new: Callable[[], NewFile] | None) -> None:
        self._new = new
        self._file: NewFile | None = None
        self._in_memory = 0
        self._end = 0

    def put(self, data: bytes) -> Held | None:
        """Keep some bytes and return what gives them back, or nothing where there is no more room.

        Raises:
            StorageError: they cannot be written.
        """
        if self._in_memory + len(data) <= _IN_MEMORY:
            self._in_memory += len(data)
            return partial(bytes, data)
        if self._new is None:
            return None
        if self._file is None:
            self._file = self._new()
        with explaining("write", self._file.entry.path):
            write_all(self._file.descriptor, data)
        start, self._end = self._end, self._end + len(data)
        return partial(self._read, self._file, start, len(data))

    @staticmethod
    def _read(file: NewFile, start: int, size: int) -> bytes:
        with explaining("read", file.entry.path):
            return os.pread(file.descriptor, size, start)

    def close(self) -> None:
        """Discard what is kept."""
        if self._file is not None:
            self._file.discard()
