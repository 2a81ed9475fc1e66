"""Whether a connection knows that all rows are sound, so that removals need not ask each row.

A removal reads every row before it commits, see `going`. Of many removals in a row each would read all
of them, which takes a square of time. So after some of them the connection looks through the whole database, once, with
nothing locked. As long as nobody else writes, what it then removes by its indexes is right without asking. A disk may
spoil what was right: the look counts for a minute.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import nullcontext

from orlop.store.rows.sqlite.doubts import look_through, moment_of
from orlop.store.rows.sqlite.tables import LOST_MEANING
from orlop.streams.interruption import interruptible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.store.rows.going import Going

_PATIENCE: Final = 32
"""After how many removals a look takes no longer than they did."""
_SECONDS: Final = 60


class Soundness:
    """What a connection knows of all rows; used by the thread of the connection alone.

    Args:
        connection: the one that writes.
        path: of the database.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._asked = 0
        self._moment: tuple[int, int] | None = None
        self._has_lost = True
        self._until = 0.0

    def begin(self) -> None:
        """Begin a write, inside its transaction: forget what was known before somebody else wrote."""
        if self._moment is not None and (time.monotonic() > self._until or self._moment != moment_of(self._connection)):
            self._moment = None

    def require_unneeded(self, going: Going) -> None:
        """Raise `DatabaseDamaged` where rows are not known to be sound, and one still needs what goes."""
        if self._moment is None:
            self._asked += 1
            from orlop.store.rows.sqlite.going import require_unneeded  # noqa: PLC0415 - few commands remove anything

            with interruptible(self._connection):
                require_unneeded(going, self._connection)

    def has_lost(self) -> bool:
        """Return whether a name has lost what it means, of rows that are not known to be sound by asking each name."""
        return (self._moment is None or self._has_lost) and self._asks_lost()

    def _asks_lost(self) -> bool:
        return bool(self._connection.execute(LOST_MEANING).fetchone()[0])

    def committed(self) -> None:
        """Note that the write is durable: what it left is as sound as what it found."""
        if self._moment is not None:
            self._moment = moment_of(self._connection)

    def look(self) -> None:
        """Look through all rows once that is cheaper than to ask them; to be called outside of a transaction."""
        if self._asked < _PATIENCE:
            return
        self._asked = 0
        try:
            moment = moment_of(self._connection)
            with interruptible(self._connection):
                doubts = look_through(lambda: nullcontext(self._connection), self._path)
            if not doubts and moment == moment_of(self._connection):
                self._has_lost = self._asks_lost()
                self._moment, self._until = moment, time.monotonic() + _SECONDS
        except (sqlite3.Error, UnicodeDecodeError):
            # The next removal asks for itself, and says what is wrong.
            return
