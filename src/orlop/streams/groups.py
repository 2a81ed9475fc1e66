"""Items that come one by one, and are handled in groups by a thread beside those that they come from.

A group is handled as soon as its first item has waited for some time, it has a number of items or a weight, or nothing
more comes, whatever the reason is. What comes while one group is handled is in the next one, and whoever adds to a full
one waits. So the thread is never more than two groups behind.

Where Ctrl-C or the like ends the block, what is waiting is handled as well, unless that waits for a lock that another
process has for long: such a wait ends soon, and what waited is not handled.
"""

from __future__ import annotations

import threading
import time

from orlop.model.generic import Generic, TypeVar
from orlop.streams.interruption import check_interruption, inherited, interrupted_by, join, start
from orlop.streams.pipeline import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Final, Self

T = TypeVar("T")
_TICK: Final = 0.1
_PATIENCE: Final = 0.3
"""Seconds for which the end of an interrupted block waits for locks."""


class Groups(Generic[T]):
    """Hands on what is added soon after; use it as a block, at the end of which all of it was handled.

    Threads may share it. Where the system has no thread left, each item is handled as it comes.

    Args:
        handle: called with one group after the other, never by two threads at once.
        soon: seconds that an item waits at most while nothing else is handled.
        most: items of a group.
        heaviest: weight with which a group is full.
    """

    def __init__(self, handle: Callable[[list[T]], object], *, soon: float, most: int, heaviest: int) -> None:
        self._handle = handle
        self._soon, self._most, self._heaviest = soon, most, heaviest
        # Taken by itself: a signal leaves a condition locked that it interrupts.
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._waiting: list[T] = []
        self._weight = 0
        self._since = 0.0
        self._has_ended = False
        self._gives_up_at: float | None = None
        self._outer = inherited()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def add(self, item: T, weight: int) -> None:
        """Have an item handled soon; wait while a group is full. Raises what handling an earlier one raised."""
        with self._guard:
            while self._error is None and self._is_full():
                self._changed.wait(_TICK)
                check_interruption()
            self.check()
            if self._has_thread():
                if not self._waiting:
                    self._since = time.monotonic()
                self._waiting.append(item)
                self._weight += weight
                self._changed.notify_all()
            else:
                self._handle([item])

    def check(self) -> None:
        """Raise what handling a group raised, if anything: what is added since is not handled."""
        if self._error is not None:
            raise self._error

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._most or self._weight >= self._heaviest

    def _has_thread(self) -> bool:
        """Return whether the thread is there, and start it for the first item."""
        if self._thread is None:
            thread = self._thread = threading.Thread(target=self._run, name="orlop-groups", daemon=False)
            if not start(thread):
                self._thread = None
                return False
        return True

    def _run(self) -> None:
        try:
            with interrupted_by(self._check_wait):
                while group := self._next():
                    self._handle(group)
        except BaseException as error:  # noqa: BLE001 - it is raised again by add(), check() or the end of the block
            with self._guard:
                self._error = error
                self._waiting.clear()
                self._changed.notify_all()

    def _check_wait(self) -> None:
        """Raise what ends the thread's waits: what ends those of whoever made this, and the end of its block."""
        self._outer()
        if self._gives_up_at is not None and time.monotonic() > self._gives_up_at:
            raise Cancelled

    def _next(self) -> list[T]:
        """Return the next group once it is to be handled; none where nothing more comes."""
        with self._guard:
            while not self._has_ended and not self._is_full():
                left = self._since + self._soon - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            group, self._waiting, self._weight = self._waiting, [], 0
            self._changed.notify_all()
        return group

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            self._has_ended = True
            if kind is not None and not issubclass(kind, Exception):
                self._gives_up_at = time.monotonic() + _PATIENCE
            self._changed.notify_all()
        if self._thread is not None:
            try:
                join([self._thread])
            except BaseException:
                self._gives_up_at = time.monotonic() + _PATIENCE
                join([self._thread])
                raise
        # The error of the block is the one to show.
        if kind is None:
            self.check()
