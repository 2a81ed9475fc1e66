"""Small files of a layer, read as fast as the kernel gives them.

Theory of operation. A layer may have a hundred thousand files of a few hundred bytes. What it costs to read one is then
not its bytes but the calls, of the kernel and of Python, so that there is a short way for files that are as they must
be: regular, of the size that is wanted, in a directory that can be opened. Whatever is otherwise in any respect is
left to `orlop.foreign.disk`, which looks again, and says what is wrong.

The rules of that module hold here, too: names are opened below a descriptor, one at a time, links are not followed, and
nothing is opened that is not known to be a regular file. A directory tells the types of its names when it is listed, so
that those of which several files are wanted are listed once, instead of a question for each file.
"""

from __future__ import annotations

import os
import stat
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import RootDamaged
from orlop.foreign.disk import FILE_FLAGS, close, parts_of

if TYPE_CHECKING:
    from orlop.foreign.disk import Folder, Walker

_FLAGS: Final = FILE_FLAGS | os.O_NOFOLLOW | os.O_NOATIME
# To list a directory costs about as much as to ask for three files.
_PATIENCE: Final = 3
_NAMES: Final = 20_000


class SmallFiles:
    """Reads files by their paths in a tar; quick where one comes after another of the same directory.

    Args:
        walker: opens the directories, and stays the caller's to close.
    """

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._above: bytes | None = None
        self._folder: Folder | None = None
        self._descriptor = -1
        self._asked = 0
        self._regular: frozenset[bytes] | None = None

    def content(self, path: bytes, size: int) -> bytes | None:
        """Return all bytes of a regular file of this size; nothing where that is not what is there, or is not sure."""
        above, _, name = path.rpartition(b"/")
        if above != self._above:
            self._enter(above)
        if self._descriptor < 0 or not self._is_regular(name):
            return None
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=self._descriptor)
        except OSError:
            return None
        try:
            state = os.fstat(descriptor)
            is_wanted = state.st_size == size and stat.S_ISREG(state.st_mode)
            data = os.read(descriptor, size) if is_wanted else b""
        except OSError:
            return None
        finally:
            close(descriptor)
        return data if is_wanted and len(data) == size else None

    def _is_regular(self, name: bytes) -> bool:
        if self._regular is not None:
            return name in self._regular
        self._asked += 1
        if self._asked == _PATIENCE:
            self._regular = self._listed()
        if name in {b"", b".", b".."} or b"\0" in name:
            return False
        try:
            state = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(state.st_mode)

    def _listed(self) -> frozenset[bytes] | None:
        """Return the names of all regular files of a directory; nothing where there are too many to hold."""
        try:
            with os.scandir(self._descriptor) as entries:
                found = list(islice(entries, _NAMES + 1))
                if len(found) > _NAMES:
                    return None
                return frozenset(os.fsencode(one.name) for one in found if one.is_file(follow_symlinks=False))
        except OSError:
            return None

    def _enter(self, above: bytes) -> None:
        self.close()
        self._above, self._asked, self._regular = above, 0, None
        path = parts_of(above + b"/-")
        if path is None:
            return
        try:
            self._folder = self._walker.folder(path[:-1]).copy()
        except RootDamaged:
            return
        self._descriptor = self._folder.descriptor

    def close(self) -> None:
        """Let go of the directory."""
        if self._folder is not None:
            self._folder.close()
        self._folder, self._descriptor = None, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
