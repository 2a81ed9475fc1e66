"""Durable files: the place with fsync, rename and, beside `file_lock`, flock: calls that differ between systems.

As Linux promises, a file is on disk after its ``fsync``, and its name after the ``fsync`` of its directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from contextlib import contextmanager, suppress

from orlop.errors import (
    FileNotThere,
    NoSpace,
    OrlopError,
    PermissionDenied,
    ReadFailed,
    ReadOnlyStore,
    StorageError,
    StoreDamaged,
    TooManyOpenFiles,
    WriteFailed,
)
from orlop.model.generic import Protocol, runtime_checkable
from orlop.model.given import Single
from orlop.model.logger import Logger
from orlop.model.tuples import NamedTuple
from orlop.streams.directory import Directory, ForeignFile
from orlop.streams.interruption import join, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Final, Self

    from orlop.streams.directory import Entry

_log = Logger(__name__)

CHUNK = 1 << 20
"""The number of bytes that are moved at once: with smaller pieces, thread switches would take most of the time."""

_SYNC_EVERY = 8 << 20
_FICLONE = 0x40049409
# Linux puts what one call writes into blocks of memory of that size. Few large ones are free that are warm: a machine
# clears others first, and a virtual one may have to ask its host for them, which doubles the time of the whole write.
_AT_ONCE = 128 << 10


class Modes(NamedTuple):
    """The modes of directories, of files that change, and of content that never changes."""

    directory: int
    file: int
    content: int


PRIVATE: Final = Modes(0o700, 0o600, 0o400)
"""For the owner alone."""

SHARED: Final = Modes(0o2770, 0o660, 0o440)
"""For a group: new files in a directory belong to the directory's group."""

_CLASSES: dict[int, tuple[type[OrlopError], str]] = {
    errno.ENOSPC: (NoSpace, "no space left on device; free some or choose another place"),
    errno.EDQUOT: (NoSpace, "the disk quota is used up; free some space or choose another place"),
    errno.ENOENT: (FileNotThere, "no such file or directory; check the path"),
    errno.ENOTDIR: (StorageError, "not a directory; check the path"),
    errno.EISDIR: (WriteFailed, "it is a directory; name a file"),
    errno.EROFS: (ReadOnlyStore, "the file system is read-only; choose a place that can be written"),
    errno.EXDEV: (StorageError, "it cannot move to another file system; a store lies on one, without mounts in it"),
    errno.EACCES: (PermissionDenied, "permission denied; check who owns it and its mode"),
    errno.EPERM: (PermissionDenied, "operation not permitted; check who owns it"),
    errno.EMFILE: (
        TooManyOpenFiles,
        "Too many open files: this process may have no more; let it do less, or raise its limit (ulimit -n)",
    ),
    errno.ENFILE: (
        TooManyOpenFiles,
        "Too many open files in system; end something that uses them, or raise the limit (sysctl fs.file-max)",
    ),
}
_UNREADABLE: Final = frozenset({errno.EIO, errno.EBADMSG, errno.ENODATA, errno.EREMOTEIO, errno.EUCLEAN})
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})


def explained(error: OSError, doing: str, path: str | os.PathLike[str]) -> OrlopError:
    """Return orlop's own error for a system error: it says what ``error`` means, where it happened and what to do.

    A broken pipe stays what it is: the reader of the output decides when it ends. One of orlop's own errors, which may
    also be an ``OSError``, stays as it is.
    """
    if isinstance(error, OrlopError):
        return error
    if isinstance(error, ForeignFile):
        return StoreDamaged(str(error))
    kind, why = _CLASSES.get(error.errno or 0, (StorageError, ""))
    why = why or (os.strerror(error.errno) if error.errno else str(error))
    found = kind(f"cannot {doing} {os.fspath(path)}: {why}")
    if isinstance(found, OSError):
        found.errno, found.strerror, found.filename = error.errno, error.strerror, os.fspath(path)
    return found


