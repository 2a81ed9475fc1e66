"""One connection of a client, from its first byte to its end.

A connection is in one of these states, and each of them has an end that no client can put off:

- *waiting* for the head of a request: at most 10 seconds from the start, or from a head's first byte; 300 seconds
  between requests. It is in the lobby's queue, and the oldest one goes when room is needed for another.
- *at work* on one request: the `Exchange` has it. Its end is its answer, or its client's: the server looks every
  second whether the client is too slow. What follows the request waits as bytes, one reading of them at most, and is
  looked at after the answer: requests that come in a row are answered in a row, and cost no more than one.
- *leftover*: the answer is there, and the rest of the request's body is not. It is thrown away, for 30 seconds at
  most.
- *closing*: the last bytes are on their way out. What still comes is thrown away, so that the client sees the answer
  and not a broken connection; after 5 seconds the connection is cut.

A client that closes its writing half still gets the answers to what it has asked; then the connection ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final, cast

from orlop.api.copying import Copying
from orlop.api.exchange import HIGH, Exchange
from orlop.api.framing import Sized, framing
from orlop.api.handed import Handed
from orlop.api.head import LONGEST, Refused, beginning, end_of_head, parse_head
from orlop.api.refusal import of_engine, refusal

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from starlette.types import ASGIApp, Scope

    from orlop.api.framing import Framing
    from orlop.api.head import Head
    from orlop.api.lobby import Lobby
    from orlop.api.refusal import Wording
    from orlop.errors import OrlopError

_HEAD_SECONDS: Final = 10
"""How long a client may take for a head, and for the handshake before the first."""
_HANDSHAKE: Final = 0x16
"""The first byte of a client that begins with TLS, and of no request."""
_IDLE_SECONDS: Final = 300
"""How long a connection is kept open between requests."""
_LEFTOVER_SECONDS: Final = 30
_CLOSING_SECONDS: Final = 5
_MOST_UNREAD: Final = 1 << 30
"""Bytes of bodies that a client may go on sending after the answer."""
_CREDENTIALS: Final = struct.Struct("iII")
_COUNT: Final = struct.Struct("i")
_RESET: Final = struct.pack("ii", 1, 0)
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Connection(asyncio.BufferedProtocol):
    """A connection of a client.

    Args:
        app: answers its requests.
        lobby: who else is there.
        wording: what a refusal says to a client whose request does not reach the application.
    """

    def __init__(self, app: ASGIApp, lobby: Lobby, wording: Wording = of_engine) -> None:
        self._app = app
        self._lobby = lobby
        self._wording = wording
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._socket: socket.socket
        self._client: tuple[str, int] | None = None
        self._exchange: Exchange | None = None
        self._framing: Framing | None = None
        self._pending = bytearray()
        self._seen = 0
        self._unread = 0
        self._received = 0
        self._written = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._has_ended = False
        self._is_closing = False
        self._is_paused = False
        self._timer: TimerHandle | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: take a place in the lobby."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        if not self._lobby.enter(self):
            self._refuse(503, "there are too many connections; try again later")
            return
        self._set_timer(_HEAD_SECONDS)
        self._introduce()

    def secured(self) -> None:
        """Go on once the transport is encrypted."""
        if not self._is_closing:
            self._set_timer(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        self._stop_timer()
        self._is_closing = True
        self._writable.set()
        self._pending.clear()
        if self._exchange is not None:
            self._exchange.lose()
        self._lobby.leave(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what arrives: all connections use one buffer, which holds nothing between two calls."""
        del sizehint
        return self._lobby.buffer if self._framing is None else self._lobby.buffer[: self._framing.appetite]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived."""
        self.received(bytes(self._lobby.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """Note that the client sends no more; it may be waiting for answers."""
        self._has_ended = True
        if self._is_closing:
            self._transport.close()
        elif self._exchange is not None:
            self._exchange.close()
        elif self._pending:
            self._refuse(400, "the request is not complete")
        else:
            self._close()
        return True

    def pause_writing(self) -> None:
        """Note that the client is behind."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that the client has taken enough."""
        self._writable.set()

    def received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._received += len(data)
        if self._is_closing:
            self._drop(data)
            return
        try:
            rest = self._feed(data)
            if rest:
                self._pending += rest
                self._advance()
        except Refused as refused:
            self._refuse(refused.status, refused.why)

    # Requests

    def _feed(self, data: bytes) -> bytes:
        """Feed the body of the request at work, or of the last one, and return what follows it."""
        if self._framing is None or self._is_whole():
            return data
        part, rest = self._framing.take(data)
        if self._exchange is not None:
            if not self._exchange.feed(part, is_whole=self._is_whole()):
                self._pause()
        elif self._drop(part) and self._is_whole():
            self._rest()
        return rest

    def _is_whole(self) -> bool:
        return self._framing is None or self._framing.complete

    def _advance(self) -> None:
        """Begin the next request, if its head is there and the one before is answered."""
        if self._exchange is not None or not self._is_whole():
            self._pause()
            return
        if not self._seen:
            # Some clients end a body with an empty line too many.
            del self._pending[: len(self._pending) - len(self._pending.lstrip(b"\r\n"))]
            if not self._pending:
                return
            if self._pending[0] == _HANDSHAKE:
                # Clients of registries try TLS first, and would wait for as long as a head may take.
                raise Refused(400, "this server does not use TLS here")
            self._set_timer(_HEAD_SECONDS)
        end = end_of_head(self._pending, self._seen)
        if (len(self._pending) if end is None else end) > LONGEST:
            raise Refused(431, f"the head of a request has at most {LONGEST} bytes")
        if end is None:
            self._seen = len(self._pending)
            return
        head = parse_head(bytes(self._pending[:end]))
        rest, self._pending, self._seen = bytes(self._pending[end:]), bytearray(), 0
        self._begin(head, rest)

    def _begin(self, head: Head, rest: bytes) -> None:
        self._stop_timer()
        self._lobby.ask(self)
        exchange = Exchange(self, head, self._lobby.rate)
        self._exchange, self._framing = exchange, framing(head.length)
        if self._is_whole():
            exchange.feed(b"", is_whole=True)
        self._lobby.start(exchange.run(self._app, self._scope(head, exchange)))
        rest = self._feed(rest)
        if rest:
            self._pending += rest
            self._pause()
        if self._has_ended:
            exchange.close()

    def _scope(self, head: Head, exchange: Exchange) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": f"1.{head.minor}",
            "server": None,
            "client": self._client,
            "scheme": "http",
            "root_path": "",
            "method": head.method,
            "path": head.decoded_path,
            "raw_path": head.path,
            "query_string": head.query,
            "headers": list(head.headers),
            "orlop.client": exchange,
        }

    def _introduce(self) -> None:
        """Learn who the client is: of a Unix socket the user and process, else an address."""
        peer = self._socket
        if peer.family == socket.AF_UNIX:
            pid, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            self._client = (f"uid={uid}", pid)
            return
        host, port, *_ = self._transport.get_extra_info("peername") or ("-", 0)
        self._client = (host, port)
        # A machine that has gone away says nothing.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            peer.setsockopt(socket.IPPROTO_TCP, option, value)

    # What an exchange and the lobby call

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    def has_taken(self, *, all_of_it: bool) -> bool:
        """Return whether the client has taken enough, or all, or is gone."""
        self._transport.set_write_buffer_limits(0 if all_of_it else HIGH)
        return self._writable.is_set()

    async def taken(self) -> None:
        """Wait until the client has taken what `has_taken` asked for, or is gone."""
        await self._writable.wait()

    def _pause(self) -> None:
        if not self._is_paused and not self._has_ended and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def waits(self, *, for_client: bool) -> None:
        """Note whether the server waits for the client."""
        if self._is_closing:
            return
        if for_client:
            self._lobby.rest(self)
        else:
            self._lobby.work(self)

    def keep(self) -> None:
        """Note that the request at work may take long."""
        if not self._is_closing:
            self._lobby.keep(self)

    def moved(self) -> int:
        """Return how many bytes the client has sent and taken so far."""
        return self._received + self._written - self.owed() - self._in_kernel()

    def owed(self) -> int:
        """Return how many bytes wait for the client in this process."""
        return self._transport.get_write_buffer_size()

    def _in_kernel(self) -> int:
        """Return how many bytes the kernel keeps for the client, or a little more."""
        if self._socket.fileno() < 0:
            return 0
        count: int = _COUNT.unpack(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(_COUNT.size)))[0]
        return count

    def _events(self) -> int:
        """Return what the kernel knows of a client from whom nothing is read: whether it has ended, or is gone."""
        if self._socket.fileno() < 0:
            return 0
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        return next((events for _, events in poll.poll(0)), 0)

    def date(self) -> bytes:
        """Return the value of the header Date."""
        return self._lobby.date

    def answered(self) -> None:
        """Go on after an answer."""
        exchange, self._exchange = self._exchange, None
        self._lobby.answered(self)
        if exchange is None or self._is_closing:
            return
        is_whole = self._is_whole()
        if not exchange.keep_alive or self._lobby.is_ending or (self._has_ended and not is_whole):
            self._close(lingers=not is_whole)
            return
        if not is_whole:
            self._set_timer(_LEFTOVER_SECONDS)
            self._lobby.rest(self)
            self.resume()
            return
        self._rest()
        self._loop.call_soon(self._go_on)

    def _rest(self) -> None:
        """Wait for the next request."""
        self._framing = None
        self._unread = 0
        self._set_timer(_IDLE_SECONDS)
        self._lobby.rest(self)

    def _go_on(self) -> None:
        if self._is_closing or self._exchange is not None:
            return
        try:
            self._advance()
        except Refused as refused:
            self._refuse(refused.status, refused.why)
        if self._exchange is None:
            self.resume()
            if self._has_ended and not self._is_closing:
                self.eof_received()

    def look(self, patience: float) -> None:
        """See whether the client is too slow, or gone without a word."""
        exchange = self._exchange
        if exchange is None:
            return
        if (self._has_ended or self._is_paused) and (events := self._events()):
            if events & _GONE and self._has_ended:
                self.abort()
                return
            exchange.left.set()
        if exchange.behind() > patience:
            exchange.give_up(patience)

    def end(self) -> None:
        """End after the request at work; at once where there is none."""
        if self._exchange is None:
            self._close()

    def abort(self) -> None:
        """End at once; a client that still reads sees that it has not got all."""
        if self._socket.family != socket.AF_UNIX and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._is_closing = True
        self._transport.abort()

    # Files, which the kernel sends

    @property
    def can_copy(self) -> bool:
        """Whether bytes may be sent beside the transport: not where that encrypts them."""
        return getattr(self._transport, "_sendfile_compatible", None) is not None

    def copying(self, file: int) -> Copying:
        """Return what sends a part of a file, for a block in which it is open."""
        return Copying(file, self._socket.fileno(), self._sent, self._is_over)

    def _is_over(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def _sent(self, count: int) -> None:
        self._written += count

    def hand_over(self, first: bytes, trouble: Callable[[], OrlopError | None]) -> Handed:
        """Read no more, and return the rest of the body, whose length is known, behind what has come already."""
        assert isinstance(self._framing, Sized)
        self._pause()
        return Handed(first, self._framing, os.dup(self._socket.fileno()), self._came, trouble)

    def _came(self, count: int) -> None:
        self._received += count

    # The end

    def _refuse(self, status: int, why: str) -> None:
        """Answer what cannot be a request, and end."""
        exchange, self._exchange = self._exchange, None
        self._lobby.answered(self)
        if exchange is not None:
            # The application is in the midst of it: it hears that nobody is there.
            exchange.lose()
        if exchange is None or not exchange.started:
            method, target = beginning(bytes(self._pending)) if exchange is None else exchange.asked
            self.write(refusal(self._wording(status, why, target), status, method, self.date()))
        self._close(lingers=True)

    def _close(self, *, lingers: bool = False) -> None:
        """Send what is to be sent, and end; where the client may still be sending, take that for a moment."""
        if self._is_closing:
            return
        self._is_closing = True
        self._pending.clear()
        self._lobby.rest(self)
        self._set_timer(_CLOSING_SECONDS)
        if self._has_ended or not lingers or self._transport.is_closing():
            self._transport.close()
            return
        self._transport.write_eof()
        self.resume()

    def _drop(self, data: bytes) -> bool:
        """Throw away what nobody reads, but not without end; return whether to go on."""
        self._unread += len(data)
        if self._unread <= _MOST_UNREAD:
            return True
        self.abort()
        return False

    def _time_out(self) -> None:
        if self._is_closing:
            self.abort()
        elif self._pending:
            self._refuse(408, f"the head of a request did not come within {_HEAD_SECONDS} seconds")
        else:
            # Clients keep connections in reserve; an answer that nobody asked for would confuse them.
            self._close()

    def _set_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
