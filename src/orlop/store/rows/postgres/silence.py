"""A connection that waits for an answer as long as the server lives, and no longer.

An answer may take long: a writer waits for others, and a look at all rows takes what it takes. A server that hangs, or
a line that swallows everything, is as silent as that. So whoever has heard nothing for a while asks for another
connection. Where the server answers that in any way, it lives, and the wait goes on. Where that is not answered either,
the connection is closed, and the wait ends in an error.

A line that lost only this connection is found by the kernel, which knows what was acknowledged: see `KEEPING`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

V = TypeVar("V")

KEEPING: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""How libpq lets the kernel watch a connection: what is not acknowledged for 20 to 25 seconds is lost."""


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits end when the server is gone without a word."""

    patience: ClassVar[float] = 20.0
    """The seconds of silence after which the server is asked whether it lives, and again as often."""
    asking: ClassVar[int] = 5
    """The seconds within which it has to answer that."""
    probe: Callable[[int], None] | None = None
    """Connects to the server within some seconds and does nothing. Raises the errors of psycopg."""

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **options: Any) -> V:
        """Return what an operation on the connection yields at its end. psycopg calls it for each."""
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, gen: Generator[Any, Any, V]) -> Generator[Any, Any, V]:
        """Run an operation; it is told what is ready, and from time to time that nothing is."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.patience:
                    self._require_alive()
                    heard = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            found: V = end.value
            return found

    def _require_alive(self) -> None:
        if self.probe is None:
            return
        try:
            self.probe(self.asking)
        except psycopg.errors.ConnectionTimeout as error:
            self.close()
            seconds = round(self.patience + self.asking)
            raise psycopg.OperationalError(f"it has been silent for {seconds} seconds") from error
        except psycopg.Error:
            # It has too many connections, or is just ending: an answer all the same.
            return
