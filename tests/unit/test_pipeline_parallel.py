"""Tasks that run at once: their results in order, and one end for all."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orlop.streams.pipeline import in_order, in_parallel
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def threads_of_parallel() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("orlop-parallel")]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_tasks(workers, count):
    def task(number: int) -> Callable[[Callable[[], None]], int]:
        def run(_: Callable[[], None]) -> int:
            time.sleep(0.001 * (count - number))
            return number

        return run

    assert in_parallel([task(number) for number in range(count)], workers=workers) == list(range(count))
    assert not threads_of_parallel()


def test_tasks_run_at_once():
    both = threading.Barrier(2, timeout=30)
    assert len(set(in_parallel([lambda _: both.wait(), lambda _: both.wait()], workers=2))) == 2


@pytest.mark.parametrize("bad", range(4))
def test_an_error_of_any_ends_all(bad):
    ended = []

    def task(number: int) -> Callable[[Callable[[], None]], None]:
        def run(check: Callable[[], None]) -> None:
            try:
                if number == bad:
                    raise ZeroDivisionError
                while True:
                    check()
                    time.sleep(0.001)
            finally:
                ended.append(number)

        return run

    with pytest.raises(ZeroDivisionError):
        in_parallel([task(number) for number in range(4)], workers=4)
    assert bad in ended
    assert not threads_of_parallel()


def test_an_interrupt_ends_all():
    def interrupted(check: Callable[[], None]) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        while True:
            check()
            time.sleep(0.001)

    def raise_interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, raise_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_parallel([interrupted, interrupted], workers=2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not threads_of_parallel()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slowly(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_order(slowly, range(40), workers=workers)) == [number * number for number in range(40)]
    assert list(in_order(slowly, [], workers=workers)) == []
    assert not orlop_threads()


def test_items_are_read_only_a_little_ahead() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    with closing(in_order(lambda number: number, items(), workers=2)) as results:
        for number in range(100):
            assert next(results) == number
            assert len(read) <= number + 1 + 2 * 2
    assert not orlop_threads()


def test_no_worker_waits_for_others_of_a_batch() -> None:
    """While one item takes long, the other worker does what comes after it."""
    done: list[int] = []
    goes_on = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert goes_on.wait(PATIENCE)
        done.append(number)
        if len(done) == 4:
            goes_on.set()
        return number

    assert list(in_order(work, range(8), workers=2)) == list(range(8))
    assert done[:4] == [1, 2, 3, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_where_its_result_was_due(workers: int) -> None:
    def work(number: int) -> int:
        if number == 5:
            raise KeyError(number)
        return number

    results = in_order(work, range(50), workers=workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError):
        next(results)
    assert not orlop_threads()


def test_an_error_of_the_items_ends_all_threads() -> None:
    def items() -> Iterator[int]:
        yield from range(9)
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        list(in_order(str, items(), workers=3))
    assert not orlop_threads()


def test_without_threads_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert list(in_order(str, range(5), workers=3)) == ["0", "1", "2", "3", "4"]


def orlop_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop-order")]
