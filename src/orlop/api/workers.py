"""The threads in which the store is worked with, a bounded number of each kind, and the turns of those who wait.

What moves content takes long, and how long is up to its client: so there are a few turns, and others wait in the
order in which they came. Nothing is read from a client that waits, so that it keeps nothing; one that is gone, or has
closed its half of the connection, waits no longer. While somebody waits, those at work are given up when they are as
slow as if they did nothing for half a minute: alone they may take as long as the server's patience.

A server that ends gives all work time, then each thread hears of it wherever it looks at what ends its waits: as it
goes through many rows, too, which no client can end.
"""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread

from orlop.errors import ServerBusy
from orlop.streams.interruption import GivenUp, interrupted_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SHORT: Final = 8
_HURRY: Final = 30
"""For how many seconds a client at work may do nothing while others wait for their turn."""

_BUSY: Final = "the server is busy with as many transfers as it allows; try again later"
_ENDS: Final = "the server ends; try again later"

P = ParamSpec("P")
T = TypeVar("T")


class Client(Protocol):
    """The client of a transfer."""

    left: asyncio.Event
    """Set once it sends no more."""

    def behind(self) -> float:
        """Return for how many seconds it has kept the server waiting."""

    def keep(self) -> None:
        """Keep its connection while the transfer lasts."""

    def give_up(self, seconds: float) -> None:
        """Wait no longer for it, as it is behind by some seconds."""


class Workers:
    """Runs functions in threads.

    Args:
        transfers: how many uploads and downloads are worked on at once; the others wait.
        most: how many there may be with those that wait.
    """

    def __init__(self, transfers: int, most: int = 256) -> None:
        self._short = CapacityLimiter(_SHORT)
        self._long = CapacityLimiter(math.inf)
        self._turns = asyncio.Semaphore(transfers)
        self._alone = asyncio.Semaphore(1)
        self._lined_up = 0
        self._most = most
        self._waiting = 0
        self._clients: set[Client] = set()
        self._guard = threading.Lock()
        self._running = 0
        self._has_ended = False

    async def run(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run what takes moments. It is finished even where the caller is cancelled, unless the server ends."""
        return await to_thread.run_sync(
            partial(self._counted, partial(function, *args, **options)), limiter=self._short
        )

    @asynccontextmanager
    async def turn(self, client: Client | None) -> AsyncIterator[None]:
        """Wait for a turn, and have it for a block, which may `transfer`.

        Raises:
            ServerBusy: too many wait already; or the client has closed its half of the connection, or is gone.
        """
        if self._waiting + len(self._clients) >= self._most:
            raise ServerBusy(_BUSY)
        if client is not None:
            client.keep()
        await self._wait(self._turns, client)
        try:
            if client is not None:
                self._clients.add(client)
            yield
        finally:
            if client is not None:
                self._clients.discard(client)
            self._turns.release()

    async def _wait(self, turns: asyncio.Semaphore, client: Client | None) -> None:
        if client is None or not turns.locked():
            await turns.acquire()
            return
        mine, leaves = asyncio.ensure_future(turns.acquire()), asyncio.ensure_future(client.left.wait())
        self._waiting += 1
        try:
            await asyncio.wait([mine, leaves], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            _renounce(turns, mine)
            raise
        finally:
            self._waiting -= 1
            leaves.cancel()
        if not mine.done():
            _renounce(turns, mine)
            raise ServerBusy(_BUSY)

    async def transfer(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run what moves content, within a `turn`. Whoever cancels it must also end what it waits for."""
        return await to_thread.run_sync(partial(self._counted, partial(function, *args, **options)), limiter=self._long)

    async def alone(self, client: Client | None, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run what takes much memory, as a transfer in its turn: after all others that were asked for in this way.

        Nothing is run for a client that has gone meanwhile, since others wait for their turn behind it.

        Raises:
            ServerBusy: too many wait already; or the client has closed its half of the connection, or is gone.
        """
        if self._lined_up >= self._most:
            raise ServerBusy(_BUSY)
        self._lined_up += 1
        try:
            await self._wait(self._alone, client)
            try:
                async with self.turn(None):
                    return await self.transfer(function, *args, **options)
            finally:
                self._alone.release()
        finally:
            self._lined_up -= 1

    async def copy(self, function: Callable[[], None]) -> None:
        """Run what sends a file, within a `turn`. Where the caller is cancelled it is left alone: it ends by itself."""
        await to_thread.run_sync(partial(self._counted, function), limiter=self._long, abandon_on_cancel=True)

    def look(self) -> None:
        """See who is too slow while others wait; to be called every second."""
        if not self._waiting:
            return
        for client in list(self._clients):
            if client.behind() > _HURRY:
                client.give_up(_HURRY)

    def patience(self, usual: float) -> float:
        """Return for how many seconds a transfer may be waited for, of as many as usual, which others may shorten."""
        return min(usual, _HURRY) if self._waiting else usual

    def end(self) -> None:
        """End all work, wherever it looks at what ends its waits."""
        self._has_ended = True

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, also of what nobody waits for."""
        return not self._running

    def _counted(self, function: Callable[[], T]) -> T:
        with self._guard:
            self._running += 1
        try:
            with interrupted_by(self._require_time):
                return function()
        except GivenUp:
            raise ServerBusy(_ENDS) from None
        finally:
            with self._guard:
                self._running -= 1

    def _require_time(self) -> None:
        if self._has_ended:
            raise GivenUp


def _renounce(turns: asyncio.Semaphore, turn: asyncio.Task[Literal[True]]) -> None:
    if not turn.cancel() and not turn.cancelled():
        turns.release()
