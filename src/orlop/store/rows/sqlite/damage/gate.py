"""The gate before SQLite: a database is opened only where its log and its journal are whole, and its own.

Most databases that nobody has open have neither. What judges their bytes (`log`, `journal`) is imported where there is
one.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from orlop.errors import DatabaseDamaged
from orlop.store.rows.sqlite.unopened import (
    DATABASE_HEADER,
    DATABASE_MAGIC,
    in_turn,
    is_open,
    read_file,
    stamp_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def opening(path: str) -> Iterator[None]:
    """Check the log of a database; in the block, open it and read from it once, so that others know that it is open.

    Raises:
        DatabaseDamaged: the log is cut, or that of another database.
    """
    with in_turn():
        require_whole_log(path)
        yield


def require_whole_log(path: str, name: str | None = None) -> None:
    """Raise `DatabaseDamaged` where the log or the journal of a database is cut or another's, before anybody opens it.

    The error speaks of ``name`` where the database is a copy of that one.
    """
    # What may not be read SQLite cannot read either, and says so.
    with suppress(PermissionError):
        fault = log_fault(path) or journal_fault(path)
        if fault is not None:
            fault = fault.replace(path, name or path)
            msg = f"{fault}; run `orlop fsck --repair`, or restore it from a backup"
            raise DatabaseDamaged(msg)


def log_fault(path: str) -> str | None:
    """Return what is wrong with the log of the database at ``path``, as a clause, or nothing.

    Nothing is changed. With no log, or one that some process works with, this costs a few small calls; else the whole
    log is read, as SQLite will do.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        before = stamp_of(path)
        if before == () or is_open(path):
            return None
        from orlop.store.rows.sqlite.damage.log import fault_of  # noqa: PLC0415 - few databases have one left

        fault = fault_of(path)
        # Somebody may have opened the database meanwhile, and may write.
        if fault is None or (stamp_of(path) == before and not is_open(path)):
            return fault


def journal_fault(path: str) -> str | None:
    """Return what is wrong with the journal of the database at ``path``, as a clause, or nothing. See `journal`.

    Raises:
        OSError: it cannot be read.
    """
    data = read_file(f"{path}-journal")
    if not data or data[0] == 0:
        return None
    from orlop.store.rows.sqlite.damage.journal import fault_of  # noqa: PLC0415 - few databases have one

    # The file of a database that this process works with must not be closed; SQLite plays no journal back then.
    header = b"" if is_open(path) else read_file(path, DATABASE_HEADER) or b""
    if not header.startswith(DATABASE_MAGIC):
        header = b""
    return fault_of(path, data, header, os.stat(path, follow_symlinks=False).st_size if header else 0)
