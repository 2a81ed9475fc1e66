"""Answers whose bodies a thread makes while they are sent, and perhaps while it reads the request's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
from starlette.responses import Response

from orlop.api.flow import Download, Upload
from orlop.errors import BodyTooLarge, OrlopError, RequestAborted, ServerBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

    from orlop.api.workers import Workers

_log = logging.getLogger(__name__)


async def chunks(receive: Receive, *, most: int | None) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes.

    Args:
        receive: the request's.
        most: how many bytes the body may have, if they are bounded.

    Raises:
        RequestAborted: the client hung up, or was too slow. BodyTooLarge: there are more bytes.
    """
    more, size = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted("the client hung up before it had sent everything")
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            size += len(chunk)
            if most is not None and size > most:
                raise BodyTooLarge(
                    f"the body of the request has more than {most} bytes, which this server does not take"
                )
            yield chunk


async def hung_up(receive: Receive) -> None:
    """Return when the client hangs up; what else it sends is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Streamed(Response):
    """An answer whose body a thread makes while it is sent.

    What goes wrong before the first byte is raised, so that it can be answered; what goes wrong later is raised too,
    and must break the connection, so that no client takes a part for the whole. When the client hangs up, the work is
    told at its next byte; but what has got all of a body is finished. What goes wrong after that is logged.

    Args:
        work: makes the body in a thread: it writes to the one flow and, if the request has a body, reads the other.
        workers: whose threads they are.
        reads: whether the request's body is read.
        most: how many bytes that may have, if they are bounded.
        media_type: of the answer.
    """

    def __init__(
        self,
        work: Callable[[Download, Upload], None],
        workers: Workers,
        *,
        reads: bool = False,
        most: int | None = None,
        media_type: str,
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._work = work
        self._workers = workers
        self._reads = reads
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the work, and send what it makes."""
        # Nothing is read from a client that waits: it would only fill the memory.
        async with self._workers.turn(scope.get("orlop.client")):
            download, upload = Download(), Upload()
            try:
                await self._serve(download, upload, receive, send)
            finally:
                _tell(download.unheard())

    async def _serve(self, download: Download, upload: Upload, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            if self._reads:
                tasks.start_soon(self._feed, receive, upload)
            else:
                tasks.start_soon(self._watch, receive, download)
            tasks.start_soon(self._workers.transfer, self._run, download, upload)
            try:
                await self._send(download, send)
            except Exception as error:  # noqa: BLE001 - raised below, outside the group
                failure = error
            finally:
                # The thread ends at its next byte; the group waits for it.
                download.cancel()
                upload.fail(ServerBusy("the server ends, and has not waited for the rest of the body"))
                upload.close()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _run(self, download: Download, upload: Upload) -> None:
        try:
            self._work(download, upload)
        except BaseException as error:  # noqa: BLE001 - told to the sender
            download.fail(error)
        else:
            download.end()
        finally:
            upload.close()

    async def _feed(self, receive: Receive, upload: Upload) -> None:
        try:
            async for chunk in chunks(receive, most=self._most):
                await upload.put(chunk)
        except OrlopError as error:
            upload.fail(error)
        else:
            upload.end()

    @staticmethod
    async def _watch(receive: Receive, download: Download) -> None:
        await hung_up(receive)
        download.cancel()

    async def _send(self, download: Download, send: Send) -> None:
        started = False
        async for data in download:
            if not started:
                started = True
                await self._begin(send)
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if download.cancelled:
            raise RequestAborted("the client hung up before it had everything")
        if not started:
            await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


def _tell(error: BaseException | None) -> None:
    """Log an error that no client hears of any more, unless it only says that there is none."""
    if error is None or isinstance(error, (RequestAborted, ServerBusy)):
        return
    unexpected = None if isinstance(error, OrlopError) else error
    _log.warning("what a client asked for failed after it had hung up: %s", error, exc_info=unexpected)
