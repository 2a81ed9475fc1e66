"""How long servers are waited for, and when they are asked again."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, RegistryUnreachable
from orlop.model.values import dataclass, field
from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.streams import awaited

MOST_BESIDE: Final = 1 << 20
"""Bytes that may come before the head of an answer is whole, and between bytes of its body."""
_TICK: Final = 0.5
"""Seconds after which a pause asks whether it is to go on."""

_SHORT: Final = 0.1
"""Seconds of waiting after which it is looked at whether the server takes what was sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, as parameters."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long servers are waited for, in seconds, and how often they are asked.

    Attributes:
        connect: until a connection is there, encryption included.
        head: until an answer begins, once a request is sent; registries that copy a blob take their time.
        window: the time in which at least ``least`` bytes of a body must move.
        least: bytes.
        tries: how often a request is sent at most where a server fails or cannot be reached.
        pause: the first pause before it is sent again; each further one is twice as long.
        longest: the longest pause; where a server asks for a longer one, that is an error.
    """

    connect: float = 30
    head: float = 300
    window: float = 60
    least: int = 16 << 10
    tries: int = 5
    pause: float = 0.5
    longest: float = 60

    def before(self, tried: int, clock: Clock) -> float:
        """Return how long to wait after so many tries: longer each time, and never as long as others do."""
        ceiling: float = min(self.longest, self.pause * 2.0 ** (tried - 1))
        return ceiling * (0.5 + clock.chance() / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What all that waits shares: how long, by which clock, and what may end it.

    ``check`` is called at least once a second while a server is waited for, and what it raises ends the wait; by
    default it is what `interrupted_by` has set for the thread. ``beside`` is another patience, which is asked as often.
    """

    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)
    check: Callable[[], None] = check_interruption
    beside: awaited.Patience | None = None

    def pause(self, seconds: float) -> None:
        """Wait, and look now and then whether to go on."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 0:
            self.check()
            self.clock.sleep(min(left, _TICK))
        self.check()


class Watch:
    """Looks at one request: at its connection, its head, and how fast its bodies move.

    Only the time in which the server is waited for counts: whoever reads a body may take as long as it likes.
    """

    def __init__(self, waiting: Waiting, host: str) -> None:
        self._waiting = waiting
        self._host = host
        self._seen = self._moved = 0
        self._waited = 0.0
        self._since: float | None = None
        self._limit = self._least = math.inf
        self._most, self._is_body = MOST_BESIDE, False
        self._what = ""
        self.queued: Callable[[], int] = lambda: 0
        """Returns how many bytes wait here that the server has not taken: what is sent waits in the system first."""
        self._queued = self._drained = 0
        self.speaks_tls = False
        """Whether what answered has begun with TLS: then it is spoken to in nothing else."""
        self._restart(waiting.patience.connect, math.inf, "no connection was made")

    @property
    def connect(self) -> float:
        """How many seconds a connection may take."""
        return self._waiting.patience.connect

    def begin_head(self) -> None:
        """Wait for the head of an answer from now on."""
        self._restart(self._waiting.patience.head, math.inf, "no answer came")
        self._most, self._is_body = self._seen + MOST_BESIDE, False

    def begin_body(self) -> None:
        """Wait for a body to move from now on."""
        patience = self._waiting.patience
        self._restart(patience.window, patience.least, "hardly a byte moved")
        self._most, self._is_body = self._seen + MOST_BESIDE, True

    def came(self, count: int) -> None:
        """Note bytes of a body that came. Others may follow before the next of them, but not without an end."""
        self._moved += count
        self._most = self._seen + MOST_BESIDE

    def sent(self, count: int) -> None:
        """Note bytes that were sent."""
        self._moved += count

    def look(self, moved: int | None = None, *, is_awaited: bool) -> None:
        """Check whether to go on; see `orlop.streams.awaited.Patience`. ``moved`` counts what came alone."""
        self._waiting.check()
        if moved is not None:
            # What surrounds the bytes of a body does not count as progress.
            self._moved += 0 if self._is_body else moved - self._seen
            self._seen = moved
            if is_awaited and moved > self._most:
                raise InvalidAnswer(
                    f"{self._host} sends more than {MOST_BESIDE} bytes that are not a part of what was asked for",
                    registry=self._host,
                )
        if self._waiting.beside is not None:
            self._waiting.beside.look(self._seen, is_awaited=is_awaited)
        now = self._waiting.clock.monotonic()
        if self._since is not None:
            self._waited += now - self._since
            if now - self._since > _SHORT:
                self._note_taken()
        self._since = now if is_awaited else None
        if self._moved >= self._least:
            self._waited, self._moved = 0.0, 0
        elif self._waited > self._limit:
            raise RegistryUnreachable(
                f"{self._host} does not answer: {self._what} within {self._limit:g} s", registry=self._host
            )

    def _note_taken(self) -> None:
        """Have a server that still takes what was sent before count as one that moves."""
        before, self._queued = self._queued, self.queued()
        self._drained += max(0, before - self._queued)
        if self._drained >= self._waiting.patience.least:
            self._waited = self._drained = 0

    def _restart(self, limit: float, least: float, what: str) -> None:
        self._since, self._waited, self._moved = None, 0.0, 0
        self._limit, self._least, self._what = limit, least, what
