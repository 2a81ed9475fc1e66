"""Whether it is the device, and not the database, that is at fault where SQLite calls a database malformed.

SQLite says so, too, where a page could not be read in the midst of some of its own work. What cannot be read at the
moment may be whole, and must be taken neither for damage nor for lost. So the files are read from end to end. A device
may also have failed for a moment only. So SQLite then reads the database once more: where it finds nothing wrong, the
read had failed.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from contextlib import closing
from urllib.parse import quote

from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.unopened import BESIDE, FLAGS, descriptors_of, in_turn
from orlop.streams.files import CHUNK, is_unreadable
from orlop.streams.interruption import interruptible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SECONDS: Final = 60
"""For how long what could be read counts as readable, at least: each request to a server may meet the same damage."""
_SHARE: Final = 20
"""For how many times as long as it took to find that out, at least: a large database takes minutes."""
_readable: dict[tuple[str, bool], float] = {}
_FORMAT: Final = 18
"""The byte of the header that says whether the database has a log, which is 2 then."""


def read_error(path: str, *, is_malformed: bool) -> OSError | None:
    """Return the error of the device that kept a database, or what belongs to it, from being read, if there was one.

    Args:
        path: the database.
        is_malformed: whether that is what SQLite says, or its check; it says other things of values in whole pages.
    """
    key = path, is_malformed
    if _readable.get(key, 0) > time.monotonic():
        return None
    with BLOCKS.block(), in_turn():
        began = time.monotonic()
        # Another thread may have met the same damage, and have been here first.
        if _readable.get(key, 0) > began:
            return None
        for name in (path, *(f"{path}{suffix}" for suffix in BESIDE)):
            try:
                _read_through(name)
            except OSError as error:
                if is_unreadable(error):
                    return error
        if is_malformed and _is_sound(path):
            return OSError(errno.EIO, os.strerror(errno.EIO), path)
        for other in [one for one in _readable if one[0] != path]:
            del _readable[other]
        ended = time.monotonic()
        _readable[key] = ended + max(_SECONDS, _SHARE * (ended - began))
    return None


def _is_sound(path: str) -> bool:
    """Return whether SQLite reads a database from end to end and finds nothing wrong; nothing is written for that."""
    try:
        options = _options(path)
        if options is None:
            return False
        place = f"file://{quote(os.path.realpath(path))}?{options}"
        with (
            closing(sqlite3.connect(place, uri=True, timeout=0, isolation_level=None)) as connection,
            interruptible(connection),
        ):
            return connection.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
    except (OSError, sqlite3.Error, UnicodeDecodeError):
        return False


def _options(path: str) -> str | None:
    """Return how a database is opened without making a file beside it; nothing where it cannot be."""
    state = os.stat(path, follow_symlinks=False)
    own = next(descriptors_of(state), None)
    descriptor = os.open(path, FLAGS) if own is None else own
    try:
        has_log = os.pread(descriptor, 1, _FORMAT) == b"\x02"
    finally:
        if own is None:
            os.close(descriptor)
    there = {suffix for suffix in (*BESIDE, "-shm") if os.path.lexists(f"{path}{suffix}")}
    if not has_log or {"-wal", "-shm"} <= there:
        return "mode=ro"
    # Without locks, a connection that closes would end those of others in this process.
    return "mode=ro&immutable=1" if not there and own is None else None


def _read_through(path: str) -> None:
    state = os.stat(path, follow_symlinks=False)
    # Closing a descriptor of a file that is open here would end the locks that this process has on it.
    own = next(descriptors_of(state), None)
    descriptor = os.open(path, FLAGS) if own is None else own
    try:
        for at in range(0, state.st_size if stat.S_ISREG(state.st_mode) else 0, CHUNK):
            os.pread(descriptor, CHUNK, at)
    finally:
        if own is None:
            os.close(descriptor)
