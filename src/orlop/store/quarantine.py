"""What a repair has set aside: files that are not what they should be, kept until somebody removes them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.store.root import QUARANTINE
from orlop.streams.files import SHARED, explaining, fsync_directory, make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.streams.files import Modes

_LONGEST: Final = 100


class Quarantine:
    """The directory ``quarantine`` of a store; it is made when it is first needed.

    What is taken keeps its name as the first part of a new one, so that people see what it was. The caller holds the
    write lock while it takes or gives back.
    """

    def __init__(self, root: str, modes: Modes) -> None:
        self.path = os.path.join(root, QUARANTINE)
        self._root = root
        self._modes = modes
        self._touched: set[str] = set()

    def take(self, path: str) -> str:
        """Move a file, or whatever is there, into the quarantine, and give its path there."""
        with explaining("move aside", path):
            self._make()
            name = os.path.relpath(path, self._root).replace("/", "-")[:_LONGEST]
            target = os.path.join(self.path, f"{name}.{os.urandom(4).hex()}")
            os.rename(path, target)
        self._touched |= {self.path, os.path.dirname(path)}
        return target

    def keep(self, path: str, descriptor: int | None = None) -> str:
        """Put a copy of a file into the quarantine, on disk, and return its path there; the file stays.

        Where the caller has it open as ``descriptor`` it is read by that alone: closing another one would end locks.
        """
        with explaining("keep a copy of", path):
            self._make()
            target = os.path.join(self.path, f"{os.path.basename(path)[:_LONGEST]}.{os.urandom(4).hex()}")
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if descriptor is None else descriptor
            made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._modes.file)
            try:
                with open(made, "wb") as file:
                    at = 0
                    while chunk := os.pread(source, 1 << 20, at):
                        file.write(chunk)
                        at += len(chunk)
                    file.flush()
                    os.fsync(made)
            except BaseException:
                os.unlink(target)
                raise
            finally:
                if descriptor is None:
                    os.close(source)
        self._touched |= {self.path, self._root}
        return target

    def give_back(self, path: str, target: str) -> None:
        """Put a file where content lies, from the quarantine or from elsewhere in the store; its bytes are on disk."""
        with explaining("move", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(descriptor, self._modes.content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(path, target)
            self._touched |= {os.path.dirname(path), os.path.dirname(target)}
            self.sync()

    def sync(self) -> None:
        """Put the names of what was moved on disk."""
        touched, self._touched = self._touched, set()
        for directory in touched:
            with explaining("write", directory), suppress(FileNotFoundError):
                fsync_directory(directory)

    def names(self) -> list[str]:
        """Give the names of what is there, sorted."""
        with explaining("read", self.path), suppress(FileNotFoundError, NotADirectoryError):
            return sorted(os.listdir(self.path))
        return []

    def remove(self, names: Iterable[str]) -> None:
        """Remove some of what is there for good; what is gone already is fine."""
        import shutil  # noqa: PLC0415 - as above

        for name in names:
            path = os.path.join(self.path, name)
            with explaining("remove", path), suppress(FileNotFoundError):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)

    def copy_to(self, root: str) -> None:
        """Put a copy of all files and links that are there into a store in the making; pipes and sockets stay."""
        if not self.names():
            return
        import shutil  # noqa: PLC0415 - few stores have anything there

        target = os.path.join(root, QUARANTINE)
        with explaining("write", target):
            shutil.copytree(self.path, target, symlinks=True, ignore=_special, copy_function=_copy)
            os.chmod(target, self._modes.directory)
            for folder, _, _ in os.walk(target, onerror=_raise):
                fsync_directory(folder)

    def _make(self) -> None:
        make_directory(self.path, self._modes.directory)
        if self._modes is SHARED:
            # Its mode lets what is made in it belong to the group; itself it got the group of the store.
            with suppress(PermissionError):
                os.chown(self.path, -1, os.stat(self._root).st_gid)


def _copy(source: str, target: str) -> None:
    import shutil  # noqa: PLC0415 - as above

    shutil.copy2(source, target)
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


def _special(folder: str, names: list[str]) -> list[str]:
    """Give those of some names that are neither files, directories nor links."""
    kinds = {name: stat.S_IFMT(os.lstat(os.path.join(folder, name)).st_mode) for name in names}
    return [name for name, kind in kinds.items() if kind not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}]
