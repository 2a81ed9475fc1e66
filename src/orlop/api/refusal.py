"""What a client hears whose request does not reach an application: it is not valid HTTP, too large, or one too many.

A listener serves the Engine API, the registry, or both, and the clients of each read errors in a form of their own. The
path of the request tells which, as far as it is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.api.registry.routes import is_ours
from orlop.api.web.headers import HEADERS, is_page

if TYPE_CHECKING:
    from collections.abc import Mapping


class Words(NamedTuple):
    """A document, and headers that go with it."""

    document: Mapping[str, object]
    headers: tuple[tuple[bytes, bytes], ...] = ()


Wording = Callable[[int, str, bytes], Words]
"""Returns what a refusal says, by its status, a sentence, and the path of the request as it came, if it is known."""

_CODES: Final = {413: "SIZE_INVALID", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}
_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")
_LATER: Final = (b"retry-after", b"1")


def of_engine(status: int, why: str, path: bytes) -> Words:
    """Return a refusal as the Engine API has it."""
    del status
    target = path.partition(b"?")[0].decode("latin-1")
    return Words({"message": why}, HEADERS if is_page(target) else ())


def of_registry(status: int, why: str, path: bytes) -> Words:
    """Return a refusal as the distribution specification has it."""
    del path
    code = _CODES.get(status, "UNSUPPORTED")
    later = (_LATER,) if code == "UNAVAILABLE" else ()
    return Words({"errors": [{"code": code, "message": why}]}, (_VERSION, *later))


def of_both(status: int, why: str, path: bytes) -> Words:
    """Return a refusal where both are served."""
    target = path.partition(b"?")[0].decode("latin-1")
    return (of_registry if is_ours(target) else of_engine)(status, why, path)


def refusal(words: Words, status: int, method: str, date: bytes) -> bytes:
    """Return the whole answer, after which the connection ends; one to a HEAD has no body."""
    body = json.dumps(words.document, separators=(",", ":")).encode() + b"\n"
    fields = (
        (b"date", date),
        *words.headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    )
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    head = first + b"".join(b"%b: %b\r\n" % field for field in fields)
    return head + b"\r\n" + (b"" if method == "HEAD" else body)