@contextmanager
def explaining(doing: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn every ``OSError`` of the block, except a broken pipe, into one clear `OrlopError`."""
    try:
        yield
    except (BrokenPipeError, OrlopError):
        raise
    except OSError as error:
        raise explained(error, doing, path) from error


def is_unreadable(error: OSError) -> bool:
    """Return whether the system could open a file, and cannot read its bytes: a disk has lost them, or is away."""
    return error.errno in _UNREADABLE


def exhaustion(error: OSError) -> OrlopError | None:
    """Return orlop's own error for one that says that no more files can be opened; nothing for any other."""
    if isinstance(error, OrlopError) or error.errno not in _EXHAUSTED:
        return None
    name = error.filename
    return explained(error, "open", os.fsdecode(name) if isinstance(name, (str, bytes)) else "a file or a connection")


@contextmanager
def explaining_exhaustion() -> Iterator[None]:
    """Turn every ``OSError`` of the block that says that no more files can be opened into `TooManyOpenFiles`."""
    try:
        yield
    except OSError as error:
        if (found := exhaustion(error)) is None:
            raise
        raise found from error


def exhausted(path: str) -> OrlopError | None:
    """Return the error for a path that could not be opened if nothing else can be opened now, either."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return explained(error, "open", path) if error.errno in _EXHAUSTED else None
    return None


@contextmanager
def afterwards(clean_up: Callable[[], object]) -> Iterator[None]:
    """Clean up at the end of a block; raise an error of the clean-up unless the block itself has raised one."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            clean_up()
        raise
    clean_up()


def open_source(path: str | os.PathLike[str]) -> int:
    """Open a user's file or pipe for reading and return its descriptor.

    Raises:
        NotFound: there is no such file.
        PermissionDenied: it may not be read.
        ReadFailed: it is a directory, or cannot be read for another reason.
    """
    name = os.fspath(path)
    with explaining("open", name):
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = f"cannot read {name}: it is a directory; name an archive file"
        raise ReadFailed(msg)
    return descriptor


def widen_pipe(file: BinaryIO) -> None:
    """Enlarge a pipe to a whole chunk, so that its writer is not woken for every few kilobytes."""
    with suppress(OSError, AttributeError, ValueError):
        descriptor = file.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK)


def fsync_directory(path: str) -> None:
    """Sync the names in a directory that the user named, if its file system can do that."""
    with Directory(path) as directory:
        directory.sync()


