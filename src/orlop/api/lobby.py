"""Who is connected to a listener, counted from the moment at which a connection is accepted.

There is room for a number of connections, and each is one of these:

- *waiting*: the server waits for it: for a handshake, a head, a small body, the taking of an answer, or the next
  request. It stands in a queue by when it last did something.
- *working*: the server works for it. It has not to be waited for, so there are only as many as the server has to do.
- *kept*: a transfer, or a stream that may be silent for long. Both are counted elsewhere, and have bounds of their
  own.

A new connection that finds no room takes the place of the one that has waited longest. The same happens where clients
leave too much of their answers untaken. A crowd that only holds connections holds none of them for long, and keeps
nobody out.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

_READING: Final = 64 << 10
_MOST_OWED: Final = 32 << 20
"""Bytes of answers that clients may leave untaken, over all connections."""


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
        self._kept: set[Guest] = set()
        self._asking: dict[Guest, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.look()

    def enter(self, guest: Guest) -> bool:
        """Take a connection in, and return whether there was room; the one that has waited longest makes it."""
        if len(self._waiting) + len(self._working) + len(self._kept) >= self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self._put_out(oldest)
        self._waiting[guest] = None
        return True

    def ask(self, guest: Guest) -> None:
        """Note a request of a connection; one that leaves too much of its answers unread must make room."""
        self._asking[guest] = None
        self.work(guest)
        if sum(one.owed() for one in self._asking) > _MOST_OWED:
            for one in [one for one in self._waiting if one.owed()]:
                self._put_out(one)

    def work(self, guest: Guest) -> None:
        """Note that a connection is not waited for."""
        self._waiting.pop(guest, None)
        self._working.add(guest)

    def keep(self, guest: Guest) -> None:
        """Note that a connection may stay, whether it is waited for or not."""
        self._waiting.pop(guest, None)
        self._working.discard(guest)
        self._kept.add(guest)

    def rest(self, guest: Guest) -> None:
        """Note that a connection is waited for: it goes to the end of the queue."""
        if guest in self._working or guest in self._kept:
            self._working.discard(guest)
            self._kept.discard(guest)
            self._waiting[guest] = None

    def answered(self, guest: Guest) -> None:
        """Note that a connection has got its answer."""
        self._asking.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        """Note that a connection has ended."""
        self.answered(guest)
        self._waiting.pop(guest, None)
        self._working.discard(guest)
        self._kept.discard(guest)

    def _put_out(self, guest: Guest) -> None:
        self._waiting.pop(guest, None)
        guest.abort()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Work on a request."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def look(self) -> None:
        """See who is too slow; to be called every second."""
        self.date = formatdate(usegmt=True).encode()
        for guest in list(self._asking):
            guest.look(self._patience)

    def end(self) -> None:
        """End each connection with the request that it works on."""
        self.is_ending = True
        for guest in self._all():
            guest.end()

    @property
    def working(self) -> int:
        """How many requests the server works on, transfers and streams aside."""
        return len(self._working)

    @property
    def is_at_work(self) -> bool:
        """Whether a request is not answered."""
        return bool(self._asking or self._tasks)

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
        for guest in self._all():
            guest.abort()

    def _all(self) -> list[Guest]:
        return [*self._waiting, *self._working, *self._kept]
