"""The head of a request: its first line and its headers, parsed once, with one meaning or none.

A head is collected whole before it is looked at. Lines end with CR LF or, as Go's servers and the tools that people
type into them take it, with LF alone; where a line ends is decided before anything else is, so that no part of a head
can be read in two ways. What two servers in a row could read differently is refused: a length beside an encoding, two
lengths that differ, an encoding other than ``chunked``, a folded line, a space before a colon, a bare CR, a NUL.
Where Engine takes one of them, `docs/engine-api.md` says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST: Final = 64 << 10
"""Bytes of a head; the daemon takes at most a megabyte."""
_MOST_LINES: Final = 500
"""Each header becomes three objects, whatever its length."""

_END: Final = re.compile(rb"\n\r?\n")
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_HOST: Final = re.compile(rb"[!$&'()*+,;=:\[\]_.~%0-9A-Za-z\x80-\xff-]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class Refused(Exception):
    """A client sent what is not valid HTTP, or what this server does not take.

    Args:
        status: of the answer.
        why: a sentence for it.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True)
class Head:
    """A request as its head tells it.

    ``path`` and ``query`` are as they came; names of headers are in lower case. ``length`` is the number of bytes of
    the body, or None where it comes in chunks.
    """

    method: str
    path: bytes
    query: bytes
    minor: int
    headers: Sequence[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    expects_continue: bool

    @property
    def decoded_path(self) -> str:
        """The path without escapes."""
        return unquote(self.path.decode("ascii"))


def end_of_head(data: bytearray, start: int) -> int | None:
    """Return where the first head of some bytes ends, or None; before ``start`` it was looked for already."""
    found = _END.search(data, max(0, start - 2))
    return None if found is None else found.end()


def beginning(data: bytes) -> tuple[str, bytes]:
    """Return the method and the target that a head begins with, as far as it has them, whether or not it is valid."""
    method, _, rest = data[:LONGEST].partition(b"\n")[0].partition(b" ")
    target = rest.partition(b" ")[0].strip()
    absolute = _ABSOLUTE.match(target)
    return method.decode("latin-1"), target if absolute is None else target[absolute.end() :]


def parse_head(data: bytes) -> Head:
    """Return a request's head from its bytes, including the empty line at its end.

    Raises:
        Refused: it is not valid, or could be read in two ways.
    """
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if len(lines) > _MOST_LINES:
        raise Refused(431, f"a request has at most {_MOST_LINES} headers")
    request = _REQUEST.fullmatch(lines[0])
    if request is None:
        raise Refused(400, "the request is not valid HTTP")
    method, target, major, minor = request.groups()
    if major != b"1":
        raise Refused(505, "this server does not speak that version of HTTP")
    path, query = _split(target)
    headers = tuple(_fields(lines[1:-2]))
    tokens = {token.strip().lower() for value in _values(headers, b"connection") for token in value.split(b",")}
    is_old = minor == b"0"
    _check_host(headers, is_old=is_old)
    return Head(
        method.decode("ascii"),
        path,
        query,
        int(minor),
        headers,
        _length(headers, is_old=is_old),
        b"keep-alive" in tokens if is_old else b"close" not in tokens,
        not is_old and _expects_continue(headers),
    )


def _split(target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of a target."""
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/") and path != b"*":
        raise Refused(400, "the request does not name a path")
    return path, query


def _fields(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Refused(400, "the request has a header that is not valid HTTP")
        yield field[1].lower(), field[2].rstrip(b" \t")


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for known, value in headers if known == name]


def _check_host(headers: Sequence[tuple[bytes, bytes]], *, is_old: bool) -> None:
    hosts = _values(headers, b"host")
    if len(hosts) > 1:
        raise Refused(400, "the request has more than one Host header")
    if not hosts and not is_old:
        raise Refused(400, "the request has no Host header")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refused(400, "the request has an invalid Host header")


def _length(headers: Sequence[tuple[bytes, bytes]], *, is_old: bool) -> int | None:
    encodings = _values(headers, b"transfer-encoding")
    lengths = set(_values(headers, b"content-length"))
    if encodings:
        if [value.lower() for value in encodings] != [b"chunked"]:
            raise Refused(501, "the only transfer encoding that this server takes is chunked")
        if lengths or is_old:
            raise Refused(400, "the length of the request's body is ambiguous")
        return None
    if len(lengths) > 1:
        raise Refused(400, "the request has two lengths")
    length = lengths.pop() if lengths else b"0"
    if not _LENGTH.fullmatch(length):
        raise Refused(400, "the request has an invalid length")
    return int(length)


def _expects_continue(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    expected = [value.lower() for value in _values(headers, b"expect") if value]
    if expected and expected != [b"100-continue"]:
        raise Refused(417, "the only expectation that this server meets is 100-continue")
    return bool(expected)
