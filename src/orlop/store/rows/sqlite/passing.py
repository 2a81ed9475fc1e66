"""The rows in SQLite that pass: events, which make way for newer ones, and leases, which end with their owners."""

from __future__ import annotations

from orlop.model import plain_json
from orlop.model.digest import Digest
from orlop.model.generic import TypeVar
from orlop.store.rows.pending import PendingRows
from orlop.store.rows.values import event, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from typing import Any

    from orlop.store.rows.metadata import Event

D = TypeVar("D", bound=Digest)


class PassingRows(PendingRows):
    """Events and leases inside one transaction of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self.connection = connection
        self._run = connection.execute

    # Events.

    def events(self, after: int, *, most: int | None = None) -> list[Event]:
        """Return the events after the one with a number, or the first of them, of about so many bytes."""
        events: list[Event] = []
        size = 0
        for row in self._run("SELECT * FROM event WHERE number > ? ORDER BY number", (after,)):
            events.append(event(row))
            size += len(row[-1])
            if most is not None and size >= most:
                break
        return events

    def last_event(self) -> int:
        """Return the number of the newest event."""
        return int(self._value("SELECT seq FROM sqlite_sequence WHERE name = 'event'") or 0)

    def put_event(self, event: Event, *, keep: int, times: int = 1) -> None:
        """Add an event, once or several times, and forget the oldest."""
        values = (event.time, event.kind, event.action, event.actor, plain_json.dumps(event.attributes))
        for _ in range(times):
            added = self._run(
                "INSERT INTO event (time, kind, action, actor, attributes) VALUES (?, ?, ?, ?, ?)", values
            )
            self._run("DELETE FROM event WHERE number <= ?", ((added.lastrowid or 0) - keep,))

    # Leases.

    def put_lease(self, lease: str, digests: Iterable[Digest]) -> None:
        """Add content to what a lease protects."""
        for digest in digests:
            self._run("INSERT INTO lease VALUES (?, ?) ON CONFLICT DO NOTHING", (lease, str(digest)))

    def delete_lease(self, lease: str, digests: Iterable[Digest] | None = None) -> None:
        """Take content, or all, from a lease."""
        if digests is None:
            self._run("DELETE FROM lease WHERE lease = ?", (lease,))
            return
        for digest in digests:
            self._run("DELETE FROM lease WHERE lease = ? AND digest = ?", (lease, str(digest)))

    def lease_digests(self, lease: str) -> list[Digest]:
        """Return what a lease protects."""
        return digests_of(Digest, self._run("SELECT digest FROM lease WHERE lease = ?", (lease,)))

    def leases_of(self, digest: Digest) -> list[str]:
        """Return the names of the leases that protect some content, sorted."""
        found = self._run("SELECT lease FROM lease WHERE digest = ? ORDER BY lease", (str(digest),))
        return [text("lease", name) for (name,) in found]

    def leases(self) -> list[str]:
        """Return the names of all leases that protect something, from one to the next: each may protect very much."""
        found = self._run(
            """WITH RECURSIVE each (name) AS (SELECT min(lease) FROM lease
            UNION ALL SELECT (SELECT min(lease) FROM lease WHERE lease > name) FROM each WHERE name IS NOT NULL)
            SELECT name FROM each WHERE name IS NOT NULL"""
        )
        return [text("lease", name) for (name,) in found]

    def protected(self) -> dict[str, list[Digest]]:
        """Return what each lease protects."""
        found: dict[str, list[Digest]] = {}
        for name, digest in self._run("SELECT lease, digest FROM lease ORDER BY lease, digest"):
            found.setdefault(text("lease", name), []).append(Digest.unchecked(text("lease", digest)))
        return found

    def _value(self, statement: str, *values: object) -> Any:  # a column of any type
        row = self._run(statement, values).fetchone()
        return None if row is None else row[0]


def digests_of(kind: type[D], found: Iterable[tuple[object]]) -> list[D]:
    """Return the digests in rows of one column. Raises `DatabaseDamaged` for what is not a text."""
    return [kind.unchecked(text("digest", value)) for (value,) in found]
