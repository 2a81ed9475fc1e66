"""Reading an object from any byte on, whatever happens to the connection meanwhile.

A *fetch* is a stream of pieces from one byte to another. Where its connection breaks, stalls or ends too early, it asks
for the rest, under the condition that the object is still the one that the first bytes came from. Its patience begins
anew once some kilobytes have arrived, so an object of any size can be read over a bad line, and not from a server that
drips.

A *reader* is a fetch in the form of a file. It reads ahead in a thread of its own once it is read in order: the next
pieces come while the caller hashes the last one. At most `_AHEAD` pieces wait.
"""

from __future__ import annotations

import io
import threading
from contextlib import suppress
from http.client import HTTPException
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import BucketUnavailable, ContentNotFound, IntegrityError, InvalidInput, OrlopError, SizeMismatch
from orlop.model.tuples import NamedTuple
from orlop.store.blobs.s3.answers import fault_of
from orlop.store.blobs.s3.client import TORN, Answer, Request, fault_in, reason_of, words_of
from orlop.store.blobs.s3.waiting import ENOUGH
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer
    from urllib3 import BaseHTTPResponse

    from orlop.model.digest import Digest
    from orlop.store.blobs.s3.client import S3Client

_PIECE: Final = 1 << 20
_LEAST: Final = 4 << 10
"""What is read at once where answers break off: what stands for urllib3 may drop what came of a piece before that."""
_AHEAD: Final = 4


class Source(NamedTuple):
    """An object to read: its ``key``, its ``size`` by the rows, what it is called, and the digest of all of it."""

    key: str
    size: int
    label: str
    digest: Digest | None = None


class Stream(Protocol):
    """The bytes of an object from one place to another, see `Fetch`; ``unwanted`` is set where they are not needed."""

    unwanted: threading.Event

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes that were not yielded yet."""
        ...

    def close(self) -> None:
        """Drop what is held. Idempotent."""
        ...


class Fetch:
    """The bytes of an object from ``start`` to ``end``. Used by one thread at a time.

    Making one sends the request, so that what is missing or has another size is known at once.

    Raises:
        ContentNotFound: there is no object. SizeMismatch: it has another size. BucketUnavailable, PermissionDenied: it
        cannot be read.
    """

    def __init__(
        self,
        client: S3Client,
        source: Source,
        start: int,
        end: int,
        *,
        unwanted: threading.Event | None = None,
        haste: bool = False,
    ) -> None:
        self._client = client
        self._haste = haste
        self._source = source
        self._at, self._end = start, end
        self._reached = start
        self._most = _PIECE
        self._etag = ""
        self.unwanted = unwanted or threading.Event()
        self._patience = client.patience(self.unwanted, haste=haste)
        self._response: BaseHTTPResponse | None = None
        if start < end or source.size == 0:
            self._response = self._opened()

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, in pieces of at most 1 MiB. Raises what making it raises."""
        while self._at < self._end:
            try:
                piece = self._piece()
            except OrlopError:
                raise
            except TORN as error:
                self.close()
                self._most = max(_LEAST, self._most >> 4)
                self._patience.wait(reason_of(error))
                continue
            self._most = min(_PIECE, self._most << 1)
            self._at += len(piece)
            if self._at >= self._end:
                self._finish()
            if self._at - self._reached >= ENOUGH or self._response is None:
                self._reached = self._at
                self._patience.progressed()
            yield piece

    def _piece(self) -> bytes:
        if self._response is None:
            self._response = self._opened()
        piece = self._response.read(min(self._most, self._end - self._at), decode_content=False)
        if not piece:
            raise HTTPException("the answer ended too early")
        return piece

    def _opened(self) -> BaseHTTPResponse:
        """Return the answer to a request for the bytes that are missing, checked against what is known of them."""
        headers = {}
        whole = (self._at, self._end) == (0, self._source.size)
        if not whole:
            headers["range"] = f"bytes={self._at}-{self._end - 1}"
        if self._etag:
            headers["if-match"] = self._etag
        request = Request("GET", self._source.key, headers=headers, haste=self._haste)
        while True:
            try:
                response = self._client.send(request)
                if response.status in {200, 206}:
                    self._check(response, whole=whole)
                    return response
                self._refused(response)
            except OrlopError:
                raise
            except TORN as error:
                self._patience.wait(reason_of(error))

    def _check(self, response: BaseHTTPResponse, *, whole: bool) -> None:
        """Raise what is wrong with an answer, and drop it."""
        headers, size = response.headers, str(self._source.size)
        if whole:
            there = headers.get("content-length", "")
            fits = response.status == 200 and there == size
        else:
            # Some servers say 200 with a range, and mean it; one that sends another number of bytes does not.
            span, _, there = headers.get("content-range", "").partition("/")
            wanted = str(self._end - self._at)
            fits = span == f"bytes {self._at}-{self._end - 1}" and headers.get("content-length", wanted) == wanted
        etag = headers.get("etag", "")
        if there == size and fits and self._etag in {"", etag}:
            self._etag = etag
            return
        response.close()
        if there.isdecimal() and there != size:
            raise SizeMismatch(f"{self._source.label} has {there} bytes instead of {size}; load its image again")
        what = f"cannot read {self._source.label} in {self._client.settings.where}: the answer has other bytes than"
        raise BucketUnavailable(f"{what} those asked for; check that its endpoint is an object store")

    def _refused(self, response: BaseHTTPResponse) -> None:
        """Wait before the next try, or raise what the refusal means."""
        try:
            body = response.read(_PIECE, decode_content=False)
        finally:
            response.close()
        fault = fault_in(Answer(response.status, response.headers, body)) or fault_of(response.status, body)
        label = self._source.label
        if fault.status == 404 and fault.code != "NoSuchBucket":
            raise ContentNotFound(
                f"{label} is missing from {self._client.settings.where}; check that prefix, or load its image again"
            )
        if fault.status == 412:
            raise IntegrityError(f"{label} was replaced while it was read; read it again")
        if fault.status == 416:
            raise SizeMismatch(f"{label} has fewer bytes than {self._source.size}; load its image again")
        if not self._client.may_repeat(fault, response.headers):
            raise self._client.error(fault, f"read {label}")
        self._patience.wait(words_of(fault))

    def _finish(self) -> None:
        """Return the connection to the pool: everything was read."""
        response, self._response = self._response, None
        if response is not None:
            response.release_conn()

    def close(self) -> None:
        """Drop the connection and what may be on it. Idempotent."""
        response, self._response = self._response, None
        if response is not None:
            with suppress(*TORN):
                response.close()


