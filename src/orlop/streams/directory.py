"""Directories that are held by a descriptor, and the names in them.

A user who can write to a directory can replace anything that a program expects there with a link, a pipe or a device,
even between a check and a use. So this module never finds anything by a path of several parts:

- A `Directory` is a descriptor. The first one is opened by a path, links included, since its user chose it. Those below
  it are opened one name at a time, and must be real directories (``O_NOFOLLOW | O_DIRECTORY``).
- An `Entry` is one name in such a directory. Every operation on it uses the descriptor and that name (``openat(2)`` and
  similar calls), and so acts on that directory, whatever happens to its path meanwhile.
- Only regular files are opened, as ``fstat`` reports them, and a file that is opened for writing or gets another mode
  must not have a second name, by which another program may know it. Pipes and devices are not opened or waited for.

Anything else raises `ForeignFile`, which `orlop.streams.files.explained` turns into one sentence.

A directory below another one stays open until that one is closed, and is looked up again each time: if another
directory has its name by now, as after a restore, that one is opened, and the old one is closed after its last use. No
descriptor is read from, except copies that are opened to list names, so threads and forked children can share them.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from functools import partial

from orlop.model.given import Single
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Self

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITING: Final = os.O_WRONLY | os.O_RDWR
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
# 9p, vboxsf and some versions of CIFS cannot sync a directory: a name is there as soon as the server has it.
_UNSYNCED: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class ForeignFile(OSError):
    """Something that does not belong there has a name; the text is one sentence for people."""

    def __init__(self, path: str, what: str, wanted: str) -> None:
        advice = "move it away, then run orlop fsck --repair" if wanted == "a directory" else "move it away"
        self.what = what
        self.wanted = wanted
        self.sentence = f"{path} is {what}, not {wanted} of the store, and is left alone; {advice}"
        super().__init__(errno.ELOOP, self.sentence, path)

    def __str__(self) -> str:
        return self.sentence


def kind_of(state: os.stat_result) -> str:
    """Return the usual word for a file of this kind."""
    return next((kind for test, kind in _KINDS if test(state.st_mode)), "a device")


def permissions(state: os.stat_result) -> int:
    """Return the permissions of a file, as a new one may get them in its place.

    Setuid, setgid and sticky bits are not among them: the old file may be somebody else's, and the new one would run
    with the rights of whoever has made it.
    """
    return state.st_mode & 0o777


class Directory(Single):
    """A directory, held open. ``path`` is its name for the user, only for messages.

    Safe to share between threads and across a fork.
    """

    __slots__ = ("__weakref__", "_children", "_descriptor", "_follow", "_identity", "path")

    def __init__(self, path: str, descriptor: int = -1) -> None:
        """Hold a descriptor, or open a path that the user named, following links, as soon as it is needed."""
        self.path = path
        self._descriptor = descriptor
        self._follow = descriptor < 0
        self._identity = () if self._follow else _identity(os.fstat(descriptor))
        self._children: dict[str, Directory] = {}

    @property
    def descriptor(self) -> int:
        """The descriptor; it belongs to this object. Raises OSError if the directory cannot be opened."""
        if self._descriptor < 0:
            if not self._follow:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
            self._descriptor = opened(self.path, _DIRECTORY)
        return self._descriptor

    def __truediv__(self, name: str) -> Directory:
        """Return the directory with a name. Raises `ForeignFile` for anything else, FileNotFoundError for nothing."""
        state = os.stat(_single(name), dir_fd=self.descriptor, follow_symlinks=False)
        held = self._children.get(name)
        if held is None or held._identity != _identity(state):
            held = self._children[name] = self.below(name)
        return held

    def below(self, name: str) -> Directory:
        """Return the directory with a name as ``/`` does; it stays open as long as it is referenced."""
        entry = self.at(name)
        state = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if not stat.S_ISDIR(state.st_mode):
            raise ForeignFile(entry.path, kind_of(state), "a directory")
        found = Directory(entry.path)
        found._follow = False
        with _foreign(entry, "a directory"):
            # What is interrupted from here on closes it.
            found._descriptor = opened(name, _DIRECTORY | os.O_NOFOLLOW, at=self.descriptor)
        found._identity = _identity(os.fstat(found._descriptor))
        return found

    def room(self, path: str) -> Directory:
        """Return a directory some names below this one, each a real directory. Raises as ``/`` does."""
        found = self
        for name in path.split("/"):
            found /= name
        return found

    def place(self, path: str) -> Entry:
        """Return a name in a directory some names below this one, whether or not it exists."""
        folder, _, name = path.rpartition("/")
        return Entry(self, folder, _single(name))

    def at(self, name: str) -> Entry:
        """Return a name in this directory, whether or not it exists."""
        return Entry(self, "", _single(name))

    def is_there(self, name: str) -> bool:
        """Return whether a name exists in the directory, which need not exist itself."""
        try:
            return self.at(name).state() is not None
        except NotADirectoryError:
            return False

    def state(self) -> os.stat_result:
        """Return the result of ``fstat`` for the directory itself."""
        return os.fstat(self.descriptor)

    def names(self) -> list[str]:
        """Return all names in the directory, sorted."""
        with self._listed() as descriptor:
            return sorted(os.listdir(descriptor))

    def is_empty(self) -> bool:
        """Return whether the directory is empty."""
        with self._listed() as descriptor, os.scandir(descriptor) as entries:
            return next(entries, None) is None

    def states(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield names with the ``lstat`` of each; names that disappear meanwhile are left out."""
        with self._listed() as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False)

    @contextmanager
    def _listed(self) -> Iterator[int]:
        # Listing moves the position of the open directory, which threads and children would share.
        descriptor = opened(".", _DIRECTORY, at=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make_room(self, path: str, mode: int) -> Directory:
        """Make a directory some names below this one, in one that is there, see `make`."""
        folder, _, name = path.rpartition("/")
        return (self.room(folder) if folder else self).make(name, mode)

    def make(self, name: str, mode: int) -> Directory:
        """Make a directory with a mode, whatever the umask, and sync its name; an existing one stays as it is."""
        try:
            os.mkdir(name, 0o700, dir_fd=self.descriptor)
        except FileExistsError:
            return self / name
        try:
            made = self / name
            if mode != 0o700:
                os.fchmod(made.descriptor, mode)
            self.sync()
        except OSError:
            # A second try would find it, and take it for finished.
            with suppress(OSError):
                self.at(name).rmdir()
            raise
        return made

    def sync(self) -> None:
        """Sync the names in the directory, if its file system can do that."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            if error.errno not in _UNSYNCED:
                raise

    def close(self) -> None:
        """Close the descriptor and the directories below; a directory that a user named opens again on demand."""
        self._children = {}
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:  # noqa: SIM105 - a signal may come as a block begins
                os.close(descriptor)
            except OSError:
                pass  # nothing was written through it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Entry(NamedTuple):
    """A name in a directory, which is ``folder`` below another one and looked up each time.

    Whatever is done to it raises as `Directory.room` does. Without a ``base`` the name is a path that the user named,
    as for an archive that is written.
    """

    base: Directory | None
    folder: str
    name: str

    @property
    def path(self) -> str:
        """The path for messages."""
        return self.name if self.base is None else os.path.join(self.base.path, self.folder, self.name)

    @property
    def directory(self) -> Directory:
        """The directory that it is in."""
        if self.base is None:
            return Directory(os.path.dirname(self.name) or ".")
        return self.base.room(self.folder) if self.folder else self.base

    @contextmanager
    def _at(self) -> Iterator[int | None]:
        """Hold the directory open during an operation in it."""
        directory = None if self.base is None else self.directory
        yield None if directory is None else directory.descriptor

    def named(self, name: str) -> Entry:
        """Return another name in the same directory."""
        return self._replace(name=_single(name))

    def state(self) -> os.stat_result | None:
        """Return the ``lstat`` of the name; None if it does not exist, or its directory does not."""
        try:
            with self._at() as at:
                return os.stat(self.name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_file(self) -> bool:
        """Return whether the name is that of a regular file."""
        state = self.state()
        return state is not None and stat.S_ISREG(state.st_mode)

    def open(self, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """Open a regular file, or create one if the flags say so, and return the descriptor.

        Raises:
            ForeignFile: it is not a regular file, or it is to be written and has a second name.
        """
        self.require_own(flags)
        descriptor = -1
        try:
            with self._at() as at, _foreign(self, "a file"):
                descriptor = opened(self.name, flags | _FILE, mode, at=at)
            self._require_own(os.fstat(descriptor), flags)
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        return descriptor

    def require_own(self, flags: int = os.O_RDWR) -> None:
        """Raise `ForeignFile` if the name is that of something which `open` would refuse."""
        state = self.state()
        if state is not None:
            self._require_own(state, flags)

    def _require_own(self, state: os.stat_result, flags: int) -> None:
        if not stat.S_ISREG(state.st_mode):
            raise ForeignFile(self.path, kind_of(state), "a file")
        if flags & _WRITING and state.st_nlink > 1:
            raise ForeignFile(self.path, "a file with another name elsewhere", "a file")

    def sync(self) -> None:
        """Put the content of a file on disk; its name is `Directory.sync`'s."""
        descriptor = self.open()
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self) -> None:
        """Remove the name of anything but a directory. Raises FileNotFoundError if it does not exist."""
        with self._at() as at, self._told():
            os.unlink(self.name, dir_fd=at)

    def rmdir(self) -> None:
        """Remove an empty directory."""
        with self._at() as at, self._told():
            os.rmdir(self.name, dir_fd=at)

    def rename(self, other: Entry) -> None:
        """Rename the entry, replacing a file with the new name.

        Raises:
            ForeignFile: a directory has the new name, and this is not one.
        """
        with self._at() as at, other._at() as to, _in_the_way(other), self._told():
            os.rename(self.name, other.name, src_dir_fd=at, dst_dir_fd=to)

    def link(self, other: Entry) -> None:
        """Link a file under one more name. Raises FileExistsError if that name exists."""
        with self._at() as at, other._at() as to, self._told():
            os.link(self.name, other.name, src_dir_fd=at, dst_dir_fd=to, follow_symlinks=False)

    def link_open(self, descriptor: int) -> None:
        """Link an open file under this name, too. Raises FileExistsError if something has it."""
        with self._at() as at, self._told():
            os.link(f"/proc/self/fd/{descriptor}", self.name, dst_dir_fd=at, follow_symlinks=True)

    def set_mode(self, mode: int) -> None:
        """Set the mode of a directory, or of a file without a second name, whatever the umask.

        Raises:
            ForeignFile: it is neither.
        """
        with self._held() as path:
            # This also works for a file that its owner may not open, and no lock on it ends with the descriptor.
            os.chmod(path, mode)

    def set_group(self, group: int) -> None:
        """Set the group of a directory, or of a file without a second name. Raises `ForeignFile`."""
        with self._held() as path:
            os.chown(path, -1, group)

    @contextmanager
    def kept(self) -> Iterator[int]:
        """Keep the inode that has the name for a block, and return a descriptor of it, or -1 where there is none.

        As long as it is kept, no other file gets its number. It cannot be read by the descriptor, and closing that ends
        no locks.
        """
        descriptor = -1
        try:
            with suppress(FileNotFoundError), self._at() as at:
                descriptor = opened(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, at=at)
            yield descriptor
        finally:
            if descriptor >= 0:
                try:  # noqa: SIM105 - as in `Directory.close`
                    os.close(descriptor)
                except OSError:
                    pass

    @contextmanager
    def _held(self) -> Iterator[str]:
        descriptor = -1
        try:
            with self._at() as at:
                descriptor = opened(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, at=at)
            state = os.fstat(descriptor)
            if not stat.S_ISDIR(state.st_mode):
                self._require_own(state, os.O_RDWR)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Put the whole path into errors, since some are reported only later."""
        try:
            yield
        except OSError as error:
            error.filename = self.path
            raise


def opened(name: str, flags: int, mode: int = 0o600, *, at: int | None = None) -> int:
    """Return the descriptor of what ``os.open`` opens; where a signal interrupts this, it is closed.

    Python hears of signals after a call, when nobody would know yet what it has opened. So the call is one of a list,
    which does.
    """
    found: list[int] = []
    try:
        found.extend(map(partial(os.open, dir_fd=at), (name,), (flags,), (mode,)))
    except BaseException:
        for descriptor in found:
            os.close(descriptor)
        raise
    return found[0]


def outside(path: str) -> Entry:
    """Return the entry of a path that the user named, following links on the way."""
    return Entry(None, "", path)


def _single(name: str) -> str:
    if "/" in name or name in {"", ".", ".."}:
        msg = f"{name!r} is not one name"
        raise ValueError(msg)
    return name


def mark_of(state: os.stat_result) -> tuple[int, ...]:
    """Return what changes where another file gets a name, or something else comes to be in the file.

    Numbers of inodes are used again, and programs set the time of a change to what they please, but not the time at
    which the kernel noted it.
    """
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino


@contextmanager
def _in_the_way(entry: Entry) -> Iterator[None]:
    """Raise `ForeignFile` where a directory has the name that a file is to get."""
    try:
        yield
    except IsADirectoryError as error:
        raise ForeignFile(entry.path, "a directory", "a file") from error


@contextmanager
def _foreign(entry: Entry, wanted: str) -> Iterator[None]:
    """Raise `ForeignFile` for the kernel's errors about a name that leads to another kind of thing than expected."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}:
            raise
        state = entry.state()
        raise ForeignFile(entry.path, "changing" if state is None else kind_of(state), wanted) from error
