"""The rest of a body whose length is known, read from the socket by the thread that wants it.

Theory of operation. The event loop can read a body and hand it on piece by piece; each piece then wakes the loop, a
task and a thread, and is copied three times. For a large upload that costs more than hashing it. So the loop stops
reading from the connection, and the thread reads from a descriptor of its own, never more than the body: what follows
it stays in the socket, for the loop to find. The thread looks several times a second whether somebody has given the
client up, or the client is gone. It says when it waits for the client: the time that it needs itself is not its.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Final

from orlop.errors import RequestAborted

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.api.framing import Sized
    from orlop.errors import OrlopError

_TICK: Final = 250
"""For how many milliseconds it waits before it looks whether to go on."""


class Handed:
    """A body that one thread reads. `fail` and `close` belong to the event loop, `close` once the thread has ended.

    Args:
        first: what has come of it already.
        framing: what is left of it.
        descriptor: the socket, which is closed in the end.
        came: told how many bytes have come.
        trouble: returns why not to go on, if there is a reason.
    """

    def __init__(
        self,
        first: bytes,
        framing: Sized,
        descriptor: int,
        came: Callable[[int], object],
        trouble: Callable[[], OrlopError | None],
    ) -> None:
        self._first = first
        self._framing = framing
        self._descriptor = descriptor
        self._came = came
        self._trouble = trouble
        self._error: OrlopError | None = None
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)
        self.is_waiting = False
        """Whether the thread waits for the client."""
        self.size = 0
        """How many bytes were read."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self._framing.complete

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, none at the end.

        Raises:
            RequestAborted: the client is gone, or too slow. What `fail` was given.
        """
        data, self._first = self._first[:n], self._first[n:]
        while not data and not self._framing.complete:
            data = self._some(n)
        self.size += len(data)
        return data

    def _some(self, n: int) -> bytes:
        """Return bytes from the socket, none if it has waited for them in vain for a moment."""
        error = self._error or self._trouble()
        if error is not None:
            raise error
        try:
            data = os.read(self._descriptor, min(n, self._framing.left))
        except BlockingIOError:
            self.is_waiting = True
            self._ready.poll(_TICK)
            self.is_waiting = False
            return b""
        except OSError as why:
            raise RequestAborted("the client hung up before it had sent everything") from why
        if not data:
            raise RequestAborted("the client hung up before it had sent everything")
        self._came(len(data))
        return self._framing.take(data)[0]

    def fail(self, error: OrlopError) -> None:
        """Have the thread fail at its next look."""
        self._error = error

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
