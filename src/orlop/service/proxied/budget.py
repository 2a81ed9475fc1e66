"""How often an upstream is asked: a budget that the owner of a cache sets, and what the upstream itself asks for.

Theory of operation. Each upstream has one `Budget`, and everything that is sent to it passes through `Budgeted`. Only
requests of the registry's protocol count (``/v2/``): neither tokens nor the storage to which it redirects.

- A budget of N in a time is exact: in no span of that length are more than N requests sent. What is beyond is not sent.
- An answer 429 with ``Retry-After`` holds everything back for so long. One without holds back for a pause that doubles
  with each further one, from 10 seconds up to 10 minutes, and begins anew after any other answer. The request that got
  it may be sent again by whoever sent it, as patience has it; what follows is not sent before its time.

What is held back fails with `RegistryBusy`, which says for how long, and costs nothing. A cache then answers with what
it has. Counts and holds are those of one process, and end with it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from orlop.errors import InvalidInput, RegistryBusy
from orlop.model.durations import parse_duration
from orlop.model.values import dataclass
from orlop.registry.limits import RateLimit, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.registry.messages import Answer, Request, Transport

_SECOND: Final = 1_000_000_000
_MOST: Final = 1_000_000
_FIRST: Final = 10 * _SECOND
_LONGEST: Final = 600 * _SECOND
_DAY: Final = 24 * 3600
"""For how many seconds an upstream may ask to be left alone."""
_PROTOCOL: Final = "/v2/"
_BUSY: Final = 429


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` requests in any ``span`` of nanoseconds."""

    count: int
    span: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rate such as ``100/6h``.

        Raises:
            InvalidInput: it is not one.
        """
        count, _, span = text.partition("/")
        try:
            found = cls(int(count) if count.isascii() and count.isdecimal() and len(count) < 8 else 0, _span(span))
        except ValueError as error:
            raise InvalidInput(f"{text[:80]!r} is not a rate, such as 100/6h: {error}") from error
        if not 0 < found.count <= _MOST or found.span <= 0:
            raise InvalidInput(f"{text[:80]!r} is not a rate; give 1 to {_MOST} requests and a time, such as 100/6h")
        return found


def _span(text: str) -> int:
    return parse_duration(text if text[:1].isdecimal() else f"1{text}")


class Budget:
    """The budget of one upstream. Threads may share it.

    Args:
        host: the upstream, for messages.
        now: returns nanoseconds since 1970.
        rate: how many requests may be sent; None for any number.
    """

    def __init__(self, host: str, now: Callable[[], int], rate: Rate | None = None) -> None:
        self.counts: Counter[str] = Counter()
        """How many requests were ``sent``, how many were ``refused`` with 429, and how many were ``held`` back."""
        self.remaining: int | None = None
        """How many more requests the upstream allows, by what it said last."""
        self._host = host
        self._now = now
        self._rate = rate
        self._turn = threading.Lock()
        self._sent: deque[int] = deque()
        self._until = 0
        self._asked = 0
        self._pause = _FIRST

    def take(self) -> None:
        """Count a request that is to be sent now. Raises `RegistryBusy` where none may be."""
        with self._turn:
            now = self._now()
            wait, why = self._hold(now), "it has asked to be left alone"
            if wait <= 0:
                wait, why = self._wait(now), "the budget for it is spent"
            if wait > 0:
                self.counts["held"] += 1
                raise _busy(
                    f"{self._host} is not asked, since {why}; try again in {_seconds(wait)} s", self._host, wait
                )
            self.counts["sent"] += 1
            if self._rate is not None:
                self._sent.append(now)

    def _hold(self, now: int) -> int:
        # A clock that was set back must not hold anything back for longer than was asked.
        self._until = min(self._until, now + self._asked)
        return self._until - now

    def _wait(self, now: int) -> int:
        if self._rate is None:
            return 0
        # A clock that was set back must not hold anything back for longer than the span.
        while self._sent and not now - self._rate.span < self._sent[0] <= now:
            self._sent.popleft()
        return self._sent[0] + self._rate.span - now if len(self._sent) >= self._rate.count else 0

    def learn(self, answer: Answer) -> None:
        """Learn from an answer."""
        quota = RateLimit.of(answer.headers)
        with self._turn:
            now = self._now()
            if quota is not None:
                self.remaining = quota.remaining
            if answer.status != _BUSY:
                self._pause = _FIRST
                return
            self.counts["refused"] += 1
            asked = retry_after(answer.headers, now / _SECOND)
            pause = self._pause if asked is None else int(min(asked, _DAY) * _SECOND)
            self._asked = max(self._hold(now), pause)
            self._until = now + self._asked
            if asked is None:
                self._pause = min(2 * self._pause, _LONGEST)

    def held(self) -> float:
        """Return for how many seconds nothing is sent, as the upstream asked."""
        with self._turn:
            return max(0.0, self._hold(self._now()) / _SECOND)


class Budgeted:
    """A transport whose requests are counted, and held back, by a budget."""

    def __init__(self, transport: Transport, budget: Budget) -> None:
        self._transport = transport
        self._budget = budget

    def send(self, request: Request) -> Answer:
        """Send a request, see `Transport.send`. Raises `RegistryBusy` where it is held back."""
        if not urlsplit(request.url).path.startswith(_PROTOCOL):
            return self._transport.send(request)
        self._budget.take()
        answer = self._transport.send(request)
        self._budget.learn(answer)
        return answer


def _busy(message: str, host: str, wait: int) -> RegistryBusy:
    error = RegistryBusy(message, registry=host)
    error.wait = _seconds(wait)
    return error


def _seconds(nanoseconds: int) -> int:
    return max(1, -(-nanoseconds // _SECOND))
