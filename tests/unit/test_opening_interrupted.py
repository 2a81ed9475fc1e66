"""A signal that comes while something is opened: no descriptor stays open of which nobody knows."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.streams.directory import Directory, opened
from orlop.streams.file_lock import FileLock
from tests.unit.test_blocks_interrupted import interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


def _file(root: Directory) -> None:
    os.close(root.at("file").open())


def _room(root: Directory) -> None:
    (root / "room").close()


def _names(root: Directory) -> None:
    root.names()


def _kept(root: Directory) -> None:
    with root.at("file").kept():
        pass


def _mode(root: Directory) -> None:
    root.at("file").set_mode(0o600)


def _lock(root: Directory) -> None:
    with FileLock(root.at("file")):
        pass


def _open() -> set[str]:
    gc.collect()
    return {one.name for one in Path("/proc/self/fd").iterdir()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("use", [_file, _room, _names, _kept, _mode, _lock])
def test_nothing_stays_open(tmp_path: Path, use: Callable[[Directory], None]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "room").mkdir()
    with Directory(os.fspath(tmp_path)) as root:
        use(root)
        before, number = _open(), 1
        while interrupted(lambda: use(root), number):
            root._children.clear()
            assert _open() == before, number
            number += 1
        assert number > 5


def test_what_cannot_be_opened_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(os.fspath(tmp_path / "none"), os.O_RDONLY)
