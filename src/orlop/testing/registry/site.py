"""A site: an HTTP server on this machine that remembers every request, and can break off where it is told."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from types import TracebackType

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request that came: to which site, what it asked, with which headers, and what it was answered."""

    site: str
    method: str
    target: str
    headers: Mapping[str, str]
    status: int
    received: int = 0
    """How many bytes of a body were read."""
    sent: int = 0
    """How many bytes of a body were sent."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(slots=True)
class Reply:
    """An answer. ``length`` is whether it has a ``Content-Length``; ``cut`` and ``stall`` are numbers of bytes."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    length: bool = True
    cut: int | None = None
    stall: int | None = None
    drip: bool = False


class HangUp(Exception):
    """The connection is to break."""


class Asked:
    """A request as a site sees it. Its body is read when it is asked for."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self.method = handler.command
        self.target = handler.path
        self.path, _, query = handler.path.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received = 0

    def read(self, limit: int | None = None) -> bytes:
        """Return the body, or so many bytes of it."""
        source = self._handler.rfile
        found = bytearray()
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(source.readline().split(b";")[0], 16):
                found += source.read(size)
                source.readline()
            source.readline()
        else:
            left = int(self.headers.get("content-length", "0"))
            left = left if limit is None else min(left, limit)
            while left:
                piece = source.read(min(left, _PIECE))
                if not piece:
                    break
                found += piece
                left -= len(piece)
        self.received += len(found)
        return bytes(found)


class Site:
    """A server at a port of its own of 127.0.0.1, in threads of its own, until its ``with`` block ends.

    Args:
        name: what it is called in the records.
        answer: returns the reply to a request, or raises `HangUp`.
        records: to which every request is added.
        tls: encrypts its connections.
        host: what it calls itself.

    ``is_old`` is whether it answers as HTTP/1.0 does.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Asked], Reply],
        records: list[Recorded],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.name = name
        self.answer = answer
        self.records = records
        self.stopping = threading.Event()
        self.is_old = False
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _Handler, self, tls)
        self.port = int(self._server.server_address[1])
        self.scheme = "http" if tls is None else "https"
        self.authority = f"{host}:{self.port}"
        self.url = f"{self.scheme}://{self.authority}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever it does."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], site: Site, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(address, handler)
        self.site = site
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: connections break, and clients hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.site.connections += 1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def _respond(self) -> None:
        site = self.server.site
        asked = Asked(self)
        try:
            reply = site.answer(asked)
        except HangUp:
            self._record(asked, 0, 0)
            self._break()
            return
        left_over = int(asked.headers.get("content-length", "0")) - asked.received
        if left_over > 0:
            # Who does not read a body cannot go on with the connection.
            self.close_connection = True
        # Before it is sent: whoever has the answer may look at the records.
        self._record(asked, reply.status, self._end(reply))
        self._send(reply)
        if left_over > 0:
            self._linger()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - the base class's names

    def _end(self, reply: Reply) -> int:
        """Return how many bytes of a body are sent."""
        if self.command == "HEAD" or reply.status in {204, 304}:
            return 0
        return min(one for one in (reply.cut, reply.stall, len(reply.body)) if one is not None)

    def _send(self, reply: Reply) -> None:
        has_body = self.command != "HEAD" and reply.status not in {204, 304}
        is_chunked = not reply.length and not self.server.site.is_old
        if self.server.site.is_old:
            # Where it has no length, the body ends with its connection.
            self.protocol_version = "HTTP/1.0"
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.length:
            self.send_header("Content-Length", str(len(reply.body)))
        elif has_body and is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if self.close_connection and not self.server.site.is_old:
            self.send_header("Connection", "close")
        self.end_headers()
        if not has_body:
            self.wfile.flush()
            return
        end = self._end(reply)
        for start in range(0, end, 1 if reply.drip else _PIECE):
            piece = reply.body[start : min(end, start + (1 if reply.drip else _PIECE))]
            self.wfile.write(piece if not is_chunked else b"%x\r\n%b\r\n" % (len(piece), piece))
            if reply.drip:
                self.wfile.flush()
                if self.server.site.stopping.wait(0.02):
                    raise BrokenPipeError
        self.wfile.flush()
        if reply.stall is not None:
            self.server.site.stopping.wait(60)
        if reply.cut is not None or reply.stall is not None:
            self._break()
        elif is_chunked:
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()

    def _record(self, asked: Asked, status: int, sent: int) -> None:
        site = self.server.site
        site.records.append(
            Recorded(site.name, asked.method, asked.target, asked.headers, status, asked.received, sent)
        )

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _linger(self) -> None:
        """Read a little of what a client still sends, so that it sees the answer before the connection breaks."""
        self.connection.settimeout(0.5)
        try:
            for _ in range(64):
                if not self.connection.recv(_PIECE):
                    break
        except OSError:
            pass
