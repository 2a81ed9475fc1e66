"""What comes from far away is kept in groups: soon, all of it, and without making anybody wait forever."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import NoSpace
from orlop.intake import keeping
from orlop.intake.keeping import Keeper
from orlop.store.local import local_store
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import Metadata

LONG = 3600.0


class Rows:
    """What was published, by the writes that did it; a write waits as long as it is held."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.synced: list[str] = []
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()

    @contextmanager
    def write(self) -> Iterator[list[str]]:
        self.begun.set()
        assert self.free.wait(PATIENCE)
        found: list[str] = []
        yield found
        self.writes.append(found)

    @property
    def names(self) -> list[str]:
        return [name for write in self.writes for name in write]


@pytest.fixture
def rows() -> Rows:
    return Rows()


def keeping_in(rows: Rows) -> Keeper:
    return Keeper(rows)  # type: ignore[arg-type]


@pytest.fixture
def keeper(rows: Rows) -> Keeper:
    return keeping_in(rows)


def add(keeper: Keeper, rows: Rows, name: str, size: int = 1) -> None:
    keeper.add(lambda: rows.synced.append(name), lambda found: found.append(name), size)  # type: ignore[attr-defined]


def eventually(rows: Rows, count: int) -> None:
    until(lambda: len(rows.names) >= count)
    assert len(rows.names) == count


def test_what_comes_while_a_group_is_kept_is_in_the_next_one(keeper: Keeper, rows: Rows):
    with keeper:
        rows.free.clear()
        add(keeper, rows, "first")
        assert rows.begun.wait(PATIENCE)
        for number in range(20):
            add(keeper, rows, f"{number}")
        rows.free.set()
    assert rows.writes == [["first"], [f"{number}" for number in range(20)]]
    assert rows.synced == rows.names


def test_a_piece_is_kept_soon_although_nothing_follows(keeper: Keeper, rows: Rows):
    with keeper:
        add(keeper, rows, "one")
        eventually(rows, 1)


@pytest.mark.parametrize("sizes", [[keeping._MOST_BYTES], [1] * keeping._MOST, [keeping._MOST_BYTES // 2] * 2])
def test_what_is_large_or_much_does_not_wait(rows: Rows, sizes: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeping, "_SOON", LONG)
    with keeping_in(rows) as keeper:
        for number, size in enumerate(sizes):
            add(keeper, rows, f"{number}", size)
        eventually(rows, len(sizes))
        assert len(rows.writes) == 1


@pytest.mark.parametrize("failing", [False, True])
def test_all_is_kept_at_the_end_whatever_ends_it(
    rows: Rows,
    failing: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(keeping, "_SOON", LONG)

    def work() -> None:
        with keeping_in(rows) as keeper:
            for number in range(3):
                add(keeper, rows, f"{number}")
            if failing:
                raise KeyboardInterrupt

    if failing:
        with pytest.raises(KeyboardInterrupt):
            work()
    else:
        work()
    assert rows.writes == [["0", "1", "2"]]


def test_no_more_wait_than_belong_to_a_group(keeper: Keeper, rows: Rows):
    added: list[int] = []

    def work() -> None:
        for number in range(4 * keeping._MOST):
            add(keeper, rows, f"{number}")
            added.append(number)

    with keeper:
        rows.free.clear()
        add(keeper, rows, "first")
        assert rows.begun.wait(PATIENCE)
        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: len(added) == keeping._MOST)
        rows.free.set()
        thread.join(PATIENCE)
        assert len(added) == 4 * keeping._MOST
    assert max(map(len, rows.writes)) <= keeping._MOST


def test_what_cannot_be_kept_ends_the_work_of_all(keeper: Keeper, rows: Rows):
    def fail(_: object) -> None:
        raise NoSpace("cannot write")

    look = keeper.watched(lambda: None)

    def work() -> None:
        with keeper:
            look()
            keeper.add(lambda: None, fail, 1)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                look()
                time.sleep(0.01)

    with pytest.raises(NoSpace):
        work()
    with pytest.raises(NoSpace):
        add(keeper, rows, "late")
    assert rows.names == []


def test_an_error_of_the_work_comes_before_one_of_the_keeper(keeper: Keeper):
    def fail() -> None:
        raise NoSpace("cannot write")

    def work() -> None:
        with keeper:
            keeper.add(fail, lambda _: None, 1)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        work()


def test_where_there_is_no_thread_each_piece_is_kept_at_once(
    keeper: Keeper, rows: Rows, monkeypatch: pytest.MonkeyPatch
):
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with keeper:
        add(keeper, rows, "one")
        assert rows.writes == [["one"]]


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with local_store(tmp_path / "root") as store:
        yield store.metadata


def write_lock(tmp_path: Path) -> FileLock:
    return FileLock(outside(str(tmp_path / "root" / "write.lock")))


def end_by(error: BaseException, metadata: Metadata, kept: list[object]) -> None:
    with Keeper(metadata) as keeper:
        keeper.add(lambda: None, kept.append, 1)
        raise error


def test_an_interrupt_does_not_wait_for_whoever_writes(metadata: Metadata, tmp_path: Path):
    """What was fetched stays, whole, for the next pull; only the rows would have to wait."""
    kept: list[object] = []
    with write_lock(tmp_path), pytest.raises(KeyboardInterrupt):
        end_by(KeyboardInterrupt(), metadata, kept)
    assert kept == []


def test_an_error_waits_until_what_was_fetched_is_kept(metadata: Metadata, tmp_path: Path):
    kept: list[object] = []
    lock = write_lock(tmp_path)
    lock.acquire()
    timer = threading.Timer(0.6, lock.release)
    timer.start()
    with pytest.raises(LookupError):
        end_by(LookupError(), metadata, kept)
    assert len(kept) == 1
