"""A server: listeners, each with a lobby of its own, all in one event loop, from start to a graceful end.

The end is bounded, whatever clients and threads do. When it is asked for, nothing more is accepted, connections
without a request end at once, and requests have the grace. Then they are broken off, and what they did is undone, for
which there are a few seconds more; then all connections are cut. A thread that even then is stuck is left behind:
`run` says so, and the process should end without it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orlop.api.connection import Connection
from orlop.api.engine.app import Engine
from orlop.api.engine.call import Bounds, Context
from orlop.api.engine.watch import EventWatch
from orlop.api.lobby import Lobby
from orlop.api.metrics import Metrics
from orlop.api.refusal import of_both, of_engine, of_registry
from orlop.api.registry.routes import is_ours
from orlop.api.secure import Secured
from orlop.api.workers import Workers
from orlop.errors import ListenFailed
from orlop.streams.arenas import share_arenas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from orlop.api.access import Policy
    from orlop.api.engine.app import Page
    from orlop.api.listeners import Listener
    from orlop.api.log import AccessLog
    from orlop.api.registry.guard.access import Access
    from orlop.api.registry.happened import Listener as Hearer
    from orlop.api.tls import RenewableContext
    from orlop.service.hosted.registry import HostedRegistry
    from orlop.service.image_service import ImageService

_log = logging.getLogger(__name__)

_TICK: Final = 1
_STEP: Final = 0.05
_BACKLOG: Final = 1024
_MOST_TOLD: Final = 100
_QUIET: Final = 60
"""For how many seconds the same trouble is not told again."""
_CLEANING: Final = 5
"""For how many seconds the end waits for what it broke off."""
_MOMENT: Final = 1
"""For how many seconds it does where it was asked for again."""


class Serves(Flag):
    """What is served at a listener. Paths tell both apart: those of the registry begin with ``/v2/``."""

    ENGINE = auto()
    REGISTRY = auto()


_WORDINGS: Final = {
    Serves.ENGINE: of_engine,
    Serves.REGISTRY: of_registry,
    Serves.ENGINE | Serves.REGISTRY: of_both,
}


@dataclass(frozen=True, slots=True)
class Door:
    """A listener, what it asks of requests, how its connections are encrypted, if they are, and what it serves."""

    listener: Listener
    policy: Policy
    tls: RenewableContext | None = None
    serves: Serves = Serves.ENGINE


@dataclass(frozen=True, slots=True)
class Options:
    """How a server works.

    Args:
        bounds: what one client may take.
        transfers: how many uploads and downloads are worked on at once.
        connections: how many connections a listener has at once.
        grace: for how many seconds the end waits for requests; then they are broken off, and undone.
        log: where each request gets a line.
        registry: what answers where the registry is served.
        listeners: called with everything that happens in the registry.
        access: the rules of the registry; without them, every client may use it that can connect.
        page: the page that browsers are shown, if they are.
    """

    bounds: Bounds = field(default_factory=Bounds)
    transfers: int = 8
    connections: int = 1000
    grace: float = 10
    log: AccessLog | None = None
    registry: HostedRegistry | None = None
    listeners: tuple[Hearer, ...] = ()
    access: Access | None = None
    page: Page | None = None


class Server:
    """A server of a store.

    Args:
        service: the store. It is not closed.
        doors: where to listen.
        options: how it works.
    """

    def __init__(self, service: ImageService, doors: Sequence[Door], options: Options) -> None:
        self._doors = doors
        self._grace = options.grace
        self._ending = asyncio.Event()
        self._now = asyncio.Event()
        self._told: dict[str, float] = {}
        bounds = _within(options.bounds, options.connections)
        self._workers = Workers(options.transfers, bounds.requests)
        self._lobbies = [Lobby(options.connections, patience=bounds.patience, rate=bounds.rate) for _ in doors]
        watch = EventWatch(service, self._workers)
        context = Context(service, self._workers, watch, Metrics(), self._ending, self._working, bounds, options.log)
        self._apps = [_app(context, door, options) for door in doors]

    async def serve(self, ready: Callable[[], object] = lambda: None) -> bool:
        """Serve until `end` is called, and return whether all work has ended too.

        Args:
            ready: called once connections are accepted.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell)
        accepting = [
            await loop.create_server(partial(_accept, door, app, lobby), sock=one, backlog=_BACKLOG)
            for door, app, lobby in zip(self._doors, self._apps, self._lobbies, strict=True)
            for one in door.listener.sockets
        ]
        ready()
        while not await _within_seconds(self._ending, _TICK):
            self._look()
        for server in accepting:
            server.close()
        for lobby in self._lobbies:
            lobby.end()
        await self._until(lambda: not any(lobby.is_at_work for lobby in self._lobbies), self._grace, moment=0)
        return await self._break_off()

    def _look(self) -> None:
        for lobby in self._lobbies:
            lobby.look()
        self._workers.look()

    async def _until(self, is_over: Callable[[], bool], seconds: float, *, moment: float) -> bool:
        """Wait until something is over, and return whether it came to that in time.

        Args:
            is_over: whether it is.
            seconds: how long to wait at most.
            moment: how long, once the end was asked for again.
        """
        clock = asyncio.get_running_loop().time
        until, is_patient = clock() + seconds, True
        while not is_over():
            if is_patient and self._now.is_set():
                until, is_patient = min(until, clock() + moment), False
            if clock() >= until:
                return False
            self._look()
            await asyncio.sleep(min(_STEP, until - clock()))
        return True

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error that no caller hears of, such as a lack of descriptors; the same one not again and again."""
        error = context.get("exception")
        if self._ending.is_set() and isinstance(error, ValueError):
            # A second after it could not accept, asyncio would do so again, though nobody listens any more.
            return
        message = context["message"] if error is None else f"{context['message']} ({error})"
        if self._told.get(message, -_QUIET) + _QUIET <= loop.time():
            self._told = {**self._told, message: loop.time()} if len(self._told) < _MOST_TOLD else {}
            _log.error("%s", message, exc_info=error)

    async def _break_off(self) -> bool:
        """End what is still at work, and return whether it has cleaned up after itself."""
        self._workers.end()
        for lobby in self._lobbies:
            lobby.cancel()
        has_settled = await self._until(self._is_idle, _CLEANING, moment=_MOMENT)
        for lobby in self._lobbies:
            lobby.abort()
        if not has_settled:
            _log.warning("the server ended before all work was undone; the store undoes the rest when it is used again")
        return has_settled

    def _working(self) -> int:
        return sum(lobby.working for lobby in self._lobbies)

    def _is_idle(self) -> bool:
        return self._workers.is_idle and not any(lobby.has_tasks for lobby in self._lobbies)

    def end(self) -> None:
        """Accept nothing more, and end when all requests are answered or the grace is over; called again, end now."""
        if self._ending.is_set():
            self._now.set()
        self._ending.set()


def _within(bounds: Bounds, connections: int) -> Bounds:
    """Return bounds under which requests, transfers, and streams leave room for others to connect."""
    return replace(
        bounds,
        requests=max(1, min(bounds.requests, connections // 3)),
        followers=max(1, min(bounds.followers, connections // 4)),
    )


def _app(context: Context, door: Door, options: Options) -> ASGIApp:
    """Return what answers at a door."""
    engine = Engine(context, door.policy, options.page)
    if options.registry is None or Serves.REGISTRY not in door.serves:
        return engine
    from orlop.api.registry.app import Registry  # noqa: PLC0415 - many servers are not registries
    from orlop.api.registry.operation import with_health, with_metrics  # noqa: PLC0415 - as above

    access, is_alone = options.access, Serves.ENGINE not in door.serves
    registry: ASGIApp = Registry(context, options.registry, door.policy, options.listeners)
    if is_alone:
        registry = with_metrics(registry, context, options.registry, access)
    if access is not None:
        registry = access.guard.before(registry, context.finished)
    if is_alone:
        return with_health(registry, context)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (registry if is_ours(scope["path"]) else engine)(scope, receive, send)

    return both


def _accept(door: Door, app: ASGIApp, lobby: Lobby) -> Connection | Secured:
    connection = Connection(app, lobby, _WORDINGS[door.serves])
    return connection if door.tls is None else Secured(connection, door.tls, lobby)


async def _within_seconds(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def run(
    service: ImageService, doors: Sequence[Door], options: Options, *, ready: Callable[[], object] = lambda: None
) -> bool:
    """Serve until a signal (SIGTERM, SIGINT) asks for the end; a second one does not wait any more.

    Return whether all work has ended: where not, a thread is stuck, and the interpreter would wait for it.

    SIGHUP lets the certificates for TLS and the file of access be read again; where there are none it asks for the end
    as well.

    Args:
        service: the store. It is not closed.
        doors: where to listen. The listeners are closed in the end.
        options: how.
        ready: called once connections are accepted.
    """

    async def serve() -> bool:
        server = Server(service, doors, options)
        loop = asyncio.get_running_loop()
        contexts = {door.tls for door in doors if door.tls is not None}
        renewing = contexts or options.access is not None
        hang_up = partial(_renew, contexts, options.access) if renewing else server.end
        for number, answer in ((signal.SIGTERM, server.end), (signal.SIGINT, server.end), (signal.SIGHUP, hang_up)):
            # `nohup` ignores one of them on purpose.
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, answer)
        return await server.serve(ready)

    share_arenas()
    runner = asyncio.Runner()
    try:
        has_ended = runner.run(serve())
        if has_ended:
            # It would wait for what is stuck.
            runner.close()
        return has_ended
    finally:
        for door in doors:
            door.listener.close()


def _renew(contexts: Iterable[RenewableContext], access: Access | None) -> None:
    if access is not None:
        access.renew()
    for context in contexts:
        try:
            context.renew()
        except ListenFailed as error:
            _log.error("the certificates stay unchanged: %s", error)
