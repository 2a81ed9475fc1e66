"""Threads that send what is written, a bounded number of them for all uploads of a store.

What waits to be sent is bounded in bytes too: whoever writes faster than the bucket takes it waits in `Senders.submit`.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from orlop.errors import StorageError
from orlop.streams.forked import in_child
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.streams.waiting import Started

T = TypeVar("T")

_Item: TypeAlias = "tuple[int, Sending[Any]]"
_MOST: Final = 48 << 20


class Sending(Generic[T]):
    """Work that a thread will do, does or has done."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._ended = threading.Event()
        self._results: list[T] = []
        self._error: BaseException = StorageError("what was to be sent was given up; repeat what was done")

    def run(self) -> None:
        """Do the work, unless it was cancelled."""
        work, self._work = self._work, None
        try:
            if work is not None:
                self._results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Leave the work undone if it has not begun."""
        self._work = None

    @property
    def has_ended(self) -> bool:
        """Whether the work is done, or was left undone."""
        return self._ended.is_set()

    def result(self) -> T:
        """Wait for the end of the work, and return its result. Raises what the work raised."""
        self._ended.wait()
        if not self._results:
            raise self._error
        return self._results[0]


class Senders:
    """A few threads that live as long as there is work. Safe to share; a forked child gets threads of its own.

    Args:
        workers: how many threads there are at most.
        most: bytes that may wait or be on their way; one piece of work may have more, alone.
    """

    def __init__(self, workers: int = 4, *, most: int = _MOST) -> None:
        self._workers = workers
        self._most = most
        self.abandon()
        _all.add(self)

    def abandon(self) -> None:
        """Forget everything, in a forked child: it is its parent's."""
        # Taken by itself: a signal leaves a condition locked that it interrupts.
        self._guard = threading.RLock()
        self._room = threading.Condition(self._guard)
        self._taken = 0
        self._waiting: deque[_Item] = deque()
        self._threads: set[Started] = set()

    def submit(self, size: int, work: Callable[[], T]) -> Sending[T]:
        """Do work in a thread, with so many bytes in memory until it is done; wait until there is room for them.

        Raises:
            RuntimeError: the system gives no thread for it.
        """
        sending = Sending(work)
        with self._guard:
            self._room.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            if len(self._threads) < self._workers:
                self._start()
            self._taken += size
            self._waiting.append((size, sending))
        return sending

    def _start(self) -> None:
        """Start a thread, which finds work as soon as the guard is given back; with some threads it may fail."""
        try:
            self._threads.add(started(self._run, name="orlop-s3-send"))
        except RuntimeError:
            if not self._threads:
                raise

    def _run(self) -> None:
        while (item := self._next()) is not None:
            size, sending = item
            sending.run()
            del item, sending
            with self._guard:
                self._taken -= size
                self._room.notify_all()

    def _next(self) -> _Item | None:
        """Return what is to be done next; with nothing to do the thread leaves the others."""
        with self._guard:
            if self._waiting:
                return self._waiting.popleft()
            self._threads.discard(threading.current_thread())
            return None

    def close(self) -> None:
        """Wait until everything is sent and the threads have ended; it may be used again."""
        with self._guard:
            threads = list(self._threads)
        for thread in threads:
            thread.join()


_all: weakref.WeakSet[Senders] = weakref.WeakSet()


def _abandon_all() -> None:
    for senders in list(_all):
        senders.abandon()


in_child(_abandon_all)
