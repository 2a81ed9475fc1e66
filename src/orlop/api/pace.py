"""How slow a client is: for how long it was waited for, beyond what it moved in that time.

Each second of waiting counts as a second, and each byte that the client sends or takes pays for the time that it may
take at the slowest rate that is allowed. A client that does nothing is behind by all the time that it was waited for,
and one that drips is behind by nearly as much; one that keeps up is never behind, and pays for nothing in advance.
Time in which the client waits for the server does not count.
"""

from __future__ import annotations


class Pace:
    """The pace of one client.

    Args:
        rate: how many bytes a second are enough; with 0, any byte is.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._behind = 0.0
        self._looked = 0.0
        self._moved = 0
        self._is_awaited = False

    def look(self, now: float, moved: int, *, is_awaited: bool) -> float:
        """Return for how many seconds the client is behind.

        Args:
            now: the time by some clock.
            moved: how many bytes the client has sent and taken so far.
            is_awaited: whether it is waited for from now on.
        """
        if self._is_awaited:
            self._behind += now - self._looked
        fresh = max(0, moved - self._moved)
        if fresh:
            paid = fresh / self._rate if self._rate else self._behind
            self._behind = max(0.0, self._behind - paid)
        self._looked, self._is_awaited = now, is_awaited
        self._moved = max(moved, self._moved)
        return self._behind
