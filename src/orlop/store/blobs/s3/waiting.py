"""Connections to the server of a bucket, whose answers are waited for with bounded patience.

A socket's own time-out begins anew with each byte. A server that sends one now and then would never be given up, so the
time in which it is waited for is counted as well, and what it sends in that time. Time in which nobody reads does not
count. The system keeps megabytes of what is sent, and a server that still takes of these is not silent. While a server
works on a change, some send white space; such an answer may take longer.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from orlop.streams.awaited import awaited_response, queued

if TYPE_CHECKING:
    from collections.abc import Callable

ENOUGH: Final = 16 << 10
"""Bytes that have to come while a server is waited for three times as long as it may be silent."""
_SLOW: Final = 3
_TICK: Final = 0.5
_AT_WORK: Final = 45
"""How many times as long as it may be silent a server may take for the answer to a change."""
_READING: Final = frozenset({"GET", "HEAD"})


class Watch:
    """Looks at one answer; see `orlop.streams.awaited.Patience`.

    Args:
        silence: seconds for which a server may send nothing.
        window: seconds of waiting in which it has to send `ENOUGH`.
        clock: seconds that never go back.
        taken: returns how many bytes the server has taken of what was sent before.
    """

    def __init__(
        self,
        silence: float,
        window: float,
        clock: Callable[[], float] = time.monotonic,
        taken: Callable[[], int] = lambda: 0,
    ) -> None:
        self._taken = taken
        self._silence, self._window, self._clock = silence, window, clock
        self._moved = self._enough = 0
        self._silent = self._waited = 0.0
        self._since: float | None = None

    def look(self, moved: int, *, is_awaited: bool) -> None:
        """Check whether to go on. Raises `TimeoutError`."""
        now = self._clock()
        if self._since is not None:
            self._silent += now - self._since
            self._waited += now - self._since
        self._since = now if is_awaited else None
        moved += self._taken()
        if moved != self._moved:
            self._moved, self._silent = moved, 0.0
        if moved - self._enough >= ENOUGH:
            self._enough, self._waited = moved, 0.0
        if self._silent > self._silence:
            raise TimeoutError
        if self._waited > self._window:
            raise TimeoutError(None, f"hardly a byte came within {self._window:g} s")


class Taken:
    """Counts what a server takes of the bytes that the system has."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting, self._before, self._count = waiting, waiting(), 0

    def __call__(self) -> int:
        """Return how many bytes it has taken so far."""
        before, self._before = self._before, self._waiting()
        self._count += max(0, before - self._before)
        return self._count


class _Waiting:
    """What both kinds of connections have in common: they send, and read the answer, under a watch."""

    def send(self, data: Any) -> None:
        """Send bytes, as far as the server takes them."""
        this: Any = self
        if this.timeout is None or not isinstance(data, bytes | bytearray | memoryview):
            super().send(data)  # type: ignore[misc]
            return
        if this.sock is None:
            this.connect()
        sock, view, sent, limit = this.sock, memoryview(data), 0, this.sock.gettimeout()
        watch = Watch(this.timeout, this.timeout * _SLOW, taken=Taken(partial(queued, sock)))
        sock.settimeout(_TICK)
        while sent < len(view):
            watch.look(sent, is_awaited=True)
            with suppress(TimeoutError):
                sent += sock.send(view[sent:])
            watch.look(sent, is_awaited=False)
        sock.settimeout(limit)

    def getresponse(self, *args: Any, **options: Any) -> Any:
        """Return the answer once its head is there."""
        this: Any = self
        silence = this.timeout
        if silence is not None:
            is_reading = getattr(this, "_method", None) in _READING
            taken = Taken(partial(queued, this.sock)) if this.sock is not None else lambda: 0
            watch = Watch(silence, silence * (_SLOW if is_reading else _AT_WORK), taken=taken)
            this.response_class = partial(awaited_response, watch)
        return super().getresponse(*args, **options)  # type: ignore[misc]


class _Plain(_Waiting, HTTPConnection):
    """A connection."""


class _Encrypted(_Waiting, HTTPSConnection):
    """A connection that is encrypted."""


class PlainPool(HTTPConnectionPool):
    """Connections to one server."""

    ConnectionCls = _Plain


class EncryptedPool(HTTPSConnectionPool):
    """Encrypted connections to one server."""

    ConnectionCls = _Encrypted
