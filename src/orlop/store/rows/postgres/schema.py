"""The tables of a store in PostgreSQL: laid out once, brought from one version to the next, and never by a reader.

Both happen in one transaction, under a lock of the schema's own that ends with it. Whoever waits for longer than a few
seconds to change a table gives up, so that readers do not queue behind that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import DatabaseDamaged, InvalidInput, StoreNotFound, StoreTooNew
from orlop.model.tuples import NamedTuple
from orlop.store.rows.postgres.errors import explaining_postgres
from orlop.store.rows.postgres.tables import SCHEMA, SCHEMA_VERSION, STEPS, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

LOCKS: Final = 0x6F726C6F
"""The class of orlop's advisory locks: a database may hold other programs."""
CLAIMS: Final = LOCKS + 1
"""The class of those of names that are just being claimed."""
_LAYING_OUT: Final = 1
_WATCHED: Final = """set_config('tcp_keepalives_idle', '60s', false),
    set_config('tcp_keepalives_interval', '10s', false), set_config('tcp_keepalives_count', '3', false)"""
"""Frees the server of a connection whose client has vanished, which it would keep for two hours. It is the one setting
that outlives transactions: behind a pooler it watches the pooler."""
WRITING: Final = 2

_PATIENCE: Final = "20s"
"""How long an upgrade waits for those that write."""
TTL: Final = 60.0
"""The seconds after which a session that is not heard of is declared dead; every process takes them from the store."""


class Laid(NamedTuple):
    """What is laid out in a database: the version, 0 where it is nothing, and where the bytes are, as far as is known.

    Stores of the first version do not say where their bytes are.
    """

    version: int
    blobs: str = ""


def watch(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    """Have the server look after the client of a connection, as `laid_in` does."""
    with explaining_postgres(place):
        connection.execute(f"SELECT {_WATCHED}".encode())


def laid_in(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> Laid:
    """Return what is laid out in a database, and have the server look after the client.

    Raises:
        DatabaseDamaged: it has a version that none has.
    """
    asked = f"SELECT to_regclass(%s) IS NOT NULL, {_WATCHED}"
    there = connection.execute(asked.encode(), (f"{SCHEMA}.store",)).fetchone()
    if there is None or not there[0]:
        return Laid(0)
    asked = f"SELECT version, coalesce(to_jsonb(store) ->> 'blobs', '') FROM {SCHEMA}.store"  # noqa: S608 - constants
    found = connection.execute(asked.encode()).fetchone()
    if found is None or found[0] < 1:
        says = "nothing" if found is None else f"that its schema is {found[0]}"
        raise DatabaseDamaged(f"{place} is damaged (its table store says {says}); restore it from a backup")
    return Laid(*found)


def require_laid(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> Laid:
    """Return what is laid out in a database.

    Raises:
        StoreNotFound: there is none. StoreTooNew: a newer orlop wrote it.
    """
    with explaining_postgres(place):
        found = laid_in(connection, place)
    if found.version == 0:
        raise StoreNotFound(f"there is no store in {place}; make one with `orlop --root URL store init`")
    require_known(found.version, place)
    return found


def require_known(version: int | None, place: str) -> None:
    """Raise `StoreTooNew` where a newer orlop has laid out what is there, perhaps since this process has opened it."""
    if version is not None and version > SCHEMA_VERSION:
        what = f"schema {version}, this one knows {SCHEMA_VERSION}"
        raise StoreTooNew(f"{place} was written by a newer orlop ({what}); upgrade orlop")


def lay_out(
    connection: psycopg.Connection[tuple[Any, ...]],
    place: str,
    *,
    ttl: float = TTL,
    steps: Mapping[int, str] = STEPS,
) -> int:
    """Make the tables of a store, or bring older ones to this version; return their version before. Atomic, idempotent.

    Args:
        connection: to the database, in no transaction.
        place: of the database, for messages.
        ttl: the seconds after which a silent session counts as dead, for a store that is made here.
        steps: from each older version to the next.

    Raises:
        StoreTooNew: a newer orlop wrote it. PermissionDenied, StorageError: it cannot be done; nothing has changed.
    """
    with explaining_postgres(place):
        connection.execute("BEGIN")
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, _LAYING_OUT))
            connection.execute("SET LOCAL lock_timeout = '5s'")
            version = laid_in(connection, place).version
            if version == 0:
                _require_utf8(connection, place)
                # One that is there may be the only one that this role may use.
                if not _is_there(connection):
                    connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
                connection.execute(f"SET LOCAL search_path TO {SCHEMA}".encode())
                connection.execute(TABLES.encode())
                connection.execute(
                    "INSERT INTO store (version, id, generation, ttl) VALUES (%s, %s, 1, %s)",
                    (SCHEMA_VERSION, os.urandom(16).hex(), ttl),
                )
            else:
                require_laid(connection, place)
                connection.execute(f"SET LOCAL search_path TO {SCHEMA}".encode())
                if version < SCHEMA_VERSION:
                    _end_writes(connection)
                for number in range(version, SCHEMA_VERSION):
                    connection.execute(steps[number].encode())
                connection.execute("UPDATE store SET version = %s WHERE version <> %s", (SCHEMA_VERSION,) * 2)
            connection.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
    return version


def _end_writes(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Wait for the writer of this moment: what an older orlop has begun is committed before an upgrade, or refused."""
    connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'".encode())
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, WRITING))
    connection.execute("SET LOCAL lock_timeout = '5s'")


def _is_there(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    return connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone() is not None


def _require_utf8(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    found = connection.execute("SELECT current_setting('server_encoding')").fetchone()
    if found is not None and found[0] != "UTF8":
        raise InvalidInput(f"{place} keeps texts as {found[0]}; make one with: createdb -E UTF8 -T template0 NAME")