class _Ahead:
    """A thread that takes pieces from a fetch before they are wanted."""

    def __init__(self, fetch: Stream) -> None:
        self._fetch = fetch
        self._pieces: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(_AHEAD):
            self._places.put(None)
        started(self._run, name="orlop-s3-ahead")

    def _run(self) -> None:
        try:
            for piece in self._fetch.pieces():
                self._pieces.put(piece)
                self._places.get()
                if self._fetch.unwanted.is_set():
                    break
            self._pieces.put(None)
        except BaseException as error:  # noqa: BLE001 - raised by `next`
            self._pieces.put(error)
        finally:
            self._fetch.close()

    def next(self) -> bytes:
        """Return the next piece, nothing at the end. Raises what the fetch raises."""
        piece = self._pieces.get()
        if piece is None or isinstance(piece, BaseException):
            self._pieces.put(piece)
            if piece is None:
                return b""
            raise piece
        self._places.put(None)
        return piece

    def close(self) -> None:
        """Stop soon; nobody waits for it, as it may be waiting for the server."""
        self._fetch.unwanted.set()
        self._places.put(None)


class S3Reader(io.RawIOBase):
    """An object as a file that can be read and sought in. Used by one thread at a time.

    Args:
        source: what is read.
        stream: returns its bytes from one place to another.
        end: called once when it is closed.
    """

    def __init__(self, source: Source, stream: Callable[[int, int], Stream], end: Callable[[], object]) -> None:
        super().__init__()
        self._source = source
        self._stream = stream
        self._end = end
        self._at = 0
        self._left = memoryview(b"")
        self._pieces: Iterator[bytes] | None = None
        self._ahead: _Ahead | None = None
        self._fetch: Stream | None = None
        self._fetch = stream(0, source.size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return from which byte on is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go on from another byte, and return its number."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        target = base + offset
        if target < 0:
            raise InvalidInput(f"{target} is not a place in {self._source.label}")
        if self._at <= target <= self._at + len(self._left):
            self._left = self._left[target - self._at :]
        elif target != self._at:
            self._drop()
        self._at = target
        return target

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer, and return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer only at the end; all that are left without a size. Raises what `Fetch` raises."""
        if self.closed:
            raise ValueError("read of a closed file")
        left = max(0, self._source.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        taken: list[bytes | memoryview] = []
        missing = wanted
        while missing:
            if not self._left:
                piece = self._next()
                if len(piece) == missing and not taken:
                    self._at += missing
                    return piece
                self._left = memoryview(piece)
            part, self._left = self._left[:missing], self._left[missing:]
            taken.append(part)
            missing -= len(part)
        self._at += wanted
        return b"".join(taken)

    def _next(self) -> bytes:
        """Return the piece that begins where the last one ended. There is one: the size is known."""
        if self._ahead is not None:
            return self._ahead.next()
        if self._pieces is not None and self._fetch is not None:
            # It is read in order.
            ahead = self._ahead = _Ahead(self._fetch)
            self._fetch = self._pieces = None
            return ahead.next()
        if self._fetch is None:
            self._fetch = self._stream(self._at, self._source.size)
        self._pieces = self._fetch.pieces()
        return next(self._pieces)

    def _drop(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        elif self._fetch is not None:
            self._fetch.close()
        self._fetch = self._pieces = self._ahead = None
        self._left = memoryview(b"")

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if not self.closed:
            self._drop()
            self._end()
        super().close()
