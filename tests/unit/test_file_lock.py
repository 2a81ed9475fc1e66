"""Locks on files: whoever waits for one is served in turn, and may stop waiting."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.streams.directory import Directory, outside
from orlop.streams.file_lock import FileLock
from orlop.streams.interruption import GivenUp, hasten, interrupted_by
from orlop.streams.lock_wait import MOST
from orlop.streams.part_directory import DirectoryLock
from tests.unit.test_cli_locked import locked_directory
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Enough(Exception):
    """What ends a wait here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "lock"
    found.touch()
    return found


@pytest.fixture
def hurry() -> Iterator[Callable[[float | None], None]]:
    yield hasten
    hasten(None)


def waiting_threads() -> int:
    return sum(one.name == "orlop-lock" for one in threading.enumerate())


def lock(path: Path, *, shared: bool = False) -> FileLock:
    return FileLock(outside(str(path)), shared=shared)


@pytest.mark.parametrize("shared", [False, True])
def test_a_wait_is_ended_and_takes_nothing_afterwards(path: Path, *, shared: bool):
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise Enough

    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with interrupted_by(look), pytest.raises(Enough):
            lock(path, shared=shared).acquire()
        assert waiting_threads() == 1
    until(lambda: waiting_threads() == 0)
    with lock(path) as other:
        assert other.is_current()
    assert lock(path).try_acquire()


def test_a_lock_that_comes_in_time_is_held_until_it_is_released(path: Path):
    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with interrupted_by(lambda: fcntl.flock(holder, fcntl.LOCK_UN)), lock(path) as mine:
            until(lambda: waiting_threads() == 0)
            assert mine.is_current()
            assert not lock(path).try_acquire()
        assert lock(path).try_acquire()


def test_whoever_may_be_interrupted_is_served_in_turn(path: Path):
    """One that asks again and again would wait as long as others wait as well."""
    turns: list[str] = []

    def take(name: str) -> None:
        with interrupted_by(lambda: None), lock(path):
            turns.append(name)

    threads = []
    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        for number in range(4):
            threads.append(threading.Thread(target=take, args=(str(number),)))
            threads[-1].start()
            until(partial(waits, path, number + 1))
    for thread in threads:
        thread.join(60)
    assert turns == ["0", "1", "2", "3"]


def waits(path: Path, threads: int) -> bool:
    """Return whether so many threads wait for a lock on a file (proc(5), locks)."""
    number = f":{path.stat().st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and number in line for line in lines) == threads


def test_where_no_thread_can_be_started_the_lock_is_waited_for(path: Path, monkeypatch):
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    holder = path.open("rb")
    fcntl.flock(holder, fcntl.LOCK_EX)
    timer = threading.Timer(0.2, holder.close)
    timer.start()
    monkeypatch.setattr(threading.Thread, "start", refused)
    with interrupted_by(lambda: None), lock(path) as mine:
        assert mine.is_current()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("check", [None, lambda: None])
def test_a_child_has_no_lock_for_which_its_parent_waited(path: Path, check: Callable[[], None] | None):
    def take() -> None:
        with interrupted_by(check), lock(path):
            pass

    thread = threading.Thread(target=take)
    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        thread.start()
        until(partial(waits, path, 1))
        child = os.fork()
        if child == 0:
            os._exit(len(descriptors_of(path)))
        # The child has that of the holder.
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    thread.join(60)
    assert descriptors_of(path) == []


def descriptors_of(path: Path) -> list[str]:
    found = []
    for number in [one.name for one in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):
            if os.path.samestat(os.fstat(int(number)), path.stat()):
                found.append(number)
    return found


@pytest.mark.sampled(3)
def test_waits_that_are_ended_leave_few_threads_and_files(path: Path):
    def hang_up() -> None:
        raise Enough

    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        files = open_files()
        for _ in range(MOST + 10):
            with interrupted_by(hang_up), pytest.raises(Enough):
                lock(path).acquire()
        assert waiting_threads() <= MOST
        assert open_files() <= files + MOST
        # Another one gets the lock all the same, as soon as it is free.
        with interrupted_by(lambda: fcntl.flock(holder, fcntl.LOCK_UN)), lock(path) as mine:
            assert mine.is_current()
    until(lambda: waiting_threads() == 0)
    assert open_files() <= files


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_where_no_thread_can_be_started_the_wait_is_ended_as_well(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise Enough

    monkeypatch.setattr(threading.Thread, "start", refused)
    with closing(path.open("rb")) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with interrupted_by(look), pytest.raises(Enough):
            lock(path).acquire()
    assert lock(path).try_acquire()


def test_a_process_in_haste_waits_for_no_lock(path: Path, tmp_path: Path, hurry: Callable[[float | None], None]):
    hurry(0)
    with lock(path), pytest.raises(GivenUp):
        lock(path).acquire()
    with locked_directory(tmp_path), Directory(str(tmp_path)) as directory, pytest.raises(GivenUp):
        DirectoryLock(directory).acquire()
    with lock(path):
        pass
    hurry(None)
    with lock(path) as mine:
        assert mine.is_current()
