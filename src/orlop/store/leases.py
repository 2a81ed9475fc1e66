"""Leases: what keeps content from the garbage collector while somebody works with it.

A lease is a file ``leases/<name>`` that its owner holds locked, and rows that say what it protects. When the owner
ends, however it ends, the lock is free and the rows count for nothing.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from orlop.streams.files import FileLock, explaining

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from orlop.model.digest import Digest
    from orlop.store.metadata import Metadata, WritableRows


class Leases:
    """The one lease of an open store in this process; it is made when it is first needed.

    Safe to share between threads. A forked child starts with a lease of its own and protects nothing it inherited.
    """

    def __init__(self, directory: str, metadata: Metadata) -> None:
        self._directory = directory
        self._metadata = metadata
        self._guard = threading.Lock()
        self._lock: FileLock | None = None
        self._name = ""
        self._held: Counter[Digest] = Counter()
        _open_leases.add(self)

    def name(self) -> str:
        """Give the lease's name: hex digits, good as the first part of a file name. Making it takes its lock."""
        with self._guard:
            if self._lock is None:
                with explaining("write", self._directory):
                    self._lock = self._new_lock()
                self._name = os.path.basename(self._lock.path)
            return self._name

    def _new_lock(self) -> FileLock:
        while True:
            lock = FileLock(os.path.join(self._directory, os.urandom(8).hex()))
            lock.acquire()
            if lock.is_current():
                return lock
            lock.release()

    def hold(self, digests: Iterable[Digest]) -> Hold:
        """Protect content until the hold is released. Take it before relying on the content, then look again."""
        wanted = list(digests)
        name = self.name()
        with self._guard:
            new = [digest for digest in wanted if self._held[digest] == 0]
            self._held.update(wanted)
        if new:
            try:
                with self._metadata.write() as rows:
                    rows.put_lease(name, new)
            except BaseException:
                self._forget(wanted)
                raise
        return Hold(self, wanted)

    def drop(self, digests: list[Digest]) -> None:
        """Stop protecting what a hold protected, as far as no other hold does."""
        free = self._forget(digests)
        if free:
            with self._metadata.write() as rows:
                rows.delete_lease(self._name, free)

    def _forget(self, digests: list[Digest]) -> list[Digest]:
        with self._guard:
            self._held.subtract(digests)
            free = [digest for digest in dict.fromkeys(digests) if self._held[digest] <= 0]
            for digest in free:
                del self._held[digest]
            return free

    def alive(self) -> set[str]:
        """Give the names of all leases whose owners live, and sweep up what dead ones left."""
        names: set[str] = set()
        with explaining("read", self._directory):
            for name in os.listdir(self._directory):
                lock = FileLock(os.path.join(self._directory, name))
                if lock.try_acquire():
                    with suppress(FileNotFoundError):
                        os.unlink(lock.path)
                    lock.release()
                else:
                    names.add(name)
        return names

    def drop_dead(self, rows: WritableRows) -> None:
        """Let the leases of ended processes protect nothing any more, inside a write."""
        others = [name for name in rows.leases() if name != self._name]
        if others:
            alive = self.alive()
            for name in others:
                if name not in alive:
                    rows.delete_lease(name)

    def close(self) -> None:
        """End the lease."""
        with self._guard:
            lock, self._lock = self._lock, None
            held, self._held = self._held, Counter()
        if lock is not None:
            if held:
                with self._metadata.write() as rows:
                    rows.delete_lease(self._name)
            with explaining("remove", lock.path):
                os.unlink(lock.path)
            lock.release()

    def abandon(self) -> None:
        """Let go, in a forked child, of what belongs to its parent."""
        # Closing a descriptor that fork copied leaves the parent's lock in place.
        if self._lock is not None:
            self._lock.release()
        self._lock = None
        self._guard = threading.Lock()
        self._held = Counter()


class Hold:
    """Content that is protected from the garbage collector; also a context manager."""

    __slots__ = ("_digests", "_leases")

    def __init__(self, leases: Leases, digests: list[Digest]) -> None:
        self._leases = leases
        self._digests = digests

    def release(self) -> None:
        """Protect no more; a second call does nothing."""
        digests, self._digests = self._digests, []
        if digests:
            self._leases.drop(digests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_open_leases: weakref.WeakSet[Leases] = weakref.WeakSet()


def _abandon_all() -> None:
    for leases in list(_open_leases):
        leases.abandon()


os.register_at_fork(after_in_child=_abandon_all)
