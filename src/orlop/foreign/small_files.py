"""Small files, read as fast as the kernel gives them; by another process too, which runs this file as a program.

Theory of operation. A layer may have a hundred thousand files of a few hundred bytes. What it costs to read one is then
not its bytes but the calls, of the kernel and of Python, so that there is a short way for files that are as they must
be: regular, of the size that is wanted, in a directory that is open. Whatever is otherwise in any respect is left to
`orlop.foreign.disk`, which looks again, and says what is wrong.

The rules of that module hold here, too: names are opened below a descriptor, one at a time, links are not followed, and
nothing is opened that is not known to be a regular file. A directory tells the types of its names when it is listed, so
that those of which several files are wanted are listed once, instead of a question for each file. What a name leads to
is not looked at again once it is open: were it another file by then, its bytes would be wrong, and those of the whole
layer are compared with a digest.

As a program it is given a socket for its input. It gets requests, a length and what `marshal` makes of a list of
`Wanted` each, with the descriptors of the directories; a length of 0 asks for all contents since the last answer. It
knows no paths, so that it can read nothing but what it is given, and ends with the other end of the socket, however
that ends. It imports nothing of this package: that would take longer than its work.
"""

from __future__ import annotations

import marshal
import os
import socket
import stat
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""How files are opened, beside what keeps links and access times out of it."""
LENGTH: Final = 4
"""How many bytes say how long a request is, and 8 an answer."""
_FLAGS: Final = FILE_FLAGS | os.O_NOFOLLOW
_QUIET_FLAGS: Final = _FLAGS | os.O_NOATIME
# To list a directory costs about as much as to ask for three files.
_PATIENCE: Final = 3
_NAMES: Final = 20_000
# A stranger's layer may go to and fro between large directories: each file that is wanted pays for so many names.
_PAID: Final = 8
_DIRECTORIES: Final = 250

# The path of a directory, by which it is known again, and the names and the sizes of files in it.
Wanted = tuple[bytes, list[bytes], list[int]]


class Reader:
    """Reads small files of directories that others have opened."""

    def __init__(self) -> None:
        self._path: bytes | None = None
        self._asked = 0
        self._is_listed = False
        self._regular: frozenset[bytes] | None = None
        self._room = _NAMES

    def contents(self, folder: int, wanted: Wanted) -> list[bytes | None]:
        """Return the bytes of each file; nothing for one that is not a regular file of its size, or may not be."""
        path, names, sizes = wanted
        if path != self._path:
            self._path, self._asked, self._is_listed, self._regular = path, 0, False, None
        self._asked += len(names)
        self._room += _PAID * len(names)
        if not self._is_listed and self._asked >= _PATIENCE:
            self._list(folder)
        if self._regular is not None and self._regular.issuperset(names):
            return _contents(folder, names, sizes)
        return [self._content(folder, name, size) for name, size in zip(names, sizes, strict=True)]

    def _list(self, folder: int) -> None:
        """List a directory, once, unless it has too many names."""
        most = min(self._room, _NAMES)
        if most > 0:
            self._is_listed = True
            names, self._regular = _regular_files(folder, most)
            self._room -= names

    def _content(self, folder: int, name: bytes, size: int) -> bytes | None:
        regular = self._regular
        if _is_regular(folder, name) if regular is None else name in regular:
            return _contents(folder, [name], [size])[0]
        return None


def _contents(folder: int, names: list[bytes], sizes: list[int]) -> list[bytes | None]:
    """Return the bytes of files that are regular ones; nothing for one of another size, or that cannot be read.

    None is asked for its size: whether it has one byte more is seen when it is read.
    """
    found: list[bytes | None] = []
    for name, size in zip(names, sizes, strict=True):
        data = None
        try:
            try:
                descriptor = os.open(name, _QUIET_FLAGS, dir_fd=folder)
            except PermissionError:  # of a file that is another user's
                descriptor = os.open(name, _FLAGS, dir_fd=folder)
            try:
                data = os.read(descriptor, size + 1)
            finally:
                os.close(descriptor)
        except OSError:
            pass
        found.append(data if data is not None and len(data) == size else None)
    return found


def _is_regular(folder: int, name: bytes) -> bool:
    if name in {b"", b".", b".."} or b"\0" in name:
        return False
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode)


def _regular_files(folder: int, most: int) -> tuple[int, frozenset[bytes] | None]:
    """Return how many names were read, and those of all regular files; nothing where there are too many to hold."""
    found = []
    try:
        with os.scandir(folder) as entries:
            found = list(islice(entries, most + 1))
            if len(found) > most:
                return len(found), None
            names = [one.name for one in found if one.is_file(follow_symlinks=False)]
            # No name has a zero in it.
            return len(found), frozenset(os.fsencode("\0".join(names)).split(b"\0") if names else ())
    except OSError:
        return len(found), None


def received(connection: socket.socket, size: int) -> bytes:
    """Return that many bytes. Raises `EOFError` where the other end has closed it."""
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _serve(connection: socket.socket) -> None:
    """Answer requests until the other end closes."""
    reader = Reader()
    found: list[bytes | None] = []
    while True:
        begin, folders, _, _ = socket.recv_fds(connection, LENGTH, _DIRECTORIES)
        if not begin:
            return
        length = int.from_bytes(begin + received(connection, LENGTH - len(begin)), "little")
        if not length:
            answer = marshal.dumps(found)
            found = []
            connection.sendall(len(answer).to_bytes(2 * LENGTH, "little"))
            connection.sendall(answer)
            continue
        requests: Iterable[Any] = marshal.loads(received(connection, length))  # noqa: S302 - of the process that began this one
        for folder, wanted in zip(folders, requests, strict=True):
            found += reader.contents(folder, wanted)
            os.close(folder)


if __name__ == "__main__":
    with socket.socket(fileno=0) as given:
        _serve(given)
