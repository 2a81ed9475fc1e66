"""How much may be read of a damaged database: no more than it can hold.

A page to which many pages lead, or a long value to which many rows lead, is read again for each of them. A few pages
of a hostile database so have more rows than can ever be read. In a sound one each page belongs to one tree, so that
all rows of a tree together are not larger than the file.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from orlop.streams.interruption import OFTEN, interruptible

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

_LEAST: Final = 4
"""The bytes that a row takes at least: where it begins, its size, and the size of its head."""
_STEPS: Final = 10
"""The steps of SQLite for each byte of a database: a row has tens of bytes, and takes tens of steps for each index."""


class Budget:
    """The bytes that may be read.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def has(self, row: Iterable[Any]) -> bool:
        """Take what a row needs; return whether there was so much."""
        self._left -= _LEAST + sum(len(value) for value in row if isinstance(value, (bytes, str)))
        return self._left >= 0


@contextmanager
def bounded(connection: sqlite3.Connection) -> Iterator[None]:
    """Interrupt what a connection does in a block once it has taken more steps than all rows could need.

    Raises:
        sqlite3.OperationalError: it was interrupted.
    """
    (pages,), (size,) = (connection.execute(f"PRAGMA {word}").fetchone() for word in ("page_count", "page_size"))
    with interruptible(connection, range(_STEPS * pages * size // OFTEN)):
        yield
