"""Bodies of requests that a thread reads while they come."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from orlop.api.flow import PIECE, Upload
from orlop.api.record import count_beside
from orlop.api.streamed import chunks
from orlop.errors import BodyTooLarge, OrlopError, ServerBusy
from orlop.service.hosted.uploads import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.types import Receive, Scope

    from orlop.api.exchange import Exchange
    from orlop.api.handed import Handed
    from orlop.api.workers import Workers
    from orlop.service.hosted.uploads import Readable

T = TypeVar("T")


def length_of(headers: dict[str, str]) -> int | None:
    """Return how many bytes a body has by its headers, if they say it."""
    text = headers.get("content-length", "" if "transfer-encoding" in headers else "0")
    return int(text) if text.isdecimal() else None


async def whole(receive: Receive, *, most: int, length: int | None = None) -> bytes:
    """Return a body of at most so many bytes.

    Raises:
        BodyTooLarge: it has more, or announces more. RequestAborted: the client hung up.
    """
    if length is not None and length > most:
        raise BodyTooLarge(f"the body of the request has {length} bytes, and may have {most}")
    return b"".join([chunk async for chunk in chunks(receive, most=most)])


async def received(
    scope: Scope, receive: Receive, workers: Workers, length: int | None, function: Callable[[Readable], T]
) -> T:
    """Run a function in a thread, which reads the body as it comes, and return what it returns.

    A body that is small is waited for; one that is not takes a turn among the transfers. A client that hangs up, or is
    too slow, ends the reading with an error.
    """
    if length is not None and length <= PIECE:
        body = await whole(receive, most=PIECE)
        return await workers.run(function, io.BytesIO(body))
    client: Exchange | None = scope.get("orlop.client")
    async with workers.turn(client):
        if client is None or not client.can_hand_over:
            upload = Upload(AT_ONCE)
            return await _Reading(workers, function, upload).run(partial(_feed, receive, upload))
        with client.handed() as rest:
            try:
                return await _Reading(workers, function, rest).run()
            finally:
                count_beside(scope, received=rest.size)


async def _feed(receive: Receive, upload: Upload) -> None:
    """Hand a body on as it comes."""
    try:
        async for chunk in chunks(receive, most=None):
            await upload.put(chunk)
    except OrlopError as error:
        upload.fail(error)
    else:
        upload.end()


class _Reading(Generic[T]):
    """One function that reads a body, under way."""

    def __init__(self, workers: Workers, function: Callable[[Readable], T], body: Upload | Handed) -> None:
        self._workers = workers
        self._function = function
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    async def run(self, feed: Callable[[], Coroutine[Any, Any, None]] | None = None) -> T:
        async with anyio.create_task_group() as tasks:
            if feed is not None:
                tasks.start_soon(feed)
            tasks.start_soon(self._workers.transfer, self._work)
            try:
                await self._done.wait()
            finally:
                # The thread ends at its next byte; the group waits for it.
                self._body.fail(ServerBusy("the server ends, and has not waited for the rest of the body"))
                if isinstance(self._body, Upload):
                    self._body.close()
                tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _work(self) -> None:
        try:
            self._result.append(self._function(self._body))
        except BaseException as error:  # noqa: BLE001 - raised in the event loop
            self._error = error
        finally:
            self._loop.call_soon_threadsafe(self._done.set)
