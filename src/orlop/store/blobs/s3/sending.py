"""Threads that send what is written, a bounded number of them for all uploads of a store.

What waits to be sent is bounded in bytes too: whoever writes faster than the bucket takes it waits in `Senders.submit`.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from orlop.errors import StorageError
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
    """A few threads, started when they are needed. Safe to share; a forked child gets threads of its own.

    Args:
        workers: how many threads there are at most.
        most: bytes that may wait or be on their way; one piece of work may have more, alone.
    """

    def __init__(self, workers: int = 4, *, most: int = _MOST) -> None:
        self._workers = workers
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self._room = threading.Condition()
        self._taken = 0
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._threads: list[Started] = []
        self._pid = os.getpid()

    def submit(self, size: int, work: Callable[[], T]) -> Sending[T]:
        """Do work in a thread, with so many bytes in memory until it is done; wait until there is room for them."""
        if self._pid != os.getpid():
            self._reset()
        sending = Sending(work)
        with self._room:
            self._room.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
            if len(self._threads) < self._workers:
                self._threads.append(started(partial(self._run, self._queue), name="orlop-s3-send"))
            self._queue.put((size, sending))
        return sending

    def _run(self, queue: SimpleQueue[_Item | None]) -> None:
        while (item := queue.get()) is not None:
            size, sending = item
            sending.run()
            del item, sending
            with self._room:
                self._taken -= size
                self._room.notify_all()

    def close(self) -> None:
        """Wait until everything is sent, and end the threads; it may be used again."""
        if self._pid != os.getpid():
            return
        with self._room:
            threads, self._threads = self._threads, []
            # What is submitted from now on is for other threads.
            queue, self._queue = self._queue, SimpleQueue()
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()
