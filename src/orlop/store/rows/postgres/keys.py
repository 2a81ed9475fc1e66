"""The names and keys of objects in PostgreSQL, beside the rows that need them, see `orlop.store.rows.keys`."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import OrlopError
from orlop.store.rows.keys import (
    BATCH,
    TOC,
    Condemned,
    Identity,
    ObjectKeys,
    PendingUpload,
    StoredObject,
    is_key,
)
from orlop.store.rows.postgres.errors import lease_lost
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.schema import CLAIMS
from orlop.store.rows.postgres.sessions import DISCARD, REAP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.store.rows.metadata import Rows, WritableRows
    from orlop.store.rows.postgres.database import PostgresMetadata
    from orlop.store.rows.postgres.sessions import Session

_AGAIN: Final = "interval '1 hour'"
"""How long after a deletion an object is deleted once more."""
_IDENTITY: Final = """id, generation,
    (SELECT oid FROM pg_database WHERE datname = current_database()) || '.' || store.tableoid"""
"""A standby and an upgrade in place keep these numbers; a dump does not."""
_OBJECT: Final = "SELECT name, key, size FROM object"
_UNNAMED: Final = f"""{_OBJECT} WHERE name < %(toc)s AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.digest = name)
    UNION ALL {_OBJECT} WHERE name >= %(toc)s
        AND NOT EXISTS (SELECT 1 FROM diff WHERE diff.id = substr(name, %(digits)s))"""  # noqa: S608 - constants
_LACKS: Final = """SELECT EXISTS (SELECT 1 FROM blob
    WHERE NOT EXISTS (SELECT 1 FROM object WHERE object.name = blob.digest))"""
_STAMP: Final = """WITH next AS (UPDATE store SET epoch = epoch + 1
        WHERE EXISTS (SELECT 1 FROM doomed WHERE stamp IS NULL) RETURNING epoch)
    UPDATE doomed SET stamp = next.epoch FROM next WHERE stamp IS NULL"""
_CONDEMN: Final = """WITH mine AS MATERIALIZED (SELECT key FROM doomed
        WHERE stamp <= (SELECT coalesce(min(pin), (SELECT epoch FROM store)) FROM session WHERE NOT dead)
        AND since <= clock_timestamp() - %s * interval '1 second' FOR UPDATE SKIP LOCKED),
    going AS (DELETE FROM doomed WHERE key = ANY(ARRAY(SELECT key FROM mine)) RETURNING key, upload_id)
    INSERT INTO deleting (key, upload_id) SELECT key, upload_id FROM going"""
"""What another collector is just moving is passed over: nobody waits, in whatever order the rows are found."""
_DUE: Final = f"""SELECT key, upload_id, reported FROM (
    (SELECT key, upload_id, reported FROM deleting WHERE NOT reported ORDER BY key LIMIT %(most)s)
    UNION ALL (SELECT key, upload_id, reported FROM deleting
        WHERE reported AND since <= now() - {_AGAIN} ORDER BY since LIMIT %(most)s)) AS due
    LIMIT %(most)s"""  # noqa: S608 - constants
"""Two questions, each of an index: most rows wait for their hour, and are many where much was removed."""
_MINE: Final = "WITH mine AS MATERIALIZED (SELECT key FROM deleting WHERE key = ANY(%s) AND {} FOR UPDATE SKIP LOCKED)"
"""What another collector is just reporting is passed over, as above: its report counts, or is made again."""
_GONE: Final = f"{_MINE.format('reported')} DELETE FROM deleting WHERE key = ANY(ARRAY(SELECT key FROM mine))"  # noqa: S608 - constants
_REPORTED: Final = f"""{_MINE.format("NOT reported")}
    UPDATE deleting SET reported = true, since = clock_timestamp() WHERE key = ANY(ARRAY(SELECT key FROM mine))"""  # noqa: S608 - as above
_CLAIM: Final = f"""INSERT INTO upload (key, session, name) SELECT %(key)s, %(session)s, %(name)s
    WHERE pg_try_advisory_xact_lock({CLAIMS}, hashtext(%(name)s))
    AND NOT EXISTS (SELECT 1 FROM upload WHERE upload.name = %(name)s AND upload.name <> '') ON CONFLICT DO NOTHING"""  # noqa: S608 - a constant
"""Waits for no other transaction: neither for one that claims the same name, nor for one that publishes or discards."""
_CLAIMANT: Final = """SELECT key, coalesce(
        NOT dead AND seen >= clock_timestamp() - ttl / %s * interval '1 second', false)
    FROM store CROSS JOIN upload LEFT JOIN session ON session.id = upload.session
    WHERE upload.name = %s AND upload.name <> ''"""
"""The upload that claims a name, and whether its session was heard of lately."""
_LATELY: Final = 3
"""A session that is silent for this part of the time after which it is dead keeps nobody waiting: it misses two beats.
"""
_DISCLAIM: Final = """UPDATE upload SET name = '' WHERE key = ANY(ARRAY(
    SELECT key FROM upload WHERE key = %s FOR UPDATE SKIP LOCKED))"""
_UNSENT: Final = """DELETE FROM upload WHERE key = ANY(ARRAY(
    SELECT key FROM upload WHERE key = ANY(%s) FOR UPDATE SKIP LOCKED))"""
_FORGET: Final = "DELETE FROM session WHERE dead AND seen < clock_timestamp() - interval '1 day'"


class PostgresKeys(ObjectKeys):
    """The names and keys of one store, as the session of this process sees them.

    Args:
        metadata: the database, in which the rows are as well.
        session: of this process.
    """

    def __init__(self, metadata: PostgresMetadata, session: Session) -> None:
        self._metadata = metadata
        self._session = session

    @property
    def session(self) -> str:
        """The name of this session."""
        return self._session.id

    def require(self, session: str) -> None:
        """Raise `LeaseLost` where a session is known to be dead."""
        self._session.require(session)

    def in_block(self) -> bool:
        """Return whether this thread is inside a block of rows."""
        return self._metadata.in_block()

    def begin(self) -> str:
        """Return a new key."""
        key, _ = self._begun("INSERT INTO upload (key, session) VALUES (%(key)s, %(session)s)")
        return key

    def claim(self, name: str) -> str | None:
        """Return a new key that claims a name, see `ObjectKeys.claim`."""
        key, is_begun = self._begun(_CLAIM, name=name)
        return key if is_begun else None

    def _begun(self, statement: str, **values: str) -> tuple[str, bool]:
        """Return a new key, and whether a statement has recorded it as an upload of this session."""
        if self._metadata.in_block():
            # It would need a second connection, which writers may have that wait for this one.
            msg = "an upload cannot begin inside a block of the same thread: its key has to be durable before it"
            raise RuntimeError(msg)
        key = os.urandom(16).hex()
        self._ready()
        try:
            with self._metadata.short() as rows:
                session = self._session.require_alive(rows)
                return key, rows.run(statement, {"key": key, "session": session, **values}).rowcount == 1
        except BaseException:
            # It may be committed, and nobody would know of it.
            self._session.give_up(key)
            raise

    def is_claimed(self, name: str) -> bool:
        """Return whether the upload of a session that was heard of lately claims a name."""
        found = self._asked(_CLAIMANT, (_LATELY, name))
        for key, is_heard in found:
            if is_heard:
                return True
            with self._metadata.short() as rows:
                rows.run(_DISCLAIM, (key,))
        return False

    def multipart(self, key: str, upload_id: str) -> None:
        """Record the ID of an upload in parts."""
        with self._metadata.short() as rows:
            mine = self._session.require_alive(rows)
            statement = "UPDATE upload SET upload_id = %s WHERE key = %s AND session = %s"
            found = rows.run(statement, (upload_id, key, mine))
            if found.rowcount == 0:
                raise lease_lost(self._metadata.place)

    def discard(self, key: str, *, is_sent: bool = True) -> None:
        """Doom the key of an upload; one that a write is just publishing is passed over.

        Inside a write it is a part of that, which needs no second connection then, and done again if that is undone.
        What fails is done with the next beat of the session: others may wait for what the upload claims.
        """
        try:
            with self._metadata.joined() as rows:
                if self._metadata.in_block():
                    rows.after_rollback(partial(self._discard_again, key))
                rows.run(DISCARD if is_sent else _UNSENT, ([key],))
        except BaseException:
            self._session.give_up(key)
            raise

    def _discard_again(self, key: str) -> None:
        # What fails is done once the session has ended.
        with suppress(OrlopError):
            self.discard(key)

    def publish(self, rows: WritableRows, name: str, key: str, size: int) -> bool:
        """Publish an upload under a name, see `ObjectKeys.publish`."""
        write = _of_postgres(rows)
        mine = self._session.require_alive(write)
        deleted = "DELETE FROM upload WHERE key = %s AND session = %s RETURNING upload_id"
        if write.row(deleted, (key, mine)) is None:
            raise lease_lost(self._metadata.place)
        old = write.row(f"{_OBJECT} WHERE name = %s FOR UPDATE", (name,))
        if old is not None and not name.startswith(TOC):
            _doom(write, [(key, "", 0)])
            return False
        if old is not None:
            write.later("DELETE FROM object WHERE name = %s", (name,))
            _doom(write, [(old[1], old[0], old[2])])
        write.later("INSERT INTO object (name, key, size) VALUES (%s, %s, %s)", (name, key, size))
        return True

    def resize(self, rows: WritableRows, name: str, size: int) -> None:
        """Record another size of what a name leads to, see `ObjectKeys.resize`."""
        _of_postgres(rows).run("UPDATE object SET size = %s WHERE name = %s", (size, name))

    def uploads(self) -> Iterable[PendingUpload]:
        """Return the uploads of all sessions."""
        return [PendingUpload(*row) for row in self._asked("SELECT key, session, upload_id FROM upload ORDER BY key")]

    def find(self, name: str) -> StoredObject | None:
        """Return what a name leads to."""
        found = self._asked(f"{_OBJECT} WHERE name = %s", (name,))
        return StoredObject(*found[0]) if found else None

    def find_many(self, names: Iterable[str]) -> Mapping[str, StoredObject]:
        """Return what some names lead to."""
        found = self._asked(f"{_OBJECT} WHERE name = ANY(%s)", (sorted(set(names)),))
        return {row[0]: StoredObject(*row) for row in found}

    def objects(self, *, tocs: bool) -> Iterator[StoredObject]:
        """Yield all tables of contents, or all blobs."""
        sign = ">=" if tocs else "<"
        found = self._asked(f"{_OBJECT} WHERE name {sign} %s ORDER BY name", (TOC,))
        return (StoredObject(*row) for row in found if row[0].startswith(TOC) is tocs)

    def unnamed(self, rows: Rows) -> Iterable[StoredObject]:  # noqa: ARG002 - they are in the same database
        """Return the blobs and tables of contents that no row of content names; only these come from the server."""
        return [StoredObject(*row) for row in self._asked(_UNNAMED, {"toc": TOC, "digits": len(TOC) + 1})]

    def lacks_any(self, rows: Rows) -> bool:  # noqa: ARG002 - as above
        """Return whether a row of content names a blob that has no object."""
        return bool(self._asked(_LACKS)[0][0])

    def named_after(self, key: str, *, most: int) -> Sequence[StoredObject]:
        """Return the first of what names lead to behind a key."""
        return [
            StoredObject(*row) for row in self._asked(f"{_OBJECT} WHERE key > %s ORDER BY key LIMIT %s", (key, most))
        ]

    def reading(self) -> AbstractContextManager[None]:
        """Pin the epoch for a block."""
        return self._session.reading()

    def doom(self, rows: WritableRows, names: Iterable[str]) -> None:
        """Doom what names lead to, inside a write."""
        write = _of_postgres(rows)
        gone = write.rows("DELETE FROM object WHERE name = ANY(%s) RETURNING key, name, size", (sorted(set(names)),))
        _doom(write, gone)

    def doomed(self) -> Iterable[StoredObject]:
        """Return what is doomed."""
        return [StoredObject(*row) for row in self._asked("SELECT name, key, size FROM doomed ORDER BY key")]

    def collect(self, *, grace: float = 0.0, most: int = BATCH) -> list[Condemned]:
        """Move what may go to *deleting*, see `ObjectKeys.collect`. Each step is a transaction of its own."""
        self._ready()
        with self._metadata.short() as rows:
            self._session.require_alive(rows)
            rows.run(REAP)
            rows.run(_FORGET)
        # Later than what doomed them: a number that was taken before might be older than the pin of a reader that
        # did not see it yet.
        with self._metadata.short() as rows:
            rows.run(_STAMP)
        self._session.beat()
        with self._metadata.short() as rows:
            self._session.require_alive(rows)
            rows.run(_CONDEMN, (grace,))
            due = rows.rows(_DUE, {"most": most})
        # Nothing is asked of the bucket because of a row that is damaged; fsck tells of it.
        return [Condemned(*row) for row in due if is_key(row[0])]

    def deleted(self, gone: Iterable[Condemned]) -> None:
        """Note that objects are gone; a key is forgotten at the second time."""
        first, again = set[str](), set[str]()
        for one in gone:
            (again if one.again else first).add(one.key)
        with self._metadata.short() as rows:
            rows.run(_GONE, (sorted(again),))
            rows.run(_REPORTED, (sorted(first),))

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys whose objects may have to stay, see `ObjectKeys.known`."""
        found = self._asked(
            """SELECT key FROM object WHERE key = ANY(%(keys)s) UNION SELECT key FROM upload WHERE key = ANY(%(keys)s)
            UNION SELECT key FROM doomed WHERE key = ANY(%(keys)s)
            UNION SELECT key FROM deleting WHERE key = ANY(%(keys)s) AND NOT reported""",
            {"keys": sorted(set(keys))},
        )
        return {key for (key,) in found}

    def identity(self) -> Identity:
        """Return whose rows these are."""
        return Identity(*self._asked(f"SELECT {_IDENTITY} FROM store")[0])  # noqa: S608 - a constant

    def adopt(self, place: str = "") -> Identity:
        """Raise the generation of the store."""
        statement = f"UPDATE store SET generation = generation + 1, blobs = %s RETURNING {_IDENTITY}"  # noqa: S608 - a constant
        with self._metadata.write() as rows:
            found = _of_postgres(rows).row(statement, (place,))
        self._metadata.blobs = place
        return Identity(*(found or ("", 0)))

    def settle(self, place: str = "") -> str:
        """Record where the objects are, unless that is recorded. It is asked once: only an adoption changes it."""
        if place and not self._metadata.blobs:
            with self._metadata.short() as rows:
                # Whoever comes second waits here for the first, and sees what that has recorded.
                rows.run("UPDATE store SET blobs = %s WHERE blobs = ''", (place,))
                self._metadata.blobs = rows.value("SELECT blobs FROM store")
        return self._metadata.blobs

    def unsettle(self, place: str) -> None:
        """Forget where the objects are."""
        self._metadata.blobs = ""
        with self._metadata.short() as rows:
            rows.run("UPDATE store SET blobs = '' WHERE blobs = %s AND NOT EXISTS (SELECT 1 FROM object)", (place,))

    def _ready(self) -> None:
        """Begin the session, or replace one that died; a block goes on with the one that it has begun with."""
        if not self._metadata.in_block():
            self._session.ready()

    def _asked(self, statement: str, values: Any = None) -> Sequence[tuple[Any, ...]]:
        with self._metadata.latest() as rows:
            return rows.rows(statement, values)


def _of_postgres(rows: object) -> PostgresRows:
    if not isinstance(rows, PostgresRows):
        msg = f"{type(rows).__name__} are not the rows beside which these keys are"
        raise TypeError(msg)
    return rows


def _doom(rows: PostgresRows, gone: Sequence[tuple[Any, ...]]) -> None:
    if gone:
        keys, names, sizes = (list(column) for column in zip(*gone, strict=True))
        rows.later(
            "INSERT INTO doomed (key, name, size) SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])",
            (keys, names, sizes),
        )
