"""A directory that somebody else wrote, read without leaving a trace in it and without leaving it.

Theory of operation. Nothing below a foreign root is trusted, least of all its names: a root may come from a machine
that was broken into, or be made to attack whoever looks at it.

- The root is opened by the path that the user named, links included. Everything below it is opened one name at a time,
  relative to a descriptor, without following links (``O_NOFOLLOW``), so that no link and no ``..`` leads out of it.
- What is read is a regular file, by what ``lstat`` says before it is opened and ``fstat`` after. A pipe is never waited
  for (``O_NONBLOCK``), and a device is never opened.
- Nothing is written, and access times stay (``O_NOATIME``) wherever the kernel allows it: for the owner of a file and
  for root. Links are read only for what a container has changed, as that sets their access time.
- A document is read up to a limit, since its size is a stranger's choice.
- Whatever cannot be read below the root is `RootDamaged`, a disk's errors and a lack of permission too, so that the
  rest can be had all the same.

Directories are held open only as long as somebody uses them; a `Walker` keeps some on the way to the last file open,
because the files of a layer come in the order of its directories. A tree can be deeper than a process may hold files.
A disk can have more roots than that, too: a directory that is *parked* is opened anew for each use, by the way that led
to it, and is the same one or damaged. A process that may open no more is an error of its own, and no damage.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from orlop.errors import LimitExceeded, OrlopError, RootDamaged
from orlop.foreign.small_files import FILE_FLAGS
from orlop.model.closing import Closing
from orlop.streams.directory import kind_of
from orlop.streams.files import CHUNK, explained, explaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_NAMES: Final = frozenset({b"", b".", b".."})
DEEPEST: Final = 2048
"""How many directories lie above a file that can be named: a path of Linux has at most 4,096 bytes."""
# A process may hold about a thousand files.
_HELD: Final = 128
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})
_STRANGE: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR})


def go_on() -> None:
    """Do nothing: the check of work that nobody wants to end."""


class Folder(Closing):
    """A directory of a foreign root, held open. ``path`` is what messages call it. Leaving the block closes it."""

    __slots__ = ("_descriptor", "_way", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._way: _Way | None = None

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a directory that the user named, links followed. Raises StorageError."""
        with explaining("read", path):
            return cls(path, _open(path, _DIRECTORY, None))

    @property
    def descriptor(self) -> int:
        """The descriptor, which stays its own."""
        return self._descriptor

    def copy(self) -> Folder:
        """Return the same directory, to be closed by itself. Raises `RootDamaged` where it was parked, and is gone."""
        if self._way is not None:
            return self._way.opened(self.path)
        with reading(self.path):
            return Folder(self.path, os.dup(self._descriptor))

    def park(self, top: Folder) -> None:
        """Hold it open no longer; only what `copy` and `below` return can be used of it from now on.

        Args:
            top: a directory that stays open, from which this one was reached by names alone.
        """
        state = os.fstat(self._descriptor)
        self._way = _Way(top, self.names_below(top), (state.st_dev, state.st_ino))
        self.close()

    def names_below(self, top: Folder) -> tuple[str, ...]:
        """Return the names that lead here from a directory from which this one was reached by names alone."""
        return tuple(filter(None, self.path.removeprefix(top.path.rstrip("/")).split("/")))

    def below(self, *names: str) -> Folder:
        """Return a directory some names below this one.

        Raises:
            RootDamaged: a name is missing, leads to something else, or cannot be opened.
        """
        found = self.copy()
        for name in names:
            with found:
                found = found._step(name)  # noqa: SLF001 - of the same class
        return found

    def _step(self, name: str) -> Folder:
        try:
            return Folder(self.path_of(name), _open(_single(name), _DIRECTORY | os.O_NOFOLLOW, self._descriptor))
        except OSError as error:
            raise self._explained(error, name, "a directory") from error

    def there(self, *names: str) -> Folder | None:
        """Return a directory below this one, or nothing where there is none that can be opened."""
        try:
            return self.below(*names)
        except RootDamaged:
            return None

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, Folder]]:
        """Yield those of some names that are directories, each open until the next one is asked for."""
        for name in names:
            folder = self.there(name)
            if folder is not None:
                with folder:
                    yield name, folder

    def path_of(self, name: str) -> str:
        """Return the path of a name, for messages."""
        return f"{self.path.rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """Return the names of all that is there, sorted; none where it cannot be listed."""
        with suppress(RootDamaged):
            return self.all_names()
        return []

    def all_names(self) -> list[str]:
        """Return the names of all that is there, sorted. Raises `RootDamaged` where it cannot be listed."""
        with reading(self.path):
            descriptor = _open(".", _DIRECTORY, self._descriptor)
            try:
                return sorted(os.listdir(descriptor))
            finally:
                close(descriptor)

    def state(self, name: str) -> os.stat_result | None:
        """Return what has a name, links not followed; nothing where nothing has it, or it cannot be looked at."""
        try:
            return os.stat(_single(name), dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return None

    def is_directory(self, name: str) -> bool:
        """Return whether a name is that of a directory, and not of a link to one."""
        state = self.state(name)
        return state is not None and stat.S_ISDIR(state.st_mode)

    def is_link(self, name: str) -> bool:
        """Return whether a name is that of a link."""
        state = self.state(name)
        return state is not None and stat.S_ISLNK(state.st_mode)

    def open_file(self, name: str) -> tuple[int, int]:
        """Open a regular file, and return its descriptor and its size.

        Raises:
            RootDamaged: it is missing, not a regular file, or cannot be opened.
        """
        state = self.state(name)
        if state is None:
            raise RootDamaged(f"{self.path_of(name)} is missing")
        if not stat.S_ISREG(state.st_mode):
            raise RootDamaged(f"{self.path_of(name)} is {kind_of(state)}, not a file")
        try:
            descriptor = _open(name, FILE_FLAGS | os.O_NOFOLLOW, self._descriptor)
        except OSError as error:
            raise self._explained(error, name, "a file") from error
        try:
            return descriptor, _size_of(descriptor, self.path_of(name))
        except RootDamaged:
            close(descriptor)
            raise

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a document.

        Raises:
            RootDamaged: it is missing, not a regular file, or cannot be read. LimitExceeded: it has more bytes than
                the limit.
        """
        descriptor, size = self.open_file(name)
        try:
            with reading(self.path_of(name)):
                parts = []
                room = limit + 1
                while room and (part := os.read(descriptor, min(CHUNK, room))):
                    parts.append(part)
                    room -= len(part)
        finally:
            close(descriptor)
        if not room:
            raise LimitExceeded(f"{self.path_of(name)} has {size} bytes, more than the {limit} that are read of one")
        return b"".join(parts)

    def link(self, name: str) -> str:
        """Return where a link leads. Unless the disk is mounted read-only, its access time changes.

        Raises:
            RootDamaged: it cannot be read.
        """
        with reading(self.path_of(name)):
            return os.readlink(_single(name), dir_fd=self._descriptor)

    def attributes(self, name: str) -> dict[str, bytes]:
        """Return the extended attributes of a name, links not followed; none where the file system has none.

        Raises:
            RootDamaged: they cannot be read.
        """
        # There is no call that takes a descriptor and a name.
        path = f"/proc/self/fd/{self._descriptor}/{_single(name)}"
        with reading(self.path_of(name)):
            try:
                names = os.listxattr(path, follow_symlinks=False)
            except OSError as error:
                if error.errno == errno.ENOTSUP:
                    return {}
                raise
            return {one: os.getxattr(path, one, follow_symlinks=False) for one in names}

    def close(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _explained(self, error: OSError, name: str, wanted: str) -> RootDamaged:
        """Return what the kernel says of a name that does not lead to what is wanted."""
        path = self.path_of(name)
        state = self.state(name)
        if error.errno in _STRANGE and state is not None:
            return RootDamaged(f"{path} is {kind_of(state)}, not {wanted}")
        return unreadable(error, path)


class _Way(NamedTuple):
    """How a directory is found again: from where, by which names, and which one it has to be."""

    top: Folder
    names: tuple[str, ...]
    identity: tuple[int, int]

    def opened(self, path: str) -> Folder:
        """Return the directory. Raises `RootDamaged`."""
        found = self.top.below(*self.names)
        state = os.fstat(found.descriptor)
        if (state.st_dev, state.st_ino) != self.identity:
            found.close()
            raise RootDamaged(f"{path} is another directory than before")
        return found


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn every ``OSError`` of a block that reads something into `RootDamaged`."""
    try:
        yield
    except OrlopError:
        raise
    except OSError as error:
        raise unreadable(error, path) from error


def unreadable(error: OSError, path: str) -> RootDamaged:
    """Return the error for what cannot be read.

    Raises `StorageError` where nothing more can be opened: it is not the root that lacks something then.
    """
    if error.errno in _EXHAUSTED:
        raise explained(error, "open", path) from error
    if isinstance(error, FileNotFoundError):
        return RootDamaged(f"{path} is missing")
    return RootDamaged(f"{path} cannot be read: {os.strerror(error.errno or errno.EIO)}")


class Walker(Closing):
    """Opens files below a directory by their paths; quick where one comes after another of the same directory."""

    def __init__(self, folder: Folder) -> None:
        self._top = folder.copy()
        self._names: tuple[str, ...] = ()
        # The directories of these names, the last ones only where they are many.
        self._folders: list[Folder] = []

    def open_file(self, path: tuple[str, ...]) -> tuple[int, int]:
        """Open a regular file, see `Folder.open_file`; the path is given in its parts."""
        return self.folder(path[:-1]).open_file(path[-1])

    def folder(self, path: tuple[str, ...]) -> Folder:
        """Return a directory, which stays open until another one is asked for. Raises `RootDamaged`."""
        if path != self._names:
            self._go(path)
        return self._folders[-1] if self._folders else self._top

    def there(self, path: tuple[str, ...]) -> Folder | None:
        """Return a directory as `folder` does, or nothing where there is none that can be opened."""
        try:
            return self.folder(path)
        except RootDamaged:
            return None

    def _go(self, path: tuple[str, ...]) -> None:
        shared = 0
        for ours, theirs in zip(self._names, path, strict=False):
            if ours != theirs:
                break
            shared += 1
        self._leave(shared)
        for name in path[len(self._names) :]:
            self._folders.append((self._folders[-1] if self._folders else self._top).below(name))
            self._names += (name,)
            if len(self._folders) > _HELD:
                self._folders.pop(0).close()

    def _leave(self, depth: int) -> None:
        """Go up to a directory above, or to the top where that one is not held."""
        while self._folders and len(self._names) > depth:
            self._folders.pop().close()
            self._names = self._names[:-1]
        if not self._folders:
            self._names = ()

    def close(self) -> None:
        """Close all directories."""
        self._leave(0)
        self._top.close()


def files_below(folder: Folder, *, most: int) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    """Yield the path, in parts, and the state of everything below a directory that is not a directory itself.

    What cannot be read is passed over, and so is what lies more than `DEEPEST` directories deep. Raises
    `LimitExceeded` where there are more names than ``most``.
    """
    # The directories on the way to where it is, each with those in it that are still to come.
    waiting: list[tuple[tuple[str, ...], list[str]]] = [((), [""])]
    seen = 0
    with Walker(folder) as walker:
        while waiting:
            above, left = waiting[-1]
            if not left:
                waiting.pop()
                continue
            name = left.pop()
            parts = (*above, name) if name else ()
            directories: list[str] = []
            with suppress(RootDamaged):
                here = walker.folder(parts)
                for name in here.names():
                    seen += 1
                    if seen > most:
                        raise LimitExceeded(f"{folder.path} holds more than {most} names")
                    state = here.state(name)
                    if state is None:
                        continue
                    if not stat.S_ISDIR(state.st_mode):
                        yield (*parts, name), state
                    elif len(parts) < DEEPEST:
                        directories.append(name)
            waiting.append((parts, directories))


def _size_of(descriptor: int, path: str) -> int:
    """Return the size of an open file. Raises `RootDamaged` for what is not a regular one."""
    try:
        state = os.fstat(descriptor)
    except OSError as error:
        raise unreadable(error, path) from error
    if not stat.S_ISREG(state.st_mode):
        raise RootDamaged(f"{path} is {kind_of(state)}, not a file")
    return state.st_size


def close(descriptor: int) -> None:
    """Close what was only read; nothing can be lost by an error of that."""
    try:  # noqa: SIM105 - it is called for every file, and a context manager takes longer than the call
        os.close(descriptor)
    except OSError:
        pass


def parts_of(path: bytes) -> tuple[str, ...] | None:
    """Return the parts of a path of a tar, cleaned; nothing where it leads out of its directory, or nowhere."""
    above, slash, name = path.rpartition(b"/")
    if not slash or name in _NOT_NAMES or b"\0" in name:
        return _cleaned(path)
    # Files come in the order of their directories.
    folders = _folders(above)
    return None if folders is None else (*folders, os.fsdecode(name))


@lru_cache(256)
def _folders(above: bytes) -> tuple[str, ...] | None:
    return _cleaned(above) or (None if above.strip(b"./") or b".." in above.split(b"/") else ())


def _cleaned(path: bytes) -> tuple[str, ...] | None:
    parts = tuple(part for part in os.fsdecode(path).split("/") if part not in {"", "."})
    return None if not parts or ".." in parts or "\0" in "".join(parts) else parts


def _open(name: str, flags: int, at: int | None) -> int:
    """Open without a change of the access time, where the kernel allows that."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=at)
    except PermissionError:
        return os.open(name, flags, dir_fd=at)


def _single(name: str) -> str:
    if "/" in name or "\0" in name or name in {"", ".", ".."} or not (name.isascii() or _can_be_named(name)):
        raise RootDamaged(f"{name!r} is not the name of a file")
    return name


def _can_be_named(name: str) -> bool:
    """Return whether a text has bytes: JSON may hold halves of characters, which have none."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


class FileReader:
    """A reader of an open file, which stays the caller's to close."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes. Raises `RootDamaged`."""
        with reading(self._path):
            return os.read(self._descriptor, size)
