"""Forks of a process that uses SQLite.

SQLite keeps the locks of a process in one table for each file, whichever connection took them, since the system's own
locks (``fcntl``) belong to processes. A child that is forked inherits the table, but not the locks. A connection that
the child opens to the same file believes the table:

- Where another thread of the parent was writing, the table says that somebody in this process writes. Nobody in the
  child ever ends that write, so that a write of the child waits for ever.
- Where the parent had a connection open, the table says that this process holds the locks that keep others from
  recovering the log. The child takes none, and once the parent has ended, others recover the log under its feet.

So a fork finds SQLite at rest where that is possible. It waits for the writes of other threads, which are brief, and
keeps new ones waiting. Then it closes all connections that are in no block; their threads open others when they next
need one. What it cannot close is in a block of a reader, or of a writer that did not end in time:

- after a fork in the middle of a write, a child that writes is refused with a sentence, and so is one that comes to the
  end of that write: it neither commits nor undoes what its parent has begun;
- after a fork in the middle of a read, a child reads and writes, and its parent must not end before it.

`_turn` is held from the moment at which SQLite is at rest until the fork is done, so that no block begins in between.
Lock order: `_turn`, then the lock of a `SQLiteMetadata`.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager

from orlop.errors import StoreInUse
from orlop.model.generic import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

_PATIENCE: Final = 5.0
"""Seconds that a fork waits for the writes of other threads: one of them may itself wait for the fork."""


class Forking(Protocol):
    """What has connections, and is told of forks."""

    def close_idle(self, busy: set[int]) -> None:
        """Close the connections of all threads but those with these identifiers; called by the thread that forks."""


class Blocks:
    """The blocks in which connections are used at the moment: by which threads, and which of them write."""

    def __init__(self) -> None:
        self._begin()
        self._members: weakref.WeakSet[Forking] = weakref.WeakSet()
        self.cut_off = False
        """Whether this process was forked in the middle of a write, and cannot write for that."""

    def add(self, member: Forking) -> None:
        """Register an object that has connections, as long as it lives."""
        self._members.add(member)

    def require_whole(self, place: str) -> None:
        """Raise StoreInUse if this process cannot write in a place."""
        if self.cut_off:
            why = "this process was forked while its parent was writing; fork at another time, or start it anew"
            raise StoreInUse(f"cannot write in {place}: {why}")

    @contextmanager
    def block(self, *, writing: bool = False) -> Iterator[None]:
        """Use a connection for a block, which may lie in another block of the same thread."""
        thread, one = threading.get_ident(), object()
        try:
            with self._guard:
                # Who is in a block already must get to its end.
                if self._forks:
                    self._turn.wait_for(lambda: self._forks == 0 or thread in self._inside.values())
                self._inside[one] = thread
                if writing:
                    self._writing[one] = thread
            yield
        finally:
            try:
                self._end(one)
            except BaseException:
                # A signal may have interrupted it before it did anything.
                self._end(one)
                raise

    def _end(self, one: object) -> None:
        with self._guard:
            self._inside.pop(one, None)
            self._writing.pop(one, None)
            if self._forks:
                self._turn.notify_all()

    def others(self) -> set[int]:
        """Return the identifiers of the other threads that are in blocks."""
        with self._guard:
            return {*self._inside.values()} - {threading.get_ident()}

    def before_fork(self) -> None:
        """Bring SQLite to rest, as far as possible, and keep new blocks from beginning."""
        self._turn.acquire()
        me = threading.get_ident()
        self._forks += 1
        self._turn.wait_for(lambda: not {*self._writing.values()} - {me}, _PATIENCE)
        busy = {*self._inside.values()}
        for member in list(self._members):
            member.close_idle(busy)

    def after_fork_in_parent(self) -> None:
        """Allow blocks to begin again."""
        self._forks -= 1
        self._turn.notify_all()
        self._turn.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the other threads are not there, and nothing that they did in SQLite will end."""
        self.cut_off = self.cut_off or bool(self._writing)
        self._begin()

    def _begin(self) -> None:
        # The guard is taken by itself where that is possible: a signal leaves a condition locked that it interrupts.
        self._guard = threading.RLock()
        self._turn = threading.Condition(self._guard)
        self._inside: dict[object, int] = {}
        self._writing: dict[object, int] = {}
        self._forks = 0


BLOCKS: Final = Blocks()
"""The blocks of this process: SQLite's table of locks is one for the whole process, too."""

os.register_at_fork(
    before=BLOCKS.before_fork,
    after_in_parent=BLOCKS.after_fork_in_parent,
    after_in_child=BLOCKS.after_fork_in_child,
)
