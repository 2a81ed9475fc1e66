"""What a write has put and the server has not heard yet.

Most of what a write puts needs no answer. It is kept here until one is needed, or until the commit, and goes to the
server in the same round trip then. Rows of one table go in one statement, tables in one order and rows in the order of
their keys: writers that put the same rows wait for each other, and never in a circle.
"""

from __future__ import annotations

from typing import Any, Final

_COLUMNS: Final = {
    "blob": ("text", "bigint", "text"),
    "diff": ("text", "bigint", "bigint", "bigint", "text"),
    "diff_blob": ("text", "text"),
    "chain": ("text", "text", "text", "bigint", "bigint", "bytea"),
}
"""The tables whose rows stay as they came first, in the order of their links to each other."""
_INSERTS: Final = {
    table: f"INSERT INTO {table} SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"  # noqa: S608 - constants
    " ON CONFLICT DO NOTHING"
    for table, kinds in _COLUMNS.items()
}
_MOST: Final = 1000
_MOST_BYTES: Final = 4 << 20


class Outbox:
    """Rows and statements that wait. What the rows of a table say is as true before the statements as behind them."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[Any, ...], None]] = {}
        self._statements: list[tuple[str, Any]] = []
        self._count = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def is_full(self) -> bool:
        """Whether so much waits that it should be sent."""
        return self._count >= _MOST or self._bytes >= _MOST_BYTES

    def put(self, table: str, *row: Any) -> None:
        """Put a row, unless the table has one with its key."""
        self._rows.setdefault(table, {})[row] = None
        self._counted(row)

    def say(self, statement: str, *values: Any) -> None:
        """Add a statement, which comes after those that were added before."""
        self._statements.append((statement, values))
        self._counted(values)

    def _counted(self, values: tuple[Any, ...]) -> None:
        self._count += 1
        self._bytes += sum(len(value) for value in values if isinstance(value, (bytes, str)))

    def taken(self) -> list[tuple[str, Any]]:
        """Return, and forget, all that waits, as statements."""
        rows = [
            (_INSERTS[table], [list(column) for column in zip(*sorted(self._rows[table], key=_key), strict=True)])
            for table in _COLUMNS
            if table in self._rows
        ]
        found = [*rows, *self._statements]
        self.__init__()  # type: ignore[misc]  # as it was at first
        return found


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:2]
