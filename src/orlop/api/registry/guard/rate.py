"""How often somebody may come: a bucket of tokens for each, which fills at a steady rate.

The buckets of those who came last are kept, a bounded number; a bucket that is not kept counts as full. So whoever has
enough addresses to push all others out gets what that many clients get.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_MOST: Final = 16_384


class Buckets:
    """Buckets by key; only the thread of the event loop may use them.

    Args:
        rate: how many tokens a second a bucket gets.
        burst: how many it can hold.
        clock: seconds, which never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable) -> float:
        """Take a token, and return 0; if there is none, return in how many seconds there will be one."""
        wait = self.wait(key)
        if not wait:
            level, now = self._level(key), self._clock()
            self._levels.pop(key, None)
            while len(self._levels) >= _MOST:
                del self._levels[next(iter(self._levels))]
            self._levels[key] = level - 1, now
        return wait

    def wait(self, key: Hashable) -> float:
        """Return in how many seconds there will be a token, 0 if there is one now, and take nothing."""
        return max(0.0, (1 - self._level(key)) / self._rate)

    def _level(self, key: Hashable) -> float:
        level, since = self._levels.get(key, (float(self._burst), self._clock()))
        return min(float(self._burst), level + (self._clock() - since) * self._rate)
