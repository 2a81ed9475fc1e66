"""The target that a user named for bytes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from orlop.errors import StorageError, WriteFailed
from orlop.model.regex import regex
from orlop.streams.directory import outside, permissions
from orlop.streams.files import NewFile, explaining, fsync_directory, remove_unlocked, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final, Self

_PREFIX: Final = ".orlop-"
_SUFFIX: Final = ".part"
_ROOTS: Final = ("/dev/", "/proc/")
_DESCRIPTOR: Final = regex(r"/(?:dev|proc/self|proc/[0-9]+|proc/thread-self)/fd/([0-9]+)")


class Output:
    """A target for bytes: a regular file, which appears completely or not at all, or a pipe or device.

    A regular file is written beside the target under a temporary name, and `finish` renames it. So a failed or
    interrupted command leaves neither a new file nor a damaged old one. A killed command leaves ``.orlop-….part``,
    which the next one removes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the target.

        Raises:
            NotFound: its directory does not exist.
            PermissionDenied, NoSpace, ReadOnlyStore, WriteFailed, StorageError: it cannot be written.
        """
        self._shown = os.fspath(path)
        if not self._shown:
            msg = "cannot write to a file without a name; name one"
            raise WriteFailed(msg)
        self._new: NewFile | None = None
        self._descriptor = -1
        number = _descriptor_named(self._shown)
        with explaining("write", self._shown):
            if number is not None:
                # The descriptor may be a file that a shell appends to: its position belongs to the descriptor.
                self._descriptor = os.dup(number)
            else:
                self._open()
        if self._descriptor >= 0 and os.isatty(self._descriptor):
            self.discard()
            msg = f"cannot write an archive to the terminal {self._shown}; name a file, or write to a pipe"
            raise WriteFailed(msg)

    def _open(self) -> None:
        self._path = os.path.realpath(self._shown)
        state = None
        with suppress(FileNotFoundError):
            state = os.stat(self._path)
        if state is not None and stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if state is None or stat.S_ISREG(state.st_mode):
            folder = os.path.dirname(self._path)
            _sweep(folder)
            self._new = _new_part(folder, self._shown)
            try:
                self._new.set_mode(0o666 & ~_umask() if state is None else permissions(state))
            except BaseException:
                self._new.discard()
                raise
        else:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes and return their number."""
        with explaining("write", self._shown):
            if self._new is not None:
                return self._new.write(data)
            write_all(self._descriptor, data)
            return len(data)

    def finish(self) -> None:
        """Sync everything and rename the file; a pipe is closed."""
        with explaining("write", self._shown):
            if self._new is not None:
                self._new.sync()
                self._new.publish(outside(self._path))
                with suppress(PermissionError):  # in a directory that may not be read, the name cannot be synced
                    fsync_directory(os.path.dirname(self._path))
            else:
                descriptor, self._descriptor = self._descriptor, -1
                try:
                    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def discard(self) -> None:
        """Remove everything that has not been finished."""
        if self._new is not None:
            self._new.discard()
        elif self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with explaining("write", self._shown):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.discard()
        else:
            with suppress(Exception):  # the first error is the one to show
                self.discard()


def _new_part(folder: str, shown: str) -> NewFile:
    """Create a file that no other process takes for one that a killed process left."""
    while True:
        # The target's name may be as long as a name can be: the temporary one has to be short.
        part = NewFile(outside(os.path.join(folder, f"{_PREFIX}{os.urandom(6).hex()}{_SUFFIX}")), shown=shown)
        try:
            if part.lock():
                return part
        except StorageError:
            # Without locks no process removes what others left.
            return part
        except BaseException:
            part.discard()
            raise
        part.discard()


def _sweep(folder: str) -> None:
    """Remove what killed processes left; what cannot be removed does no harm."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                remove_unlocked(outside(entry.path))


def _descriptor_named(path: str) -> int | None:
    """Return the number of the descriptor that a path stands for, as ``/dev/stdout`` and ``/dev/fd/3`` do."""
    for _ in range(8):
        named = _DESCRIPTOR.fullmatch(path) if path.startswith(_ROOTS) else None
        if named is not None:
            return int(named[1])
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return None
    return None


def _umask() -> int:
    """Read the umask without changing it: setting it, even for a moment, would touch other threads' files."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o077
