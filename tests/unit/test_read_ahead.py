"""A generator that goes on in a thread while the caller works: order, bounds, errors, and no thread left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orlop.streams.pipeline import read_ahead

if TYPE_CHECKING:
    from collections.abc import Generator


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "orlop-ahead"]


def numbers(count: int, log: list[int | str], *, error: Exception | None = None) -> Generator[int]:
    try:
        for number in range(count):
            log.append(number)
            yield number
        if error is not None:
            raise error
    finally:
        log.append("closed")


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_items_come_in_order_and_the_generator_is_closed(count: int, depth: int) -> None:
    log: list[int | str] = []
    assert [*read_ahead(numbers(count, log), depth=depth)] == [*range(count)]
    assert log == [*range(count), "closed"]
    assert not threads()


def test_it_reads_so_far_ahead_and_no_further() -> None:
    log: list[int | str] = []
    made = threading.Event()

    def source() -> Generator[int]:
        for number in numbers(9, log):
            if number == 4:
                made.set()
            yield number

    with closing(read_ahead(source(), depth=3)) as items:
        assert next(items) == 0
        assert log == [0]  # no thread before the second item
        assert next(items) == 1
        # Three wait: 2 to 4, of which the place of 1 is free again; a fifth is made and waits for a place.
        assert made.wait(30)
        assert len(log) <= 6
    assert not threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    log: list[int | str] = []
    items = read_ahead(numbers(5, log, error=ZeroDivisionError()), depth=2)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert log[-1] == "closed"
    assert not threads()


@pytest.mark.parametrize("taken", [0, 1, 2, 7])
def test_whoever_stops_early_leaves_no_thread(taken: int) -> None:
    log: list[int | str] = []
    items = read_ahead(numbers(1000, log), depth=2)
    assert [next(items) for _ in range(taken)] == [*range(taken)]
    items.close()
    assert not threads()
    assert len(log) <= taken + 5
    assert log[-1:] == (["closed"] if taken else [])


def test_an_error_at_the_beginning_comes_without_a_thread() -> None:
    log: list[int | str] = []
    with pytest.raises(ZeroDivisionError):
        next(read_ahead(numbers(0, log, error=ZeroDivisionError()), depth=2))
    assert log == ["closed"]
    assert not threads()


def test_where_there_is_no_thread_left_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    log: list[int | str] = []
    assert [*read_ahead(numbers(30, log), depth=2)] == [*range(30)]
    assert log == [*range(30), "closed"]


LEFT_OPEN = """
from orlop.streams.pipeline import read_ahead
items = read_ahead((number for number in range(100)), depth=2)
print(next(items), next(items))
"""

AFTER_THE_MAIN_THREAD = """
import threading, time
from orlop.streams.pipeline import read_ahead

def work():
    items = read_ahead((number for number in range(100)), depth=2)
    taken = [next(items), next(items)]
    while any(one.name == "orlop-ahead" for one in threading.enumerate()):
        time.sleep(0.01)
    print([*taken, *items] == [*range(100)])

threading.Thread(target=work).start()
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("script", "said"), [(LEFT_OPEN, "0 1\n"), (AFTER_THE_MAIN_THREAD, "True\n")])
def test_a_program_ends_though_an_iteration_is_open(script: str, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")
