"""The small files of a layer beside its members, those of the next ones being read by another process meanwhile.

Theory of operation. Python reads one file at a time, however many threads there are: what it costs is calls, not
waiting. So a second process helps, `orlop.foreign.small_files` as a program. It is begun when a layer turns out to have
thousands of small files, and gets the directories as descriptors, opened here. It has one run of members in hand at any
time, and is asked for the contents before it gets the next one: neither end can wait for the other to make room.

It is a convenience. Where there is one processor, or no program to run, or whatever fails, files are read here; a
content that nobody has read is left to the caller. It ends with this object, or with this process, however that ends.
"""

from __future__ import annotations

import marshal
import os
import socket
import subprocess
import sys
from itertools import compress
from typing import TYPE_CHECKING, Final

from orlop.errors import RootDamaged
from orlop.foreign import small_files
from orlop.foreign.disk import parts_of
from orlop.foreign.small_files import LENGTH, Reader, received
from orlop.foreign.tarsplit import Run
from orlop.model.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.foreign.disk import Folder, Walker
    from orlop.foreign.small_files import Wanted
    from orlop.foreign.tarsplit import Content, Segment

SMALL: Final = 128 << 10
"""The bytes up to which a file is a small one."""
# What is held of contents at a time, and of directories: a process may have about a thousand open.
_HELD: Final = 2 << 20
_DIRECTORIES: Final = 100
# A layer with fewer is done before a process has begun.
_MANY: Final = 5000
# Seconds in which so much is read, even from a slow disk: whoever stops the other process does not stop this one.
_PATIENCE: Final = 60


class Ahead(Closing):
    """Reads the small files of a layer. Leaving the block ends the other process, if there is one.

    Args:
        walker: opens the directories, and stays the caller's to close.
    """

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._reader = Reader()
        self._helper: _Helper | None = None
        self._left = _MANY if _may_have_helper() else sys.maxsize
        self._awaited = 0
        self._found: list[bytes | None] = []

    def filled(
        self, parts: Iterable[Run | Segment | Content]
    ) -> Iterator[tuple[Run | Segment | Content, list[bytes | None]]]:
        """Yield parts, and with each run the contents of its small files, in their order; nothing for one not read."""
        before: Run | Segment | Content | None = None
        for part in _in_pieces(parts):
            found = self._answer()
            self._ask(part)
            if before is not None:
                yield before, found
            before = part
        if before is not None:
            yield before, self._answer()

    def _ask(self, part: Run | Segment | Content) -> None:
        """Have the small files of a run read."""
        wanted = list(_by_directory(part)) if isinstance(part, Run) else []
        if not wanted:
            return
        self._awaited = sum(len(names) for _, names, _ in wanted)
        self._left -= self._awaited
        if self._left < 0 and self._helper is None:
            self._left = sys.maxsize
            self._helper = _begun()
        try:
            if self._helper is not None:
                self._helper.ask(self._folders(wanted))
            else:
                for folder, one in self._folders(wanted):
                    self._found += self._reader.contents(folder.descriptor, one)
        except (OSError, RootDamaged):
            self.close()

    def _folders(self, wanted: list[Wanted]) -> Iterator[tuple[Folder, Wanted]]:
        """Yield the directories, up to the first that cannot be opened: without it the layer ends there anyway."""
        for one in wanted:
            path = parts_of(one[0] + b"/-")
            if path is None:
                return
            try:
                folder = self._walker.folder(path[:-1])
            except RootDamaged:
                return
            yield folder, one

    def _answer(self) -> list[bytes | None]:
        """Return the contents that were asked for last."""
        found, self._found = self._found, []
        count, self._awaited = self._awaited, 0
        if self._helper is not None and count:
            try:
                found = self._helper.answer()
            except (OSError, EOFError, ValueError):
                self.close()
        return found + [None] * (count - len(found))

    def close(self) -> None:
        """End the other process."""
        if self._helper is not None:
            self._helper.close()
        self._helper = None


class _Helper:
    """The other process, and this end of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection

    def ask(self, wanted: Iterable[tuple[Folder, Wanted]]) -> None:
        """Send requests, and a question for the answer to all of them.

        Raises OSError, or RootDamaged where a directory cannot be held; then it has to be closed.
        """
        folders: list[Folder] = []
        files: list[Wanted] = []
        try:
            for folder, one in wanted:
                folders.append(folder.copy())
                files.append(one)
                if len(folders) == _DIRECTORIES:
                    self._send(folders, files)
            self._send(folders, files)
            self._connection.sendall(bytes(LENGTH))
        finally:
            for folder in folders:
                folder.close()

    def _send(self, folders: list[Folder], files: list[Wanted]) -> None:
        """Send a request, and forget it."""
        if not folders:
            return
        data = marshal.dumps(files)
        begin = len(data).to_bytes(LENGTH, "little")
        # So few bytes are sent at once.
        socket.send_fds(self._connection, [begin], [folder.descriptor for folder in folders])
        self._connection.sendall(data)
        while folders:
            folders.pop().close()
        files.clear()

    def answer(self) -> list[bytes | None]:
        """Return the contents. Raises OSError, EOFError."""
        length = int.from_bytes(received(self._connection, 2 * LENGTH), "little")
        found: list[bytes | None] = marshal.loads(received(self._connection, length))  # noqa: S302 - of our own process
        return found

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _may_have_helper() -> bool:
    """Return whether a second process would run beside this one, and there is a Python to run it."""
    return len(os.sched_getaffinity(0)) > 1 and os.path.basename(sys.executable or "").startswith("python")


def _begun() -> _Helper | None:
    """Begin the other process; nothing is returned where that fails."""
    try:
        ours, theirs = socket.socketpair()
    except OSError:
        return None
    ours.settimeout(_PATIENCE)
    theirs.setblocking(True)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", small_files.__file__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                return None
            raise
    return _Helper(process, ours)


def _by_directory(run: Run) -> Iterator[Wanted]:
    """Yield the small files of a run, those that follow one another in a directory together."""
    paths, sizes = run.names, run.stored
    if min(sizes) == 0 or max(sizes) > SMALL:
        are_small = [0 < size <= SMALL for size in sizes]
        paths, sizes = list(compress(paths, are_small)), list(compress(sizes, are_small))
    begin, above = 0, b""
    names: list[bytes] = []
    for number, path in enumerate(paths):
        folder, _, name = path.rpartition(b"/")
        if folder != above:
            if names:
                yield above, names, sizes[begin:number]
            begin, above, names = number, folder, []
        names.append(name)
    if names:
        yield above, names, sizes[begin:]


def _in_pieces(parts: Iterable[Run | Segment | Content]) -> Iterator[Run | Segment | Content]:
    """Yield parts, and runs in pieces whose small files may be held at once."""
    for part in parts:
        if isinstance(part, Run):
            yield from _pieces(part)
        else:
            yield part


def _pieces(run: Run) -> Iterator[Run]:
    most = max(run.stored)
    small = run.stored if most <= SMALL else [size for size in run.stored if size <= SMALL]
    if len(run.names) == 1 or sum(small) <= _HELD:
        yield run
        return
    middle = len(run.names) // 2
    yield from _pieces(run.some(0, middle))
    yield from _pieces(run.some(middle, len(run.names)))
