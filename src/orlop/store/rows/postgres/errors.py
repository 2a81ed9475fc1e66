"""What the errors of PostgreSQL and of its client mean to users."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg

from orlop.errors import (
    DatabaseDamaged,
    DatabaseUnavailable,
    InvalidInput,
    LeaseLost,
    NoSpace,
    PermissionDenied,
    ReadOnlyStore,
    StorageError,
    StoreClosed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.errors import OrlopError

_READ_ONLY: Final = "25006"
_TOO_MANY: Final = frozenset({"53300", "53400"})
_NO_SPACE: Final = frozenset({"53100", "54023"})
_DAMAGE: Final = frozenset({"XX001", "XX002", "58030"})
_DENIED: Final = frozenset({"28000", "28P01", "42501", "0P000"})
_BUSY: Final = frozenset({"40001", "40P01", "55P03", "57014", "25P02", "25P03", "25P04", "23503"})
"""What another transaction, or a limit of time, brought about: the same again may succeed. Or what comes behind it."""
_GONE: Final = frozenset({"57P01", "57P02", "57P03", "57P05"})
_VALUES: Final = ("22", "54")
_REFUSALS: Final = (
    ("53300", re.compile(r"too many clients|too many connections|remaining connection slots")),
    ("28000", re.compile(r"password|pg_hba\.conf|not permitted to log in|permission denied|role .* does not exist")),
)
"""What a refused connection says, in place of the code that the client does not pass on then."""
_GIVEN: Final = re.compile(r"invalid \w+ value|definition of service|unrecognized configuration parameter|standby mode")
"""What libpq and a server say of a connection that is asked for in a way which they cannot serve."""
_WRAPPING: Final = re.compile(r"connection failed: (connection to server .*? failed: )?([A-Z]+:  ?)?")
"""What libpq and psycopg write around that; the place is said already."""


@contextmanager
def explaining_postgres(place: str) -> Iterator[None]:
    """Turn every error of the database in the block into one of orlop's own; ``place`` says which it is."""
    try:
        yield
    except psycopg.Error as error:
        raise explain_postgres(error, place) from error


def explain_postgres(error: psycopg.Error, place: str) -> OrlopError:
    """Return the error of orlop's own that says what one of PostgreSQL means, and what to do."""
    what = _WRAPPING.sub("", _first_line(error))
    state = error.sqlstate or _refusal(error, what)
    if state in _TOO_MANY:
        return DatabaseUnavailable(
            f"{place} has no connection left ({what}); raise max_connections, or put pgbouncer before it"
        )
    if state in _NO_SPACE:
        return NoSpace(f"cannot write to {place}: no space left on its disk ({what}); free some")
    if state == _READ_ONLY:
        return ReadOnlyStore(f"cannot change {place}: it is read-only, such as a standby; use the primary server")
    if state in _DAMAGE:
        return DatabaseDamaged(f"{place} is damaged ({what}); restore it from a backup")
    if state in _DENIED:
        return PermissionDenied(f"{place} refuses this user: {what}; check the role, its password and its rights")
    if state in _BUSY:
        return StorageError(f"{place} ended the transaction: {what}; nothing was changed, try again")
    if state.startswith(_VALUES) or (not state and isinstance(error, psycopg.DataError)):
        return InvalidInput(f"{place} cannot hold a value: {what}")
    if is_gone(error):
        # The server may answer that it has no such database, or no such role.
        advice = "check its name" if "does not exist" in what else "check that the server runs, and try again"
        advice = "check what PG… variables say, as PGSERVICE and PGSSLMODE do" if _GIVEN.search(what) else advice
        return DatabaseUnavailable(f"cannot reach {place}: {what}; {advice}")
    return StorageError(f"{place} failed: {what}")


def is_gone(error: psycopg.Error) -> bool:
    """Return whether the connection is lost with an error, so that another one may do."""
    state = error.sqlstate or ""
    return state in _GONE or state.startswith("08") or (not state and isinstance(error, psycopg.OperationalError))


def closed(place: str) -> StoreClosed:
    """Make the error for a database that was closed."""
    return StoreClosed(f"{place} was closed; open the store again")


def lost_before_commit(error: psycopg.Error, place: str) -> DatabaseUnavailable:
    """Make the error for a connection that was lost with a transaction which, as the server says, was undone."""
    what = f"the connection to {place} was lost before the changes were committed ({_first_line(error)})"
    return DatabaseUnavailable(f"{what}; nothing was changed, try again")


def lease_lost(place: str) -> LeaseLost:
    """Make the error for a session that others have declared dead."""
    return LeaseLost(
        f"{place} has heard nothing of this process for too long and released what it held;"
        " nothing was changed, try again"
    )


def _refusal(error: psycopg.Error, what: str) -> str:
    if not isinstance(error, psycopg.OperationalError):
        return ""
    return next((state for state, said in _REFUSALS if said.search(what)), "")


def _first_line(error: psycopg.Error) -> str:
    message = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(message.split("\n", 1)[0].split())
