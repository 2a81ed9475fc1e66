"""Statements of a write on their way to the server, as few times as possible.

A writer holds the store's lock from its first statement to its last, and every answer that it waits for makes all
others wait as well. Most changes have no answer that anyone reads. They are kept here, and go to the server together
with the next question, or with the commit: one message there, one back (libpq's pipeline mode).

Order is kept: the server runs the statements one after another, and a question sees every change before it. Only rows
of layers that are put without anything between them change places. They become one statement for each table, and the
tables follow each other as their links require: content and blobs before what joins them, and before chains. Rows that
are there already stay, so the order of rows within a statement means nothing.

An error comes with the answer, so it may come later than the change that caused it, but never after the commit: where
a statement fails, the server skips those behind it, a commit as well. What waits is bounded, so that a write of
very many rows needs no memory for all of them.

A client that hangs in the middle of a message is not told from one that is slow: the server waits for the rest, and the
limit for silent clients does not count there. So a transaction has a limit as a whole, which begins anew now and then
as long as statements come.

Nothing is prepared and nothing outlives the transaction, so this works through a pooler too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYERS: Final = {
    "diff": ("text", "bigint", "bigint", "bigint", "text"),
    "blob": ("text", "bigint", "text"),
    "diff_blob": ("text", "text"),
    "chain": ("text", "text", "text", "bigint", "bigint", "bytea"),
}
"""The tables of layers in the order in which they are written, with the types of their columns."""
_MOST: Final = 1 << 18
"""How many bytes wait at most, before one change more."""
_RENEWING: Final = 30.0
"""Seconds after which the limit of a transaction begins anew with what is sent."""
BOUND: Final = """SELECT set_config('transaction_timeout', '0', true), set_config('transaction_timeout', '300s', true)
    WHERE current_setting('transaction_timeout', true) IS NOT NULL"""
"""Ends a transaction after five minutes, from now on; servers before PostgreSQL 17 cannot."""
_EACH: Final = 1 << 10
"""What a change counts for beside its texts and bytes."""


class Sending:
    """What waits to be sent over one connection, inside one transaction.

    Its methods raise the errors of psycopg.
    """

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.connection = connection
        self._waiting: list[tuple[str, Any]] = []
        self._layers: dict[str, list[Sequence[Any]]] = {}
        self._size = 0
        self._has_lost = False
        self._renewed = time.monotonic()
        self.is_bounded = True
        """Whether the transaction has a limit as a whole, as it may hold locks."""
        self.is_committed = False
        """Whether the server has answered that the transaction is committed."""

    def ask(self, statement: str, values: Any = None) -> psycopg.Cursor[tuple[Any, ...]]:
        """Send what waits and a statement, and return the cursor of that statement once its answer is there."""
        waiting = self._taken()
        if not waiting:
            return self.execute(statement, values)
        # What waited behind an error is lost, so that nothing may be committed.
        self._has_lost = True
        with self.connection.pipeline():
            for each in waiting:
                self.execute(*each)
            found = self.execute(statement, values)
        self._has_lost = False
        return found

    def commit(self, behind: str, values: Sequence[Any]) -> None:
        """Send what waits, the commit, and a statement of a transaction of its own, and wait for all of it.

        That statement may fail where the commit was made: `is_committed` is right after an error, too, but for a lost
        answer.
        """
        waiting = self._taken()
        answer = None
        self._has_lost = True
        try:
            with self.connection.pipeline():
                for each in waiting:
                    self.execute(*each)
                answer = self.execute("COMMIT", None)
                self.execute(behind, values)
        finally:
            self.is_committed = answer is not None and answer.statusmessage == "COMMIT"
        self._has_lost = False

    def _taken(self) -> list[tuple[str, Any]]:
        """Return what waits, which is then the caller's to send."""
        if self._has_lost:
            msg = "a change that was put before was refused"
            raise psycopg.errors.InFailedSqlTransaction(msg)
        self._close_layers()
        waiting, self._waiting, self._size = self._waiting, [], 0
        if self.is_bounded and time.monotonic() - self._renewed > _RENEWING:
            self._renewed = time.monotonic()
            waiting.insert(0, (BOUND, None))
        return waiting

    def execute(self, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        """Send one statement. Everything that is sent comes through here."""
        return self.connection.execute(statement.encode(), values)

    def later(self, statement: str, values: Sequence[Any]) -> None:
        """Send a statement whose answer nobody reads with the next question, or with the commit."""
        self._close_layers()
        self._waiting.append((statement, values))
        self._count(values)

    def put_layer_row(self, table: str, row: Sequence[Any]) -> None:
        """Add a row to a table of layers later; one that is there already stays."""
        self._layers.setdefault(table, []).append(row)
        self._count(row)

    def flush(self) -> None:
        """Send what waits, and wait until it is done."""
        self._close_layers()
        if self._waiting:
            self.ask(*self._waiting.pop())

    def _count(self, values: Sequence[Any]) -> None:
        self._size += _EACH + sum(len(value) for value in values if isinstance(value, (bytes, str, list)))
        if self._size > _MOST:
            self.flush()

    def _close_layers(self) -> None:
        layers, self._layers = self._layers, {}
        for table, types in _LAYERS.items():
            if table in layers:
                columns = ", ".join(f"%s::{one}[]" for one in types)
                statement = f"INSERT INTO {table} SELECT * FROM unnest({columns}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
                self._waiting.append((statement, [list(column) for column in zip(*layers[table], strict=True)]))