def make_directories(path: str, mode: int = PRIVATE.directory) -> None:
    """Make a directory and its missing parents, and sync their names; it may exist already.

    The name of an existing directory may not be on disk yet: it is synced as well, if that is allowed.
    """
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        make_directories(above, 0o777)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
    with suppress(PermissionError):
        fsync_directory(above)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the bytes, however few the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def allocate(entry: Entry, size: int, mode: int) -> None:
    """Reserve at least a number of bytes on the disk for a file; it is created with a mode if it does not exist."""
    descriptor = entry.open(os.O_WRONLY | os.O_CREAT, mode)
    try:
        if mode != PRIVATE.file:
            give_mode(descriptor, mode)
        _reserve(descriptor, size)
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Reserve bytes on the disk. A signal may interrupt that call in memory, and Python does not always repeat it."""
    while True:
        with suppress(InterruptedError):
            os.posix_fallocate(descriptor, 0, size)
            return


def give_mode(descriptor: int, mode: int) -> None:
    """Set the mode of an open file, whatever the umask."""
    status = os.fstat(descriptor)
    # Only its owner may do this, and only a new file needs it.
    if stat.S_IMODE(status.st_mode) != mode and status.st_uid == os.geteuid():
        os.fchmod(descriptor, mode)


def remove_leftover(entry: Entry) -> None:
    """Remove a file that is no longer needed, if it exists; if that fails, log a warning and leave it."""
    try:
        entry.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s", explained(error, "remove", entry.path))


def _close(descriptor: int) -> None:
    # Linux has closed it even if a signal interrupts the call, which Python reports and does not repeat.
    with suppress(InterruptedError):
        os.close(descriptor)


class NewFile(Single):
    """A file that is being written and not yet visible under its final name.

    Write-back starts while the file is written, so that the final ``fsync`` has little left to wait for. Leaving the
    block without `publish` removes the file. Not safe for use by two threads at once.
    """

    __slots__ = ("_descriptor", "_failed", "_flusher", "_is_stale", "_owned", "_shown", "_unsynced", "entry", "size")

    def __init__(
        self, entry: Entry, *, mode: int = 0o600, shown: str | None = None, flags: int = os.O_CREAT | os.O_EXCL
    ) -> None:
        """Create the file; errors are raised as `OrlopError`, which names the file as ``shown``.

        Without ``O_EXCL`` among the flags, one that is there already is continued at its end.
        """
        self.entry = entry
        self._shown = entry.path if shown is None else shown
        self._unsynced = 0
        self._is_stale = True  # set after each change, and taken back before a sync, which may run beside it
        self._flusher: threading.Thread | None = None
        self._failed: OSError | None = None
        with explaining("write", self._shown):
            self._descriptor = entry.open(os.O_RDWR | flags, mode)
            self.size = 0 if flags & os.O_EXCL else os.lseek(self._descriptor, 0, os.SEEK_END)
        self._owned = True

    @property
    def descriptor(self) -> int:
        """The open file, for writing content that need not be synced."""
        return self._descriptor

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes and return their number."""
        view = memoryview(data)
        with explaining("write", self._shown):
            for first in range(0, len(view), _AT_ONCE):
                write_all(self._descriptor, view[first : first + _AT_ONCE])
        self.size, self._is_stale = self.size + len(data), True
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_EVERY:
            self.start_sync()
        return len(data)

    def cut(self, size: int) -> None:
        """Forget what was written beyond a size."""
        with explaining("write", self._shown):
            os.ftruncate(self._descriptor, size)
        self.size, self._is_stale = size, True

    def clone(self, descriptor: int) -> bool:
        """Share the bytes of another open file (``ioctl_ficlone(2)``); return whether the file system could do that.

        Changes to one file do not appear in the other.
        """
        try:
            fcntl.ioctl(self._descriptor, _FICLONE, descriptor)
        except OSError:
            return False
        self.size, self._is_stale = os.fstat(self._descriptor).st_size, True
        return True

    def take(self, other: NewFile) -> bool:
        """Take the content of another new file in place of one's own, by its name; return whether that was possible.

        It is not where the file system is another one, or gives the two files other owners or attributes. The mode
        stays. Of the other file nothing is left, but an error of its write-back counts as one of this file's.
        """
        other._join()
        with explaining("write", self._shown):
            mine, others = os.fstat(self._descriptor), os.fstat(other._descriptor)
            if (mine.st_dev, mine.st_uid, mine.st_gid) != (others.st_dev, others.st_uid, others.st_gid):
                return False
            if _attributes(self._descriptor) != _attributes(other._descriptor):
                return False
            os.fchmod(other._descriptor, stat.S_IMODE(mine.st_mode))
            try:
                other.entry.rename(self.entry)
            except OSError as error:
                # Two mounts of one file system.
                if error.errno != errno.EXDEV:
                    raise
                return False
            os.close(self._descriptor)
            self._descriptor, other._descriptor, other._owned = other._descriptor, -1, False
            self.size, self._is_stale, self._failed = others.st_size, True, self._failed or other._failed
        return True

    def start_sync(self) -> None:
        """Start to sync what has been written so far, without waiting for it."""
        if self._flusher is not None and self._flusher.is_alive():
            return
        self._unsynced = 0
        # Without another thread the final `sync` does all of the work.
        self._start(threading.Thread(target=self._write_back, name="orlop-write-back"))

    def _start(self, flusher: threading.Thread) -> bool:
        """Start a thread and return whether the system had one."""
        before, self._flusher = self._flusher, flusher
        try:
            return start(flusher)
        finally:
            if flusher.ident is None:
                self._flusher = before

    def _write_back(self) -> None:
        # Linux reports a failed write-back once per descriptor: an error that this early call eats must be kept.
        try:
            while True:
                self._is_stale = False
                os.fdatasync(self._descriptor)
                # The disk need not pause while there is more to write.
                if self._unsynced < _SYNC_EVERY:
                    break
                self._unsynced = 0
        except OSError as error:
            self._failed = error

    def rest(self) -> None:
        """Sync everything and release the descriptor, in the background if a thread is available.

        Nothing can be written afterwards. Very many files may wait in this state until they get their names.
        """
        before = self._flusher
        if not self._start(threading.Thread(target=self._rest, args=(before,), name="orlop-write-back")):
            self._rest(before)

    def _rest(self, before: threading.Thread | None) -> None:
        if before is not None:
            join([before])
        descriptor, self._descriptor = self._descriptor, -1
        try:
            try:
                os.fsync(descriptor)
            finally:
                _close(descriptor)
        except OSError as error:
            self._failed = self._failed or error

    def wait(self) -> None:
        """Wait for the work in the background; `sync` raises its error."""
        flusher = self._flusher  # another thread may have waited meanwhile, and forgotten it
        if flusher is not None:
            join([flusher])

    def sync(self) -> None:
        """Wait until every byte is on disk."""
        self._join()
        with explaining("write", self._shown):
            self._raise_failure()
            # Another sync of what is on disk would make the disk empty its cache once more.
            if self._descriptor >= 0 and self._is_stale:
                os.fsync(self._descriptor)

    def publish(self, target: Entry) -> None:
        """Rename the file to its final name, replacing any other; the caller syncs it before, and the directory after.

        A file that could not be written back gets no name.
        """
        self._join()
        with explaining("write", self._shown):
            self._raise_failure()
            self.entry.rename(target)
            self.entry = target
            self.close()

    def set_mode(self, mode: int) -> None:
        """Set the file's mode, whatever the umask."""
        self._join()
        with explaining("write", self._shown):
            if self._descriptor >= 0:
                os.fchmod(self._descriptor, mode)
            else:
                self.entry.set_mode(mode)

    def lock(self, *, pause: Callable[[], object] | None = None) -> bool:
        """Mark the file as being written as long as it is open; return whether it still has its name.

        With ``pause``, call that again and again while another process has the lock; it may raise.
        """
        with explaining("write", self._shown):
            while True:
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if pause is not None else 0))
                except BlockingIOError:
                    if pause is None:
                        raise
                    pause()
                else:
                    return has_name(self._descriptor, self.entry)

    def close(self) -> None:
        """Release the file and leave it where it is."""
        self._join()
        self._owned = False
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with explaining("write", self._shown):
                _close(descriptor)

    def discard(self) -> None:
        """Remove the file unless it has been published; if that fails, log a warning and leave it."""
        if self._owned:
            with suppress(OrlopError):  # the content is no longer needed
                self.close()
            remove_leftover(self.entry)

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _join(self) -> None:
        if self._flusher is not None:
            join([self._flusher])
            self._flusher = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


@runtime_checkable
class Giving(Protocol):
    """What keeps bytes in a file of its own, and can give that away."""

    def give(self, file: NewFile) -> bool:
        """Make all bytes the content of a new, empty file without copying them; return whether that was possible.

        Then nothing is left here. Raises errors of storage.
        """


def _attributes(descriptor: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file, such as access lists that a folder hands down."""
    try:
        return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except OSError:
        return {}


def has_name(descriptor: int, entry: Entry) -> bool:
    """Return whether an open file still has its name."""
    state = entry.state()
    return state is not None and os.path.samestat(os.fstat(descriptor), state)


def remove_unlocked(entry: Entry) -> None:
    """Remove a file that no process has locked any more (see `NewFile.lock`), if that is possible."""
    with suppress(OSError):
        descriptor = entry.open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.unlink()
        finally:
            os.close(descriptor)
