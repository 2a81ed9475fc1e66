"""Who uses a store, as a seam: each owner claims a name, and everybody can tell which owners still live.

What a crash leaves behind carries the name of an owner that is dead: leases, unfinished content. A claim therefore ends
with its process, however that ends, without a step of its own: on one machine it is a lock on a file, inside one
process an object in memory.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress

from orlop.streams.directory import ForeignFile
from orlop.streams.file_lock import FileLock
from orlop.streams.files import PRIVATE, explaining, remove_leftover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from orlop.streams.directory import Directory
    from orlop.streams.files import Modes

_NAME: Final = "leases"


class Claim(ABC):
    """A name that its owner has for itself; ``name`` is hex digits, good as the first part of a file name."""

    name: str

    @abstractmethod
    def end(self) -> None:
        """Release the name; raise nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """Leave the claim, in a forked child, to the parent that made it."""


class Owners(ABC):
    """The owners of one store."""

    @abstractmethod
    def claim(self) -> Claim:
        """Claim a name that nobody has or had."""

    def ask(self, let_go: Callable[[Callable[[], None]], None]) -> None:  # noqa: B027 - only sessions are lost
        """Ask before a claim is replaced that was lost while its owner lives.

        Args:
            let_go: calls what it is given once nothing relies on the claim, or does nothing.
        """

    @abstractmethod
    def alive(self, *, sweep: bool = True) -> set[str]:
        """Return the names of all owners that live, and sweep up, if wanted, what dead ones left of their claims."""


class FileOwners(Owners):
    """Owners on one machine: each holds a file ``leases/<name>`` of the store's directory locked.

    Args:
        root: the store's directory.
        modes: who may use it.
    """

    def __init__(self, root: Directory, *, modes: Modes = PRIVATE) -> None:
        self._root = root
        self._path = os.path.join(root.path, _NAME)
        self._mode = modes.file

    def claim(self) -> Claim:
        """Make a lock file of a new name and lock it."""
        with explaining("write", self._path):
            while True:
                lock = FileLock(self._root.place(f"{_NAME}/{os.urandom(8).hex()}"), mode=self._mode)
                lock.acquire()
                if lock.is_current():
                    return _FileClaim(lock)
                lock.release()

    def alive(self, *, sweep: bool = True) -> set[str]:
        """Return the names of all files that somebody holds locked, and remove, if wanted, the others."""
        names: set[str] = set()
        with explaining("read", self._path):
            for name in (self._root / _NAME).names():
                lock = FileLock(self._root.place(f"{_NAME}/{name}"), mode=self._mode, create=False)
                if not _is_free(lock, sweep=sweep):
                    names.add(name)
        return names


class _FileClaim(Claim):
    def __init__(self, lock: FileLock) -> None:
        self._lock = lock
        self.name = lock.entry.name

    def end(self) -> None:
        remove_leftover(self._lock.entry)
        self._lock.release()

    def abandon(self) -> None:
        self._lock.abandon()


def _is_free(lock: FileLock, *, sweep: bool) -> bool:
    """Return whether nobody holds a lock, and remove its file in that case, if wanted."""
    try:
        free = lock.try_acquire()
    except (FileNotFoundError, ForeignFile):  # its owner has just ended it, or it is nobody's
        return True
    except PermissionError:  # another user is just making it
        return False
    if free:
        try:
            if sweep:
                with suppress(FileNotFoundError):
                    lock.entry.unlink()
        finally:
            lock.release()
    return free


class MemoryOwners(Owners):
    """Owners inside one process: every claim of the process is one of this object's. Nothing outlives the process."""

    def claim(self) -> Claim:
        """Claim a random name."""
        return _MemoryClaim()

    def alive(self, *, sweep: bool = True) -> set[str]:  # noqa: ARG002 - nothing is left of a claim that ended
        """Return the names of all claims of this process."""
        return set(_claimed)


_claimed: set[str] = set()


class _MemoryClaim(Claim):
    def __init__(self) -> None:
        self.name = os.urandom(8).hex()
        _claimed.add(self.name)

    def end(self) -> None:
        _claimed.discard(self.name)

    abandon = end
