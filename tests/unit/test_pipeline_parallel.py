"""Tasks that run at once: their results in order, and one end for all."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable


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
