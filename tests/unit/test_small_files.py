"""The short way to small files: it gives what is there, and nothing where anything is not as it must be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from orlop.foreign.disk import Folder, Walker
from orlop.foreign.small_files import SmallFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "a" / "b").mkdir(parents=True)
    for number in range(8):
        (folder / "a" / "b" / f"f{number}").write_bytes(b"%08d" % number)
    (folder / "top").write_bytes(b"top")
    (tmp_path / "outside").write_bytes(b"outside!")
    return folder


@pytest.fixture
def files(root: Path) -> Iterator[SmallFiles]:
    with Folder.open(str(root)) as folder, Walker(folder) as walker, SmallFiles(walker) as found:
        yield found


def test_files_of_any_directory_are_read_in_any_order(files: SmallFiles) -> None:
    wanted = {b"a/b/f%d" % number: b"%08d" % number for number in range(8)} | {b"top": b"top", b"./a/b/f1": b"00000001"}
    for path in [*wanted, *reversed(wanted)]:
        assert files.content(path, len(wanted[path])) == wanted[path]


@pytest.mark.parametrize("listed", [False, True], ids=["asked for one by one", "listed"])
def test_what_is_not_a_file_of_this_size_in_its_place_gives_nothing(
    files: SmallFiles, root: Path, *, listed: bool
) -> None:
    folder = root / "a" / "b"
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("../../../outside")
    (folder / "loop").symlink_to("loop")
    (folder / "directory").mkdir()
    (root / "away").symlink_to("..")
    if listed:
        assert all(files.content(b"a/b/f%d" % number, 8) for number in range(8))
    for name in (b"f1x", b"pipe", b"link", b"loop", b"directory", b"", b".", b"..", b"f1\0", b"gone"):
        assert files.content(b"a/b/" + name, 8) is None
    for path in (b"away/outside", b"../outside", b"a/../../outside", b"/../outside", b"a/b/link/x", b"\0/f1"):
        assert files.content(path, 8) is None
    for size in (0, 7, 9):
        assert files.content(b"a/b/f1", size) is None
    assert files.content(b"a/b/f1", 8) == b"00000001"


def test_a_directory_is_asked_once_for_many_files(
    files: SmallFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def counted(*given: Any, **more: Any) -> Any:
            calls.append(name)
            return real(*given, **more)

        return counted

    for name in ("stat", "scandir"):
        monkeypatch.setattr(os, name, counting(name))
    for _ in range(10):
        assert all(files.content(b"a/b/f%d" % number, 8) for number in range(8))
    assert calls.count("scandir") == 1
    assert calls.count("stat") <= 3


def test_access_times_stay(files: SmallFiles, root: Path) -> None:
    paths = [root / "a", root / "a" / "b", *(root / "a" / "b").iterdir()]
    for path in paths:
        os.utime(path, ns=(1, 2))
    assert all(files.content(b"a/b/f%d" % number, 8) for number in range(8))
    assert {path.stat().st_atime_ns for path in paths} == {1}
