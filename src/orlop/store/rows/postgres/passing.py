"""The rows in PostgreSQL that pass: events, which make way for newer ones, and leases, which end with their owners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orlop.model.digest import Digest
from orlop.store.rows.pending import PendingRows
from orlop.store.rows.postgres.errors import explaining_postgres
from orlop.store.rows.postgres.sending import Sending
from orlop.store.rows.values import event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg

    from orlop.store.rows.rows import Event

D = TypeVar("D", bound=Digest)
FETCHED: Final = 5000
"""How many rows of a long list come at once."""


class PassingRows(PendingRows):
    """Events and leases inside one transaction of one connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
        super().__init__()
        self.connection = connection
        self.sending = Sending(connection)
        self.place = place
        self._cursors = 0

    def run(self, statement: str, values: Any = None) -> psycopg.Cursor[tuple[Any, ...]]:
        """Return the cursor of a statement, with its answer. Raises the errors of storage."""
        with explaining_postgres(self.place):
            return self.sending.ask(statement, values)

    def later(self, statement: str, values: Sequence[Any]) -> None:
        """Run a statement that has no answer before the next one that has, or before the commit, see `Sending`."""
        with explaining_postgres(self.place):
            self.sending.later(statement, values)

    def put_layer_row(self, table: str, *row: Any) -> None:
        """Add a row to a table of layers, as `later` does; one that is there already stays."""
        with explaining_postgres(self.place):
            self.sending.put_layer_row(table, row)

    def rows(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Return all rows that a statement yields."""
        return self.run(statement, values).fetchall()

    def each(self, statement: str, values: Any = None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a statement yields, however many, from a cursor of the server.

        It sees the rows of its beginning, and ends with the transaction if nobody goes on to its end.
        """
        self._cursors += 1
        name = f"each{self._cursors}"
        # All of it is wanted, so that a plan which is quick at its beginning alone is none.
        self.later("SET LOCAL cursor_tuple_fraction = 1", ())
        self.later(f"DECLARE {name} NO SCROLL CURSOR FOR {statement}", values or ())
        while found := self.rows(f"FETCH {FETCHED} FROM {name}"):
            yield from found
            if len(found) < FETCHED:
                break
        self.later(f"CLOSE {name}", ())

    def row(self, statement: str, values: Any = None) -> tuple[Any, ...] | None:
        """Return the first row that a statement yields."""
        return self.run(statement, values).fetchone()

    def value(self, statement: str, values: Any = None) -> Any:
        """Return the first value that a statement yields."""
        row = self.row(statement, values)
        return None if row is None else row[0]

    # Events.

    def events(self, after: int, *, most: int | None = None) -> list[Event]:
        """Return the events after the one with a number, or the first of them, of about so many bytes."""
        limit = "" if most is None else "WHERE before < %(most)s"
        found = self.rows(
            f"""SELECT number, time, kind, action, actor, attributes FROM (
                SELECT *, coalesce(sum(octet_length(attributes)) OVER (
                    ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                FROM event WHERE number > %(after)s) AS later {limit} ORDER BY number""",  # noqa: S608 - constants
            {"after": after, "most": None if most is None else max(most, 1)},
        )
        return [event(row, self.place) for row in found]

    def last_event(self) -> int:
        """Return the number of the newest event."""
        return int(self.value("SELECT last_event FROM store"))

    def put_event(self, event: Event, *, keep: int, times: int = 1) -> None:
        """Add an event and forget the oldest. Numbers are in the order of commits, as the row of the store is one."""
        attributes = json.dumps(dict(event.attributes))
        self.later(
            """WITH next AS (UPDATE store SET last_event = last_event + %s RETURNING last_event)
            INSERT INTO event SELECT last_event - back, %s, %s, %s, %s, %s
            FROM next, generate_series(%s, 0, -1) AS back""",
            (times, event.time, event.kind, event.action, event.actor, attributes, min(times, keep) - 1),
        )
        self.later("DELETE FROM event WHERE number <= (SELECT last_event FROM store) - %s", (keep,))

    # Leases.

    def put_lease(self, lease: str, digests: Iterable[Digest]) -> None:
        """Add content to what a lease protects."""
        self.later(
            "INSERT INTO lease SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING", (lease, sorted_texts(digests))
        )

    def delete_lease(self, lease: str, digests: Iterable[Digest] | None = None) -> None:
        """Take content, or all, from a lease."""
        if digests is None:
            self.later("DELETE FROM lease WHERE lease = %s", (lease,))
        else:
            self.later("DELETE FROM lease WHERE lease = %s AND digest = ANY(%s)", (lease, sorted_texts(digests)))

    def lease_digests(self, lease: str) -> list[Digest]:
        """Return what a lease protects."""
        return digests_of(Digest, self.rows("SELECT digest FROM lease WHERE lease = %s ORDER BY digest", (lease,)))

    def leases_of(self, digest: Digest) -> list[str]:
        """Return the names of the leases that protect some content, sorted."""
        return [name for (name,) in self.rows("SELECT lease FROM lease WHERE digest = %s ORDER BY 1", (str(digest),))]

    def leases(self) -> list[str]:
        """Return the names of all leases that protect something, from one to the next: each may protect very much."""
        found = self.rows(
            """WITH RECURSIVE each (name) AS (
                (SELECT lease FROM lease ORDER BY lease LIMIT 1)
                UNION ALL SELECT (SELECT lease FROM lease WHERE lease > name ORDER BY lease LIMIT 1)
                FROM each WHERE name IS NOT NULL)
            SELECT name FROM each WHERE name IS NOT NULL ORDER BY name"""
        )
        return [name for (name,) in found]

    def protected(self) -> dict[str, list[Digest]]:
        """Return what each lease protects."""
        found: dict[str, list[Digest]] = {}
        for name, digest in self.rows("SELECT lease, digest FROM lease ORDER BY lease, digest"):
            found.setdefault(name, []).append(Digest.unchecked(digest))
        return found


def digests_of(kind: type[D], found: Iterable[Sequence[Any]]) -> list[D]:
    """Return the digests in rows of one column."""
    return [kind.unchecked(value) for (value,) in found]


def columns_of(names: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return names and their suffixes as two columns, each pair once and in the order in which rows are locked."""
    pairs = sorted(set(names))
    return [name for name, _ in pairs], [suffix for _, suffix in pairs]


def sorted_texts(digests: Iterable[Digest]) -> list[str]:
    """Return digests as texts, each once and in the order in which rows are locked."""
    return sorted(set(map(str, digests)))
