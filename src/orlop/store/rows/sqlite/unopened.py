"""The files of a database before SQLite opens them: their bytes, and whether some process has it open.

While some process has the database open, nobody recovers, and nothing is asked. Whether one has, the lock says that
each of them holds on a byte of ``metadata.db-shm``. Closing a file ends all locks that a process has on it: where this
process has the database open itself, the files must not be touched at all.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from contextlib import contextmanager, nullcontext, suppress
from itertools import count

from orlop.streams.forked import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Final

BESIDE: Final = ("-wal", "-journal")
"""What SQLite reads beside a database, by the ends of the names."""

DATABASE_MAGIC: Final = b"SQLite format 3\0"
DATABASE_HEADER: Final = 100
"""How many bytes are the header of a database."""

_OPEN_LOCK: Final = 128
_FLOCK: Final = "hhqqi4x"
# Readers of a database hold these bytes; a process that ends the log asks for all of them.
_SHARED_BYTES: Final = (0x40000002, 510)
_FAR: Final = 1 << 16
"""Behind this many free descriptors in a row, no other is expected to be open."""
_OFD_SETLK: Final = 37  # of Linux

FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""With which files are opened to be read: neither a link is followed nor a pipe waited for."""

_turn = threading.RLock()
_sharing: dict[tuple[int, int], int] = {}
"""The descriptors that keep logs, by the devices and inodes of their databases."""


def _forked() -> None:
    global _turn  # noqa: PLW0603 - a lock that another thread holds is held for ever in a child
    _turn = threading.RLock()
    # A child begins without locks, and these end with the descriptors of its parent alone.
    while _sharing:
        os.close(_sharing.popitem()[1])


in_child(_forked)


def read_file(path: str, size: int = -1) -> bytes | None:
    """Return what is in a regular file, or its first bytes; nothing where there is none."""
    with suppress(FileNotFoundError), open(path, "rb", opener=_opener) as file:
        return file.read(size) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    return None


def _opener(path: str, _flags: int) -> int:
    return os.open(path, FLAGS)


def in_turn() -> AbstractContextManager[object]:
    """Return what no two threads are in at once: they open or close a database, or its files, there."""
    return _turn


@contextmanager
def keeping_log(path: str) -> Iterator[None]:
    """Keep SQLite, in a block that closes connections to a database, from ending the log, if there is any.

    What closes last carries over what it can read of the log and removes it, with what it cannot read. It needs the
    database for itself for that: another lock, that belongs to a descriptor and to no process, keeps it from that.

    The descriptor, with its lock, stays while this process has another one of the database. That may be one of other
    connections, whose locks would end, or of one that is closed already: SQLite leaves a connection open while there
    is a cursor of it, as in the traceback of an error, and a descriptor while other connections have locks.
    """
    with in_turn():
        with suppress(OSError):
            if os.stat(f"{path}-wal", follow_symlinks=False).st_size:
                _share(path)
        try:
            yield
        finally:
            _leave()


def close_all(connections: Iterable[sqlite3.Connection], path: str, *, keeps_log: bool) -> None:
    """Close connections of this process to a database; if it shall, its log stays as it is."""
    with keeping_log(path) if keeps_log else nullcontext():
        for connection in connections:
            connection.close()
    if _sharing:
        with in_turn():
            _leave()


def _share(path: str) -> None:
    import struct  # noqa: PLC0415 - most databases are not refused

    state = os.stat(path, follow_symlinks=False)
    if (state.st_dev, state.st_ino) not in _sharing:
        descriptor = os.open(path, FLAGS)
        state = os.fstat(descriptor)
        _sharing[state.st_dev, state.st_ino] = descriptor
        fcntl.fcntl(descriptor, _OFD_SETLK, struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, *_SHARED_BYTES, 0))


def _leave() -> None:
    for key, descriptor in [*_sharing.items()]:
        with suppress(OSError):
            state = os.fstat(descriptor)
            if not any(_is_same(one, state) for one in _descriptors() if one != descriptor):
                os.close(_sharing.pop(key))


def stamp_of(path: str) -> tuple[int, ...]:
    """Return what changes when the log does; nothing where there is neither a log nor an index."""
    stamp: list[int] = []
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            state = os.stat(f"{path}{suffix}", follow_symlinks=False)
            stamp += [state.st_ino, state.st_size, state.st_mtime_ns if suffix == "-wal" else 0]
    return tuple(stamp)


def is_open(path: str) -> bool:
    """Return whether any process has the database open, this one included.

    The last process that closes the database removes the file that is asked, at any moment.
    """
    with suppress(FileNotFoundError):
        state = os.stat(f"{path}-shm", follow_symlinks=False)
        if _is_open_here(state):
            return True
        if stat.S_ISREG(state.st_mode):
            return _is_locked(f"{path}-shm")
    return False


def is_open_here(path: str) -> bool:
    """Return whether this process has the database open, by the descriptors that it has."""
    try:
        return _is_open_here(os.stat(f"{path}-shm", follow_symlinks=False))
    except OSError:
        return False


def _is_open_here(state: os.stat_result) -> bool:
    return next(descriptors_of(state), None) is not None


def _is_locked(path: str) -> bool:
    import struct  # noqa: PLC0415 - a database that nobody has open has no such file

    with open(path, "rb", opener=_opener) as file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _OPEN_LOCK, 1, 0)
        kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def descriptors_of(state: os.stat_result) -> Iterator[int]:
    """Yield the descriptors that this process has of a file, and can read it by."""
    return (descriptor for descriptor in _descriptors() if _is_same(descriptor, state))


def _is_same(descriptor: int, state: os.stat_result) -> bool:
    with suppress(OSError):
        is_same = os.path.samestat(os.fstat(descriptor), state)
        return is_same and not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_PATH
    return False


def _descriptors() -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return _tried_descriptors()


def _tried_descriptors() -> Iterator[int]:
    """Yield the open descriptors of a process that has no ``/proc``.

    A process may have many millions, and each gets the lowest number that is free: far beyond the last one there are
    no more.
    """
    free = 0
    for descriptor in count():
        try:
            os.fstat(descriptor)
        except OSError:
            free += 1
            if free == _FAR:
                return
        else:
            free = 0
            yield descriptor
