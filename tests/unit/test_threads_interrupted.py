"""A signal that comes while a thread is begun or waited for: none goes on after what it works on is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from orlop.streams import interruption
from orlop.streams.directory import Directory
from orlop.streams.files import NewFile
from orlop.streams.groups import Groups
from orlop.streams.pipeline import Fanout, in_order, in_parallel, read_ahead
from tests.unit.test_blocks_interrupted import interrupted
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "_PATIENCE", 0.1)


def _printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ours() -> list[str]:
    """Return the names of threads that run. Later versions of Python go on to list one that has never begun."""
    for one in threading.enumerate():
        if one.ident is None:
            one.name = "never begun"
    return [one.name for one in threading.enumerate() if one.name.startswith("orlop-")]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that is set some moments after a signal has interrupted this thread."""
    gate, main = threading.Event(), threading.main_thread().ident
    assert main is not None

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        threading.Timer(0.2, gate.set).start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    sender.start()
    yield gate
    gate.set()
    sender.join()
    signal.signal(signal.SIGUSR1, before)


def test_a_join_waits_also_after_one_that_was_interrupted(gate: threading.Event) -> None:
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(gate.wait()))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        interruption.join([thread])
    interruption.join([thread])
    assert ended == [True]


def _fan_out(work: Callable[[], object]) -> None:
    with Fanout(lambda _: work()) as fan_out:
        fan_out.put(bytes(1 << 20))


def _parallel(work: Callable[[], object]) -> None:
    in_parallel([lambda _: work()] * 2, workers=2)


def _ordered(work: Callable[[], object]) -> None:
    list(in_order(lambda _: work(), range(2), workers=2))


def _ahead(work: Callable[[], object]) -> None:
    items = read_ahead((number if number == 0 else work() for number in range(2)), depth=1)
    try:
        list(items)
    finally:
        items.close()


def _grouped(work: Callable[[], object]) -> None:
    with Groups[int](lambda _: work(), most=1, heaviest=1, soon=0) as groups:
        groups.add(1, 1)


WORKS = [_fan_out, _parallel, _ordered, _ahead, _grouped]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("run", WORKS)
def test_no_thread_works_on_after_a_wait_for_its_end_was_interrupted(
    gate: threading.Event, run: Callable[[Callable[[], object]], None]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(gate.wait)
    assert _ours() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_thread_whose_beginning_was_interrupted_can_be_joined() -> None:
    number, begun = 1, set()
    while True:
        ended: list[int] = []
        thread = threading.Thread(target=partial(ended.append, number))
        was_interrupted = interrupted(partial(interruption.start, thread), number)
        is_running = thread.ident is not None
        interruption.join([thread])
        assert ended == [number] * is_running
        begun.add(is_running)
        if not was_interrupted:
            break
        number += 1
    assert begun == {False, True}


def test_there_is_no_thread_where_the_system_has_none_left() -> None:
    code = """
import sys, threading
from orlop.streams import interruption
threading.stack_size(1 << 40)
one = threading.Thread(target=print)
print(interruption.start(one), one.ident)
interruption.join([one])
"""
    assert _printed(code) == "False None\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_goes_where_the_beginning_of_its_sync_was_interrupted(tmp_path: Path) -> None:
    entry = Directory(os.fspath(tmp_path)).at("file")
    for begin in (NewFile.start_sync, NewFile.rest):
        number = 1
        while True:
            with NewFile(entry) as file:
                file.write(b"content")
                was_interrupted = interrupted(partial(begin, file), number)
            assert _ours() == [], number
            assert [*tmp_path.iterdir()] == [], number
            if not was_interrupted:
                break
            number += 1
        assert number > 10
