"""Tar headers of the common kind, which nearly all layers consist of: checks that need not decode everything.

Each part of a header is checked once; equal parts need no second check. A header that is not certainly common is left
to `orlop.streams.tar_header`, which knows all kinds.
"""

from __future__ import annotations

import re
from zlib import adler32

from orlop.model.generic import Generic, TypeVar
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from orlop.model.limits import Limits

_NO_DEVICE: Final = frozenset((bytes(16), b"0000000\0" * 2, b"0000000 " * 2, b"000000 \0" * 2))
_OCTAL: Final = b"01234567\0"
_PAX_TIMES: Final = frozenset((b"mtime", b"atime", b"ctime"))
_PAX_USED: Final = frozenset((b"path", b"linkpath", b"size"))
_PAX_UNUSED: Final = (b"SCHILY.", b"LIBARCHIVE.", b"RHT.", b"MSWINDOWS.", b"comment", b"uname", b"gname")
_SPACED: Final = re.compile(rb"(?:[0-7]{6}[0-7 ][ \0]){3}|[0-7]{11}[ \0]").fullmatch  # some end numbers with spaces
_TIME: Final = re.compile(rb"[0-9]{1,18}(?:\.[0-9]*)?").fullmatch
# Matched at the end of the last record: searching for the next one would take quadratic time on hostile input.
_RECORD: Final = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=([^\n]*)\n").match

V = TypeVar("V")


class Known(dict[bytes, V], Generic[V]):
    """The results for parts of recent headers: nearly all parts have occurred before."""

    def __init__(self, judge: Callable[[bytes], V], most: int) -> None:
        super().__init__()
        self._judge = judge
        self._most = most

    def __missing__(self, part: bytes) -> V:
        if len(self) >= self._most:
            self.clear()
        found = self[part] = self._judge(part)
        return found


def check_trailing(size: int, what: str, limits: Limits) -> None:
    """Raise `LimitExceeded` where too much follows the end of a tar: a device of zeros, for one, never ends."""
    if size > limits.trailing_size:
        raise limits.exceeded("trailing_size", f"{what} has {size} bytes or more after its end")


def checksum_of(field: bytes) -> int:
    """Return the sum of all other bytes according to a checksum field; -1 if it is not a number."""
    digits = field.strip(b" \0")
    if not digits or digits.translate(None, b"01234567"):
        return -1
    # The sum is made with spaces in the field itself.
    return int(digits, 8) - sum(b"        ")


def size_of(field: bytes) -> int:
    """Return the number in the size field; -1 if it is not written in the common way."""
    return int(field[:11], 8) if _SPACED(field) else -1


def is_common(field: bytes) -> bool:
    """Return whether the fields of mode and owners, or that of the time, are numbers written in a common way."""
    return not field.translate(None, _OCTAL) or _SPACED(field) is not None


@dataclass(frozen=True, slots=True)
class Rest:
    """What follows the checksum of a header: type, link name, magic, names of owners, device, and prefix."""

    kind: int  # 0 where anything in it is not common
    sum: int
    prefix: bytes


def rest_of(rest: bytes) -> Rest:
    """Check the part of a header after the checksum."""
    # Adler-32 has 1 and the sum of all bytes in its low half, as long as that is below 65,521.
    total = (adler32(rest) & 0xFFFF) - 1 if rest.isascii() else sum(rest)
    prefix = _prefix(rest[101:])
    return Rest(0, total, b"") if prefix is None else Rest(rest[0], total, prefix)


def _prefix(tail: bytes) -> bytes | None:
    """Check the part of a header after the link name; return the prefix of its name, None if it is not common."""
    if tail[72:88] not in _NO_DEVICE:
        return None
    rest = tail[88:]
    if not rest.strip(b"\0"):
        return b"" if tail[:8] in (b"ustar\x0000", b"ustar  \0") else None
    if tail[:8] != b"ustar\x0000" or rest[155:].strip(b"\0"):
        return None
    prefix = rest[:155].partition(b"\0")[0]
    return prefix + b"/" if prefix else b""


def quick_pax(body: bytes) -> dict[bytes, bytes] | None:
    """Return the records of a PAX header that matter to the scanner, or None if it is not of the common kind."""
    records: dict[bytes, bytes] = {}
    position = 0
    while match := _RECORD(body, position):
        length, key, value = match.groups()
        size = len(length) + len(key) + len(value) + 3
        if int(length) != size:
            return None
        position += size
        if key in _PAX_TIMES:
            if not _TIME(value):
                return None
        elif key in _PAX_USED:
            if not value or (key == b"size" and not (value.isdigit() and len(value) <= 18)):
                return None
            records[key] = value
        elif not key.startswith(_PAX_UNUSED):
            return None
    if position != len(body) or 0 in body:
        return None
    return records
