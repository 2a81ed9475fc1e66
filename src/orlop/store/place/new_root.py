"""A store that is being made and not yet visible under its final name: it appears whole, on disk, or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, OrlopError, StoreInUse, TargetExists
from orlop.model.logger import Logger
from orlop.store.blobs.places import blob_folders
from orlop.store.local import UNFINISHED
from orlop.store.trust import DATABASE, DIRECTORIES
from orlop.streams.directory import Directory
from orlop.streams.file_lock import FileLock
from orlop.streams.files import PRIVATE, explained, explaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.streams.directory import Entry
    from orlop.streams.files import Modes

_log = Logger(__name__)

_PREFIX: Final = ".orlop-store-"
_SUFFIX: Final = ".part"
_NAME: Final = 12


@dataclass(frozen=True, slots=True)
class NewRoot:
    """The directory of a store to come. Its rows get their own name last, so that none takes it for a store before."""

    directory: Directory
    place: Entry
    target: Entry
    modes: Modes

    @property
    def path(self) -> str:
        """Where it is until then."""
        return self.directory.path

    @property
    def rows(self) -> Entry:
        """Where the database is to be made."""
        return self.directory.at(UNFINISHED)

    def complete(self, beside: Iterable[Entry]) -> None:
        """Put everything on disk, as a store that can be opened where it is now.

        Args:
            beside: what the database left beside its file and does not need any more; it goes.
        """
        with explaining("write", self.target.path):
            self.rows.sync()
            for leftover in beside:
                with suppress(FileNotFoundError):  # what could not be removed; nothing in it counts
                    leftover.unlink()
            for name in DIRECTORIES:
                self.directory.make_room(name, self.modes.directory)
            for name in (*blob_folders(self.directory)[1:], *reversed(DIRECTORIES)):
                self.directory.room(name).sync()
            self.rows.rename(self.directory.at(DATABASE))
            self.directory.sync()

    def publish(self) -> None:
        """Publish the complete store under its name.

        Raises:
            TargetExists: something has got it meanwhile.
        """
        try:
            with explaining("write", self.target.path):
                self.place.rename(self.target)
        except OrlopError:
            require_free(self.target.path)
            raise
        with explaining("write", self.target.path):
            self.target.directory.sync()


@contextmanager
def new_root(target: str, modes: Modes, group: int | None) -> Iterator[NewRoot]:
    """Return an empty directory beside a target; leaving the block before it is published removes it.

    Args:
        target: where the store is to appear: nothing, or an empty directory.
        modes: who may use it.
        group: whom it is for, besides its owner.

    Raises:
        TargetExists: something is there. StoreInUse: another program makes a store there. NotFound: the directory above
        it does not exist.
        PermissionDenied, ReadOnlyStore, NoSpace, StorageError: it cannot be written.
    """
    require_free(target)
    with Directory(os.path.dirname(target)) as above:
        with explaining("write", target):
            for name in above.names():
                if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                    _is_at_work(above.at(name))
            directory, lock = _made(above, target, modes, group)
        place = above.at(os.path.basename(directory.path))
        try:
            with explaining("write", target):
                for name in ("blobs", "blobs/sha256", "toc", "toc/sha256"):
                    directory.make_room(name, modes.directory)
            yield NewRoot(directory, place, above.at(os.path.basename(target)), modes)
        finally:
            # What was published is not there any more.
            left = remove_tree(place)
            lock.release()
            if left is not None:
                _log.warning("what was to become %s is left: %s", target, explained(left, "remove", place.path))


def require_free(target: str) -> None:
    """Raise `TargetExists` where something is, but for an empty directory that is not a mount point."""
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
    """Return a target's full path.

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


def remove_tree(place: Entry) -> OSError | None:
    """Remove a store's directory; nobody takes it for a store from the first step on, and the lock goes last.

    Raises nothing: what cannot be removed stays, and another process may remove the rest. Gives the error where
    anything is left in the end, but for the empty directory of a mount point.
    """
    import shutil  # noqa: PLC0415 - few commands remove a store

    try:
        above = place.directory
        directory = above.below(place.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    with suppress(OSError):
        directory.at(DATABASE).rename(directory.at(UNFINISHED))
    with suppress(OSError):
        for name, state in list(directory.states()):
            if stat.S_ISDIR(state.st_mode):
                shutil.rmtree(name, ignore_errors=True, dir_fd=directory.descriptor)
            elif name not in {UNFINISHED, "write.lock"}:
                directory.at(name).unlink()
    with suppress(OSError):  # closing a directory may fail as well, which this call does not ignore
        shutil.rmtree(place.name, ignore_errors=True, dir_fd=above.descriptor)
    try:
        if above.below(place.name).names():
            shutil.rmtree(place.name, dir_fd=above.descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def part_name() -> str:
    """Return a name that nobody has for what comes or goes in a directory."""
    return _part_named(os.urandom(_NAME // 2).hex())


def _part_named(name: str) -> str:
    return f"{_PREFIX}{name}{_SUFFIX}"


def _made(above: Directory, target: str, modes: Modes, group: int | None) -> tuple[Directory, FileLock]:
    # Whoever else makes a store for this target needs the same name.
    name = _part_named(hashlib.sha256(os.fsencode(os.path.basename(target))).hexdigest()[:_NAME])
    while True:
        try:
            os.mkdir(name, PRIVATE.directory, dir_fd=above.descriptor)
        except FileExistsError:
            if _is_at_work(above.at(name)):
                raise StoreInUse(f"another copy or backup to {target} is at work; wait until it has ended") from None
            if above.at(name).state() is not None:
                # It is not a store to come, or another user's.
                name = part_name()
            continue
        # Until it is locked, somebody may take it for what a dead process left.
        with suppress(FileNotFoundError):
            directory = above.below(name)
            lock = FileLock(directory.at("write.lock"), mode=modes.file)
            if group is not None:
                os.fchown(directory.descriptor, -1, group)
                os.fchmod(directory.descriptor, modes.directory)
            lock.acquire()
            if lock.is_current() and above.at(name).state() is not None:
                return directory, lock
            lock.release()


def _is_at_work(place: Entry) -> bool:
    """Return whether a process is at work there; what one left that ended before its work was done is removed."""
    with suppress(OSError):
        directory = place.directory.below(place.name)
        lock = FileLock(directory.at("write.lock"), create=False)
        if lock.entry.state() is None:
            place.rmdir()
        elif lock.try_acquire():
            remove_tree(place)
            lock.release()
        else:
            return True
    return False
