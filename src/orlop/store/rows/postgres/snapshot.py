"""All rows of one moment in PostgreSQL: what a copy of a store begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.store.rows.postgres.check import require_sound
from orlop.store.rows.rows import LOST_ROWS
from orlop.store.rows.snapshot import SavedRows, Snapshot
from orlop.store.rows.values import diff_row

if TYPE_CHECKING:
    from orlop.store.rows.postgres.rows import PostgresRows


class PostgresSnapshot(Snapshot):
    """The rows of the moment at which it was made. It lasts as long as its transaction.

    Args:
        rows: inside a transaction that sees one moment.
    """

    def __init__(self, rows: PostgresRows) -> None:
        self.rows = rows

    def require_sound(self) -> None:
        """Raise `DatabaseDamaged` where anything is wrong with the rows, see `Snapshot.require_sound`."""
        require_sound(self.rows, verify=True)

    def needs(self) -> SavedRows:
        """Return what the rows need."""
        found = self.rows.rows("SELECT id, size, content_size, entries, partial FROM diff ORDER BY id")
        diffs = [diff_row(row, self.rows.place) for row in found]
        lost_some = bool(self.rows.lease_digests(LOST_ROWS))
        return SavedRows(self.rows.counts()["images"], self.rows.blobs(), diffs, lost_some)
