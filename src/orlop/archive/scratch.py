"""Where the small members of a streamed archive wait until something names them.

An archive that comes through a pipe may name its layers at its end. Until then any member may be one, and to treat it
as a layer takes much more than to read it: threads, files, a table of contents, syncs. So small members are kept as
they came. Together they take a bounded amount of memory; what exceeds that goes to a spool of the store, where there is
a store. Without a store nothing may be written, and `Scratch.put` declines.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.store.blobs.store import Spool

SMALL: Final = 1 << 20
"""Members of fewer bytes wait; of larger ones, reading takes the most time, and to write them twice would be slower."""

_IN_MEMORY: Final = 16 << 20

Held: TypeAlias = "Callable[[], bytes]"
"""Returns the bytes of a member that waits."""


class Scratch:
    """The bytes of members that nothing has named yet.

    Args:
        new: begins the spool for what is too much for memory; without it there is none.
    """

    def __init__(self, new: Callable[[], Spool] | None) -> None:
        self._new = new
        self._spool: Spool | None = None
        self._in_memory = 0

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
        if self._spool is None:
            self._spool = self._new()
        return partial(self._spool.read, self._spool.append(data), len(data))

    def close(self) -> None:
        """Discard what is kept."""
        if self._spool is not None:
            self._spool.close()
