"""Locks that processes have on files, and that end with them."""

from __future__ import annotations

import fcntl
import os
import sys
import weakref
from contextlib import suppress

from orlop.model.given import Single
from orlop.streams.files import PRIVATE, give_mode, has_name
from orlop.streams.forked import in_child, notice_fork
from orlop.streams.interruption import may_be_interrupted, not_inherited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from orlop.streams.directory import Entry


class FileLock(Single):
    """An exclusive ``flock`` on a file; it ends with its holder's process, however that ends.

    Each object has its own open file description, so it also excludes other threads of one process. A missing file is
    created, with ``mode`` whatever the umask, unless nothing is to be created: then taking the lock raises
    FileNotFoundError. A ``shared`` lock allows other shared locks, excludes exclusive ones, and needs no right to
    write; if the file does not exist, no process can hold an exclusive lock.
    """

    __slots__ = ("__weakref__", "_create", "_descriptor", "_mode", "_shared", "entry")

    def __init__(self, entry: Entry, *, mode: int = PRIVATE.file, shared: bool = False, create: bool = True) -> None:
        self.entry = entry
        self._shared = shared
        self._create = os.O_CREAT if create else 0
        self._mode = mode
        self._descriptor = -1

    def acquire(self) -> None:
        """Wait for the lock and take it. Raises what ends the wait, see `interruption`."""
        if self._shared:
            with suppress(FileNotFoundError):
                self._take_shared()
        else:
            self._take(fcntl.LOCK_EX)

    def _take_shared(self) -> None:
        # A signal may interrupt just as the lock is there: `release` knows of it from the beginning.
        self._descriptor = self.entry.open()
        try:
            wait_for(self._descriptor, fcntl.LOCK_SH)
            _locks.add(self)
        except BaseException:
            self.release()
            raise

    def try_acquire(self) -> bool:
        """Take the lock if it is free at this moment, and return whether it was."""
        try:
            self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _take(self, operation: int) -> None:
        notice_fork()
        self._descriptor = self.entry.open(os.O_RDWR | self._create, self._mode)
        try:
            if self._mode != PRIVATE.file:
                give_mode(self._descriptor, self._mode)
            wait_for(self._descriptor, operation)
            _locks.add(self)
        except BaseException:
            self.release()
            raise

    def is_current(self) -> bool:
        """Return whether the locked file still has its name: a sweep may have removed it before it was locked."""
        return self._descriptor >= 0 and has_name(self._descriptor, self.entry)

    def release(self) -> None:
        """Release the lock; without one this does nothing."""
        notice_fork()
        if self._descriptor >= 0:
            # A child that was forked meanwhile may have a copy of the descriptor: closing ours would not unlock.
            with suppress(OSError):  # if this fails, closing is all that is left
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.abandon()

    def __del__(self, is_at_end: Callable[[], bool] = sys.is_finalizing) -> None:
        # A signal may have come before its holder could release it; one that comes here would be lost. As the
        # interpreter takes itself apart, this module has nothing left, and the system releases all.
        if self._descriptor >= 0 and not is_at_end():
            self.release()

    def abandon(self) -> None:
        """Release the descriptor and leave the lock to the other holders of a copy of it."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            try:  # noqa: SIM105 - a signal may come as a block begins
                os.close(descriptor)
            except OSError:
                pass  # nothing was written through it

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def wait_for(descriptor: int, operation: int) -> None:
    """Take a ``flock`` on an open file, and wait for it unless told otherwise; what ends the thread's waits ends this.

    The system serves those who wait in turn, and not those who ask again and again. So where something other than a
    signal may end the wait, a second thread waits. It may be left alone; once it has the lock, it releases that.
    """
    with not_inherited(descriptor):
        if operation & fcntl.LOCK_NB or not may_be_interrupted():
            fcntl.flock(descriptor, operation)
            return
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            from orlop.streams.lock_wait import LockWait  # noqa: PLC0415 - few locks are held by others

            LockWait(descriptor, operation).run()


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _abandon_locks() -> None:
    for lock in list(_locks):
        lock.abandon()


# A child does not own its parent's locks.
in_child(_abandon_locks)
