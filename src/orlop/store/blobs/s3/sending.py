"""Threads that send what is written, a bounded number of them for all uploads of a store.

What waits to be sent is bounded in bytes too: whoever writes faster than the bucket takes it waits in `Senders.submit`.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")

_MOST: Final = 48 << 20


class Senders:
    """A pool of threads. Safe to share between threads; a forked child gets a pool of its own.

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
        self._threads: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def submit(self, size: int, work: Callable[[], T]) -> Future[T]:
        """Do work in a thread, with so many bytes in memory until it is done; wait until there is room for them."""
        if self._pid != os.getpid():
            self._reset()
        with self._room:
            self._room.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="orlop-s3")
            found = self._threads.submit(work)
        found.add_done_callback(lambda _: self._returned(size))
        return found

    def _returned(self, size: int) -> None:
        with self._room:
            self._taken -= size
            self._room.notify_all()

    def close(self) -> None:
        """Wait until everything is sent, and end the threads; it may be used again."""
        with self._room:
            threads, self._threads = self._threads, None
        if threads is not None and self._pid == os.getpid():
            threads.shutdown()
