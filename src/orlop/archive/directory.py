"""The members of a layout that lies unpacked in a directory. Nothing outside of it is ever opened."""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orlop.archive.located import Window
from orlop.archive.members import ENTRANCES, Member, Members
from orlop.errors import InvalidArchive
from orlop.intake.taking import L
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.intake.taking import Taking
    from orlop.store.blobs.ingest import Readable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO in place of a file must not make the reader wait.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryMembers(Members[L]):
    """The files below a directory; content is read only when it is asked for.

    Symbolic links lead to other files of the same directory, as in a tar; those that lead out of it are not followed.
    """

    parallel = True

    def __init__(self, path: str, taking: Taking[L]) -> None:
        super().__init__(taking)
        self._path = path
        self._outside: dict[str, str] = {}
        with explaining("open", path):
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with explaining("read", path):
                self._check_entrance()
                self._walk()
            self._check_links()
        except BaseException:
            self.close()
            raise

    def _check_entrance(self) -> None:
        """Look at nothing else in a directory that is not a layout, which may be large. Raises `InvalidArchive`."""
        if not any(self._is_there(name) for name in ENTRANCES):
            entrances = f"{', '.join(ENTRANCES[:-1])} nor {ENTRANCES[-1]}"
            msg = f"{self._path} is a directory, but not an image layout: it has neither {entrances}"
            raise InvalidArchive(msg)

    def _is_there(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._root, follow_symlinks=False)
            return True
        return False

    def _walk(self) -> None:
        folders = [""]
        seen = 0
        while folders:
            folder = folders.pop()
            # Each folder on the way to it is opened.
            self.count_values(folder.count("/"))
            descriptor = self._open_below(folder, _DIRECTORY) if folder else os.dup(self._root)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        seen += 1
                        self._check_count(seen)
                        name = self._key(posixpath.join(folder, entry.name))
                        if entry.is_dir(follow_symlinks=False):
                            self.count_bytes(len(name))
                            folders.append(name)
                        elif entry.is_symlink():
                            self._note_link(name, os.readlink(entry.name, dir_fd=descriptor))
                        elif entry.is_file(follow_symlinks=False):
                            size = entry.stat(follow_symlinks=False).st_size
                            self._add(name, Member(size=size), lambda _: True)
            finally:
                os.close(descriptor)

    def _note_link(self, name: str, target: str) -> None:
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), target))
        climbs = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)).split("/")[0] == ".."
        if target.startswith("/") or climbs:
            self.count_bytes(len(name) + len(target))
            self._outside[name] = target
        else:
            self._add(name, Member(target=path.lstrip("/")), lambda _: True)
            self._note_way(name, path.lstrip("/"), posixpath.dirname(name), target)

    def _target(self, key: str) -> str | None:
        return self._outside.get(key) or super()._target(key)

    def missing(self, name: str, *, what: str) -> InvalidArchive:
        """Return the error for a name that leads to no file, see `Members.missing`."""
        target = self._outside.get(self._key(name))
        if target is None:
            return super().missing(name, what=what)
        msg = f"{what} {name!r} in {self._path} is a link to {target!r}, outside of it; it is not followed"
        return InvalidArchive(msg)

    def _open_below(self, name: str, flags: int) -> int:
        """Open a file or folder, from folder to folder, so that no link on the way is followed."""
        *folders, last = name.split("/")
        descriptor = os.dup(self._root)
        try:
            for folder in folders:
                above, descriptor = descriptor, os.open(folder, _DIRECTORY, dir_fd=descriptor)
                os.close(above)
            return os.open(last, flags, dir_fd=descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _reading(self, member: Member[L], key: str) -> Iterator[Readable]:  # noqa: ARG002 - the file says it
        path = os.path.join(self._path, key)
        with explaining("read", path):
            descriptor = self._open_below(key, _FILE)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                msg = f"{path} is no longer a file; the directory has changed while it was read"
                raise InvalidArchive(msg)
            yield self.meter.counted(Window(descriptor, 0, None))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the directory."""
        super().close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1
