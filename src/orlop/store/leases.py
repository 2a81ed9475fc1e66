"""Leases: what keeps content from the garbage collector while a process works with it.

A lease is a name that its owner has claimed (see `owners`; in a directory, a file ``leases/<name>`` that it holds
locked), and rows that say what it protects. It is in one of these states:

- *alive*: its owner holds the claim. Whatever its rows name stays.
- *dead*: the claim is free, since its owner has closed the store or has ended, however it ended. Its rows count for
  nothing.
- *swept*: its rows and its file are gone. Any later owner may do that, when it removes something anyway.

The rules:

1. Hold first, then look. Content may have gone between a look and a hold, so only what is seen after `hold` returns may
   be relied on. A hold taken inside a write is undone with it.
2. Holds and removals are ordered by the write lock. A removal asks, inside its write, which leases are alive; a lease
   that appears later cannot name what that write removes.
3. A process has one lease, and counts in memory how often each digest is held, so that a row goes with its last hold.
4. A lock belongs to an open file, which a forked child shares. The child gives up its copy without unlocking, and takes
   a lease of its own when it needs one.
5. Readers hold leases too, so releasing one deletes only rows of leases. What nothing but the lease has kept until
   then, because its image went meanwhile, is noted under a name that no owner has, `LEFT`. The next command that
   removes anything takes it.

6. A claim may be lost while its owner lives: the machine has hung. No write of the owner commits while anything relies
   on a hold of that lease. Once all of them are gone it takes another lease, and works on.
7. A lease may also belong to nobody and last until a time, which its name says (`Leases.keep`): what was pushed to the
   registry and no manifest names yet must outlive the server. It is dead once the time has passed.

What must never happen: content goes that a living lease names, or a dead lease keeps content for ever.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial

from orlop.errors import LeaseLost
from orlop.model.given import Single
from orlop.model.regex import regex
from orlop.store.rows.metadata import EVERYTHING, LEFT, only_leased
from orlop.streams.forked import in_child, notice_fork
from orlop.streams.interruption import GivenUp, interrupted_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from orlop.model.digest import Digest
    from orlop.store.owners import Claim, Owners
    from orlop.store.rows.metadata import Metadata, Rows, WritableRows

__all__ = ["EVERYTHING", "LEFT", "Hold", "Leases"]

_SECOND = 1_000_000_000
_UNTIL = "until-"
_KEPT = regex(r"until-(?P<until>[0-9]{1,18})-(?P<beneficiary>(?s:.*))")
_PATIENCE = 0.5
"""Seconds for which one who is interrupted waits for another writer."""
_STEP = 600
"""Times of leases are whole multiples of so many seconds, so that there are few of them."""


class Leases:
    """The one lease of an open store in this process; it is made when it is first needed.

    Safe to share between threads. A forked child starts with a lease of its own and protects nothing it inherited.
    """

    def __init__(self, metadata: Metadata, owners: Owners, *, now: Callable[[], int] = time.time_ns) -> None:
        self._metadata = metadata
        self._owners = owners
        self._now = now
        self._guard = threading.Lock()
        self._claim: Claim | None = None
        self._name = ""
        self._held: Counter[Digest] = Counter()
        self._generation = 0
        self._holds: weakref.WeakSet[Hold] = weakref.WeakSet()
        self._overdue: list[Hold] = []
        owners.ask(self._let_go_of_lost)
        _open_leases.add(self)

    def name(self) -> str:
        """Return the lease's name: hex digits, good as the first part of a file name. Making it claims it."""
        self._metadata.require_open()
        notice_fork()
        with self._guard:
            if self._claim is None:
                self._claim = self._owners.claim()
                self._name = self._claim.name
            return self._name

    def hold(self, digests: Iterable[Digest]) -> Hold:
        """Protect content until the hold is released. Take it before relying on the content, then look again.

        Part of the caller's write, if there is one: undone with it, and of no cost of its own.
        """
        wanted = list(dict.fromkeys(digests))
        if wanted:
            # Claimed before the write where it can be, which then takes no second connection; a write may replace it.
            self.name()
            with self.handing_over() as made:
                with self._metadata.write() as rows:
                    name = self.name()
                    # The write lock orders those who hold and those who drop, so that rows and counts agree.
                    self._held.update(wanted)
                    made.append(Hold(self, wanted, self._generation))
                    rows.after_rollback(partial(self._undo, made[0], wanted))
                    rows.put_lease(name, wanted)
                    self._drop_overdue(rows)
                    with self._guard:
                        self._holds.add(made[0])
                return made[0]
        return Hold(self, wanted, self._generation)

    @contextmanager
    def handing_over(self) -> Iterator[list[Hold]]:
        """Yield a list for holds that a block takes for its caller; where it fails they are dropped, if they are there.

        A signal may interrupt a write just as it is committed, and nobody has heard of what it protects.
        """
        taken: list[Hold] = []
        try:
            yield taken
        except BaseException:
            self._put_off(taken)
            raise

    def _undo(self, hold: Hold, digests: list[Digest]) -> None:
        hold.digests = []
        _uncount(self._held, digests)

    def drop(self, hold: Hold) -> None:
        """Stop protecting what a hold protects, as far as no other hold does. Nothing goes but rows of leases.

        Where the write is undone the hold protects on, and can be dropped again.
        """
        if hold.generation != self._generation or not hold.digests:
            # The lease ended since, or belongs to the process that this one was forked from.
            return
        try:
            self._drop(hold)
        except LeaseLost:
            # It protects nothing any more, and another lease may follow.
            hold.digests = []

    def drop_later(self, hold: Hold) -> None:
        """Drop a hold, which nobody can drop any more, with the next one, or as the next one is taken.

        A process may live for long after a wait for the rows was ended, or a disk was full.
        """
        self._put_off([hold])

    def _put_off(self, holds: Iterable[Hold]) -> None:
        with self._guard:
            self._overdue += holds

    def _drop_overdue(self, rows: WritableRows) -> None:
        with self._guard:
            overdue, self._overdue = self._overdue, []
        rows.after_rollback(partial(self._put_off, overdue))
        for hold in overdue:
            if hold.generation == self._generation:
                self._drop_one(rows, hold)

    def _drop_one(self, rows: WritableRows, hold: Hold) -> None:
        digests, hold.digests = hold.digests, []
        if digests:
            _uncount(self._held, digests)
            rows.after_rollback(partial(self._protect_on, hold, digests))
            _let_go(rows, self._name, [digest for digest in digests if digest not in self._held])

    def _drop(self, hold: Hold) -> None:
        with self._metadata.write() as rows:
            self._drop_one(rows, hold)
            self._drop_overdue(rows)
            for name in self._dead(rows):
                if name != LEFT:
                    _let_go(rows, name, rows.lease_digests(name))

    def keep(self, rows: WritableRows, beneficiary: str, digests: Iterable[Digest], seconds: int) -> None:
        """Protect content for some time, inside a write, whatever becomes of this process.

        Args:
            rows: a write.
            beneficiary: for whom, such as the name of a repository.
            digests: what is protected.
            seconds: for how long at least; a few minutes may be added.
        """
        until = -(-(self._now() // _SECOND + seconds) // _STEP) * _STEP
        rows.put_lease(f"{_UNTIL}{until}-{beneficiary}", digests)

    def kept_for(self, rows: Rows, digest: Digest) -> set[str]:
        """Return for whom some content is protected by `keep` at this moment."""
        lasting = (_beneficiary(name) for name in rows.leases_of(digest) if self._lasts(name))
        return {one for one in lasting if one is not None}

    def keeps(self, rows: Rows, beneficiary: str) -> bool:
        """Return whether `keep` protects anything for somebody at this moment."""
        return any(self._lasts(name) and _beneficiary(name) == beneficiary for name in rows.leases())

    def keep_no_longer(self, rows: WritableRows, beneficiary: str, digest: Digest) -> None:
        """End, inside a write, what `keep` protects for somebody; nothing but the lease goes. Idempotent."""
        for name in rows.leases_of(digest):
            if _beneficiary(name) == beneficiary:
                _let_go(rows, name, [digest])

    def keep_nothing(self, rows: WritableRows, beneficiary: str) -> None:
        """End, inside a write, all that `keep` protects for somebody; nothing but the leases goes. Idempotent."""
        for name in rows.leases():
            if _beneficiary(name) == beneficiary:
                rows.delete_lease(name)

    def _lasts(self, name: str) -> bool:
        """Return whether a lease belongs to nobody, and its time has not passed."""
        found = _KEPT.fullmatch(name)
        return found is not None and int(found["until"]) * _SECOND > self._now()

    def is_alive(self, name: str, alive: set[str]) -> bool:
        """Return whether a lease protects what it names.

        Args:
            name: of the lease.
            alive: the leases whose owners live, as `alive` returns them.
        """
        return name in alive or self._lasts(name)

    def _protect_on(self, hold: Hold, digests: list[Digest]) -> None:
        hold.digests = digests
        self._held.update(digests)

    def alive(self, *, sweep: bool = True) -> set[str]:
        """Return the names of all leases whose owners live, and sweep up, if wanted, what dead ones left."""
        return self._owners.alive(sweep=sweep)

    def others(self) -> set[str]:
        """Return the names of all leases of other owners that live."""
        return self.alive() - {self._name}

    def drop_dead(self, rows: WritableRows) -> list[Digest]:
        """End the leases of processes that have ended, inside a write, and return what they protected.

        Only what removes things does this, and then takes what nothing else needs.
        """
        free: list[Digest] = []
        for name in self._dead(rows):
            free += rows.lease_digests(name)
            rows.delete_lease(name)
        return free

    def _dead(self, rows: WritableRows) -> list[str]:
        others = [name for name in rows.leases() if name != self._name and not self._lasts(name)]
        alive = self.alive() if others else set()
        return [name for name in others if name not in alive]

    def _let_go_of_lost(self, forget: Callable[[], None]) -> None:
        with self._guard:
            if any(hold.digests and hold.generation == self._generation for hold in list(self._holds)):
                return
            forget()
            self._claim = None
            self._name = ""
            self._generation += 1
            self._held = Counter()

    def close(self) -> None:
        """End the lease. Where its rows cannot be deleted it is dead all the same, and others sweep them up."""
        notice_fork()
        with self._guard:
            claim, self._claim = self._claim, None
        if claim is None:
            return
        # Whoever was interrupted did not wait for another writer, and does not now.
        try:
            if self._overdue:
                with suppress(GivenUp), interrupted_by(_given_up_after(_PATIENCE)):
                    self._delete_rows()
            else:
                self._delete_rows()
        finally:
            self._held = Counter()
            self._generation += 1
            claim.end()

    def _delete_rows(self) -> None:
        if self._held:
            with self._metadata.write() as rows:
                _let_go(rows, self._name, list(self._held))

    def abandon(self) -> None:
        """Release, in a forked child, what belongs to its parent."""
        if self._claim is not None:
            self._claim.abandon()
        self._claim = None
        self._name = ""
        self._generation += 1
        self._guard = threading.Lock()
        self._held = Counter()
        self._overdue = []


def _beneficiary(name: str) -> str | None:
    """Return for whom a lease was made that belongs to nobody; None where it is another one."""
    found = _KEPT.fullmatch(name)
    return None if found is None else found["beneficiary"]


def _uncount(held: Counter[Digest], digests: Iterable[Digest]) -> None:
    """Count content as held once less; what nothing holds any more is forgotten, as a process may live for long."""
    held.subtract(digests)
    for digest in digests:
        if held[digest] <= 0:
            del held[digest]


def _let_go(rows: WritableRows, name: str, digests: Sequence[Digest]) -> None:
    rows.delete_lease(name, digests)
    rows.put_lease(LEFT, only_leased(rows, digests))


class Hold(Single):
    """Content that is protected from the garbage collector; also a context manager.

    Args:
        leases: whose it is.
        digests: what is protected, until it is released.
        generation: of the lease.
    """

    __slots__ = ("__weakref__", "_leases", "digests", "generation")

    def __init__(self, leases: Leases, digests: list[Digest], generation: int) -> None:
        self._leases = leases
        self.generation = generation
        self.digests = digests

    def release(self) -> None:
        """Protect no more; a second call does nothing. One that fails changes nothing, and may be repeated."""
        self._leases.drop(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What interrupts a thread is to end it soon, and not once another writer has ended.
        is_interrupted = kind is not None and not issubclass(kind, Exception)
        try:
            with interrupted_by(_given_up_after(_PATIENCE) if is_interrupted else None):
                self.release()
        except BaseException as failed:
            self._leases.drop_later(self)
            if kind is None or not isinstance(failed, Exception):
                raise
            # The first error is the one to show.


def _given_up_after(seconds: float) -> Callable[[], None]:
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise GivenUp

    return check


_open_leases: weakref.WeakSet[Leases] = weakref.WeakSet()


def _abandon_all() -> None:
    for leases in list(_open_leases):
        leases.abandon()


in_child(_abandon_all)
