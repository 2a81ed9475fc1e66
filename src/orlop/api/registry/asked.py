"""A request to the registry, with what it needs to be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from orlop.api.registry.happened import Happened
from orlop.api.registry.receiving import length_of, received
from orlop.api.registry.routes import parameters_of
from orlop.model.digest import Digest
from orlop.service.hosted.uploads import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import Receive, Scope

    from orlop.api.registry.happened import Listener
    from orlop.api.registry.routes import Need, Route
    from orlop.api.workers import Workers
    from orlop.service.hosted.registry import HostedRegistry
    from orlop.service.hosted.repository import Repository
    from orlop.service.hosted.uploads import Readable

T = TypeVar("T")

_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its ``route``, the ``registry`` that answers it, and the ``workers`` in whose threads that works."""

    route: Route
    registry: HostedRegistry
    workers: Workers
    listeners: Sequence[Listener]
    scope: Scope
    receive: Receive
    headers: dict[str, str]

    def all_of(self, name: str) -> list[str]:
        """Return all values of a header, which may come several times; the name is in lower case."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted]

    @property
    def who(self) -> str:
        """The client's name, as whoever guards the registry has found it; else empty."""
        return str(self.scope.get("orlop.user", ""))

    def may(self, need: Need) -> bool:
        """Return whether the client has a right that the request does not need, but wishes for."""
        asked: Callable[[Need], bool] | None = self.scope.get("orlop.may")
        return asked is None or asked(need)

    @property
    def repository(self) -> Repository:
        """The repository in its path. Raises `InvalidReference`."""
        namespace = self.parameter("ns") if self.route.method in _READING else None
        return self.registry.repository(self.route.repository, self.headers.get("host", ""), namespace or "")

    def repository_of(self, name: str) -> Repository:
        """Return a repository of the same registry. Raises `InvalidReference`."""
        return self.registry.hosts.repository(name, self.headers.get("host", ""))

    @property
    def parameters(self) -> dict[str, list[str]]:
        """Its parameters by their names. Raises `InvalidInput`."""
        return parameters_of(self.scope["query_string"].decode("latin-1"))

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter, if it is there."""
        return next(iter(self.parameters.get(name, ())), None)

    def digest(self) -> Digest:
        """Return the digest that its path ends with. Raises `InvalidDigest`."""
        return Digest.parse(self.route.reference)

    @property
    def length(self) -> int | None:
        """How many bytes its body has, if it says so."""
        return length_of(self.headers)

    @property
    def bound(self) -> Bound:
        """How large a blob may be that its body is a part of."""
        return Bound(self.scope.get("orlop.upload"), self.length)

    async def run(self, function: Callable[[], T]) -> T:
        """Run what takes moments in a thread."""
        return await self.workers.run(function)

    async def look(self, function: Callable[[], T]) -> T:
        """Run what reads: what may wait for another registry must not keep others from a thread."""
        run = self.workers.transfer if self.registry.waits else self.workers.run
        return await run(function)

    async def read(self, function: Callable[[Readable], T]) -> T:
        """Run a function in a thread that reads the body, see `orlop.api.registry.receiving.received`."""
        return await received(self.scope, self.receive, self.workers, self.length, function)

    def tell(
        self, action: str, digest: object = "", *, tag: str = "", media_type: str = "", size: int = 0, source: str = ""
    ) -> None:
        """Report what has happened to all listeners."""
        happened = Happened(
            action, self.route.repository, str(digest), tag, media_type, size, who=self.who, source=source
        )
        for listener in self.listeners:
            listener(happened)
