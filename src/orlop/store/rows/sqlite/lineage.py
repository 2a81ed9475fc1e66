"""Which database a log or a journal belongs to, and to which moment of it.

SQLite takes whatever log or journal has the right name for the database's own, applies it, and carries it into the
database as soon as that is closed. Nothing in these files says whose they are. One of another store, or one that a
backup program kept from another moment, so replaces rows by others, which may well be sound among each other.

So each write leaves a number in the header of the database, in the field ``application_id``, which SQLite keeps and
does not use. Its upper half names the database, drawn at random by its first write; its lower half counts the writes.
The header is on page 1, which so is a part of each commit in the log.

A log begins where all of the one before it was in the database. So the database in the file, before the log is applied,
is of one of these moments: that before the first commit in the log, or that of any commit in it, up to which the log
was carried over already. Its number tells. A database without a number has had no numbered write: its log begins with
the first one. Other programs that write the database leave the number as it is, so that numbers may repeat.

A copy of a database begins without a number, and so becomes another one with its first write.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from typing import Final

NUMBER: Final = slice(68, 72)
"""Where the number is in the first page of a database."""
_COUNTS: Final = 1 << 16
_NO_NAME: Final = 1 << 31


def advance(connection: sqlite3.Connection) -> None:
    """Count a write, inside its transaction; the first one draws the name of the database."""
    set_number(connection, _after(_number(connection)))


def succeed(heir: sqlite3.Connection, connection: sqlite3.Connection) -> None:
    """Record in a database that is about to replace all rows of another one the number of that one's next write."""
    set_number(heir, _after(_number(connection)))


def set_number(connection: sqlite3.Connection, number: int) -> None:
    """Record the number of a database; 0 stands for none."""
    connection.execute(f"PRAGMA application_id={number}")


def number_of(page: bytes) -> int:
    """Return the number in the first page of a database, or in the beginning of it."""
    return int.from_bytes(page[NUMBER], "big", signed=True)


def _number(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("PRAGMA application_id").fetchone()
    return int(number)


def _after(number: int) -> int:
    if number == 0:
        return (1 + int.from_bytes(os.urandom(2), "big") % (_COUNTS // 2 - 1)) * _COUNTS + 1
    name, count = divmod(number, _COUNTS)
    return name * _COUNTS + (count + 1) % _COUNTS


def belongs(number: int, commits: Sequence[int], noted: int | None = None) -> bool:
    """Return whether a log may be that of a database with a number, by the numbers that its commits have in order.

    Commits that tell nothing are left out. Of a database without a number the one tells that was ``noted`` as its last.
    """
    known = [one for one in commits if one]
    if not known:
        return True
    if number == 0:
        # What a repair notes is of no database, see `last_write`.
        if noted is not None and noted < _NO_NAME and noted // _COUNTS != known[-1] // _COUNTS:
            return False
        return known[0] % _COUNTS == 1 or commits[0] == 0
    if {one // _COUNTS for one in known} != {number // _COUNTS}:
        return False
    begun = known[0] - 1
    return (number - begun) % _COUNTS <= (known[-1] - begun) % _COUNTS
