"""Blobs: read whole or in part, and deleted."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.responses import Response

from orlop.api.flow import PIECE
from orlop.api.record import count_beside
from orlop.api.registry.conditions import check, is_known
from orlop.api.streamed import Streamed
from orlop.errors import InvalidRange
from orlop.service.hosted.registry import HeldBlob

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from orlop.api.exchange import Exchange
    from orlop.api.flow import Download, Upload
    from orlop.api.registry.asked import Asked
    from orlop.service.hosted.registry import ReadBlob

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_CONDITIONS: Final = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"))
_PORT: Final = re.compile(r":\d*\Z")
_SECRET: Final = frozenset(("authorization", "cookie"))
_OCTETS: Final = "application/octet-stream"
_FOR_EVER: Final = "max-age=31536000, immutable"


async def read(asked: Asked) -> Response:
    """Answer a GET or a HEAD of a blob."""
    digest = asked.digest()
    # Whoever pushes asks first what is here; nobody else has to be asked for that.
    asks = asked.route.method == "GET"
    blob = await asked.look(partial(asked.registry.blob, asked.repository, digest, asks=asks))
    headers = {
        "Content-Type": _OCTETS,
        "Docker-Content-Digest": str(digest),
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest}"',
        "Cache-Control": _FOR_EVER,
    }
    if is_known(asked, digest):
        return Response(status_code=304, headers=headers)
    span = _span(asked, blob.size)
    first, end = (0, blob.size) if span is None else span
    headers["Content-Length"] = str(end - first)
    if span is not None:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{blob.size}"
    status = 200 if span is None else 206
    if asked.route.method == "HEAD":
        return Response(status_code=status, headers=headers)
    asked.tell("pull", digest, media_type=_OCTETS, size=end - first)
    if isinstance(blob, HeldBlob) and _may_fetch(asked, is_range=span is not None):
        url = await asked.look(blob.url)
        if url is not None and not _would_send_on(asked, url):
            # The URL ends, and whoever has it may read: nobody keeps it.
            told = {"Location": url, "Docker-Content-Digest": str(digest), "Cache-Control": "no-store"}
            return Response(status_code=307, headers=told)
    if end - first <= PIECE:
        return Response(await asked.look(partial(_bytes, blob, first, end)), status, headers)
    client = asked.scope.get("orlop.client")
    if client is not None and client.can_send_files and isinstance(blob, HeldBlob) and blob.is_file:
        return _Copied(asked, client, blob, (first, end), Response(status_code=status, headers=headers))
    response = _streamed(asked, blob, first, end)
    response.status_code = status
    response.headers.update(headers)
    return response


def _may_fetch(asked: Asked, *, is_range: bool) -> bool:
    """Return whether an object store would understand a request as this registry does.

    It has tags and times of its own, and what is not one range means something else elsewhere.
    """
    return _CONDITIONS.isdisjoint(asked.headers) and ("range" in asked.headers) is is_range


def _would_send_on(asked: Asked, url: str) -> bool:
    """Return whether a client may send its credentials on to a URL: many do at any port of a host, and below it.

    An object store must not see them, and refuses a request that has them beside a signed URL.
    """
    if _SECRET.isdisjoint(asked.headers):
        return False
    here, there = (_PORT.sub("", one.lower()) for one in (asked.headers.get("host", ""), urlsplit(url).netloc))
    return there == here or there.endswith(f".{here}")


def _span(asked: Asked, size: int) -> tuple[int, int] | None:
    """Return the bytes that are asked for, from the first to behind the last; nothing where all are.

    A header that is not one range of bytes counts for nothing, as HTTP has it. Raises `InvalidRange`.
    """
    text = asked.headers.get("range", "").strip()
    found = _RANGE.fullmatch(text)
    if found is None or (not found[1] and not found[2]):
        return None
    conditional = asked.headers.get("if-range")
    if conditional is not None and conditional.strip('"') != asked.route.reference:
        return None
    if found[1]:
        first = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
    else:
        first, end = max(0, size - int(found[2])), size
    if first >= end or first >= size:
        raise InvalidRange(f"the blob has {size} bytes, and not the range {text[:64]!r}", reached=size)
    return first, end


def _bytes(blob: ReadBlob, first: int, end: int) -> bytes:
    if blob.document is not None:
        return blob.document[first:end]
    with blob.open() as file:
        file.seek(first)
        pieces: list[bytes] = []
        left = end - first
        while left and (piece := file.read(left)):
            left -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)


class _Copied(Response):
    """An answer whose body the kernel copies from a file to the client.

    Args:
        asked: the request.
        client: to whom it goes.
        blob: what is sent.
        span: which of its bytes, from the first to behind the last.
        head: the answer without its body.
    """

    def __init__(self, asked: Asked, client: Exchange, blob: HeldBlob, span: tuple[int, int], head: Response) -> None:
        super().__init__(status_code=head.status_code)
        self.raw_headers = head.raw_headers
        self._asked = asked
        self._client = client
        self._blob = blob
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then the file."""
        del receive
        workers = self._asked.workers
        async with workers.turn(scope.get("orlop.client")):
            with self._blob.open() as file, self._client.copying(file.fileno()) as copying:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await self._client.send_file(workers.copy, copying, *self._span)
                count_beside(scope, sent=self._span[1] - self._span[0])


def _streamed(asked: Asked, blob: ReadBlob, first: int, end: int) -> Response:
    def work(download: Download, _: Upload) -> None:
        if blob.document is not None:
            download.put(blob.document[first:end])
            return
        with blob.open() as file:
            file.seek(first)
            left = end - first
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                download.put(piece)

    return Streamed(work, asked.workers, media_type=_OCTETS)


async def delete(asked: Asked) -> Response:
    """Answer a DELETE of a blob."""
    digest = asked.digest()
    await check(asked, digest, partial(asked.run, partial(asked.registry.blob, asked.repository, digest, asks=False)))
    await asked.run(partial(asked.registry.delete_blob, asked.repository, digest))
    asked.tell("delete", digest, media_type=_OCTETS)
    return Response(status_code=202)
