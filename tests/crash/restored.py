"""A folder that is made what it was, again and again, with little work: only what has changed in it is written anew.

What has changed the kernel says: every change of a file, of its mode or of a directory's names moves the time of its
change (``st_ctime``), which no program can set. That clock goes in steps of a few milliseconds, so a file that was
written just before it was looked at is compared byte by byte the next time.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_STEP: Final = 50_000_000
"""Nanoseconds, more than a step of the clock."""


class _Kept(NamedTuple):
    """What has a name in the folder as it should be: its mode with its kind, its time, and its bytes."""

    mode: int
    modified: int
    content: bytes


class _Seen(NamedTuple):
    """What had a name when the copy was last as it should be; ``settled``: a later change would show."""

    inode: int
    mode: int
    changed: int
    settled: bool


class Restored:
    """A copy of a folder of small files and directories, with their modes and times.

    Args:
        source: the folder; it is read once.
        target: where the copy is, or will be.
        anew: the names of files that are always written anew: what is changed through memory shows no time.
    """

    def __init__(self, source: Path, target: Path, *, anew: Collection[str]) -> None:
        self._target = str(target)
        self._anew = anew
        self._kept = {
            path: _Kept(state.st_mode, state.st_mtime_ns, b"" if stat.S_ISDIR(state.st_mode) else _read(full))
            for path, full, state in _walked(str(source))
        }
        self._seen: dict[str, _Seen] = {}

    def restore(self) -> None:
        """Make the copy what it should be."""
        there = dict(self._sorted_out()) if os.path.lexists(self._target) else {}
        made = [path for path, kept in self._kept.items() if not self._is_right(path, kept, there.get(path))]
        for path in made:
            self._make(path, self._kept[path])
        # What was written into a directory moved its time.
        touched = {*made, *(path.rpartition("/")[0] for path in made if path)}
        for path in sorted(touched, reverse=True):
            kept, full = self._kept[path], self._full(path)
            os.utime(full, ns=(kept.modified, kept.modified))
            self._see(path, os.lstat(full))

    def _sorted_out(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what is there and may be right; remove everything else."""
        gone = "\0"
        for path, full, state in _walked(self._target):
            if path.startswith(gone):
                continue
            kept = self._kept.get(path)
            if kept is not None and stat.S_IFMT(kept.mode) == stat.S_IFMT(state.st_mode):
                yield path, state
            elif stat.S_ISDIR(state.st_mode):
                shutil.rmtree(full)
                gone = f"{path}/"
            else:
                Path(full).unlink()

    def _is_right(self, path: str, kept: _Kept, state: os.stat_result | None) -> bool:
        seen = self._seen.get(path)
        if state is None or seen is None or seen[:3] != (state.st_ino, state.st_mode, state.st_ctime_ns):
            return False
        if stat.S_ISDIR(kept.mode):
            return True  # what is in it is looked at by itself
        if path.rpartition("/")[2] in self._anew:
            return False
        if not seen.settled:
            if _read(self._full(path)) != kept.content:
                return False
            self._see(path, state)
        return True

    def _make(self, path: str, kept: _Kept) -> None:
        made = Path(self._full(path))
        if stat.S_ISDIR(kept.mode):
            made.mkdir(parents=True, exist_ok=True)
        else:
            # Another file: a process that has the old one open must not see it change.
            made.unlink(missing_ok=True)
            made.write_bytes(kept.content)
        made.chmod(stat.S_IMODE(kept.mode))

    def _see(self, path: str, state: os.stat_result) -> None:
        settled = state.st_ctime_ns < time.time_ns() - _STEP
        self._seen[path] = _Seen(state.st_ino, state.st_mode, state.st_ctime_ns, settled)

    def _full(self, path: str) -> str:
        return f"{self._target}/{path}" if path else self._target


def _walked(top: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the paths below a folder, with itself as an empty one: where it lies, and its state; parents come first."""
    yield "", top, os.lstat(top)
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        entries = []
        # Its reader may have removed it.
        with suppress(FileNotFoundError), os.scandir(f"{top}/{parent}") as found:
            entries = [*found]
        for entry in entries:
            path, state = f"{parent}{entry.name}", entry.stat(follow_symlinks=False)
            yield path, entry.path, state
            if stat.S_ISDIR(state.st_mode):
                waiting.append(f"{path}/")


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
