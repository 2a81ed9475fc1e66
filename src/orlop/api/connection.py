"""One connection: uvicorn's HTTP parser, with bounds on what a client may send and on how long it may take."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_LONGEST_HEAD: Final = 64 << 10
"""Bytes of a request's first line and headers; the daemon takes at most a megabyte."""
_HEAD_SECONDS: Final = 30
"""How long a client may take for them."""
_MOST_UNREAD: Final = 1 << 30
"""Bytes of bodies that a client may go on sending after the answer; it is to see that, and not a broken connection."""
_CREDENTIALS: Final = struct.Struct("iII")


class Connection(HttpToolsProtocol):
    """A connection of a client. Refuses heads that are too long or too slow, and more connections than allowed."""

    most: ClassVar[int] = 1000
    """How many connections a listener has at once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: int | None = 0
        self._unread = 0
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin; the client of a Unix socket is told by who it is."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            pid, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            self.client = (f"uid={uid}", pid)
        if len(self.connections) > self.most:
            self._refuse(503, "there are too many connections; try again later")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > _LONGEST_HEAD and not self.transport.is_closing():
                self._refuse(431, f"the head of a request has at most {_LONGEST_HEAD} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head = 0
        self._await_head()

    def on_headers_complete(self) -> None:
        """Have a request's head, and work on it."""
        self._head = None
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a request's body; of one that is answered already not without end."""
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > _MOST_UNREAD:
                self.transport.close()
        super().on_body(body)

    def _unsupported_upgrade_warning(self) -> None:
        # The request is answered as if it had not asked for it; what follows it is no HTTP.
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        del msg
        self._refuse(400, "the request is no valid HTTP")

    def _refuse(self, status: int, why: str) -> None:
        # In the midst of an answer there is no room for another.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = f'{{"message":"{why}"}}\n'.encode()
            head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._time_out)

    def _time_out(self) -> None:
        if not self._head:
            # Clients keep connections in reserve; an answer that nobody asked for would confuse them.
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(408, f"the head of a request did not come within {_HEAD_SECONDS} seconds")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
