"""Budgets: how many manifests a registry is asked for in a time, and what went over the wire.

Registries that limit pulls count the manifests that are fetched, and not looks at them (HEAD), lists or blobs. A
budget counts the same, over all runs of a program that hands it the moments of the earlier ones. Once it is spent, a
request that would exceed it fails as one that the registry itself refuses, before it is sent.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from orlop.errors import RegistryBusy
from orlop.model.values import dataclass
from orlop.registry.hosts import server_of
from orlop.registry.messages import Answer
from orlop.registry.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orlop.registry.messages import Request, Transport

_MANIFESTS: Final = "/manifests/"


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many ``manifests`` within so many ``seconds``."""

    manifests: int
    seconds: int


class Spending:
    """A budget and when it was spent. Threads may share it.

    Args:
        budget: the limits.
        before: when earlier runs fetched manifests, in seconds since 1970, in order.
        now: the time in seconds since 1970.
        note: told of each further moment.
    """

    def __init__(
        self, budget: Budget, before: Iterable[float], now: Callable[[], float], note: Callable[[float], object]
    ) -> None:
        self._budget = budget
        self._moments = deque(before, maxlen=budget.manifests)
        self._now = now
        self._note = note
        self._turn = threading.Lock()

    def spend(self, host: str) -> None:
        """Count a manifest. Raises `RegistryBusy` where the budget is spent."""
        with self._turn:
            now, budget = self._now(), self._budget
            if len(self._moments) == budget.manifests:
                # A clock that was set back must not lock anybody out for longer than the time of the budget.
                wait = min(self._moments[0] + budget.seconds - now, budget.seconds)
                if wait > 0:
                    error = RegistryBusy(
                        f"the budget of {budget.manifests} manifests from {host} within {budget.seconds} s is spent;"
                        f" try again in {wait:.0f} s",
                        registry=host,
                    )
                    error.wait = wait
                    raise error
            self._moments.append(now)
            self._note(now)


class CountingTransport:
    """A transport that counts bytes of blobs, and keeps to budgets.

    Args:
        transport: carries the requests.
        budgets: by host.
    """

    def __init__(self, transport: Transport, budgets: Mapping[str, Spending]) -> None:
        self._transport = transport
        self._budgets = {server_of(host): spending for host, spending in budgets.items()}
        self._turn = threading.Lock()
        self.fetched = 0
        self.sent = 0

    def send(self, request: Request) -> Answer:
        """See `Transport.send`. Raises `RegistryBusy` where a budget is spent."""
        spending = self._budgets.get(Origin.of(request.url).authority)
        if spending is not None and request.method == "GET" and _MANIFESTS in request.url:
            spending.spend(Origin.of(request.url).authority)
        answer = self._transport.send(request)
        if request.method in {"PUT", "PATCH", "POST"} and _MANIFESTS not in request.url and answer.status < 300:
            self._count(sent=0 if request.body is None else request.body.size or 0)
        if request.method != "GET" or _MANIFESTS in request.url or answer.status not in {200, 206}:
            return answer
        return Answer(
            answer.status,
            answer.headers,
            answer.url,
            read=lambda n: self._counted(answer.read(n)),
            close=lambda broken: answer.close(broken=broken),
        )

    def _counted(self, data: bytes) -> bytes:
        self._count(fetched=len(data))
        return data

    def _count(self, *, fetched: int = 0, sent: int = 0) -> None:
        with self._turn:
            self.fetched += fetched
            self.sent += sent
