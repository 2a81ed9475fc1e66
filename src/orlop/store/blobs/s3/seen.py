"""What was in the bucket lately, so that it need not be asked for again."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from orlop.streams.forked import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED: Final = 10_000


class Seen:
    """The keys of objects that were there lately. Safe to share between threads, and across a fork.

    Args:
        fresh: seconds for which an object that was there is taken to be there still.
        clock: seconds that never go back.
    """

    def __init__(self, fresh: float, clock: Callable[[], float]) -> None:
        self._fresh, self._clock = fresh, clock
        self.abandon()
        _all.add(self)

    def abandon(self) -> None:
        """Begin anew, in a forked child: a thread of its parent may have been changing this."""
        self._guard = threading.Lock()
        self._times: OrderedDict[str, float] = OrderedDict()

    def add(self, key: str) -> None:
        """Note that an object is there."""
        with self._guard:
            self._times[key] = self._clock()
            self._times.move_to_end(key)
            if len(self._times) > _REMEMBERED:
                self._times.popitem(last=False)

    def has(self, key: str) -> bool:
        """Return whether an object was there lately."""
        with self._guard:
            return self._clock() - self._times.get(key, float("-inf")) < self._fresh


_all: weakref.WeakSet[Seen] = weakref.WeakSet()


def _abandon_all() -> None:
    for one in list(_all):
        one.abandon()


in_child(_abandon_all)
