"""A proxy in front of a registry that does something wrong with some requests, for tests of whole transfers."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE = 1 << 14
_OWN = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Fault(Enum):
    """What is wrong with a request."""

    BUSY = "429"
    WAIT = "429, after two seconds"
    TOMORROW = "429, after a day"
    BROKEN = "500"
    AWAY = "503"
    CLOSED = "closed at once"
    UNREAD = "closed in the middle of what is sent"
    UNANSWERED = "done, but closed without an answer"
    TORN = "closed in the middle of the answer"
    HEADLESS = "closed in the middle of the answer's head"
    SLOW = "answered in small pieces"


_REFUSED = {
    Fault.BUSY: (429, {}),
    Fault.WAIT: (429, {"Retry-After": "2"}),
    Fault.TOMORROW: (429, {"Retry-After": "86400"}),
    Fault.BROKEN: (500, {}),
    Fault.AWAY: (503, {}),
}


@dataclass
class FaultyProxy:
    """A proxy at work: ``faults`` returns what is wrong with the request of a number, counted from 1."""

    authority: str
    faults: Callable[[int], Fault | None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, line: str) -> Fault | None:
        with self.turn:
            self.asked.append(line)
            return self.faults(len(self.asked))

    def begin(self, faults: Callable[[int], Fault | None]) -> None:
        """Count requests anew, and do this to them."""
        with self.turn:
            self.asked.clear()
            self.faults = faults


@contextmanager
def faulty(registry: str) -> Iterator[FaultyProxy]:
    """Run a proxy in front of a registry, which is named by its host and port, for a block."""
    proxy = FaultyProxy("")

    class Handler(_Handler):
        pass

    Handler.proxy, Handler.registry = proxy, registry
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.authority = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    registry: str

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
        """Write nothing."""

    def _do(self) -> None:
        fault = self.proxy.fault(f"{self.command} {self.path.partition('?')[0]}")
        size = int(self.headers.get("Content-Length") or 0)
        if fault in {Fault.CLOSED, Fault.UNREAD}:
            self.rfile.read(size // 2 if fault is Fault.UNREAD else 0)
            self._hang_up()
            return
        body = self.rfile.read(size)
        if fault in _REFUSED:
            status, headers = _REFUSED[fault]
            self._answer(status, headers, b"")
            return
        status, answered, content = self._forwarded(body)
        if fault is Fault.UNANSWERED:
            self._hang_up()
        elif fault is Fault.TORN:
            self._answer(status, answered, content, until=len(content) // 2)
            self._hang_up()
        elif fault is Fault.HEADLESS:
            self.wfile.write(f"HTTP/1.1 {status} OK\r\nContent-Type: {answered.get('Content-Type')}\r\n".encode())
            self._hang_up()
        else:
            self._answer(status, answered, content, is_slow=fault is Fault.SLOW)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - the names that are looked for

    def _forwarded(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.registry, timeout=60)
        try:
            headers = {name: text for name, text in self.headers.items() if name.lower() not in _OWN}
            connection.request(self.command, self.path, body or None, headers | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
            kept = {name: text for name, text in answer.getheaders() if name.lower() not in _OWN}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            return answer.status, kept | ({"Content-Length": length} if length else {}), content
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, *, until: int | None = None, is_slow: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, text in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, text)
        with suppress(OSError):
            self.end_headers()
            if self.command == "HEAD":
                return
            pieces = _PIECE if is_slow else max(1, len(content))
            for start in range(0, len(content[:until]), pieces):
                self.wfile.write(content[:until][start : start + pieces])
                if is_slow:
                    time.sleep(0.001)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
