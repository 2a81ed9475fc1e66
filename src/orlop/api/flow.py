"""Bytes between the event loop and threads: a body that a thread reads, and one that a thread writes.

Store and archives work in threads and block; connections live in the event loop and must not. Both kinds of flow hold a
few mebibytes at most: the side that is ahead waits for the other. Either side may give up, and the other learns of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from orlop.errors import RequestAborted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.errors import OrlopError

PIECE: Final = 1 << 20
"""What is handed over at once: a thread is not woken for less, unless there is no more."""
_PIECES: Final = 4
"""How many of them wait at most."""
_CAPACITY: Final = _PIECES * PIECE
_SMALL: Final = PIECE // 4


class Upload:
    """A request's body on its way into a thread, which reads it as a stream.

    `put`, `end` and `fail` belong to the event loop in which the object is made, `read` and `close` to a thread.

    Args:
        piece: how many bytes the reader is woken for; `put` waits where there are some pieces already.
    """

    def __init__(self, piece: int = PIECE) -> None:
        self._piece = piece
        self._capacity = _PIECES * piece
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: OrlopError | None = None
        self._closed = False

    async def put(self, chunk: bytes) -> None:
        """Add bytes; waits while the reader is behind. What comes after the reader has closed is dropped."""
        with self._changed:
            if self._closed:
                return
            self._chunks.append(chunk)
            self._size += len(chunk)
            if self._size >= self._piece:
                self._changed.notify()
            if self._size < self._capacity:
                return
            self._room.clear()
        await self._room.wait()

    def end(self) -> None:
        """End the stream: there is no more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def fail(self, error: OrlopError) -> None:
        """End the stream early: the rest will not come, and reading raises the error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, or all; nothing at the end. Blocks until there is a piece, or no more.

        Raises:
            OrlopError: the body does not come whole.
        """
        wanted = size if 0 <= size < self._piece else self._piece
        with self._changed:
            while self._size < wanted and not self._ended and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            data = self._taken(size)
            if self._size < self._capacity - self._piece:
                self._wake()
        if size < 0 and data:
            return data + self.read()
        return data

    def stream(self) -> BinaryIO:
        """Return it as a binary stream."""
        return cast("BinaryIO", self)

    def close(self) -> None:
        """Stop reading: what comes is dropped, and writers do not wait."""
        with self._changed:
            self._closed = True
            self._chunks.clear()
            self._size = 0
            self._wake()

    def _taken(self, size: int) -> bytes:
        missing = self._size if size < 0 else min(size, self._size)
        self._size -= missing
        parts: list[bytes] = []
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        if not self._room.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)


class Download:
    """Bytes on their way out of a thread, which writes them, to a connection.

    `put`, `end` and `fail` belong to threads; going through it and `cancel` to the event loop in which it is made.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._changed = threading.Condition()
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self.cancelled = False
        """Whether nobody takes anything any more."""

    def put(self, chunk: bytes) -> None:
        """Add bytes; blocks while the connection is behind.

        Raises:
            RequestAborted: nobody takes them any more.
        """
        with self._changed:
            while self._size >= _CAPACITY and not self.cancelled:
                self._changed.wait()
            self._add(chunk)

    def offer(self, chunk: bytes) -> None:
        """Add bytes unless the connection is behind: for what may be left out.

        Raises:
            RequestAborted: nobody takes them any more.
        """
        with self._changed:
            if self._size < PIECE or self.cancelled:
                self._add(chunk)

    def end(self) -> None:
        """End the stream: there is no more."""
        with self._changed:
            self._ended = True
            self._wake()

    def fail(self, error: BaseException) -> None:
        """End the stream early: readers get the error after what came before."""
        with self._changed:
            self._error = error
            self._ended = True
            self._wake()

    def unheard(self) -> BaseException | None:
        """Return the error that came too late for whoever goes through it, if there is one."""
        return self._error

    def cancel(self) -> None:
        """Stop taking: the writer is told when it writes again."""
        with self._changed:
            self.cancelled = True
            self._changed.notify_all()
            self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes: large pieces as they came, small ones together."""
        while not self.cancelled:
            await self._arrived.wait()
            data = self._next()
            if data:
                yield data
            elif self._ended and not self.cancelled:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return

    def _next(self) -> bytes:
        with self._changed:
            parts: list[bytes] = []
            size = 0
            while self._pending and (not parts or size + len(self._pending[0]) <= _SMALL):
                parts.append(self._pending.popleft())
                size += len(parts[-1])
            self._size -= size
            self._changed.notify_all()
            if not self._pending and not self._ended and not self.cancelled:
                self._arrived.clear()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _add(self, chunk: bytes) -> None:
        if self.cancelled:
            raise RequestAborted("the client hung up before it had everything")
        self._pending.append(chunk)
        self._size += len(chunk)
        self._wake()

    def _wake(self) -> None:
        if not self._arrived.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)
