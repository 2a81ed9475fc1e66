"""What goes to a server and what comes back: requests, their bodies, and answers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from orlop.errors import InvalidAnswer, RegistryUnreachable
from orlop.model.gojson import MAX_VALUES, values_at_most
from orlop.model.urls import shown
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from orlop.streams.compression import OpenReadable

_PIECE = 1 << 16
_ENCODED = frozenset({"gzip", "x-gzip"})
_GZIP = b"\x1f\x8b"


class Body(Protocol):
    """What is sent with a request. It may have to be sent again, so that it is opened, and not just read."""

    @property
    def size(self) -> int | None:
        """How many bytes it has; None where that is not known, and it is sent in chunks."""

    @property
    def can_repeat(self) -> bool:
        """Whether it can be opened more than once."""

    def open(self) -> OpenReadable:
        """Open it at its beginning."""


class Headers:
    """The headers of an answer: names match in any case, and may stand there more than once."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple((name.lower(), value.strip()) for name, value in pairs)

    def get(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for found, value in self._pairs if found == name.lower()]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Return all of them, the names in lower case."""
        return iter(self._pairs)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: what is asked of which URL. Headers may hold secrets, so they are not part of the ``repr``.

    ``verify`` says whether the certificate of the server is checked. ``is_led`` says whether a server led to its host,
    which is not the one that was asked for.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Body | None = field(default=None, repr=False)
    verify: bool = True
    is_led: bool = False

    @property
    def can_repeat(self) -> bool:
        """Whether it can be sent again as it is."""
        return self.body is None or self.body.can_repeat

    def __str__(self) -> str:
        """Return what may be shown."""
        return f"{self.method} {shown(self.url)}"


class Answer:
    """An answer whose body is still to be read. Close it, or leave its ``with`` block, before the next is asked for.

    Reading raises `RegistryUnreachable` where the connection ends too early, or what the watch raises.
    """

    def __init__(
        self,
        status: int,
        headers: Headers,
        url: str,
        *,
        read: Callable[[int], bytes] = lambda _: b"",
        close: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Take what came.

        Args:
            status: its status.
            headers: its headers.
            url: what was asked.
            read: returns at most so many bytes of the body, as they came, and none at its end.
            close: ends the reading; with a true argument the connection is not to be used again.
        """
        self.status = status
        self.headers = headers
        self.url = url
        self._read = read
        self._close = close
        self.again: Callable[[RegistryUnreachable], Answer] | None = None
        """Asks once more for what broke off, or raises that; None where it cannot be asked for again."""

    @property
    def is_encoded(self) -> bool:
        """Whether the server says that it compressed the body, which nobody asks for."""
        return (self.headers.get("Content-Encoding") or "").strip().lower() in _ENCODED

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes of the body, what is there; none at its end."""
        return self._read(n)

    def document(self, limit: int, *, what: str) -> bytes:
        """Return the whole body, which is closed then. One that breaks off is asked for again, where that can be.

        One that a proxy compressed is decompressed: no document begins as what is compressed does.

        Raises:
            InvalidAnswer: it is larger than a limit, has very many values, or is not as its encoding says.
            RegistryUnreachable: it breaks off, again and again.
        """
        answer = self
        while True:
            try:
                found = answer._whole(limit, what)
            except RegistryUnreachable as error:
                if answer.again is None:
                    raise
                answer = answer.again(error)
            else:
                self.status, self.headers, self.url = answer.status, answer.headers, answer.url
                if not values_at_most(found, MAX_VALUES):
                    raise InvalidAnswer(f"{what} from {shown(self.url)} has more than {MAX_VALUES} values of JSON")
                return found

    def _whole(self, limit: int, what: str) -> bytes:
        found = bytearray()
        with self:
            while piece := self._read(_PIECE):
                found += piece
                if len(found) > limit:
                    self.close(broken=True)
                    raise InvalidAnswer(f"{what} from {shown(self.url)} is larger than {limit} bytes")
        if self.is_encoded and found.startswith(_GZIP):
            return self._decoded(bytes(found), limit, what)
        return bytes(found)

    def _decoded(self, encoded: bytes, limit: int, what: str) -> bytes:
        import zlib  # noqa: PLC0415 - hardly ever needed

        decoder = zlib.decompressobj(wbits=31)
        try:
            found = decoder.decompress(encoded, limit + 1)
        except zlib.error as error:
            raise InvalidAnswer(f"{what} from {shown(self.url)} is not encoded as it says") from error
        if len(found) > limit:
            raise InvalidAnswer(f"{what} from {shown(self.url)} is larger than {limit} bytes")
        return found

    def close(self, *, broken: bool = False) -> None:
        """Stop reading. A connection that is ``broken`` is not used again."""
        close, self._close = self._close, lambda _: None
        self._read = lambda _: b""
        close(broken)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close(broken=kind is not None)


class BytesBody:
    """A body that is in memory."""

    can_repeat = True

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self._content)

    def open(self) -> OpenReadable:
        """Open it at its beginning."""
        return io.BytesIO(self._content)


class OpenedBody:
    """A body that is opened anew each time it is sent: a part of a file, or of a blob."""

    can_repeat = True

    def __init__(self, opener: Callable[[int], OpenReadable], size: int, *, offset: int = 0) -> None:
        """Take what to open.

        Args:
            opener: opens the whole at an offset.
            size: how many bytes of it are the body.
            offset: where the body begins in it.
        """
        self._opener = opener
        self._size = size
        self._offset = offset

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._size

    def open(self) -> OpenReadable:
        """Open it at its beginning."""
        return self._opener(self._offset)

    def part(self, offset: int, size: int) -> OpenedBody:
        """Return a part of it as a body."""
        return OpenedBody(self._opener, size, offset=self._offset + offset)


class StreamBody:
    """A body that can be read once, and whose size is known only at its end."""

    can_repeat = False
    size = None

    def __init__(self, stream: OpenReadable) -> None:
        self._stream = stream

    def open(self) -> OpenReadable:
        """Open it where it stands."""
        return self._stream


class NotedBody:
    """Another body, and whether it was opened: some of it may have been sent then."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.was_opened = False

    @property
    def size(self) -> int | None:
        """How many bytes it has."""
        return self._body.size

    @property
    def can_repeat(self) -> bool:
        """Whether it can be opened more than once."""
        return self._body.can_repeat

    def open(self) -> OpenReadable:
        """Open it at its beginning."""
        self.was_opened = True
        return self._body.open()


class Transport(Protocol):
    """What carries requests to servers: nothing is followed, repeated or decoded on the way."""

    def send(self, request: Request) -> Answer:
        """Send a request, and return its answer once the headers are there.

        Raises:
            RegistryUnreachable: there is no answer. What ends the wait.
        """
