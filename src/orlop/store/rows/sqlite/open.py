"""Opening a database whose directory others may write in.

SQLite finds its files by their paths, and follows links as it does. What keeps it inside of the store:

- The database, its log, its shared memory and its journal are regular files with one name, or are not there. A pipe or
  a device is never opened.
- SQLite makes no database: the file is there already, made by its directory's descriptor.
- SQLite says which path it resolved the database to. Where that is another one, it followed a link that came between
  the look and the opening; nothing was read or written by then. The last name of a path it opens without following.
- A journal that a crash left may name a "super-journal", which SQLite removes, wherever it lies. Only transactions over
  several databases have one, which orlop never begins: such a journal was put there by somebody else.

Others may have the database locked. SQLite itself waits for them as long as it is told to, in one call that nothing
interrupts. So it waits for a moment only wherever orlop may have to wait: where a database is opened, and where a block
begins. Inside a block nobody is waited for, as the log lets readers and the one writer be.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress

from orlop.store.rows.sqlite.errors import require_sqlite
from orlop.streams.directory import ForeignFile
from orlop.streams.files import explained, explaining
from orlop.streams.interruption import check_interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from orlop.streams.directory import Entry

BESIDE: Final = ("-journal", "-wal", "-shm")
"""What SQLite makes beside a database, by the ends of the names."""

PATIENCE: Final = 60.0
"""Seconds for which others may have a database locked."""
SLICE: Final = 0.25
"""Seconds for which SQLite waits by itself, when nothing can interrupt it."""
_CODE: Final = 0xFF
_PART: Final = 4096
"""How many pages are copied at once."""
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")


def connect(file: Entry, *, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a database to be read and written; it is there already.

    Args:
        file: the database.
        timeout: how many seconds to wait for others who have it locked.

    Raises:
        StoreDamaged: it, or a file beside it, is not a regular file of its directory. sqlite3.Error: SQLite refuses.
    """
    with explaining("open", file.path):
        _require_own(file)
    return _opened(file, "mode=rw", timeout)


def patiently(work: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Do what may find a database locked by others, and do it again until they end; a signal ends that.

    The connection is one for which SQLite waits by itself only for a moment.
    """
    until = time.monotonic() + seconds - SLICE
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _CODE != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            check_interruption()
        else:
            return


def wait_by_itself(connection: sqlite3.Connection, seconds: float = SLICE) -> None:
    """Set for how long SQLite waits by itself for others who have a database locked."""
    connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")


def connect_reading(file: Entry) -> sqlite3.Connection:
    """Open a database that nobody changes, to be read without writing beside it. Raises as `connect` does."""
    with explaining("open", file.path):
        # Closing a descriptor of the database would end the locks that other connections of this process have.
        file.require_own(os.O_RDONLY)
    return _opened(file, "mode=ro&immutable=1", 0)


def copy_pages(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy a database in parts, so that signals are heard. Raises what ends that, and the target is as it was then."""
    source.backup(target, pages=_PART, progress=lambda *_: check_interruption())


def end_log(connection: sqlite3.Connection) -> None:
    """Bring the log of a database to its end, and do without one; nothing of it is in another file then.

    Raises:
        sqlite3.OperationalError: others have the database open, or a write fails, which SQLite itself does not say.
    """
    ((mode,),) = connection.execute("PRAGMA journal_mode=DELETE")
    if mode == "wal":
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


def make(file: Entry, mode: int) -> None:
    """Make an empty database of a mode. Raises FileExistsError where something has the name."""
    descriptor = file.open(os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def beside(file: Entry) -> list[Entry]:
    """Return the names that SQLite uses beside a database."""
    return [_named(file, suffix) for suffix in BESIDE]


def _named(file: Entry, suffix: str) -> Entry:
    return file.named(f"{file.name}{suffix}")


def _require_own(file: Entry) -> None:
    for one in (file, *beside(file)):
        one.require_own()
    journal = beside(file)[0]
    # The process that writes it may remove it at any moment.
    with suppress(FileNotFoundError):
        if journal.is_file() and _names_another(journal):
            raise ForeignFile(journal.path, "a journal that names a file elsewhere", "a journal")


def _names_another(journal: Entry) -> bool:
    with os.fdopen(journal.open(), "rb", buffering=0) as file:
        file.seek(-min(len(_JOURNAL_MAGIC), os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read() == _JOURNAL_MAGIC


def _opened(file: Entry, options: str, timeout: float) -> sqlite3.Connection:
    require_sqlite()
    path = real_path(file)
    # `close` may be called by another thread than the one that connected.
    connection = sqlite3.connect(
        f"file://{_quoted(path)}?{options}", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        connection.text_factory = bytes
        found = connection.execute("PRAGMA database_list").fetchone()[2]
        connection.text_factory = str
    except BaseException:
        connection.close()
        raise
    if found != os.fsencode(path):
        connection.close()
        raise explained(ForeignFile(file.path, "changing", "a file"), "open", file.path)
    return connection


def real_path(file: Entry) -> str:
    """Return the path of a file without links on the way to its directory."""
    return f"/{os.path.join(os.path.realpath(os.path.dirname(file.path)), file.name).lstrip('/')}"


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
