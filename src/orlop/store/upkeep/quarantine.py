"""What a repair has set aside: files that are not what they should be, kept until somebody removes them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.store.trust import QUARANTINE
from orlop.streams.directory import permissions
from orlop.streams.files import CHUNK, SHARED, explaining

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.store.files import LocalFiles
    from orlop.streams.directory import Directory, Entry

_LONGEST: Final = 100
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Quarantine:
    """The directory ``quarantine`` of a store; it is made when it is first needed.

    What is taken keeps its name as the first part of a new one, so that people see what it was. The caller holds the
    write lock while it takes or gives back.
    """

    def __init__(self, files: LocalFiles) -> None:
        self._root = files.directory
        self._path = self._root.at(QUARANTINE).path
        self._modes = files.modes
        self._touched: set[str] = set()

    def take(self, file: Entry) -> str:
        """Move a file, or whatever is there, into the quarantine, and return its path there."""
        with explaining("move aside", file.path):
            self._make()
            name = (f"{file.folder}/{file.name}" if file.folder else file.name).replace("/", "-")[:_LONGEST]
            target = self._root.place(f"{QUARANTINE}/{name}.{os.urandom(4).hex()}")
            file.rename(target)
        self._touched |= {QUARANTINE, file.folder}
        return target.path

    def keep(self, file: Entry, descriptor: int | None = None) -> str:
        """Put a copy of a file into the quarantine, on disk, and return its path there; the file stays.

        Where the caller has it open as ``descriptor`` it is read by that alone: closing another one would end locks.
        """
        with explaining("keep a copy of", file.path):
            self._make()
            target = self._root.place(f"{QUARANTINE}/{file.name[:_LONGEST]}.{os.urandom(4).hex()}")
            source = file.open() if descriptor is None else descriptor
            made = target.open(_NEW, self._modes.file)
            try:
                with open(made, "wb") as copy:
                    at = 0
                    while chunk := os.pread(source, CHUNK, at):
                        copy.write(chunk)
                        at += len(chunk)
                    copy.flush()
                    os.fsync(made)
            except BaseException:
                target.unlink()
                raise
            finally:
                if descriptor is None:
                    os.close(source)
        self._touched |= {QUARANTINE, file.folder}
        return target.path

    def give_back(self, file: Entry, target: Entry) -> None:
        """Put a file where content lies, from the quarantine or from elsewhere in the store; its bytes are on disk."""
        with explaining("move", file.path):
            file.set_mode(self._modes.content)
            file.sync()
            file.rename(target)
            self._touched |= {file.folder, target.folder}
            self.sync()

    def sync(self) -> None:
        """Put the names of what was moved on disk."""
        touched, self._touched = self._touched, set()
        for folder in touched:
            with explaining("write", os.path.join(self._root.path, folder)), suppress(FileNotFoundError):
                (self._root.room(folder) if folder else self._root).sync()

    def names(self) -> list[str]:
        """Return the names of what is there, sorted."""
        with explaining("read", self._path), suppress(FileNotFoundError):
            return (self._root / QUARANTINE).names()
        return []

    def files(self) -> list[Entry]:
        """Return what is there, sorted by its names."""
        return [self._root.place(f"{QUARANTINE}/{name}") for name in self.names()]

    def remove(self, names: Iterable[str]) -> None:
        """Remove some of what is there for good; what is gone already is fine."""
        import shutil  # noqa: PLC0415 - few looks remove anything

        for name in names:
            file = self._root.place(f"{QUARANTINE}/{name}")
            with explaining("remove", file.path), suppress(FileNotFoundError):
                state = file.state()
                if state is not None and stat.S_ISDIR(state.st_mode):
                    directory = file.directory
                    shutil.rmtree(name, dir_fd=directory.descriptor)
                else:
                    file.unlink()

    def copy_to(self, root: Directory) -> None:
        """Put a copy of all files and links that are there into a store in the making; pipes and sockets stay."""
        if not self.names():
            return
        with explaining("write", root.at(QUARANTINE).path):
            waiting = [(self._root / QUARANTINE, root.make(QUARANTINE, self._modes.directory))]
            while waiting:
                source, target = waiting.pop()
                for name, state in source.states():
                    if stat.S_ISDIR(state.st_mode):
                        target.make(name, permissions(state) | (state.st_mode & stat.S_ISGID))
                        waiting.append((source.below(name), target.below(name)))
                    elif stat.S_ISREG(state.st_mode):
                        _copy(source.at(name), target.at(name))
                    elif stat.S_ISLNK(state.st_mode):
                        os.symlink(os.readlink(name, dir_fd=source.descriptor), name, dir_fd=target.descriptor)
                target.sync()

    def _make(self) -> None:
        made = self._root.make(QUARANTINE, self._modes.directory)
        if self._modes is SHARED:
            # Its mode lets what is made in it belong to the group; itself it got the group of the store.
            with suppress(PermissionError):
                os.fchown(made.descriptor, -1, self._root.state().st_gid)


def _copy(source: Entry, target: Entry) -> None:
    """Copy a file with its permissions and its times, durably."""
    import shutil  # noqa: PLC0415 - few stores have anything there

    with os.fdopen(source.open(), "rb") as read, os.fdopen(target.open(_NEW), "wb") as written:
        shutil.copyfileobj(read, written)
        written.flush()
        state = os.fstat(read.fileno())
        os.fchmod(written.fileno(), permissions(state))
        os.utime(written.fileno(), ns=(state.st_atime_ns, state.st_mtime_ns))
        os.fsync(written.fileno())
