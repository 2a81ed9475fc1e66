"""A store that is being made and not yet visible under its final name: it appears whole, on disk, or not at all."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, OrlopError, TargetExists
from orlop.store.root import DIRECTORIES, UNFINISHED
from orlop.streams.files import PRIVATE, FileLock, explained, explaining, fsync_directory, make_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.streams.files import Modes

_log = logging.getLogger(__name__)

_PREFIX: Final = ".orlop-store-"
_SUFFIX: Final = ".part"


@dataclass(frozen=True, slots=True)
class NewRoot:
    """The directory of a store to come. Its rows get their own name last, so that none takes it for a store before."""

    path: str
    target: str
    modes: Modes

    @property
    def rows(self) -> str:
        """Where the database is to be made."""
        return os.path.join(self.path, UNFINISHED)

    def complete(self) -> None:
        """Put everything on disk, as a store that can be opened where it is now."""
        with explaining("write", self.target):
            descriptor = os.open(self.rows, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):  # what SQLite could not remove; nothing in it counts
                    os.unlink(f"{self.rows}{suffix}")
            for name in DIRECTORIES:
                make_directory(os.path.join(self.path, name), self.modes.directory)
            for name in reversed(DIRECTORIES):
                fsync_directory(os.path.join(self.path, name))
            os.rename(self.rows, os.path.join(self.path, "metadata.db"))
            fsync_directory(self.path)

    def publish(self) -> None:
        """Give the complete store its name.

        Raises:
            TargetExists: something has got it meanwhile.
        """
        try:
            with explaining("write", self.target):
                os.rename(self.path, self.target)
        except OrlopError:
            require_free(self.target)
            raise
        with explaining("write", self.target):
            fsync_directory(os.path.dirname(self.target))


@contextmanager
def new_root(target: str, modes: Modes, group: int | None) -> Iterator[NewRoot]:
    """Give an empty directory beside a target; leaving the block before it is published removes it.

    Args:
        target: where the store is to appear: nothing, or an empty directory.
        modes: who may use it.
        group: whom it is for, besides its owner.

    Raises:
        TargetExists: something is there. NotFound: the directory that it shall lie in is not there.
        PermissionDenied, ReadOnlyStore, NoSpace, StorageError: it cannot be written.
    """
    require_free(target)
    place = os.path.dirname(target)
    with explaining("write", target):
        for name in os.listdir(place):
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                _sweep(os.path.join(place, name))
        path, lock = _made(place, modes, group)
    try:
        with explaining("write", target):
            for name in ("blobs", "blobs/sha256", "toc", "toc/sha256"):
                make_directory(os.path.join(path, name), modes.directory)
        yield NewRoot(path, target, modes)
    finally:
        # What was published is not there any more.
        left = remove_tree(path)
        lock.release()
        if left is not None:
            _log.warning("what was to become %s is left: %s", target, explained(left, "remove", path))


def require_free(target: str) -> None:
    """Raise `TargetExists` where something is, but for an empty directory that is no mount point."""
    if not os.path.lexists(target):
        return
    if os.path.isdir(target) and not os.path.islink(target):
        if os.path.ismount(target):
            msg = f"{target} is a mount point, which cannot be replaced; name a new directory inside it"
            raise TargetExists(msg)
        with explaining("write", target):
            if not os.listdir(target):
                return
    msg = f"{target} is there already; name a new directory"
    raise TargetExists(msg)


def target_of(source: str, target: str | os.PathLike[str]) -> str:
    """Give a target's full path.

    Raises:
        InvalidInput: it is nothing, or lies inside the store that is to be copied.
    """
    text = os.fspath(target)
    if not text:
        msg = "the target has no name; name a directory"
        raise InvalidInput(msg)
    path = os.path.join(
        os.path.realpath(os.path.dirname(os.path.abspath(text))), os.path.basename(os.path.abspath(text))
    )
    if f"{path}/".startswith(f"{os.path.realpath(source)}/"):
        msg = f"{text} lies inside the store at {source}; name a directory elsewhere"
        raise InvalidInput(msg)
    return path


def remove_tree(path: str) -> OSError | None:
    """Remove a store's directory; nobody takes it for a store from the first step on, and the lock goes last.

    Raises nothing: what cannot be removed stays, and another process may remove the rest. Gives the error where
    anything is left in the end, but for the empty directory of a mount point.
    """
    import shutil  # noqa: PLC0415 - few commands remove a store

    with suppress(OSError):
        os.rename(os.path.join(path, "metadata.db"), os.path.join(path, UNFINISHED))
    with suppress(OSError):
        for name in set(os.listdir(path)) - {UNFINISHED, "write.lock"}:
            inner = os.path.join(path, name)
            if os.path.isdir(inner) and not os.path.islink(inner):
                shutil.rmtree(inner, ignore_errors=True)
            else:
                os.unlink(inner)
    with suppress(OSError):  # closing a directory may fail as well, which this call does not ignore
        shutil.rmtree(path, ignore_errors=True)
    try:
        if os.listdir(path):
            shutil.rmtree(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def part_name(place: str) -> str:
    """Give a name that nobody has for what comes or goes in a directory."""
    return os.path.join(place, f"{_PREFIX}{os.urandom(6).hex()}{_SUFFIX}")


def _made(place: str, modes: Modes, group: int | None) -> tuple[str, FileLock]:
    while True:
        path = part_name(place)
        lock = FileLock(os.path.join(path, "write.lock"), mode=modes.file)
        os.mkdir(path, PRIVATE.directory)
        # Until it is locked, somebody may take it for what a dead process left.
        with suppress(FileNotFoundError):
            if group is not None:
                os.chown(path, -1, group)
                os.chmod(path, modes.directory)
            lock.acquire()
        if lock.is_current():
            return path, lock
        lock.release()


def _sweep(path: str) -> None:
    """Remove what a process left that ended before its work was done."""
    lock = FileLock(os.path.join(path, "write.lock"))
    with suppress(OSError):
        if not os.path.exists(lock.path):
            os.rmdir(path)
        elif lock.try_acquire():
            remove_tree(path)
            lock.release()
