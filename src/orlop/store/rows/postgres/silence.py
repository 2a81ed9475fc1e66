"""A connection that waits for an answer as long as the server lives, and no longer.

An answer may take long: a writer waits for others, and a look at all rows takes what it takes. A server that hangs, or
a line that swallows everything, is as silent as that. So whoever has heard nothing for a while asks for another
connection. Where the server answers that in any way, it lives, and the wait goes on. Where that is not answered either,
the connection is closed, and the wait ends in an error.

A process of the server may hang alone, and so may a line. So that other connection, which leads to the same server
where several are named, is asked what the process at the end of the silent one is doing. One that has gone, or does
nothing although it was asked for something, will not answer any more: it is asked once again after a moment, as an
answer may just be on its way. One that is at work is waited for longer, but not for ever. Behind a pooler, processes
have other numbers, and only the pooler knows them.

A line that lost only this connection is found by the kernel as well, which knows what was acknowledged: see `KEEPING`.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar

import psycopg

from orlop.streams.interruption import check_interruption

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
_DOES: Final = b"""SELECT pg_backend_pid(), pg_is_in_recovery(),
    (SELECT coalesce(state, '') FROM pg_stat_activity WHERE pid = %s)"""


class Probe(psycopg.Connection[tuple[Any, ...]]):
    """A connection that only asks what another one does, and does not wait for the answer for long."""

    seconds: float = 5.0

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **options: Any) -> V:
        """Return what an operation yields at its end. Raises `psycopg.errors.QueryCanceled` if that takes too long."""
        return super().wait(_within(gen, self.seconds), *args, **options)

    def does_nothing(self, process: int) -> bool:
        """Return whether a process of the server is known to have gone, or to wait for its client."""
        number, is_standby, state = self.execute(_DOES, (process,)).fetchone() or (0, False, "")
        # Behind one address there may be several standbys, of which this may be another one.
        is_direct = number == self.info.backend_pid and not is_standby
        return is_direct and (state is None or state.startswith("idle"))


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits end when what should answer is gone without a word."""

    patience: ClassVar[float] = 20.0
    """The seconds of silence after which the server is asked whether it lives, and again as often."""
    asking: ClassVar[int] = 10
    """The seconds within which it has to answer that, busy as it may be, and in which an answer may be on its way."""
    most: ClassVar[float] = 900.0
    """The seconds of silence after which a process is given up that seems to be at work."""
    is_beginning = False
    """Whether it waits for locks only, so that whatever ends the thread's waits ends this one."""
    probe: Callable[[psycopg.ConnectionInfo, int], Probe] | None = None
    """Connects to the server of a connection within some seconds. Raises the errors of psycopg."""

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **options: Any) -> V:
        """Return what an operation on the connection yields at its end. psycopg calls it for each.

        Whatever interrupts it closes the connection, on which an answer is still to come. psycopg would try to go on
        with it, and raise what becomes of that in place of the signal.
        """
        try:
            return super().wait(self._watched(gen), *args, **options)
        except psycopg.Error:
            raise
        except BaseException:
            self.close()
            raise

    def _watched(self, gen: Generator[Any, Any, V]) -> Generator[Any, Any, V]:
        """Run an operation; it is told what is ready, and from time to time that nothing is."""
        heard = asked = time.monotonic()
        is_doubtful = False
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if self.is_beginning and not ready:
                    check_interruption()
                if ready:
                    heard = asked = now
                    is_doubtful = False
                elif now - asked > (self.asking if is_doubtful else self.patience):
                    does_nothing = self._does_nothing(now - heard)
                    if (does_nothing and is_doubtful) or now - heard > self.most:
                        self._give_up("its process for this connection", now - heard)
                    is_doubtful, asked = does_nothing, time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            found: V = end.value
            return found

    def _does_nothing(self, silent: float) -> bool:
        """Return whether the server answers, and is known to do nothing for this connection."""
        if self.probe is None:
            return False
        try:
            with closing(self.probe(self.info, self.asking)) as probe:
                return probe.does_nothing(self.info.backend_pid)
        except psycopg.errors.ConnectionTimeout:
            self._give_up("it", silent + self.asking)
        except psycopg.Error:
            # It has too many connections, or is just ending: an answer all the same.
            return False

    def _give_up(self, what: str, seconds: float) -> NoReturn:
        self.close()
        raise psycopg.OperationalError(f"{what} has been silent for {round(seconds)} seconds")


def _within(gen: Generator[Any, Any, V], seconds: float) -> Generator[Any, Any, V]:
    until = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until:
                msg = "no answer in time"
                raise psycopg.errors.QueryCanceled(msg)
            wanted = gen.send(ready)
    except StopIteration as end:
        found: V = end.value
        return found
