"""Who is connected to a listener, counted from the moment at which a connection is accepted.

There is room for a number of connections, whatever they do: shake hands, send a head, wait for an answer, or nothing.
Who is at work keeps its place. All others stand in a queue by how long they have done nothing that counts, and
whoever comes when there is no more room takes the place of the one that stands longest. So a crowd that only holds
connections holds none of them for long, and never keeps anybody out.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

_READING: Final = 64 << 10
_MOST_OWED: Final = 32 << 20
"""Bytes of answers that clients have not taken, over all connections, before no more is asked for."""


class Guest(Protocol):
    """A connection, as the lobby sees it."""

    def abort(self) -> None:
        """End at once."""

    def end(self) -> None:
        """End after the request at work."""

    def look(self, patience: float) -> None:
        """See whether the client is too slow."""

    def owed(self) -> int:
        """Return how many bytes wait for the client."""


class Lobby:
    """The connections of a listener.

    Args:
        most: how many there may be.
        patience: for how many seconds a client may keep a request waiting.
        rate: how many bytes a second are enough of a client.
    """

    def __init__(self, most: int, *, patience: float, rate: float) -> None:
        self.rate = rate
        self.buffer = memoryview(bytearray(_READING))
        self.date = b""
        self.is_ending = False
        self._most = most
        self._patience = patience
        self._waiting: dict[Guest, None] = {}
        self._working: set[Guest] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.look()

    def enter(self, guest: Guest) -> bool:
        """Take a connection in, and return whether there was room; the one that has waited longest makes it."""
        if len(self._waiting) + len(self._working) >= self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            del self._waiting[oldest]
            oldest.abort()
        self._waiting[guest] = None
        return True

    def work(self, guest: Guest) -> None:
        """Note that a connection has something to do."""
        self._waiting.pop(guest, None)
        self._working.add(guest)

    def rest(self, guest: Guest) -> None:
        """Note that a connection has nothing to do any more: it goes to the end of the queue."""
        if guest in self._working:
            self._working.discard(guest)
            self._waiting[guest] = None

    def leave(self, guest: Guest) -> None:
        """Note that a connection has ended."""
        self._waiting.pop(guest, None)
        self._working.discard(guest)

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Work on a request."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def owes_too_much(self) -> bool:
        """Return whether clients leave too much of their answers with us."""
        return sum(guest.owed() for guest in self._working) > _MOST_OWED

    def look(self) -> None:
        """See who is too slow; to be called every second."""
        self.date = formatdate(usegmt=True).encode()
        for guest in list(self._working):
            guest.look(self._patience)

    def end(self) -> None:
        """Let no connection outlive the request that it works on."""
        self.is_ending = True
        for guest in [*self._waiting, *self._working]:
            guest.end()

    @property
    def is_at_work(self) -> bool:
        """Whether a request is worked on."""
        return bool(self._working or self._tasks)

    @property
    def has_tasks(self) -> bool:
        """Whether an application still works on a request, or cleans up after it."""
        return bool(self._tasks)

    def cancel(self) -> None:
        """Break off all work."""
        for task in self._tasks:
            # One that cleans up already is left to it.
            if not task.cancelling():
                task.cancel()

    def abort(self) -> None:
        """End all connections at once."""
        for guest in [*self._waiting, *self._working]:
            guest.abort()
