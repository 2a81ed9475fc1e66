"""TLS between a transport and a connection.

The event loop's own TLS takes a quarter of a mebibyte for each connection before its first byte, waits for clients at
the end, and cannot go on when a client closes its writing half. This one keeps nothing but what OpenSSL needs, and
that from the client's first byte on:

- *handshake*: bytes go to OpenSSL until it is done; what the connection would send in that time is dropped.
- *open*: what arrives is decrypted and handed on at once, unless the connection has paused, and what the connection
  writes is encrypted into the transport's buffer, whose limits and callbacks are the connection's.
- *ended*: the client has said that it sends no more (close_notify, or the end of the stream). Writing goes on.

What OpenSSL does not accept ends the connection, after the alert that says why.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orlop.api.connection import Connection
    from orlop.api.lobby import Lobby

_READING: Final = 64 << 10


class Secured(asyncio.Transport, asyncio.BufferedProtocol):
    """Encrypts a connection: a protocol to the transport below, a transport to the connection above.

    Args:
        connection: what is encrypted.
        context: how.
        lobby: who else is there.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, lobby: Lobby) -> None:
        super().__init__()
        self._connection = connection
        self._context = context
        self._lobby = lobby
        self._below: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._is_open = False
        self._is_dry = False
        self._has_ended = False
        self._is_paused = False
        self._is_closed = False

    # The protocol to what is below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._below = transport  # type: ignore[assignment]
        self._connection.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._is_closed = True
        self._connection.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what arrives."""
        return self._connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived."""
        if self._is_closed:
            return
        self._incoming.write(self._lobby.buffer[:nbytes])
        self._work()

    def eof_received(self) -> bool:
        """Note that no more arrives."""
        if not self._is_open:
            return False
        # OpenSSL is not told: it would take the missing close_notify for a reason not to send any more.
        self._is_dry = True
        if not self._is_paused:
            self._work()
        return True

    def pause_writing(self) -> None:
        """Note that the client is behind."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has taken enough."""
        self._connection.resume_writing()

    def _work(self) -> None:
        try:
            if not self._is_open:
                self._shake_hands()
            if self._is_open:
                self._read()
        except ssl.SSLError:
            self._flush()
            self._is_closed = True
            self._below.close()
        else:
            self._flush()

    def _shake_hands(self) -> None:
        if self._tls is None:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._is_open = True
            self._connection.secured()

    def _read(self) -> None:
        assert self._tls is not None
        while not self._is_paused and not self._is_closed and not self._has_ended:
            try:
                data = self._tls.read(_READING)
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLWantReadError:
                if not self._is_dry:
                    return
                data = b""
            if data:
                self._connection.received(data)
                continue
            self._has_ended = True
            self._connection.eof_received()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    # The transport to what is above

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt and send bytes."""
        if not self._is_open or self._is_closed or self._tls is None:
            return
        with suppress(ssl.SSLError):
            rest = memoryview(data)
            while rest:
                rest = rest[self._tls.write(rest) :]
        self._flush()

    def can_write_eof(self) -> bool:
        """Return that the end can be told."""
        return True

    def write_eof(self) -> None:
        """Close the writing half."""
        if self._is_open and self._tls is not None and not self._is_closed:
            # It need not answer.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self._below.write_eof()

    def close(self) -> None:
        """Close the writing half, and end once the client has taken all."""
        if not self._below.is_closing():
            with suppress(OSError):
                self.write_eof()
        self._is_closed = True
        self._below.close()

    def abort(self) -> None:
        """End at once."""
        self._is_closed = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Return whether the end has begun."""
        return self._is_closed or self._below.is_closing()

    def pause_reading(self) -> None:
        """Hand nothing more on."""
        self._is_paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what has come and what comes."""
        self._is_paused = False
        self._below.resume_reading()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._is_open and not self._is_paused and not self._is_closed:
            self._work()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the client."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the client is behind."""
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the socket."""
        return self._below.get_extra_info(name, default)
