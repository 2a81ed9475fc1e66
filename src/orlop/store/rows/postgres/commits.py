"""Whether a commit was made, where its answer was lost.

Each write leaves a row behind, in the transaction that it is about: its *number*, which is one more than that of the
last write that was committed, and a random *token*. Numbers follow the order of commits, as writers hold the store's
lock from before they ask for the last one until their transaction has ended. A writer that loses the answer takes the
lock again, so that its transaction has ended by then in one way or the other, and looks up its number:

- its own token is there: it was committed;
- another token is there: it was undone, and somebody else has used the number since;
- nothing is there, and no later number either: it was undone;
- nothing is there, but numbers so much later that the row may have been forgotten: nobody can say.

The number of a transaction of PostgreSQL would not do. A server that crashes, or a standby that takes its place, may
give it to another transaction, whose end would then be taken for that of the first. No clock is asked.

The same row makes commits durable: to lock it is a transaction of its own that writes to the server's log and waits for
the disk, and needs no right beside those on tables.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from orlop.model.tuples import NamedTuple
from orlop.store.rows.postgres.tables import SCHEMA

if TYPE_CHECKING:
    import psycopg

KEPT: Final = 1000
"""How many of the last writes are remembered."""
LAST: Final = f"SELECT coalesce(max(number), 0) FROM {SCHEMA}.committed"  # noqa: S608 - constants
DURABLE: Final = """SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') = 'off'"""
"""Lets a transaction wait for the disk, where the database or the role says that none does."""
_RECORD: Final = """WITH forgotten AS (DELETE FROM committed WHERE number <= %s)
    INSERT INTO committed (number, token) VALUES (%s, %s)"""
_LOCK: Final = f"SELECT token, ({DURABLE}) FROM {SCHEMA}.committed WHERE number = %s FOR UPDATE"  # noqa: S608 - constants


class Commit(NamedTuple):
    """One write: its number among all, and what tells it from another with that number."""

    number: int
    token: str

    @classmethod
    def after(cls, last: int) -> Commit:
        """Return the one that follows the last that was made; the caller holds the store's lock."""
        return cls(last + 1, os.urandom(16).hex())

    def recording(self) -> tuple[str, tuple[int, int, str]]:
        """Return the statement that is a part of the write, and shows that it was committed."""
        return _RECORD, (self.number - KEPT, self.number, self.token)

    def waiting(self) -> tuple[str, tuple[int]]:
        """Return the statement which, in a transaction of its own behind the write, ends once both are durable."""
        return _LOCK, (self.number,)

    def was_made(self, connection: psycopg.Connection[tuple[Any, ...]]) -> bool | None:
        """Return whether it was committed, or nothing where it was forgotten.

        That it was is durable once the transaction of the connection is, which holds the store's lock.
        """
        found = connection.execute(_LOCK.encode(), (self.number,)).fetchone()
        if found is not None:
            return bool(found[0] == self.token)
        last = connection.execute(LAST.encode()).fetchone()
        return False if last is not None and last[0] < self.number + KEPT else None
