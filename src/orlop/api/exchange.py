"""One request and its answer, between a connection and the application (ASGI).

The connection feeds the request's body, and learns of the answer's end. The application waits in `receive` for the
body, and in `send` until the client has taken enough. Three things may come in between, and they are told apart:

- *closed*: the client will send no more. With the body complete it is answered all the same: clients that close
  their writing half after the request are waiting for the answer. In the midst of a body the rest is missing, and the
  application hears of a disconnect, but may still answer.
- *lost*: nobody is there. The application hears of a disconnect, and what it sends is dropped.
- *given up*: the client is too slow, or the server ends. Waiting for the body raises the error; a client that takes
  nothing is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from orlop.api.pace import Pace
from orlop.errors import RequestAborted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import TypeAlias

    from starlette.types import ASGIApp, Message, Scope

    from orlop.api.copying import Copying
    from orlop.api.handed import Handed
    from orlop.api.head import Head
    from orlop.errors import OrlopError

if TYPE_CHECKING:
    Runner: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]

_log = logging.getLogger(__name__)

HIGH: Final = 64 << 10
"""Bytes of a body that wait for the application before no more is read."""
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_BODILESS: Final = frozenset({204, 304})


class Line(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def has_taken(self, *, all_of_it: bool) -> bool:
        """Return whether the client has taken enough, or all, or is gone."""

    async def taken(self) -> None:
        """Wait until the client has taken what it was asked for by `has_taken`, or is gone."""

    def resume(self) -> None:
        """Read on."""

    def waits(self, *, for_client: bool) -> None:
        """Note whether the server waits for the client."""

    def keep(self) -> None:
        """Note that the request may take long."""

    def moved(self) -> int:
        """Return how many bytes the client has sent and taken so far."""

    def answered(self) -> None:
        """Go on after the answer."""

    def abort(self) -> None:
        """End at once."""

    def date(self) -> bytes:
        """Return the value of the header Date."""

    @property
    def can_copy(self) -> bool:
        """Whether `copying` can be used: whether what is sent is what the client gets."""

    def copying(self, file: int) -> Copying:
        """Return what sends a part of a file without reading it."""

    def hand_over(self, first: bytes, trouble: Callable[[], OrlopError | None]) -> Handed:
        """Read no more, and return the rest of the body, for a thread to read, behind what has come already."""


class Exchange:
    """A request that is at work.

    Args:
        line: its connection.
        head: what it asks.
        rate: how many bytes a second are enough of its client.
    """

    def __init__(self, line: Line, head: Head, rate: float) -> None:
        self._line = line
        self._head = head
        self._loop = asyncio.get_running_loop()
        self._rate = rate
        self._pace = Pace(rate)
        self._body = bytearray()
        self._arrived = asyncio.Event()
        self._is_whole = False
        self._is_told = False
        self._is_kept = False
        self._is_cut = False
        self._is_lost = False
        self._error: OrlopError | None = None
        self._awaited = 0
        self._handed: Handed | None = None
        self._begin = b""
        self._has_length = False
        self._is_chunked = False
        # Who sends nothing waits for nothing.
        self._must_continue = head.expects_continue and head.length != 0
        self.keep_alive = head.keep_alive
        self.started = False
        self.complete = False
        self.left = asyncio.Event()
        """Set once the client sends no more: it may wait for the answer, or be gone."""

    @property
    def asked(self) -> tuple[str, bytes]:
        """The method and the path of the request."""
        return self._head.method, self._head.path

    # The connection's side

    def feed(self, data: bytes, *, is_whole: bool) -> bool:
        """Add to the body, and return whether there is room for more."""
        if not self.complete:
            self._body += data
        self._is_whole = is_whole
        self._arrived.set()
        return len(self._body) < HIGH

    def close(self) -> None:
        """Note that the client sends no more."""
        self._is_cut = not self._is_whole
        self.left.set()
        self._arrived.set()

    def lose(self) -> None:
        """Note that nobody is there any more."""
        self._is_lost = True
        self.left.set()
        self._arrived.set()

    def behind(self) -> float:
        """Return for how many seconds the client has kept the server waiting."""
        is_awaited = self._awaited > 0 or (self._handed is not None and self._handed.is_waiting)
        return self._pace.look(self._loop.time(), self._line.moved(), is_awaited=is_awaited)

    def give_up(self, seconds: float) -> None:
        """Wait no longer for a client that is behind by some seconds."""
        if self._is_whole or self._error is not None:
            _log.debug("a client took nothing for %g seconds, or next to nothing", seconds)
            self._line.abort()
            return
        # It may still take the answer that says so.
        self.keep_alive = False
        self._pace = Pace(self._rate)
        self._error = RequestAborted(f"the client sent nothing for {seconds:g} seconds, or next to nothing")
        self._arrived.set()

    # The application's side

    def keep(self) -> None:
        """Keep the connection while the request lasts: the application has bounds for requests of its kind."""
        self._is_kept = True
        self._line.keep()

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application. An answer that it leaves incomplete breaks the connection."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - the application has told what it was
            self.keep_alive = False
        finally:
            if self.complete or self._is_lost:
                self._line.answered()
            else:
                self._line.abort()

    async def receive(self) -> Message:
        """Return the next part of the body, or that nothing more will come.

        Raises:
            RequestAborted: the client was too slow.
        """
        self._ask_for_body()
        while True:
            if self._error is not None:
                raise self._error
            if self._is_lost or self.complete:
                return {"type": "http.disconnect"}
            if self._body or (self._is_whole and not self._is_told):
                return self._part()
            if self._is_cut:
                return {"type": "http.disconnect"}
            self._arrived.clear()
            await self._await_body()

    def _ask_for_body(self) -> None:
        if self._must_continue and not self.started:
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._must_continue = False

    @property
    def can_hand_over(self) -> bool:
        """Whether the body can be read by `handed`: its length is known, and it comes as it was sent."""
        is_over = self._is_whole or self._is_cut or self._is_lost or self._error is not None
        return self._head.length is not None and self._line.can_copy and not is_over

    @contextmanager
    def handed(self) -> Iterator[Handed]:
        """Return, for a block, the rest of the body, which a thread reads that ends before the block does."""
        self._ask_for_body()
        first, self._body = bytes(self._body), bytearray()
        self._handed = handed = self._line.hand_over(first, self._trouble)
        try:
            yield handed
        finally:
            self._handed = None
            handed.close()
            self._is_whole = self._is_told = handed.is_whole

    def _trouble(self) -> OrlopError | None:
        gone = RequestAborted("the client hung up before it had sent everything") if self._is_lost else None
        return self._error or gone

    async def _await_body(self) -> None:
        if self._is_whole:
            await self._arrived.wait()
            return
        self._line.resume()
        self._wait(1)
        try:
            await self._arrived.wait()
        finally:
            self._wait(-1)

    def _part(self) -> Message:
        body, self._body = bytes(self._body), bytearray()
        self._is_told = self._is_whole
        if not self._is_whole:
            self._line.resume()
        return {"type": "http.request", "body": body, "more_body": not self._is_whole}

    async def send(self, message: Message) -> None:
        """Send a part of the answer, and wait until the client has taken enough."""
        if self._is_lost:
            return
        if message["type"] == "http.response.start":
            self.started = True
            self._begin = self._heading(message)
            # With a length, the body comes in a moment, and goes with it.
            if not self._has_length:
                self._flush(b"")
            return
        is_last = not message.get("more_body", False)
        self._flush(self._framed(message.get("body", b""), is_last=is_last))
        if not self._line.has_taken(all_of_it=is_last):
            self._wait(1)
            try:
                await self._line.taken()
            finally:
                self._wait(-1)
        self.complete = is_last
        self._arrived.set()

    @property
    def can_send_files(self) -> bool:
        """Whether the body of the answer can be sent by `send_file`."""
        return self._line.can_copy and self._head.method != "HEAD"

    def copying(self, file: int) -> Copying:
        """Return what `send_file` needs, for a block; to be asked for before the answer begins, since it may fail."""
        return self._line.copying(file)

    async def send_file(self, run: Runner, file: Copying, first: int, end: int) -> None:
        """Send a part of a file as the whole body of an answer that has begun, and that has its length.

        Args:
            run: runs a function in a thread, which is left alone where the caller is cancelled.
            file: the file.
            first: the number of bytes before the part.
            end: the number of bytes up to its end.

        Raises:
            RequestAborted: nobody takes it. ReadFailed: the file ends too early.
        """
        if self._is_lost:
            return
        self._flush(b"")
        stop = threading.Event()
        self._wait(1)
        try:
            if not self._line.has_taken(all_of_it=True):
                await self._line.taken()
            await run(partial(file.run, first, end, stop))
        finally:
            stop.set()
            self._wait(-1)
        self.complete = True
        self._arrived.set()

    def _wait(self, change: int) -> None:
        self.behind()
        self._awaited += change
        self.behind()
        if not self._is_kept:
            self._line.waits(for_client=self._awaited > 0)

    def _flush(self, data: bytes) -> None:
        begin, self._begin = self._begin, b""
        if begin or data:
            self._line.write(begin + data if len(data) < HIGH else begin)
            if len(data) >= HIGH:
                self._line.write(data)

    def _heading(self, message: Message) -> bytes:
        status, headers = message["status"], list(message.get("headers", ()))
        names = {name.lower(): value.lower() for name, value in headers}
        if names.get(b"connection") == b"close":
            self.keep_alive = False
        self._has_length = b"content-length" in names
        has_end = self._has_length or self._head.method == "HEAD" or status in _BODILESS
        self._is_chunked = not has_end and self._head.minor > 0
        if not has_end and not self._is_chunked:
            # The end of the connection is the end of the answer.
            self.keep_alive = False
        if self._is_chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive and b"connection" not in names and self._head.minor:
            headers.append((b"connection", b"close"))
        if self.keep_alive and not self._head.minor:
            headers.append((b"connection", b"keep-alive"))
        first = f"HTTP/1.{min(1, self._head.minor)} {status} {_REASONS.get(status, '')}\r\n".encode()
        fields = [(b"date", self._line.date()), *headers]
        return first + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        if self._head.method == "HEAD":
            return b""
        if not self._is_chunked:
            return body
        framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return framed + b"0\r\n\r\n" if is_last else framed
