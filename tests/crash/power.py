"""A disk that loses power: what may be there afterwards, given the system calls that were made until then.

What is promised is taken at its word, and nothing else: the bytes of a file are on disk after an ``fsync`` of the file,
a name after an ``fsync`` of its directory. Everything else may be there or not, and so may any part of it. Three things
hold of every journaling file system, and are relied on: the names of one directory reach the disk in order, a rename
never loses the file (it has its old name, its new one, or both), and what was on disk before is not harmed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.crash.stages import IMMATERIAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from tests.crash.calls import Call

SECTOR: Final = 512
_SIZE_ONLY: Final = 1
# What has no effect on a disk, or none that is looked at.
_SILENT: Final = frozenset(("flock", "close", "fchown", "fchownat", "chown", "sync_file_range", "ioctl"))


@dataclass(eq=False)
class File:
    """A file: what is on disk for sure, and each change since, with its time."""

    mode: int
    content: bytes = b""
    changes: list[_Change] = field(default_factory=list)


@dataclass(eq=False)
class Folder:
    """A directory: the names that are on disk for sure, and each change since, with its time."""

    mode: int
    names: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[tuple[int, str, File | Folder | None]] = field(default_factory=list)
    sure: int = 0

    def at(self, time: int) -> dict[str, File | Folder]:
        """Return the names as they were at a time."""
        names = dict(self.names)
        for when, name, target in self.changes:
            if when > time:
                break
            if target is None:
                names.pop(name, None)
            else:
                names[name] = target
        return names


@dataclass(frozen=True)
class _Change:
    """A write of data at a position, or where ``data`` is nothing, a new size."""

    position: int
    data: bytes | None


Tree = dict[str, tuple[int, bytes | None]]
"""Paths with their modes and contents; directories have none."""


class Loss:
    """What of the unsynced becomes lost: by default all of it."""

    name = "everything that was not synced"

    def names_until(self, folder: Folder, now: int) -> int:
        """Return until when the names of a directory are on disk."""
        del now
        return folder.sure

    def content(self, file: File) -> bytes:
        """Return what a file holds."""
        return file.content


class NoLoss(Loss):
    """Nothing is lost: what a killed process leaves."""

    name = "nothing"

    def names_until(self, folder: Folder, now: int) -> int:
        del folder
        return now

    def content(self, file: File) -> bytes:
        return _changed(file.content, file.changes)


class LostData(NoLoss):
    """Names are there, bytes that were not synced are not: files are short."""

    name = "unsynced bytes"

    def content(self, file: File) -> bytes:
        return file.content


class ZeroData(NoLoss):
    """Names and sizes are there, in the place of bytes that were not synced are zeros."""

    name = "unsynced bytes but for their number"

    def content(self, file: File) -> bytes:
        blank = [
            _Change(change.position, None if change.data is None else bytes(len(change.data)))
            for change in file.changes
        ]
        return _changed(file.content, blank)


class LostNames(NoLoss):
    """Bytes are there, names that were not synced are not."""

    name = "unsynced names"

    def names_until(self, folder: Folder, now: int) -> int:
        return Loss().names_until(folder, now)


class RandomLoss(Loss):
    """Each directory is of a moment of its own; of each file some writes are there, and some of these in part."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.name = "some of it"

    def names_until(self, folder: Folder, now: int) -> int:
        return self._chance.choice((folder.sure, now, self._chance.randint(folder.sure, now)))

    def content(self, file: File) -> bytes:
        how = self._chance.randrange(4)
        kept: list[_Change] = []
        for change in file.changes:
            if how == 0 or (how < 3 and self._chance.random() < 0.7):
                kept.append(change)
            elif how < 3 and change.data is not None and len(change.data) > SECTOR:
                # A write is torn where a sector ends.
                start, end = sorted(self._chance.randrange(len(change.data) // SECTOR + 1) * SECTOR for _ in range(2))
                kept.append(_Change(change.position + start, change.data[start:end]))
        return _changed(file.content, kept)


def _changed(content: bytes, changes: list[_Change]) -> bytes:
    made = bytearray(content)
    for change in changes:
        if change.data is None:
            del made[change.position :]
            made.extend(bytes(change.position - len(made)))
        elif change.data:
            made.extend(bytes(max(0, change.position - len(made))))
            made[change.position : change.position + len(change.data)] = change.data
    return bytes(made)


class Disk:
    """What lies below a directory, as far as it is known from its state at the start and the calls since."""

    def __init__(self, top: Path) -> None:
        self._top = str(top)
        self._root = Folder(top.stat().st_mode & 0o7777)
        self._now = 0
        # A rename between directories: when, from, to.
        self._moves: list[tuple[int, Folder, Folder]] = []
        # Who has no name any more may still be written to: by the last one it had.
        self._nameless: dict[str, File | Folder] = {}
        _read(self._root, top)

    def apply(self, call: Call) -> None:
        """Apply a call."""
        self._now += 1
        if call.name not in _SILENT:
            getattr(self, f"_{call.name}")(call)

    def tree(self, loss: Loss) -> Tree:
        """Return what is there when the power goes now, without the files whose content does not matter."""
        times = self._times(loss)
        found: Tree = {}
        waiting: list[tuple[str, File | Folder]] = [(".", self._root)]
        while waiting:
            path, node = waiting.pop()
            if isinstance(node, File):
                if not path.endswith(IMMATERIAL):
                    found[path] = (node.mode, loss.content(node))
            else:
                found[path] = (node.mode, None)
                names = node.at(times[id(node)])
                waiting += [(f"{path}/{name}", target) for name, target in names.items()]
        return found

    def _times(self, loss: Loss) -> dict[int, int]:
        folders = list(self._folders())
        times = {id(folder): max(folder.sure, loss.names_until(folder, self._now)) for folder in folders}
        changed = True
        while changed:
            changed = False
            for when, source, target in self._moves:
                # The old name goes no sooner than the new one comes.
                if times.get(id(source), 0) >= when > times.get(id(target), when):
                    times[id(target)] = when
                    changed = True
        return times

    def _folders(self) -> Iterator[Folder]:
        """Yield all directories that there are or were."""
        known: dict[int, Folder] = {}
        waiting: list[Folder] = [self._root]
        while waiting:
            folder = waiting.pop()
            if id(folder) in known:
                continue
            known[id(folder)] = folder
            yield folder
            nodes = [*folder.names.values(), *(target for _, _, target in folder.changes)]
            waiting += [node for node in nodes if isinstance(node, Folder)]

    # Names.

    def _find(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self._root
        inside = os.path.relpath(path, self._top)
        for part in () if inside == "." else inside.split("/"):
            if not isinstance(node, Folder):
                return None
            node = node.at(self._now).get(part)
        return node

    def _split(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        if not isinstance(folder, Folder):
            msg = f"{path} lies nowhere"
            raise AssertionError(msg)  # noqa: TRY004 - the model is wrong, not its user
        return folder, name

    def _put(self, path: str, node: File | Folder | None) -> None:
        folder, name = self._split(path)
        folder.changes.append((self._now, name, node))

    def _remove(self, path: str) -> None:
        node = self._find(path)
        if node is not None:
            self._nameless[f"{path} (deleted)"] = node
            self._put(path, None)

    def _openat(self, call: Call) -> None:
        node = self._find(call.path)
        if node is None:
            if call.flags & os.O_CREAT:
                self._put(call.path, File(call.mode))
        elif isinstance(node, File) and call.flags & os.O_TRUNC:
            node.changes.append(_Change(0, None))

    def _mkdir(self, call: Call) -> None:
        if self._find(call.path) is None:
            self._put(call.path, Folder(call.mode))

    def _rmdir(self, call: Call) -> None:
        node = self._find(call.path)
        if isinstance(node, Folder) and not node.at(self._now):
            self._remove(call.path)

    def _unlink(self, call: Call) -> None:
        if isinstance(self._find(call.path), File):
            self._remove(call.path)

    def _link(self, call: Call) -> None:
        node = self._find(call.path)
        if isinstance(node, File) and self._find(call.other) is None:
            self._put(call.other, node)

    def _rename(self, call: Call) -> None:
        node = self._find(call.path)
        there = self._find(call.other)
        if node is None or there is node or (isinstance(there, Folder) and there.at(self._now)):
            return
        source, target = self._split(call.path)[0], self._split(call.other)[0]
        self._remove(call.other)
        self._put(call.other, node)
        self._put(call.path, None)
        if source is not target:
            self._moves.append((self._now, source, target))

    # Content.

    def _file(self, call: Call) -> File | Folder:
        node = self._nameless.get(call.path) if call.path.endswith(" (deleted)") else self._find(call.path)
        if node is None:
            msg = f"{call} is about a file that nobody made"
            raise AssertionError(msg)
        return node

    def _write(self, call: Call) -> None:
        node = self._file(call)
        assert isinstance(node, File)
        assert len(call.data) == call.size
        node.changes.append(_Change(call.position, call.data))

    _pwrite64 = _write

    def _ftruncate(self, call: Call) -> None:
        node = self._file(call)
        assert isinstance(node, File)
        node.changes.append(_Change(call.size, None))

    def _fallocate(self, call: Call) -> None:
        node = self._file(call)
        assert isinstance(node, File)
        end = call.position + call.size
        if not call.mode & _SIZE_ONLY and len(_changed(node.content, node.changes)) < end:
            node.changes.append(_Change(end, None))

    def _fchmod(self, call: Call) -> None:
        self._file(call).mode = call.mode

    def _chmod(self, call: Call) -> None:
        node = self._find(call.path)
        if node is not None:
            node.mode = call.mode

    def _fsync(self, call: Call) -> None:
        node = self._file(call)
        if isinstance(node, Folder):
            node.names = node.at(self._now)
            node.changes = []
            node.sure = self._now
        else:
            node.content = _changed(node.content, node.changes)
            node.changes = []

    _fdatasync = _fsync


def _read(folder: Folder, path: Path) -> None:
    for entry in path.iterdir():
        mode = entry.stat().st_mode & 0o7777
        if entry.is_dir():
            below = folder.names[entry.name] = Folder(mode)
            _read(below, entry)
        else:
            folder.names[entry.name] = File(mode, entry.read_bytes())


def put_on_disk(tree: Tree, top: Path) -> None:
    """Make a tree real."""
    for path, (mode, content) in sorted(tree.items()):
        target = top / path
        if content is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(content)
        target.chmod(mode | (0o700 if content is None else 0))
