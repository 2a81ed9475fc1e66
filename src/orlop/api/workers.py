"""The threads in which the store is worked with, a bounded number of each kind."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

_SHORT: Final = 8
_TICK: Final = 0.02

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs functions in threads.

    Args:
        transfers: how many uploads and downloads are worked on at once; the others wait.
    """

    def __init__(self, transfers: int) -> None:
        self._short = CapacityLimiter(_SHORT)
        self._long = CapacityLimiter(transfers)
        self._guard = threading.Lock()
        self._running = 0

    async def run(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run what takes moments. It is finished even where the caller is cancelled."""
        return await to_thread.run_sync(
            partial(self._counted, partial(function, *args, **options)), limiter=self._short
        )

    async def transfer(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run what moves content; it may wait for its turn. Whoever cancels it must also end what it waits for."""
        return await to_thread.run_sync(partial(self._counted, partial(function, *args, **options)), limiter=self._long)

    async def settled(self, seconds: float) -> bool:
        """Wait until nothing runs any more, also of what nobody waits for, and say whether that came in time."""
        for _ in range(max(1, round(seconds / _TICK))):
            if not self._running:
                return True
            await anyio.sleep(_TICK)
        return False

    def _counted(self, function: Callable[[], T]) -> T:
        with self._guard:
            self._running += 1
        try:
            return function()
        finally:
            with self._guard:
                self._running -= 1
