"""Unfinished directories: made under a temporary name, locked by their process, and removed by others if it dies.

A directory that must appear completely is filled under a name ``.orlop-….part`` and renamed. While it is filled, its
process holds a lock on it (``flock(2)`` on the directory itself). The next process that makes one in the same place
takes the lock if it is free, and removes what a killed process left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from orlop.streams.file_lock import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Self

    from orlop.streams.directory import Directory, Entry

_PREFIX: Final = ".orlop-layout-"
_SUFFIX: Final = ".part"
# The whole name: a store that is being made beside it has a similar name, and is locked in another way.
_LENGTH: Final = 12
_DIGITS: Final = frozenset("0123456789abcdef")
_EXCHANGE: Final = 2  # RENAME_EXCHANGE
# Some network file systems cannot lock directories, or anything.
_NO_LOCKS: Final = frozenset({errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EBADF})


class DirectoryLock:
    """An exclusive lock on a directory, which ends with its process. Without support for locks it excludes no one."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._descriptor = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock, and return whether that was possible; with waiting it always is."""
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory.descriptor)
        try:
            wait_for(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            if not wait:
                os.close(descriptor)
                return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock; without one this does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            # A child that was forked meanwhile may have a copy of the descriptor: closing ours would not unlock.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            with suppress(OSError):  # nothing was written through it
                os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class PartDirectory:
    """A new directory under a temporary name; leaving the block removes it, unless it was renamed.

    Raises OSError if it cannot be made.
    """

    def __init__(self, above: Directory) -> None:
        _sweep(above)
        while True:
            name = f"{_PREFIX}{os.urandom(6).hex()}{_SUFFIX}"
            os.mkdir(name, 0o777, dir_fd=above.descriptor)
            self.entry = above.at(name)
            # Until it is locked, another process may take it for what a dead process left.
            with suppress(FileNotFoundError):
                self.directory = above.below(name)
                self._lock = DirectoryLock(self.directory)
                self._lock.acquire()
                if self.entry.state() is not None:
                    return
                self._lock.release()

    def replace(self, target: Entry) -> None:
        """Put the directory in the place of another one, which is then removed. Raises OSError.

        Where the file system cannot exchange two names in one step, the other one is moved away first: nothing has its
        name for a moment.
        """
        if _exchanged(self.entry, target):
            return
        with PartDirectory(target.directory) as aside:
            target.rename(aside.entry)
            self.entry.rename(target)

    def discard(self) -> None:
        """Remove the directory with its content, as far as that is possible; a renamed one stays."""
        _remove(self.entry)
        self._lock.release()
        self.directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def is_part(name: str) -> bool:
    """Return whether a name is that of an unfinished directory."""
    digits = name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    return len(digits) == _LENGTH and _DIGITS.issuperset(digits) and name == f"{_PREFIX}{digits}{_SUFFIX}"


def subdirectory(directory: Directory, name: str) -> Directory:
    """Return a directory in another one, created if it does not exist, with the mode that the umask allows."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=directory.descriptor)
    return directory / name


def _exchanged(one: Entry, other: Entry) -> bool:
    """Exchange two names, and return whether that was possible (``renameat2(2)``, which Python does not offer)."""
    import ctypes  # noqa: PLC0415 - few directories are replaced

    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    there, here = other.directory.descriptor, one.directory.descriptor
    return bool(exchange(here, os.fsencode(one.name), there, os.fsencode(other.name), _EXCHANGE) == 0)


def _sweep(above: Directory) -> None:
    """Remove what killed processes left; what cannot be removed does no harm."""
    with suppress(OSError):
        for name, state in list(above.states()):
            if is_part(name) and stat.S_ISDIR(state.st_mode):
                with suppress(OSError), above.below(name) as directory:
                    lock = DirectoryLock(directory)
                    if lock.acquire(wait=False):
                        _remove(above.at(name))
                        lock.release()


def _remove(entry: Entry) -> None:
    """Remove a directory without following links."""
    with suppress(OSError):
        if entry.state() is None:
            return
        import shutil  # noqa: PLC0415 - what was made completely was renamed

        shutil.rmtree(entry.name, ignore_errors=True, dir_fd=entry.directory.descriptor)
