"""Rows that a repair could not read, and all that they may have named.

Where pages of a database are lost, so are the rows on them, and nobody can tell which these were. A blob that no row
names, a layer that no image needs, an image without a name: each may be what a lost row was about. So whoever has lost
rows holds everything, by a lease that belongs to nobody and does not end (`LOST_ROWS`). It is itself a row, and is
written in the same step as those that replace the lost ones.

While it is there, collections take nothing but what processes left behind, and prunings are refused. A copy of the
store brings what no row names, too, and the lease with it. Only the user can tell when all that was lost is back, or is
not wanted any more; then a collection lets go of it (`gc --release`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import DatabaseDamaged
from orlop.store.rows.metadata import EVERYTHING, LOST_ROWS

if TYPE_CHECKING:
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows

ADVICE: Final = "load or pull what is missing, and run `orlop gc --release` then"


def has_lost_rows(rows: Rows) -> bool:
    """Return whether everything is held because a repair could not read all rows."""
    return bool(rows.lease_digests(LOST_ROWS))


def hold_for_lost_rows(rows: WritableRows) -> None:
    """Hold everything from now on, inside a write. Idempotent."""
    rows.put_lease(LOST_ROWS, [EVERYTHING])


def require_no_lost_rows(store: Store, rows: Rows, refused: str) -> None:
    """Raise `DatabaseDamaged` where everything is held; ``refused`` says what does not happen for that."""
    if has_lost_rows(rows):
        msg = f"a repair could not read all rows of the store {store.root}, and {refused}; {ADVICE}"
        raise DatabaseDamaged(msg)


def require_refreshable(store: Store) -> None:
    """Raise `DatabaseDamaged` where an earlier backup of a store may have what the store has lost."""
    stays = "an earlier backup may have more, and stays as it is"
    with store.metadata.read() as rows:
        require_no_lost_rows(store, rows, stays)
        if rows.has_lost_meaning():
            msg = (
                f"a name of the store {store.root} has lost what it means, and {stays}; `orlop fsck` tells which:"
                " restore, load or pull that again, or remove the name"
            )
            raise DatabaseDamaged(msg)
