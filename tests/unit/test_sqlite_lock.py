"""The lock of writers, in a thread that opens the database only while it has the lock."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreInUse
from orlop.store.local import local_store
from orlop.streams.interruption import GivenUp, interrupted_by

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from orlop.store.root import Store

_PATIENCE = 60.0


def _ends(action: Thread) -> bool:
    action.start()
    action.join(_PATIENCE)
    return not action.is_alive()


def _read_under_the_lock(store: Store) -> None:
    with store.metadata.lock(), store.metadata.read() as rows:
        list(rows.references())


@pytest.mark.parametrize("found", ["nothing", "a database without a log"])
def test_who_has_the_lock_opens_the_database(tmp_path: Path, found: str) -> None:
    """It is laid out or has its log begun under the lock, which is taken already; waiting for it would never end."""
    if found != "nothing":
        local_store(tmp_path).close()
        with local_store(tmp_path) as store, store.metadata.write():
            pass
        ended = sqlite3.connect(tmp_path / "metadata.db")
        assert ended.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        ended.close()
    store = local_store(tmp_path)
    assert _ends(Thread(target=_read_under_the_lock, args=(store,), daemon=True))
    with store.metadata.write() as rows:
        assert list(rows.references()) == []
    store.close()


def test_the_lock_can_be_taken_again_and_ends_with_the_outer_block(tmp_path: Path) -> None:
    """Another store of the same directory waits until then."""

    def write(other: Store) -> None:
        with other.metadata.write():
            pass

    with local_store(tmp_path) as store, local_store(tmp_path) as other:
        waiting = Thread(target=write, args=(other,), daemon=True)
        with store.metadata.lock():
            with store.metadata.lock():
                pass
            waiting.start()
            waiting.join(0.2)
            assert waiting.is_alive()
        waiting.join(_PATIENCE)
        assert not waiting.is_alive()


def test_who_wants_a_database_alone_hears_in_time_that_the_wait_is_to_end(tmp_path: Path) -> None:
    """While another one has it open, as `store move` waits."""

    def give_up() -> None:
        raise GivenUp

    with local_store(tmp_path) as store, local_store(tmp_path) as other:
        for one in (store, other):
            with one.metadata.write():
                pass
        with pytest.raises(GivenUp), interrupted_by(give_up), store.files.rows.alone():
            pass
        with pytest.raises(StoreInUse), store.files.rows.alone():
            pass


def test_a_child_that_is_forked_under_the_lock_has_it_not(tmp_path: Path) -> None:
    """It would write beside another writer."""
    code = """
import os, sys
from orlop.errors import StoreInUse
from orlop.store.local import local_store
store = local_store(sys.argv[1])
with store.metadata.write():
    pass
with store.metadata.lock():
    child = os.fork()
    if child == 0:
        try:
            with store.metadata.lock():
                os._exit(1)
        except StoreInUse:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, check=True, timeout=_PATIENCE
    )
    assert done.stdout == b"0\n"


def test_a_lock_that_another_thread_lets_go_of_is_nobodys(tmp_path: Path) -> None:
    """An iteration that is left open may be ended by any thread; who began it must wait like all others then."""

    def holding(store: Store) -> Generator[None]:
        with store.metadata.lock():
            yield

    with local_store(tmp_path) as store, local_store(tmp_path) as other:
        left_open = holding(store)
        next(left_open)
        assert _ends(Thread(target=left_open.close))
        got, done = Event(), Event()

        def give_up() -> None:
            raise GivenUp

        def write() -> None:
            with other.metadata.lock():
                got.set()
                done.wait(_PATIENCE)

        writer = Thread(target=write, daemon=True)
        writer.start()
        assert got.wait(_PATIENCE)
        with pytest.raises(GivenUp), interrupted_by(give_up), store.metadata.lock():
            raise AssertionError
        done.set()
        writer.join(_PATIENCE)


def test_a_lock_outlives_the_connections_that_are_closed_under_it(tmp_path: Path) -> None:
    def close(store: Store) -> None:
        with store.metadata.lock():
            store.metadata.close()
            with store.metadata.lock():
                pass

    with local_store(tmp_path) as store:
        assert _ends(Thread(target=close, args=(store,), daemon=True))
