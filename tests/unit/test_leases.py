"""Leases that cannot be given back: what goes wrong is told once, and nothing counts as held that nobody holds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import PermissionDenied, StoreMoved
from orlop.model.digest import Digest
from orlop.store.local import local_store
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
from orlop.streams.interruption import interrupted_by
from tests.open_files import open_below

if TYPE_CHECKING:
    from orlop.store.root import Store

CONTENT = Digest.of(b"content")


@pytest.fixture
def store(tmp_path):
    with local_store(tmp_path / "root") as store:
        yield store
        # Closing it writes.
        moved = tmp_path / "root-moved"
        if moved.exists():
            moved.rename(store.root)


def move(store: Store) -> Path:
    """Make every write fail: the store is no longer where it was opened. Return where it is."""
    return Path(store.root).rename(f"{store.root}-moved")


def kept(store: Store) -> list[str]:
    with store.metadata.read() as rows:
        return [str(digest) for name in rows.leases() for digest in rows.lease_digests(name)]


def test_a_release_that_fails_does_not_hide_what_went_wrong_before(store):
    def interrupt() -> None:
        with store.leases.hold([CONTENT]):
            move(store)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_who_is_interrupted_does_not_wait_for_another_writer(store):
    """What it has held is let go with its next hold."""
    other = FileLock(outside(f"{store.root}/write.lock"))

    def interrupt() -> None:
        with store.leases.hold([CONTENT]):
            other.acquire()
            raise KeyboardInterrupt

    # As long as the other one writes, which is until it is told to end.
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    other.release()
    assert kept(store) == [str(CONTENT)]
    with store.leases.hold([Digest.of(b"other")]):
        assert kept(store) == [str(Digest.of(b"other"))]


@pytest.mark.sampled(2)
def test_who_is_interrupted_closes_without_another_writer(tmp_path):
    root = tmp_path / "root"
    other = FileLock(outside(str(root / "write.lock")))

    def interrupt() -> None:
        with local_store(root) as store, store.leases.hold([CONTENT]):
            other.acquire()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    other.release()
    with local_store(root) as store, store.metadata.write() as rows:
        # It counts for nothing, and goes with the next removal.
        assert store.leases.drop_dead(rows) == [CONTENT]


def test_a_release_that_fails_at_the_end_of_a_block_is_told(store):
    with pytest.raises(StoreMoved), store.leases.hold([CONTENT]):
        moved = move(store)
    moved.rename(store.root)


def test_a_release_that_failed_can_be_repeated(store):
    hold = store.leases.hold([CONTENT])
    moved = move(store)
    with pytest.raises(StoreMoved):
        hold.release()
    moved.rename(store.root)
    assert kept(store) == [str(CONTENT)]
    hold.release()
    assert kept(store) == []


class HungUp(Exception):
    """What ends the work for a client here."""


@pytest.mark.sampled(4)
@pytest.mark.parametrize("error", [None, HungUp, KeyboardInterrupt])
@pytest.mark.parametrize("again", ["held", "released", "undone"])
def test_what_could_not_be_released_is_released_with_the_next(
    store: Store, error: type[BaseException] | None, again: str
):
    """A server lives on where a client hangs up while another process has the lock of the store."""
    last = store.leases.hold([CONTENT])
    expected = error or HungUp
    for number in range(3):
        with pytest.raises(expected):
            hang_up(store, Digest.of(b"%d" % number), error)
    assert len(store.leases._held) > 1
    if again == "undone":
        undo(store)
        assert len(kept(store)) > 1
    if again == "held":
        store.leases.hold([CONTENT])
        assert kept(store) == [str(CONTENT)]
    else:
        last.release()
        assert kept(store) == []


def undo(store: Store) -> None:
    with suppress(HungUp), store.metadata.write():
        store.leases.hold([Digest.of(b"more")])
        raise HungUp


def hang_up(store: Store, digest: Digest, error: type[BaseException] | None) -> None:
    gone: list[int] = []

    def check() -> None:
        if gone:
            raise HungUp

    other = FileLock(outside(str(Path(store.root) / "write.lock")))
    try:
        with interrupted_by(check), store.leases.hold([digest]):
            gone.append(1)
            other.acquire()
            if error is not None:
                raise error
    finally:
        other.release()


def test_a_release_that_was_undone_with_the_write_around_it_can_be_repeated(store):
    hold = store.leases.hold([CONTENT])

    def undo() -> None:
        with store.metadata.write():
            hold.release()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        undo()
    assert kept(store) == [str(CONTENT)]
    hold.release()
    assert kept(store) == []


def test_nothing_is_remembered_of_what_is_no_longer_held(store):
    """A server holds a great many digests in its life."""
    for number in range(3):
        with store.leases.hold([CONTENT, Digest.of(b"%d" % number)]), store.leases.hold([CONTENT]):
            assert store.leases._held == {CONTENT: 2, Digest.of(b"%d" % number): 1}
        assert len(store.leases._held) == 0

    def undo() -> None:
        with store.metadata.write():
            store.leases.hold([CONTENT])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        undo()
    assert len(store.leases._held) == 0
    assert kept(store) == []


def test_a_store_that_cannot_delete_its_lease_is_closed_all_the_same(store):
    store.leases.hold([CONTENT])
    name = store.leases.name()
    moved = move(store)
    with pytest.raises(StoreMoved):
        store.close()
    lock = FileLock(outside(str(moved / "leases" / name)))
    assert lock.try_acquire()
    lock.release()
    assert open_below(moved) == []
    moved.rename(store.root)
    with local_store(store.root) as again:
        assert again.leases.alive() == set()


def test_the_lock_of_a_dead_lease_that_cannot_be_removed_is_not_kept(store, monkeypatch):
    dead = Path(store.root) / "leases" / "dead"
    dead.touch()

    def refused(path: str, **_: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refused)
        with pytest.raises(PermissionDenied):
            store.leases.alive()
    assert "dead" not in store.leases.alive()


def test_a_lease_that_has_just_ended_is_not_made_again_by_looking_for_it(store, monkeypatch):
    monkeypatch.setattr("os.listdir", lambda _: ["ended"])
    assert store.leases.alive(sweep=False) == set()
    assert not (Path(store.root) / "leases" / "ended").exists()


@pytest.mark.parametrize("until", ["9" * 5000 + "-app", "99999999999999", "\u0663-app", "-app", ""])
def test_a_lease_whose_time_cannot_be_read_protects_nothing_and_harms_nobody(store, until):
    with store.metadata.write() as rows:
        rows.put_lease(f"until-{until}", [CONTENT])
    with store.metadata.read() as rows:
        assert store.leases.kept_for(rows, CONTENT) == set()
        assert not store.leases.keeps(rows, "app")
    with store.metadata.write() as rows:
        store.leases.keep_no_longer(rows, "app", CONTENT)
        store.leases.keep_nothing(rows, "app")
        assert store.leases.drop_dead(rows) == [CONTENT]
