"""Overlapping work in a few threads: chunks to several consumers, tasks in parallel.

Hashing, (de)compression and file I/O release the interpreter lock, so with one thread for each of them a load is as
fast as its slowest stage. Chunks of 1 MiB or more are fast; any size is correct.

How a `Fanout` works. Each consumer has a lane, a pair of :class:`queue.SimpleQueue`: one carries chunks, the other free
places, ``depth`` of them at first. The producer takes a place from each lane before it hands over a chunk, and the
consumer returns the place when it has processed the chunk. So at most ``depth`` chunks wait for each consumer, and a
slow consumer slows the producer. The methods of ``SimpleQueue`` are single calls in C: an interrupt at any moment
leaves no lock behind.

What is short needs no threads: chunks wait until there are more than ``_SHORT`` bytes of them, and where no more come,
the producer's own thread does the work as it closes. Starting a thread and changing to it takes longer than hashing
that much.

How it ends:

- close: an end mark follows the chunks in each lane; consumers process the chunks before it.
- cancel: a flag is set, and an end mark wakes waiting consumers; each ends after its current chunk.
- a consumer raises: it records the error and puts a place into every lane, since the producer may wait in any of them.
  The producer checks for errors whenever it wakes, cancels, and raises the first one.

`in_parallel` promises the same for tasks, which check from time to time whether they are still wanted, and `in_order`
for a stream of items whose results are wanted in order. `read_ahead` is the other way round: a thread works on what the
caller will ask for next, and is joined before the iteration ends.

What must never happen: an error or an interrupt leaves this module while one of its threads still runs, since that
thread would work on files that the caller cleans up.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue

from orlop.model.generic import Generic, TypeVar
from orlop.streams.interruption import inherited, interrupted_by, join, require_start, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import TracebackType
    from typing import Final, Self

__all__ = ["Cancelled", "Fanout", "in_order", "in_parallel", "read_ahead"]

S = TypeVar("S")
T = TypeVar("T")

_END: Final = None
_SHORT: Final = 1 << 18
_KEPT: Final = 4 << 20
_TICK: Final = 0.5


def _keep_freed_memory() -> None:
    """Reuse the memory of one chunk for the next.

    glibc returns a freed block of 1 MiB to the system, which clears new pages for the next one, until a larger block
    has been freed: from then on it keeps up to twice the size of that one (mallopt(3), M_MMAP_THRESHOLD). The block
    that is freed here was never touched, so it takes no memory. With other libraries this does nothing.
    """
    with suppress(MemoryError):
        bytes(_KEPT)


_keep_freed_memory()


class _Lane(Generic[T]):
    """A bounded queue of items for one receiver, with at most ``depth`` items in it."""

    __slots__ = ("items", "places")

    def __init__(self, depth: int) -> None:
        self.items: SimpleQueue[tuple[T] | None] = SimpleQueue()
        self.places: SimpleQueue[None] = SimpleQueue()
        for _ in range(depth):
            self.places.put(None)


class Fanout:
    """Hand each chunk to every consumer; each consumer has a thread of its own, and gets them in their order.

    As a context manager it closes at the end of the block. If the block raises, it cancels instead: waiting chunks are
    dropped, and all threads have ended before the exception leaves the block. Threads start once there is enough to do:
    an object that is never used costs nothing, and what is short is handed over when it closes.

    A consumer is called with one chunk at a time, never by two threads at once, and is not called again after it
    raised. Its results belong to the caller: read them after :meth:`close`.
    """

    def __init__(self, *consumers: Callable[[bytes], object], depth: int = 4) -> None:
        """Prepare a lane for each of ``consumers``, of at most ``depth`` (at least 1) waiting chunks each."""
        if depth < 1:
            raise ValueError(f"depth is {depth}, but must be at least 1")
        self._consumers = consumers
        self._lanes: list[_Lane[bytes]] = [_Lane(depth) for _ in consumers]
        self._threads: list[threading.Thread] = []
        self._early: list[bytes] = []
        self._room = _SHORT
        self._errors: list[BaseException] = []
        self._cancelled = False
        self._finished = False

    def put(self, chunk: bytes) -> None:
        """Hand ``chunk`` (which must not change afterwards) to every consumer; wait if one has no free place.

        Raises the first error of a consumer, or whatever interrupts the wait, after all threads have ended. Raises
        ValueError after :meth:`close`, after :meth:`cancel` and after an error.
        """
        if self._finished:
            raise ValueError("the fan-out is closed")
        if self._room > len(chunk):
            self._room -= len(chunk) + 1
            self._early.append(chunk)
            return
        try:
            if not self._threads:
                self._start()
            self._room = -1
            early, self._early = self._early, []
            for each in (*early, chunk):
                self._hand_over(each)
        except BaseException:
            self.cancel()
            raise
        if self._errors:
            self.cancel()
            raise self._errors[0]

    def _hand_over(self, chunk: bytes) -> None:
        for lane in self._lanes:
            lane.places.get()
            if self._errors:
                break
            lane.items.put((chunk,))

    def close(self) -> None:
        """Wait until every consumer has processed its chunks and all threads have ended.

        Raises the first error of a consumer. Does nothing if the fan-out has already ended.
        """
        if self._finished:
            return
        try:
            early, self._early = self._early, []
            for chunk in early:
                for consume in self._consumers:
                    consume(chunk)
            for lane in self._lanes:
                lane.items.put(_END)
            join(self._threads)
        except BaseException:
            self.cancel()
            raise
        self._finished = True
        if self._errors:
            raise self._errors[0]

    def cancel(self) -> None:
        """Drop waiting chunks; return when all threads have ended, each after its current chunk."""
        self._finished = self._cancelled = True
        self._early.clear()
        for lane in self._lanes:
            lane.items.put(_END)
        join(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.cancel()

    def _start(self) -> None:
        for number, (lane, consume) in enumerate(zip(self._lanes, self._consumers, strict=True), 1):
            thread = threading.Thread(
                target=self._run, args=(lane, consume), name=f"orlop-fanout-{number}", daemon=False
            )
            self._threads.append(thread)
            require_start(thread)

    def _run(self, lane: _Lane[bytes], consume: Callable[[bytes], object]) -> None:
        try:
            while (item := lane.items.get()) is not _END and not self._cancelled and not self._errors:
                consume(item[0])
                del item
                lane.places.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again by put() or close()
            self._errors.append(error)
            # The producer may wait for a place in any lane: wake it, and it checks for errors first.
            for other in self._lanes:
                other.places.put(None)


def read_ahead(source: Generator[T], *, depth: int) -> Generator[T]:
    """Yield what a generator yields, which goes on in a thread of its own, at most ``depth`` items ahead.

    The first item is made in the caller's thread: an error at the beginning comes at once, and one item needs no
    thread. An error of the generator comes after the items before it. When the iteration ends or is closed, the thread
    has ended, and the generator is closed.

    Where an iteration is left open as the program ends, the thread ends too: Python waits for it. Whoever asks for more
    nevertheless gets it, without a thread.
    """
    lane: _Lane[T] = _Lane(depth)
    errors: list[BaseException] = []
    cancelled = False

    def work() -> None:
        try:
            for item in source:
                goes_on = _has_place(lane)
                if cancelled:
                    break
                lane.items.put((item,))
                if not goes_on:
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            errors.append(error)
        lane.items.put(_END)

    thread = threading.Thread(target=work, name="orlop-ahead", daemon=False)
    try:
        for item in source:
            yield item
            break
        else:
            return
        if not start(thread):
            lane.items.put(_END)
        while (found := lane.items.get()) is not _END:
            lane.places.put(None)
            yield found[0]
            del found
        if errors:
            raise errors[0]
        # Without the thread, or after it, this one does the work.
        yield from source
    finally:
        cancelled = True
        lane.places.put(None)
        join([thread])
        source.close()


def _has_place(lane: _Lane[T]) -> bool:
    """Wait for a free place, and return whether there is one; if not, the program is at its end."""
    while True:
        with suppress(Empty):
            lane.places.get(timeout=_TICK)
            return True
        if not threading.main_thread().is_alive():
            return False


def in_order(work: Callable[[S], T], items: Iterable[S], *, workers: int) -> Generator[T]:
    """Yield what a function returns for each item, in the order of the items, computed ahead in a few threads.

    Items are read in the caller's thread, at most twice as many ahead as there are workers. An error of the work is
    raised where its result was due, one of the items at once. When the iteration ends or is closed, all threads have
    ended, each after its current item. With one worker, or where the system has no thread left, the caller does the
    work.
    """
    tasks: SimpleQueue[tuple[S, SimpleQueue[tuple[T] | BaseException]] | None] = SimpleQueue()
    waiting: deque[SimpleQueue[tuple[T] | BaseException]] = deque()
    threads: list[threading.Thread] = []
    cancelled = False

    def run() -> None:
        while (task := tasks.get()) is not _END and not cancelled:
            item, place = task
            del task
            try:
                place.put((work(item),))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                place.put(error)
            del item, place

    try:
        if workers > 1:
            _start_some(threads, run, workers)
        if not threads:
            yield from map(work, items)
            return
        for item in items:
            place: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()
            tasks.put((item, place))
            waiting.append(place)
            if len(waiting) > 2 * len(threads):
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        cancelled = True
        for _ in threads:
            tasks.put(_END)
        join(threads)


def _start_some(threads: list[threading.Thread], run: Callable[[], object], count: int) -> None:
    """Start threads, as many as the system has, and append each to a list before it runs."""
    for number in range(count):
        threads.append(threading.Thread(target=run, name=f"orlop-order-{number}", daemon=False))
        if not start(threads[-1]):
            threads.pop()
            return


def _result(place: SimpleQueue[tuple[T] | BaseException]) -> T:
    found = place.get()
    if isinstance(found, BaseException):
        raise found
    return found[0]


class Cancelled(Exception):
    """Ends a task of `in_parallel` early, because another task has failed or the user interrupts."""


def one_at_a_time(function: Callable[[T], object]) -> Callable[[T], None]:
    """Return a function that does the same, but in one thread at a time."""
    turn = threading.Lock()

    def call(value: T) -> None:
        with turn:
            function(value)

    return call


def in_parallel(tasks: Sequence[Callable[[Callable[[], None]], T]], *, workers: int) -> list[T]:
    """Run tasks in a few threads and return their results in the order of the tasks.

    Each task gets a function that it must call now and then, and that raises `Cancelled` once the work is no longer
    wanted. It also ends the waits of the task's thread, as does what ends those of the caller (`interruption`). The
    first error of a task, or whatever interrupts the wait, is raised when all threads have ended. The results of other
    tasks are then lost, so a task must not rely on its result for cleaning up. With one worker or one task, the work
    runs in the caller's own thread.
    """
    cancelled = threading.Event()

    def check() -> None:
        if cancelled.is_set():
            raise Cancelled

    if workers == 1 or len(tasks) < 2:
        return [task(check) for task in tasks]
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    waiting = iter(enumerate(tasks))
    turn = threading.Lock()
    ended: SimpleQueue[None] = SimpleQueue()
    outer = inherited()

    def work() -> None:
        try:
            with interrupted_by(outer), interrupted_by(check):
                while not cancelled.is_set():
                    with turn:
                        number, task = next(waiting, (-1, None))
                    if task is None:
                        break
                    results[number] = task(check)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            if not isinstance(error, Cancelled):
                errors.append(error)
            cancelled.set()
        ended.put(None)

    threads = [
        threading.Thread(target=work, name=f"orlop-parallel-{number}", daemon=False)
        for number in range(min(workers, len(tasks)))
    ]
    try:
        for thread in threads:
            require_start(thread)
        for _ in threads:
            ended.get()
    finally:
        cancelled.set()
        join(threads)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(tasks))]
