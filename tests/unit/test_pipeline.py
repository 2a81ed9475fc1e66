from __future__ import annotations

import _thread
import functools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.streams.pipeline import Fanout
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop-")] == []


#: A chunk that is enough to start the threads.
LONG = bytes(1 << 18)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop-")]


class Broken(Exception):
    pass


@pytest.mark.parametrize("length", [0, 1, 10, 1_000, 1_316, 1_317, 10_000])
def test_every_consumer_gets_every_chunk_in_order(length: int) -> None:
    chunks = [bytes([number]) * length for number in range(200)]
    got: list[list[bytes]] = [[], [], []]
    with Fanout(*(each.append for each in got), depth=2) as fan:
        for chunk in chunks:
            fan.put(chunk)
    assert got == [chunks] * 3


def test_consumers_run_in_named_threads_of_their_own_that_are_no_daemons() -> None:
    seen: list[threading.Thread] = []
    with Fanout(*[lambda _: seen.append(threading.current_thread())] * 2) as fan:
        fan.put(LONG)
    assert sorted(thread.name for thread in seen) == ["orlop-fanout-1", "orlop-fanout-2"]
    assert not any(thread.daemon for thread in seen)


def test_without_chunks_or_consumers_nothing_happens() -> None:
    with Fanout(lambda _: None):
        assert threads() == []
    with Fanout() as fan:
        fan.put(LONG)


def test_what_is_short_is_handed_over_at_the_end_without_threads() -> None:
    seen: list[tuple[int, bytes]] = []
    here = threading.current_thread()

    def consume(number: int, chunk: bytes) -> None:
        assert threading.current_thread() is here
        seen.append((number, chunk))

    with Fanout(*[functools.partial(consume, number) for number in range(2)]) as fan:
        fan.put(b"a")
        fan.put(LONG[:-10])
        assert (seen, threads()) == ([], [])
    assert [(number, len(chunk)) for number, chunk in seen] == [
        (0, 1),
        (1, 1),
        (0, len(LONG) - 10),
        (1, len(LONG) - 10),
    ]
    with pytest.raises(ValueError, match="closed"):
        fan.put(b"x")


@pytest.mark.sampled(3)
def test_empty_chunks_do_not_wait_for_ever() -> None:
    with Fanout(lambda _: None) as fan:
        for _ in range(len(LONG) + 1):
            fan.put(b"")
        assert threads() != []


@pytest.mark.parametrize("failing", range(2))
def test_an_error_in_what_is_short_is_raised_by_close_and_nothing_follows_it(failing: int) -> None:
    seen: list[int] = []

    def consume(number: int, _: bytes) -> None:
        seen.append(number)
        if number == failing:
            raise Broken(number)

    fan = Fanout(*[functools.partial(consume, number) for number in range(2)])
    fan.put(b"x")
    fan.put(b"y")
    with pytest.raises(Broken, match=str(failing)):
        fan.close()
    assert seen == list(range(failing + 1))
    fan.close()


def test_what_is_short_is_dropped_where_the_block_fails() -> None:
    got: list[bytes] = []
    with pytest.raises(Broken), Fanout(got.append) as fan:  # noqa: PT012
        fan.put(b"x")
        raise Broken
    fan.close()
    assert got == []


def test_a_slow_consumer_holds_the_producer_back() -> None:
    gate = threading.Event()
    handed: list[bytes] = []
    fan = Fanout(lambda _: gate.wait(), depth=3)

    def produce() -> None:
        for _ in range(6):
            fan.put(LONG)
            handed.append(LONG)

    producer = threading.Thread(target=produce)
    producer.start()
    while len(handed) < 3:
        time.sleep(0.001)
    producer.join(0.05)
    assert len(handed) == 3
    gate.set()
    producer.join()
    fan.close()
    assert len(handed) == 6


@pytest.mark.parametrize("failing", range(3))
@pytest.mark.parametrize("at", [0, 1, 7])
def test_when_any_consumer_fails_put_raises_its_error_and_all_threads_end(failing: int, at: int) -> None:
    counts = [0, 0, 0]

    def consumer(number: int, _: bytes) -> None:
        if number == failing and counts[number] == at:
            raise Broken(number)
        counts[number] += 1

    fan = Fanout(*[functools.partial(consumer, number) for number in range(3)], depth=1)
    with pytest.raises(Broken, match=str(failing)):  # noqa: PT012 - which call raises is up to the threads
        while True:
            fan.put(LONG)
    assert threads() == []
    assert counts[failing] == at
    with pytest.raises(ValueError, match="closed"):
        fan.put(LONG)
    fan.close()


def test_an_error_at_the_last_chunk_is_raised_by_close() -> None:
    def fail(_: bytes) -> None:
        raise Broken

    fan = Fanout(fail, lambda _: None)
    fan.put(LONG)
    with pytest.raises(Broken):
        fan.close()
    assert threads() == []


def test_an_error_is_noticed_while_the_producer_waits_for_another_consumer() -> None:
    gate = threading.Event()

    def fail(_: bytes) -> None:
        gate.set()
        raise Broken

    with pytest.raises(Broken), Fanout(lambda _: gate.wait(), fail, depth=1) as fan:  # noqa: PT012
        while True:
            fan.put(LONG)


def test_leaving_with_an_exception_drops_what_waits() -> None:
    gate = threading.Event()
    got: list[bytes] = []

    def consume(chunk: bytes) -> None:
        gate.wait()
        got.append(chunk)

    def open_once_cancelled() -> None:
        until(lambda: fan._cancelled)
        gate.set()

    with pytest.raises(KeyboardInterrupt), Fanout(consume, depth=4) as fan:  # noqa: PT012
        for _ in range(4):
            fan.put(LONG)
        # The chunk in hand is finished once the others are dropped, and not before.
        threading.Thread(target=open_once_cancelled).start()
        raise KeyboardInterrupt
    assert threads() == []
    assert len(got) <= 1


def test_an_interrupt_while_put_waits_ends_everything() -> None:
    gate, interrupted = threading.Event(), threading.Event()

    def consume(_: bytes) -> None:
        # Once: a second interrupt might come after the end of all this.
        if not interrupted.is_set():
            interrupted.set()
            _thread.interrupt_main()
        gate.wait(0.05)

    with pytest.raises(KeyboardInterrupt), Fanout(consume, depth=1) as fan:  # noqa: PT012
        while True:
            fan.put(LONG)
    assert threads() == []


def test_depth_must_be_positive() -> None:
    with pytest.raises(ValueError, match="depth"):
        Fanout(depth=0)
