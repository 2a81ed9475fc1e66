"""A folder that is made what it was is just that, whatever was done to it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.crash.restored import Restored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def tree(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what is in a folder, with modes and times."""
    return {
        str(path.relative_to(top)): (path.lstat().st_mode, path.lstat().st_mtime_ns, _content(path))
        for path in [top, *top.rglob("*")]
    }


def _content(path: Path) -> bytes:
    return b"" if path.is_dir() else path.read_bytes()


def hidden(path: Path) -> None:
    """Change a file, and leave its size and its time."""
    state = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "other bytes": lambda top: (top / "a" / "one").write_bytes(b"other"),
    "other bytes of the same size and time": lambda top: hidden(top / "a" / "one"),
    "another mode": lambda top: (top / "a" / "one").chmod(0o640),
    "another mode of a folder": lambda top: (top / "a").chmod(0o711),
    "a file more": lambda top: (top / "a" / "more").write_bytes(b"x"),
    "a folder more": lambda top: shutil.copytree(top / "a", top / "more"),
    "a file less": lambda top: (top / "a" / "b" / "two").unlink(),
    "a folder less": lambda top: shutil.rmtree(top / "a"),
    "all less": shutil.rmtree,
    "a link for a file": lambda top: replaced(top / "a" / "one", lambda path: path.symlink_to("b/two")),
    "a link for a folder": lambda top: replaced(top / "a" / "b", lambda path: path.symlink_to("..")),
    "a folder for a file": lambda top: replaced(top / "a" / "one", lambda path: path.mkdir()),
    "a file for a folder": lambda top: replaced(top / "a", lambda path: path.write_bytes(b"x")),
    "another name": lambda top: (top / "a").rename(top / "z"),
    "names exchanged": lambda top: [
        (top / "a" / "one").rename(top / "t"),
        (top / "a" / "b" / "two").rename(top / "a" / "one"),
        (top / "t").rename(top / "a" / "b" / "two"),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_is_as_it_was(tmp_path: Path, change: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a" / "b").mkdir(parents=True)
    (source / "empty").mkdir(mode=0o700)
    for name, mode in (("a/one", 0o600), ("a/b/two", 0o400), ("log", 0o600)):
        (source / name).write_bytes(name.encode())
        (source / name).chmod(mode)
    restored = Restored(source, target, anew=("log",))
    restored.restore()
    # At once, and again: what was written just before shows no other time.
    for _ in range(3):
        assert tree(target) == tree(source)
        CHANGES[change](target)
        restored.restore()
    assert tree(target) == tree(source)
