"""What SQLite's errors mean to users."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress

from orlop.errors import (
    NoSpace,
    NotSupported,
    PermissionDenied,
    ReadOnlyStore,
    StorageError,
    StoreClosed,
    StoreMoved,
)
from orlop.store.rows.values import damaged
from orlop.streams.files import exhausted, explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.errors import OrlopError

_LITTLE_SPACE: Final = 64 << 10
_LONGEST_PATH: Final = 512 - len("-journal")
"""The bytes of a path, links resolved, to which SQLite can add the names of the files beside a database."""
_OLDEST: Final = (3, 37, 0)
"""The first SQLite that has strict tables: to an older one every schema with such tables looks damaged."""
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH})
_UNDECODABLE: Final = "Could not decode to UTF-8"
_UNKNOWN_FORMAT: Final = "unsupported file format"
"""What SQLite says, with no code of its own, of a header with a format of schemas that no SQLite writes."""


def require_sqlite() -> None:
    """Raise `NotSupported` where the SQLite that this Python uses is too old for the tables of a store."""
    if sqlite3.sqlite_version_info < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise NotSupported(
            f"orlop needs SQLite {oldest} or later, and this Python has {sqlite3.sqlite_version}; use another Python"
        )


@contextmanager
def explaining_sqlite(path: str) -> Iterator[None]:
    """Turn every error of SQLite in the block into one of orlop's own, and let go of the cursors that failed.

    A database stays open as long as one of its cursors is there. Those are in the frames of the error, which refer to
    each other, and since Python 3.13 outlive it until garbage is collected. A repair would meanwhile find the database
    in use.
    """
    try:
        yield
    except sqlite3.Error as error:
        from traceback import clear_frames  # noqa: PLC0415 - few commands fail

        clear_frames(error.__traceback__)
        raise explain_sqlite(error, path) from error


def explain_sqlite(error: sqlite3.Error, path: str) -> OrlopError:
    """Return the error of orlop's own that says what SQLite's means for the database at ``path``, and what to do."""
    if isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error):
        return StoreClosed(f"{path} was closed; open the store again")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(f"cannot write {path}: no space left on device; free some or choose another place")
    if code == sqlite3.SQLITE_READONLY:
        return ReadOnlyStore(f"cannot write {path}: it is read-only; check the file system, its owner and its mode")
    no_room = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    if no_room or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return NoSpace(f"cannot use {path}: no space left on device; free some or choose another place")
    if code == sqlite3.SQLITE_CANTOPEN and (length := len(os.fsencode(os.path.realpath(path)))) > _LONGEST_PATH:
        msg = f"cannot open {path}: its path has {length} bytes, and SQLite takes {_LONGEST_PATH}; use a shorter root"
        return StorageError(msg)
    folder = os.path.dirname(os.path.abspath(path))
    if code == sqlite3.SQLITE_CANTOPEN and not os.path.lexists(folder):
        return StoreMoved(f"the store at {folder} was moved or removed while it was open; open it where it is now")
    # SQLite does not say why it cannot open a file.
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR} and (found := exhausted(path)) is not None:
        return found
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return PermissionDenied(f"cannot open {path}; check the owner and the mode of its directory")
    if code in _DAMAGE or _is_undecodable(error) or str(error) == _UNKNOWN_FORMAT:
        from orlop.store.rows.sqlite.device import read_error  # noqa: PLC0415 - few databases are damaged

        unread = read_error(path, is_malformed=code == sqlite3.SQLITE_CORRUPT)
        if unread is not None:
            return explained(unread, "read", path)
        return damaged(path, str(error))
    return StorageError(f"the database {path} failed: {error}")


def is_undone(connection: sqlite3.Connection, error: BaseException) -> bool:
    """Return whether changes whose commit failed can never come back.

    What could be written to the log and not be synced is whole: the next opening of the database after a crash would
    take it for committed. Another commit writes over it.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF != sqlite3.SQLITE_IOERR or code == sqlite3.SQLITE_IOERR_WRITE:
        return True
    try:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version={version:d}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        return False
    return True


def _is_undecodable(error: sqlite3.Error) -> bool:
    # Python's module raises this by itself, for text that is not UTF-8, and gives no code of SQLite's with it.
    return not hasattr(error, "sqlite_errorcode") and str(error).startswith(_UNDECODABLE)


def _is_full(path: str) -> bool:
    # SQLite says "I/O error" where the file that its readers share cannot grow.
    try:
        state = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _LITTLE_SPACE
