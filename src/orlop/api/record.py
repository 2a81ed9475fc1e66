"""One request as logs and metrics see it."""

from __future__ import annotations

import string
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from orlop.model.urls import scrubbed, without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"\\')
_SOURCE: Final = "fromSrc"
_RECORDS: Final = "orlop.records"


@dataclass(slots=True)
class Record:
    """A request: whose, what it asked for, what it got.

    ``target`` is its path and query as they came, but for names and
    passwords of URLs in them; ``route`` the endpoint, such as ``/images/{name}/json``, or empty
    where there is none; ``status`` 0 until an answer begins; ``received`` and ``sent`` are bytes of bodies.
    """

    client: str
    method: str
    target: str
    route: str = ""
    status: int = 0
    received: int = 0
    sent: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.started


def record_of(scope: Scope) -> Record:
    """Begin the record of a request."""
    client = scope.get("client")
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    record = Record(_client(client), scope["method"], _without_credentials(_printable(target)))
    # Several applications may stand one behind the other, each with a record of its own.
    scope.setdefault(_RECORDS, []).append(record)
    return record


def count_beside(scope: Scope, *, received: int = 0, sent: int = 0) -> None:
    """Count bytes of a request's body, or of its answer's, that go past the two ends which `counted` returns."""
    for record in scope[_RECORDS]:
        record.received += received
        record.sent += sent


def _without_credentials(target: str) -> str:
    """Return a target without the names and passwords of URLs in its path and in its parameters."""
    path, mark, query = target.partition("?")
    path = _bare(path, scrubbed)
    parameters = []
    for parameter in query.split("&"):
        name, sign, value = parameter.partition("=")
        parameters.append(name + sign + _bare(value, without_credentials if name == _SOURCE else scrubbed))
    return path + mark + "&".join(parameters)


def _bare(text: str, change: Callable[[str], str]) -> str:
    """Change what an escaped text stands for, and escape what was escaped in it."""
    plain = unquote(text)
    bare = change(plain)
    return text if bare == plain else quote(bare, safe="".join(set(text) & set(string.punctuation)))


def _client(client: tuple[str, int] | None) -> str:
    if client is None:
        return "-"
    # For a Unix socket it is the user and the process.
    return f"{client[0]},pid={client[1]}" if client[0].startswith("uid=") else client[0]


def _printable(target: bytes) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in target)


def counted(record: Record, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return the two ends of a request, which count in its record what goes through them."""

    async def counting_receive() -> Message:
        message = await receive()
        record.received += len(message.get("body", b""))
        return message

    async def counting_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
        record.sent += len(message.get("body", b""))
        await send(message)

    return counting_receive, counting_send
