"""A server in a thread of the test, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import select
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from orlop.api.doors import Security, doors
from orlop.api.listeners import Address
from orlop.api.server import Options, Server, Serves
from tests.unit.statuses import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import orlop

_PATIENCE = 60


class UnixConnection(http.client.HTTPConnection):
    """A connection to a server on a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Answer:
    """What a server said; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def message(self) -> str:
        document = self.json
        assert list(document) == ["message"]
        return str(document["message"])


@dataclass(frozen=True)
class Client:
    """Asks a server, by a new connection for each request."""

    path: str

    def connection(self) -> http.client.HTTPConnection:
        return UnixConnection(self.path)

    def ask(
        self,
        method: str,
        target: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = self.connection()
        try:
            full = f"{target}?{urlencode(query, doseq=True)}" if query else target
            connection.request(method, full, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            assert response.status in listed(method, target), (method, target, response.status)
            return Answer(response.status, answered, response.read())
        finally:
            connection.close()

    def get(self, target: str, query: Mapping[str, Any] | None = None, **options: Any) -> Answer:
        return self.ask("GET", target, query, **options)

    def post(self, target: str, query: Mapping[str, Any] | None = None, **options: Any) -> Answer:
        return self.ask("POST", target, query, **options)

    def delete(self, target: str, query: Mapping[str, Any] | None = None, **options: Any) -> Answer:
        return self.ask("DELETE", target, query, **options)


@contextmanager
def serving(
    images: orlop.ImageService,
    *addresses: str,
    security: Security | None = None,
    options: Options | None = None,
    serves: Serves = Serves.ENGINE,
) -> Iterator[list[str]]:
    """Serve a store for a block, which gets the places, and ends when all requests are answered."""
    opened = doors([Address.parse(address) for address in addresses], security or Security(), serves=serves)
    started: list[tuple[Server, asyncio.AbstractEventLoop]] = []
    is_ready = threading.Event()

    def run() -> None:
        async def serve() -> None:
            server = Server(images, opened, options or Options())
            started.append((server, asyncio.get_running_loop()))
            await server.serve(is_ready.set)

        try:
            asyncio.run(serve())
        finally:
            is_ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert is_ready.wait(_PATIENCE)
        yield [place for door in opened for place in door.listener.places()]
    finally:
        for server, loop in started:
            if thread.is_alive():
                loop.call_soon_threadsafe(server.end)
        thread.join(_PATIENCE)
        for door in opened:
            door.listener.close()
    assert not thread.is_alive()


@contextmanager
def served(images: orlop.ImageService, folder: Path, **how: Any) -> Iterator[Client]:
    """Serve a store on a Unix socket for a block, and return a client."""
    path = str(folder / "api.sock")
    with serving(images, f"unix://{path}", **how):
        yield Client(path)


def is_hung_up(client: socket.socket) -> bool:
    """Return whether the other side has closed, without reading what it sent before."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def slowly(piece: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    """Return what answers a connection with the first bytes, and then drips until its client is gone."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(first)
        connection.settimeout(0.05)
        while True:
            try:
                if not connection.recv(1 << 16):
                    return
            except TimeoutError:
                connection.sendall(piece)

    return serve


def is_active(client: Client, requests: int) -> bool:
    """Whether a server works on so many requests, the one that asks for it included."""
    return f"orlop_http_requests_active {requests}\n" in client.get("/metrics").body.decode()
