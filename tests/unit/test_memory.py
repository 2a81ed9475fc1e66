"""Where tests keep their files; see `tests/memory.py`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests import memory
from tests.needs import need_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if nothing had been chosen yet."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.delenv("TMPDIR")
    return monkeypatch


def test_files_go_where_there_is_room(untold: pytest.MonkeyPatch, tmp_path: Path) -> None:
    untold.setattr(memory, "ROOM", 1)
    memory.use_memory(str(tmp_path))
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)


def test_files_stay_where_there_is_no_room_or_somebody_chose(untold: pytest.MonkeyPatch, tmp_path: Path) -> None:
    untold.setattr(memory, "ROOM", 1 << 60)
    memory.use_memory(str(tmp_path))
    assert "TMPDIR" not in os.environ
    untold.setattr(memory, "ROOM", 1)
    untold.setenv("TMPDIR", "/chosen")
    memory.use_memory(str(tmp_path))
    assert os.environ["TMPDIR"] == "/chosen"


def test_a_folder_that_is_not_there_has_no_room(tmp_path: Path) -> None:
    assert memory.room(str(tmp_path / "nowhere")) == 0


@pytest.mark.parametrize("option", ["noexec", "nodev"])
@pytest.mark.needs("mounts")
def test_a_folder_where_programs_or_devices_do_not_work_has_no_room(tmp_path: Path, option: str) -> None:
    need_all("mount", "umount")
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tests", tmp_path], check=True)
    try:
        assert memory.room(str(tmp_path)) == 0
        subprocess.run(["mount", "-o", "remount,exec,dev", tmp_path], check=True)
        assert memory.room(str(tmp_path)) > 0
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
