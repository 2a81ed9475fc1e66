"""A server: listeners, each with one uvicorn of its own, all in one event loop, from start to a graceful end."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from orlop.api.connection import Connection
from orlop.api.engine.app import Engine
from orlop.api.engine.call import Bounds, Context
from orlop.api.engine.watch import EventWatch
from orlop.api.metrics import Metrics
from orlop.api.workers import Workers
from orlop.errors import ListenFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from orlop.api.access import Policy
    from orlop.api.listeners import Listener
    from orlop.api.log import AccessLog
    from orlop.api.tls import RenewableContext
    from orlop.service.image_service import ImageService

_log = logging.getLogger(__name__)

_TICK: Final = 1
_ARENA_MAX: Final = -8
"""glibc's name for how many pools there are (`mallopt`, malloc.h)."""
_ARENAS: Final = 2
_BACKLOG: Final = 128
_MOST_TOLD: Final = 100
_QUIET: Final = 60
"""For how many seconds the same trouble is not told again."""
_CLEANING: Final = 10
"""For how many seconds the end waits for what it broke off."""
_IDLE: Final = 300
"""For how many seconds a connection is kept open between requests."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listener, what it asks of requests, and how its connections are encrypted, if they are."""

    listener: Listener
    policy: Policy
    tls: RenewableContext | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a server works.

    Args:
        bounds: what one client may take.
        transfers: how many uploads and downloads are worked on at once.
        grace: for how many seconds the end waits for requests; then they are broken off, and undone.
        log: where each request gets a line.
    """

    bounds: Bounds = field(default_factory=Bounds)
    transfers: int = 8
    grace: float = 10
    log: AccessLog | None = None


class Server:
    """A server of a store.

    Args:
        service: the store. It is not closed.
        doors: where to listen.
        options: how it works.
    """

    def __init__(self, service: ImageService, doors: Sequence[Door], options: Options) -> None:
        self._doors = doors
        self._ending = asyncio.Event()
        self._told: dict[str, float] = {}
        workers = Workers(options.transfers)
        watch = EventWatch(service, workers)
        self._context = Context(service, workers, watch, Metrics(), self._ending, options.bounds, options.log)
        self._servers = [_Server(_config(door, self._context, options), self._ending) for door in doors]

    async def serve(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve until `end` is called. ``ready`` is called once connections are accepted."""
        asyncio.get_running_loop().set_exception_handler(self._tell)
        async with asyncio.TaskGroup() as tasks:
            for server, door in zip(self._servers, self._doors, strict=True):
                tasks.create_task(server.serve(door.listener.sockets))
            for server in self._servers:
                await server.listening.wait()
            ready()
        await self._break_off()

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what the loop can tell nobody, such as that there are no descriptors left; not the same all the time."""
        error = context.get("exception")
        message = context["message"] if error is None else f"{context['message']} ({error})"
        if self._told.get(message, -_QUIET) + _QUIET <= loop.time():
            self._told = {**self._told, message: loop.time()} if len(self._told) < _MOST_TOLD else {}
            _log.error("%s", message, exc_info=error)

    async def _break_off(self) -> None:
        """End what is still at work, and wait until it has cleaned up after itself."""
        requests = [task for server in self._servers for task in server.server_state.tasks]
        for task in requests:
            # One who cleans up already is left to it.
            if not task.cancelling():
                task.cancel()
        if requests:
            await asyncio.wait(requests, timeout=_CLEANING)
        if not await self._context.workers.settled(_CLEANING):
            _log.warning("the server ended before all work was undone; the store undoes the rest when it is used again")

    def end(self) -> None:
        """Accept nothing more, and end when all requests are answered or the grace is over; called again, end now."""
        for server in self._servers:
            server.should_exit = True
            if self._ending.is_set():
                server.force_exit = True
                for connection in list(server.server_state.connections):
                    connection.transport.abort()
        self._ending.set()


def run(
    service: ImageService, doors: Sequence[Door], options: Options, *, ready: Callable[[], object] = lambda: None
) -> None:
    """Serve until a signal (SIGTERM, SIGINT) asks for the end; a second one does not wait any more.

    SIGHUP lets the certificates for TLS be read again; where there are none it asks for the end as well.

    Args:
        service: the store. It is not closed.
        doors: where to listen. The listeners are closed in the end.
        options: how.
        ready: called once connections are accepted.
    """

    async def serve() -> None:
        server = Server(service, doors, options)
        loop = asyncio.get_running_loop()
        contexts = {door.tls for door in doors if door.tls is not None}
        hang_up = partial(_renew, contexts) if contexts else server.end
        for number, answer in ((signal.SIGTERM, server.end), (signal.SIGINT, server.end), (signal.SIGHUP, hang_up)):
            # `nohup` ignores one of them on purpose.
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, answer)
        await server.serve(ready)

    _share_arenas()
    try:
        asyncio.run(serve())
    finally:
        for door in doors:
            door.listener.close()


def _renew(contexts: Iterable[RenewableContext]) -> None:
    for context in contexts:
        try:
            context.renew()
        except ListenFailed as error:
            _log.error("the certificates stay what they were: %s", error)


def _share_arenas() -> None:
    """Let threads share what the C library keeps of freed memory: with 8 pools for each core it would only grow."""
    import ctypes  # noqa: PLC0415 - only a process that serves for long needs it

    with suppress(AttributeError):  # other C libraries have no pools for threads
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def _config(door: Door, context: Context, options: Options) -> Config:
    tls = door.tls
    # What uvicorn would say is said by the application, or not worth a line.
    quiet = logging.getLogger("uvicorn.error")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    return Config(
        Engine(context, door.policy),
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=options.grace,  # type: ignore[arg-type]  # it takes fractions as well
        ssl_context_factory=None if tls is None else lambda _, __: tls,
    )


class _Server(UvicornServer):
    """One of several servers in a loop, whose signals are not its own."""

    def __init__(self, config: Config, ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ending = ending
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals alone."""
        return nullcontext()

    async def main_loop(self) -> None:
        """Keep the time of the Date header, without waking up ten times a second, until the end."""
        while not await self.on_tick(0):
            try:
                await asyncio.wait_for(self._ending.wait(), _TICK)
            except TimeoutError:
                continue
