"""Forks of a process that uses SQLite.

SQLite keeps the locks of a process in one table for each file, whichever connection took them, since the system's own
locks (``fcntl``) belong to processes. A child that is forked inherits the table, but not the locks. A connection that
the child opens to the same file believes the table:

- Where another thread of the parent was writing, the table says that somebody in this process writes. Nobody in the
  child ever ends that write, so that a write of the child waits for ever.
- Where the parent had a connection open, the table says that this process holds the locks that keep others from
  recovering the log. The child takes none, and once the parent has ended, others recover the log under its feet.

- Where another thread was inside of SQLite, as a reader too, or to open or close a connection, it held locks that all
  connections of the process share, as that of SQLite's memory. Nobody in the child ever releases them.

So a fork finds SQLite at rest where that is possible. Threads use SQLite in blocks alone. A fork waits for those of
other threads, which are brief, and keeps new ones waiting. Then it closes all connections that are in no block; their
threads open others when they next need one. The same becomes of a thread that waits in a block for the lock of the
writers, which the thread that forks may have. What a fork cannot close is in a block that did not end in time, or in
one of the thread that forks; or a signal ended its wait; or a cursor is kept beyond its block, as by the traceback of
an error, with which SQLite keeps a connection open that was closed; or nobody called what goes before a fork, as where
a program in C forks, and perhaps nobody what comes after it, see `orlop.streams.forked`. The child sees it by the
descriptors that it has inherited. Then it is one that reads, and is refused with a sentence where it writes:

- After a fork in the middle of a write, it neither commits nor undoes what its parent has begun, where it comes to the
  end of that write.
- After a fork in the middle of a read, it has none of the locks that it believes to have. Its parent closes its
  connections at any moment, and brings the log to its end; what the child wrote there would damage the database.

`_turn` is held from the moment at which SQLite is at rest until the fork is done, so that no block begins in between.
Lock order: `_turn`, then the lock of a `SQLiteMetadata`. A signal may come at any point, and its handler may fork: each
lock may be taken again by the thread that has it. Python forks whatever is raised before that, and ignores what is
raised after it. So a generator holds `_turn` for a fork, which releases it however it ends, and nothing but a method of
a list lets go of it, in which no signal is heard.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import contextmanager, suppress

from orlop.errors import OrlopError, StoreInUse
from orlop.model.generic import Protocol
from orlop.streams.forked import in_child, notice_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

_PATIENCE: Final = 5.0
"""Seconds that a fork waits for the blocks of other threads: one of them may itself wait for the fork."""
_AGAIN: Final = 1.0
"""Seconds after which a block looks again for the end of a fork, which a signal may have kept from telling."""


class Forking(Protocol):
    """What has connections to a database, and is told of forks."""

    def close_idle(self, busy: set[int]) -> None:
        """Close the connections of all threads but those with these identifiers; called by the thread that forks."""

    def is_open(self) -> bool:
        """Return whether this process has the database open in any way, asked in a child before it does anything."""


class Blocks:
    """The blocks in which connections are used at the moment: by which threads, and which of them write or wait."""

    def __init__(self) -> None:
        self._begin()
        self._members: weakref.WeakSet[Forking] = weakref.WeakSet()
        self._held: list[Iterator[None]] = []
        self.let_go = self._held.clear
        """Allow blocks to begin again, in the parent."""
        self.cut_off = False
        """Whether this process was forked in the middle of a block, and cannot write for that."""

    def add(self, member: Forking) -> None:
        """Register an object that has connections, as long as it lives."""
        with self._guard:  # a fork may go through them
            self._members.add(member)

    def require_whole(self, place: str) -> None:
        """Raise StoreInUse if this process cannot write in a place."""
        notice_fork()
        if self.cut_off:
            why = "this process was forked while its parent read or wrote; fork at another time, or start it anew"
            raise StoreInUse(f"cannot write in {place}: {why}")

    @contextmanager
    def block(self, *, writing: bool = False) -> Iterator[None]:
        """Use a connection for a block, which may lie in another block of the same thread."""
        notice_fork()
        thread, one = threading.get_ident(), object()
        try:
            with self._guard:
                # Who is in a block already must get to its end, and a finalizer may run in the thread that forks.
                while self._forking and thread not in self._forking and thread not in self._inside.values():
                    self._turn.wait(_AGAIN)
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
            self._resting.pop(one, None)
            if self._forking:
                self._turn.notify_all()

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Allow forks while this thread waits in a block; they close its connection."""
        me, one = threading.get_ident(), object()
        try:
            with self._guard:
                # A thread in another block as well, of another store, is in the middle of that.
                if [*self._inside.values()].count(me) == 1:
                    self._resting[one] = me
                    if self._forking:
                        self._turn.notify_all()
            yield
        finally:
            try:
                self._end(one)
            except BaseException:
                # As above.
                self._end(one)
                raise

    def others(self) -> set[int]:
        """Return the identifiers of the other threads that are in blocks."""
        with self._guard:
            return {*self._inside.values()} - {threading.get_ident()}

    def _at_work(self) -> set[int]:
        return {*self._inside.values()} - {*self._resting.values()} | {*self._writing.values()}

    def before_fork(self) -> None:
        """Bring SQLite to rest, as far as possible, and keep new blocks from beginning."""
        notice_fork()
        turn = self._at_rest()
        next(turn)
        self._held.append(turn)

    def _at_rest(self) -> Iterator[None]:
        """Yield once SQLite is at rest; it stays so until this is closed."""
        me, turn, forking = threading.get_ident(), self._turn, self._forking
        with self._guard:
            forking.append(me)
            try:
                # A block that forks as well does not end meanwhile.
                turn.wait_for(lambda: self._at_work() <= {*forking}, _PATIENCE)
                busy = self._at_work()
                for member in list(self._members):
                    # The child notices what could not be closed.
                    with suppress(OSError, OrlopError, sqlite3.Error):
                        member.close_idle(busy)
                yield
            finally:
                forking.remove(me)
                turn.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin anew: the other threads are not there, and nothing that they did in SQLite will end."""
        self.cut_off = self.cut_off or bool(self._at_work()) or any(member.is_open() for member in list(self._members))
        self.let_go()
        self._begin()

    def _begin(self) -> None:
        # The guard is taken by itself where that is possible: a signal leaves a condition locked that it interrupts.
        self._guard = threading.RLock()
        self._turn = threading.Condition(self._guard)
        self._inside: dict[object, int] = {}
        self._writing: dict[object, int] = {}
        self._resting: dict[object, int] = {}
        self._forking: list[int] = []


BLOCKS: Final = Blocks()
"""The blocks of this process: SQLite's table of locks is one for the whole process, too."""

in_child(BLOCKS.after_fork_in_child)
os.register_at_fork(before=BLOCKS.before_fork, after_in_parent=BLOCKS.let_go)
