"""URLs that were handed out: what they lead to stays in the bucket for as long as they are good.

Whoever holds a signed URL reads without this process. So the process keeps reading in their place: a *loan* is a block
of `ObjectKeys.reading` that ends once the last URL that relies on it has. URLs of one minute share a loan, so that a
server which hands out thousands holds a few; a thread that lives as long as there are loans ends those that are due.

A loan begins before the name of the object is looked up. What is removed later is then deleted after the loan has
ended, whichever machine collects. Signatures have the time of day in them, and a server accepts clocks that are wrong
by a quarter of an hour: a loan lasts longer than its URLs by as much.

Loans end with their session: a URL shares none with one that was made in another session, and none is made in one that
is known to be dead. Where a server ends or is declared dead, a URL may lead nowhere before its time, if what
it leads to was removed as well. That is one failed download, and never other bytes, as a key is used only once.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Protocol

from orlop.streams.forked import in_child
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

SKEW: Final = 900.0
"""Seconds by which the clocks of a signer and of a server may differ."""
_SHARED: Final = 60.0
"""Seconds for which URLs share a loan."""


class Lender(Protocol):
    """What loans ask of `ObjectKeys`."""

    @property
    def session(self) -> str:
        """See `ObjectKeys.session`."""

    def require(self, session: str) -> None:
        """See `ObjectKeys.require`."""

    def reading(self) -> AbstractContextManager[None]:
        """See `ObjectKeys.reading`."""


class _Loan:
    __slots__ = ("held", "session", "since", "until")

    def __init__(self, held: ExitStack, session: str, since: float) -> None:
        self.held, self.session, self.since, self.until = held, session, since, since


class Loans:
    """The loans of one process. Safe to share between threads; a forked child has none.

    Args:
        keys: keep for a block what is in the bucket, see `ObjectKeys.reading`.
        clock: seconds that never go back.
    """

    def __init__(self, keys: Lender, clock: Callable[[], float]) -> None:
        self._keys, self._clock = keys, clock
        self._loans: list[_Loan] = []
        self.abandon()
        _all.add(self)

    def abandon(self) -> None:
        """Forget the loans, in a forked child: they are those of its parent."""
        # To let go of one ends it, which may wait for a lock that a thread of the parent held.
        _inherited.extend(self._loans)
        self._guard = threading.Lock()
        self._loans = []
        self._changed = threading.Event()
        self._is_watched = False

    @property
    def count(self) -> int:
        """How many loans there are."""
        return len(self._loans)

    def lend(self, seconds: float) -> None:
        """Keep what is in the bucket from now on for some seconds, and a while longer.

        Raises:
            LeaseLost: nothing can be kept, as the session is dead. Errors of storage.
        """
        with self._guard:
            now, session = self._clock(), self._keys.session
            self._keys.require(session)
            loan = self._loans[-1] if self._loans else None
            if loan is None or loan.session != session or now - loan.since >= _SHARED:
                held = ExitStack()
                held.enter_context(self._keys.reading())
                loan = _Loan(held, session, now)
                self._loans.append(loan)
            loan.until = max(loan.until, now + seconds + SKEW)
            if not self._is_watched:
                self._is_watched = True
                started(self._watch, name="orlop-s3-loans")

    def settle(self) -> float | None:
        """End the loans that are due. Return in how many seconds the next one is, or nothing where there is none."""
        with self._guard:
            now = self._clock()
            due = [loan for loan in self._loans if loan.until <= now]
            self._loans = [loan for loan in self._loans if loan.until > now]
            for loan in due:
                loan.held.close()
            if self._loans:
                return min(loan.until for loan in self._loans) - now
            self._is_watched = False
            return None

    def _watch(self) -> None:
        while (left := self.settle()) is not None:
            self._changed.wait(left)

    def close(self) -> None:
        """End all loans. It may be used again."""
        with self._guard:
            loans, self._loans = self._loans, []
            changed, self._changed = self._changed, threading.Event()
        for loan in loans:
            loan.held.close()
        changed.set()


_all: weakref.WeakSet[Loans] = weakref.WeakSet()
_inherited: Final[list[_Loan]] = []


def _abandon_all() -> None:
    for loans in list(_all):
        loans.abandon()


in_child(_abandon_all)
