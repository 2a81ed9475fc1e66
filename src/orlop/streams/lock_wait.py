"""A wait for a lock that may be ended.

The system serves those who wait for a lock in turn, but a thread that waits hears of nothing. So another thread waits
for it. Where the wait is ended that thread is left alone: it does not keep the process from ending, and releases the
lock as soon as it has it.

Waits that are begun and ended, as by clients that hang up, would leave ever more threads and open files behind. So
the number of these threads is bounded; beyond it, a wait polls.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

from orlop.streams.interruption import check_interruption, not_inherited
from orlop.streams.waiting import started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TICK: Final = 0.1
_NAME: Final = "orlop-lock"
MOST: Final = 32
"""How many threads wait at most, with those that are left alone."""


class LockWait:
    """A wait for a ``flock`` on an open file; use it once.

    Args:
        descriptor: of the file.
        operation: as `fcntl.flock` takes it.
    """

    def __init__(self, descriptor: int, operation: int) -> None:
        self._descriptor = descriptor
        self._operation = operation
        # It refers to the same open file, whatever becomes of the first one.
        self._copy = -1
        self._turn = threading.Lock()
        self._is_left = False
        self._done: SimpleQueue[OSError | None] = SimpleQueue()

    def run(self) -> None:
        """Wait until the lock is there. Raises OSError, and what ends the wait: then nobody has the lock."""
        if self._begin():
            self._await()
        else:
            while not self._is_free():
                check_interruption()
                time.sleep(_TICK)

    def _begin(self) -> bool:
        """Start another thread that waits, and return whether that was possible."""
        if sum(one.name == _NAME for one in threading.enumerate()) >= MOST:
            return False
        try:
            self._copy = os.dup(self._descriptor)
        except OSError:
            return False
        try:
            started(self._take, name=_NAME)
        except RuntimeError:
            # The system has no thread left.
            os.close(self._copy)
            return False
        return True

    def _is_free(self) -> bool:
        """Take the lock if it is free, and return whether it was."""
        try:
            fcntl.flock(self._descriptor, self._operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _await(self) -> None:
        try:
            error = self._ended()
        except BaseException:
            with self._turn:
                self._is_left = True
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            raise
        if error is not None:
            raise error

    def _ended(self) -> OSError | None:
        while True:
            with suppress(Empty):
                return self._done.get(timeout=_TICK)
            check_interruption()

    def _take(self) -> None:
        error = None
        with not_inherited(self._copy):
            try:
                fcntl.flock(self._copy, self._operation)
                with self._turn:
                    if self._is_left:
                        fcntl.flock(self._copy, fcntl.LOCK_UN)
            except OSError as failed:
                error = failed
        os.close(self._copy)
        self._done.put(error)
