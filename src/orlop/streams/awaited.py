"""Connections to servers that are waited for with bounded patience.

A socket's own time-out begins anew with each byte, so that a server which sends one now and then keeps its client for
ever: in the headers, in the body, or between the chunks. Here whoever waits is asked again every second.
"""

from __future__ import annotations

import fcntl
import http.client
import io
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from orlop.model.regex import regex

if TYPE_CHECKING:
    import socket

_TICK: Final = 0.5
"""Seconds after which the patience is asked again."""


_MOST_INTERIM: Final = 32
_INTERIM: Final = frozenset(range(100, 200)) - {101}
"""The statuses of such answers; 101 ends HTTP."""
_WHOLE_INTERIM: Final = regex(rb"(?s)HTTP/1\.[01] 1(?!01)[0-9][0-9][ \r\n].*?\n\r?\n")
_PART_OF_INTERIM: Final = regex(rb"(?s)HTTP/1\.[01] 1(?!01).*")
_SHORTEST_PARTS: Final = (b"HTTP/1.1 1", b"HTTP/1.0 1")


class Patience(Protocol):
    """How long a server may take."""

    def look(self, moved: int, *, is_awaited: bool) -> None:
        """Raise an error where the server has been waited for too long; `TimeoutError` becomes a failed connection.

        Args:
            moved: how many bytes it has sent so far.
            is_awaited: whether it is waited for from now on.
        """


def queued(sock: socket.socket) -> int:
    """Return how many bytes the system has of what was sent, and that the other side's has not confirmed."""
    # One that TLS is just wrapping has no descriptor.
    with suppress(OSError, ValueError):
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def is_interim(came: bytes) -> bool:
    """Return whether what came of answers only announces one (1xx), as far as it tells; nothing is the end of all."""
    at = 0
    while found := _WHOLE_INTERIM.match(came, at):
        at = found.end()
    rest = came[at:]
    is_part = any(one.startswith(rest) for one in _SHORTEST_PARTS) or _PART_OF_INTERIM.fullmatch(rest) is not None
    return came != b"" and is_part


def awaited_response(patience: Patience, sock: socket.socket, *args: Any, **options: Any) -> Answered:
    """Return the answer that a connection reads from its socket, awaited with patience."""
    return Answered(_Awaited(sock, patience), *args, **options)  # type: ignore[arg-type]


class Answered(http.client.HTTPResponse):
    """An answer after those that only announce one (1xx), and whose chunks are as long as they can be."""

    def begin(self) -> None:
        """Read the head. An answer that has no body has none, whatever the head says of its form.

        Raises:
            IncompleteRead: the connection ends before the head does, which may yet have told how long the body is.
        """
        whole: Any = self.fp
        head: Any = _Head(whole)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = whole
        if self.length == 0:
            self.chunked = False

    def some(self, n: int) -> bytes:
        """Return what is there of the body, at most ``n`` bytes, or none at its end.

        Raises:
            IncompleteRead: the connection ends before the body does.
        """
        if self.chunked or self.length is None or self.fp is None:
            return self.read1(n)
        # Not every version of the library counts here, and none of them notices an early end.
        data = self.fp.read1(min(n, self.length)) if self.length else b""
        self.length -= len(data)
        if data:
            return data
        left, self.length = self.length, 0
        self.close()
        if left:
            raise http.client.IncompleteRead(data, left)
        return data

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if found[1] not in _INTERIM:
                return found
            http.client.parse_headers(self.fp)
        self.close()
        raise http.client.HTTPException("interim answers came without an end")

    def _read_next_chunk_size(self) -> int:
        found: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if found < 0:
            self.close()
            raise http.client.IncompleteRead(b"")
        return found


class _Head:
    """The stream of an answer while its head is read. The library takes the end of the stream for that of the head."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._has_begun = False

    def readline(self, limit: int) -> bytes:
        """Return the next line; none before the first one, where nothing comes at all."""
        line: bytes = self._file.readline(limit)
        if self._has_begun and not line:
            raise http.client.IncompleteRead(b"")
        self._has_begun = True
        return line

    def __getattr__(self, name: str) -> Any:
        """Return anything else of the stream."""
        return getattr(self._file, name)


class _Awaited:
    """What an answer needs of a socket."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def makefile(self, mode: str) -> BinaryIO:
        """Return the socket as a stream, which keeps it open."""
        del mode
        return io.BufferedReader(_Stream(self._sock, self._patience))


class _Stream(io.RawIOBase):
    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        # A socket closes once its last file does.
        self._file = sock.makefile("rb", buffering=0)
        self._patience = patience
        self._moved = 0
        self._before = sock.gettimeout()
        sock.settimeout(_TICK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, and wait for a byte at least."""
        while True:
            self._patience.look(self._moved, is_awaited=True)
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._moved += count
            self._patience.look(self._moved, is_awaited=False)
            return count

    def close(self) -> None:
        # After a proxy's answer the same socket is used again, for TLS.
        with suppress(OSError):
            self._sock.settimeout(self._before)
        self._file.close()
        super().close()
