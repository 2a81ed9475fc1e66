"""A block of rows that a signal interrupts, wherever it does: nothing is locked, marked or left open afterwards."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.model.digest import ImageID
from orlop.store.local import local_store
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.sqlite.forks import BLOCKS
from tests.crash.pace import PACE, first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from orlop.store.root import Store
    from orlop.store.rows.metadata import Metadata

STEP = PACE
ROW = ReferenceRow("example.com/one", ":1", ImageID.parse(f"sha256:{'1' * 64}"), 1)


class Interrupting:
    """Raise KeyboardInterrupt as a function is entered, the one with a number: there Python hears of signals."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt


def interrupted(act: Callable[[], object], number: int) -> bool:
    """Return whether an act was interrupted at a function, and not at its end already."""
    before: Any = sys.gettrace()
    interrupting = Interrupting(number)
    sys.settrace(interrupting)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return interrupting.left <= 0


def is_free(path: Path) -> bool:
    """Return whether nobody has a lock on a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with local_store(tmp_path / "root") as found:
        yield found


def _write(metadata: Metadata) -> None:
    with metadata.write() as rows:
        rows.put_reference(ROW)


def _read(metadata: Metadata) -> None:
    with metadata.read() as rows:
        rows.references()


def _lock(metadata: Metadata) -> None:
    with metadata.lock():
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("block", [_write, _read, _lock])
def test_nothing_is_left_of_a_block(store: Store, tmp_path: Path, block: Callable[[Metadata], None]) -> None:
    metadata = store.metadata
    _write(metadata)
    number = first(block.__name__, STEP) + 1
    while interrupted(lambda: block(metadata), number):
        assert is_free(tmp_path / "root" / "write.lock"), number
        assert not BLOCKS.others(), number
        assert not metadata.in_block(), number
        # Neither a transaction nor a mark of a writer is left.
        with metadata.lock():
            assert not is_free(tmp_path / "root" / "write.lock"), number
        _read(metadata)
        _write(metadata)
        # A fork would take a mark for a write that is cut off.
        assert not vars(BLOCKS)["_writing"], number
        number += STEP
    assert number > 20
    store.close()
    assert {one.kind for one in orlop.stores.fsck(tmp_path / "root").damage} <= {"name-dangling"}
