"""Tar headers: from 512-byte blocks to entries.

The rules are those of Go's archive/tar, because the daemons read layers and archives with it: this module refuses what
it refuses, and reads the same from what it accepts. That covers v7, ustar, PAX, star and GNU headers, base-256 numbers,
GNU long names and all GNU sparse formats. Other readers do not share three of its rules: a GNU long name takes
precedence over a PAX path; the records of a global PAX header must be well formed, but their values are neither
checked nor applied to the entries after it; and links, directories and devices have no content, whatever their size
field says.
"""

from __future__ import annotations

from zlib import adler32

from orlop.errors import InvalidTar
from orlop.streams.tar_entry import (
    BLOCK,
    NO_XATTRS,
    TYPE_BLOCK,
    TYPE_CHAR,
    TYPE_DIR,
    TYPE_FIFO,
    TYPE_FILE,
    TYPE_HARDLINK,
    TYPE_OTHER,
    TYPE_SYMLINK,
    TarEntry,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.model.limits import Limits

__all__ = [
    "ZERO_BLOCK",
    "Header",
    "MalformedError",
    "MemberParser",
    "parse_pax",
    "pax_time",
]

ZERO_BLOCK: Final = bytes(BLOCK)

_TYPES: Final = {
    0: TYPE_FILE,
    ord("0"): TYPE_FILE,
    ord("1"): TYPE_HARDLINK,
    ord("2"): TYPE_SYMLINK,
    ord("3"): TYPE_CHAR,
    ord("4"): TYPE_BLOCK,
    ord("5"): TYPE_DIR,
    ord("6"): TYPE_FIFO,
    ord("7"): TYPE_FILE,
    ord("S"): TYPE_FILE,
}
_WITHOUT_CONTENT: Final = frozenset(b"123456")
_EXTENSIONS: Final = frozenset(b"xgLK")
_OLD_SPARSE: Final = ord("S")
_INT64_MAX: Final = (1 << 63) - 1
_XATTR: Final = b"SCHILY.xattr."


class MalformedError(Exception):
    """A fault of a member; the reader that finds it adds the position and raises InvalidTar."""


class Header:
    """One header block, decoded; texts are bytes up to their first NUL."""

    __slots__ = (
        "devmajor",
        "devminor",
        "gid",
        "gname",
        "gnu",
        "kind",
        "linkname",
        "mode",
        "mtime",
        "name",
        "real_size",
        "size",
        "uid",
        "uname",
        "xattrs",
    )

    def __init__(
        self,
        *,
        kind: int,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: tuple[int, int],
        linkname: bytes,
        uname: bytes = b"",
        gname: bytes = b"",
        devmajor: int = 0,
        devminor: int = 0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.linkname = linkname
        self.uname = uname
        self.gname = gname
        self.devmajor = devmajor
        self.devminor = devminor
        self.gnu = False
        self.real_size = b""
        self.xattrs: dict[str, bytes] = {}

    @property
    def is_extension(self) -> bool:
        """Whether it is a PAX header or GNU long name, which applies to the next header."""
        return self.kind in _EXTENSIONS

    @property
    def is_old_sparse(self) -> bool:
        """Whether it is a sparse file of the old GNU format, whose header may continue in more blocks."""
        return self.kind == _OLD_SPARSE


def _text(raw: bytes) -> bytes:
    end = raw.find(b"\0")
    return raw if end < 0 else raw[:end]


def _octal(raw: bytes, what: str) -> int:
    digits = _text(raw.strip(b" \0"))
    if not digits:
        return 0
    if digits.translate(None, b"01234567"):
        raise MalformedError(f"its {what} is not an octal number")
    return int(digits, 8)


def number(raw: bytes, what: str) -> int:
    """Read a numeric field: octal digits, or base-256 (two's complement behind the marker bit).

    Raises MalformedError, which names ``what``, if it is neither or exceeds 64 bits.
    """
    if not raw[0] & 0x80:
        return _octal(raw, what)
    bits = 8 * len(raw) - 1
    value = int.from_bytes(raw, "big") & ((1 << bits) - 1)
    if raw[0] & 0x40:
        value -= 1 << bits
    if not -_INT64_MAX <= value + 1 <= _INT64_MAX + 1:
        raise MalformedError(f"its {what} does not fit into 64 bits")
    return value


def says_tar(block: bytes) -> bool:
    """Return whether a block has the magic of a header, as all but those of the oldest writers have."""
    return block.startswith(b"ustar", 257)


def verify_checksum(block: bytes) -> None:
    """Compare a header's checksum with its bytes, taken as unsigned or (as some old writers do) as signed.

    Raises MalformedError if neither matches.
    """
    stated = _octal(block[148:156], "checksum")
    covered = block[:148] + b"        " + block[156:]
    if covered.isascii():
        # Below 65,521 the low half of Adler-32 is 1 plus the sum, and much faster.
        if stated != (adler32(covered) & 0xFFFF) - 1:
            raise MalformedError("its checksum does not fit its header (damaged, or not a tar)")
        return
    unsigned = sum(covered)
    if stated != unsigned and stated != unsigned - 256 * len(covered.translate(None, bytes(range(128)))):
        raise MalformedError("its checksum does not fit its header (damaged, or not a tar)")


def parse_header(block: bytes) -> Header:
    """Decode one header block (512 bytes) without checking its checksum. Raises MalformedError."""
    header = Header(
        kind=block[156],
        name=_text(block[:100]),
        mode=number(block[100:108], "mode"),
        uid=number(block[108:116], "owner"),
        gid=number(block[116:124], "group"),
        size=number(block[124:136], "size"),
        mtime=(number(block[136:148], "time"), 0),
        linkname=_text(block[157:257]),
    )
    magic = block[257:265]
    ustar = magic.startswith(b"ustar\0")
    header.gnu = magic == b"ustar  \0"
    if ustar or header.gnu:
        header.uname = _text(block[265:297])
        header.gname = _text(block[297:329])
        header.devmajor = number(block[329:337], "device number")
        header.devminor = number(block[337:345], "device number")
        prefix = b""
        if header.gnu:
            header.real_size = block[483:495]
            if not _times_fit(block[345:357], block[357:369]):
                # Go's writer before 1.8 could put a ustar prefix where GNU headers have times.
                prefix = _text(block[345:500])
                prefix = prefix if prefix.isascii() else b""
        elif block[508:512] == b"tar\0":
            prefix = _text(block[345:476])
            number(block[476:488], "time")
            number(block[488:500], "time")
        else:
            prefix = _text(block[345:500])
        if prefix:
            header.name = prefix + b"/" + header.name
    if header.size < 0 and header.kind not in _WITHOUT_CONTENT:
        raise MalformedError("its size is negative")
    return header


def _times_fit(*raws: bytes) -> bool:
    try:
        for raw in raws:
            if raw[0]:
                number(raw, "time")
    except MalformedError:
        return False
    return True


def parse_pax(body: bytes) -> dict[bytes, bytes]:
    r"""Read the records ``LENGTH KEY=VALUE\n`` of a PAX header; the last of a key wins (POSIX, "pax Extended Header").

    The pairs of the GNU sparse format 0.0 become one value ``GNU.sparse.map`` as in 0.1. Raises MalformedError.
    """
    records: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    start, end = 0, len(body)
    with_nul = b"\0" in body
    while start < end:
        space = body.find(b" ", start)
        if space < 0:
            raise MalformedError("a record of its PAX header has no length")
        stop = start + integer(body[start:space], "PAX record's length")
        if not (space + 1 < stop <= end and stop - start >= 5) or body[stop - 1] != 0x0A:
            raise MalformedError("a record of its PAX header has a wrong length")
        key, equals, value = body[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise MalformedError("a record of its PAX header has no key")
        if with_nul and b"\0" in (value if key in _TEXT_KEYS else key):
            raise MalformedError("a record of its PAX header contains a NUL")
        if key in _SPARSE_PAIR:
            if key != _SPARSE_PAIR[len(pieces) % 2] or b"," in value:
                raise MalformedError("its sparse map is out of order")
            pieces.append(value)
        else:
            records[key] = value
        start = stop
    if pieces:
        records[b"GNU.sparse.map"] = b",".join(pieces)
    return records


_TEXT_KEYS: Final = frozenset((b"path", b"linkpath", b"uname", b"gname"))
_SPARSE_PAIR: Final = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


def integer(text: bytes, what: str) -> int:
    """Read a decimal number of 64 bits with an optional sign. Raises MalformedError, which names ``what``."""
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits.isdigit() or len(digits) > 40:
        raise MalformedError(f"its {what} is not a number")
    value = int(text)
    if not -_INT64_MAX <= value + 1 <= _INT64_MAX + 1:
        raise MalformedError(f"its {what} does not fit into 64 bits")
    return value


def pax_time(text: bytes) -> tuple[int, int]:
    """Read a PAX time: seconds since 1970 with an optional fraction; digits after the ninth are cut off.

    Returns whole seconds (floor) and nanoseconds. Raises MalformedError.
    """
    whole, _, fraction = text.partition(b".")
    seconds = integer(whole, "time")
    if not fraction:
        return seconds, 0
    if not fraction.isdigit():
        raise MalformedError("its time is not a number")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    if whole[:1] == b"-" and nanoseconds:
        return seconds - 1, 1_000_000_000 - nanoseconds
    return seconds, nanoseconds


class MemberParser:
    """Makes entries from header blocks, and keeps the values of extended headers for the header they belong to.

    Both kinds of readers (those that are fed, those that pull) call `begin` for a header block, then either `extend`
    with its body, if it is an extension, or `finish`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._extensions = 0  # of the member under way
        self._extends = 0  # which one that is
        self.count = 0
        """How many entries are finished."""
        self.start: int | None = None
        """Offset of the first header of the member under way."""
        self._pax: dict[bytes, bytes] = {}
        self._long_name = self._long_link = b""

    def begin(self, block: bytes, offset: int, *, verify: bool = True) -> Header:
        """Decode the header ``block`` at ``offset``; ``verify`` its checksum first.

        Raises InvalidTar, and LimitExceeded for an extension with too large a body.
        """
        if self.start is None:
            self.start = offset
        try:
            if verify:
                verify_checksum(block)
        except MalformedError as error:
            if not offset and not says_tar(block):
                raise InvalidTar("the first 512 bytes of what should be a tar are not a tar header") from None
            raise self.invalid(str(error), offset) from None
        try:
            header = parse_header(block)
        except MalformedError as error:
            raise self.invalid(str(error), offset) from None
        if header.is_extension and header.size > (limits := self._limits).extension_size:
            found = f"{self._where(offset)}: its extended header has {header.size} bytes"
            raise limits.exceeded("extension_size", found)
        return header

    def extend(self, header: Header, body: bytes, offset: int) -> None:
        """Take the ``body`` (without padding) of an extension at ``offset``.

        Raises InvalidTar, and LimitExceeded if the member has too many.
        """
        if self._extends != self.count:
            self._extends, self._extensions = self.count, 0
        self._extensions += 1
        if self._extensions > self._limits.extensions:
            found = f"{self._where(offset)}: it has {self._extensions} extended headers"
            raise self._limits.exceeded("extensions", found)
        kind = chr(header.kind)
        if kind == "L":
            self._long_name = _text(body)
        elif kind == "K":
            self._long_link = _text(body)
        else:
            try:
                records = parse_pax(body)
                if kind == "g":
                    # It stands alone: values before it for the next entry are dropped, and its own are not looked at.
                    self.forget()
                else:
                    self._pax = records
            except MalformedError as error:
                raise self.invalid(str(error), offset) from None

    def forget(self) -> None:
        """Drop the values of extended headers: the next header begins a new member."""
        self.start = None
        self._pax = {}
        self._long_name = self._long_link = b""

    def finish(self, header: Header, offset: int) -> tuple[TarEntry, dict[bytes, bytes]]:
        """Return the entry of an ordinary header whose stored content begins at ``offset``.

        Returns it with the PAX records of its extended header. Raises InvalidTar.
        """
        start = offset - BLOCK if self.start is None else self.start
        pax = self._pax
        if pax and header.is_old_sparse:
            pax = _without_sparse_map(pax)
        try:
            if pax:
                _merge(header, pax)
            entry = self._entry(header, pax, start, offset)
        except MalformedError as error:
            raise self.invalid(str(error), start) from None
        self.count += 1
        self.forget()
        return entry, pax

    def invalid(self, reason: str, offset: int) -> InvalidTar:
        """Return the error with the member, its byte offset and the fault."""
        return InvalidTar(f"{self._where(offset)}: {reason}")

    def _where(self, offset: int) -> str:
        return f"tar member {self.count + 1} (at byte {offset})"

    def _entry(self, header: Header, pax: dict[bytes, bytes], start: int, offset: int) -> TarEntry:
        name = self._long_name or header.name
        kind = header.kind
        if kind == 0 and name.endswith(b"/"):
            kind = ord("5")  # v7 had no type for directories
        stored = 0 if kind in _WITHOUT_CONTENT else header.size
        if stored < 0:
            raise MalformedError("its size is negative")
        size, sparse = stored, False
        if header.is_old_sparse:
            if not header.gnu:
                raise MalformedError("it is a sparse file, but its header is not of the GNU format")
            size, sparse = number(header.real_size, "real size"), True
        elif pax and is_pax_sparse(pax):
            if kind in _WITHOUT_CONTENT:
                raise MalformedError("it is sparse, but not a regular file")
            name = pax.get(b"GNU.sparse.name") or name
            real = pax.get(b"GNU.sparse.size") or pax.get(b"GNU.sparse.realsize")
            size, sparse = integer(real, "real size") if real else stored, True
        if size < 0:
            raise MalformedError("its size is negative")
        return TarEntry(
            name.decode("utf-8", "surrogateescape"),
            _TYPES.get(kind, TYPE_OTHER),
            header.mode,
            header.uid,
            header.gid,
            size,
            header.mtime,
            (self._long_link or header.linkname).decode("utf-8", "surrogateescape"),
            header.uname.decode("utf-8", "surrogateescape"),
            header.gname.decode("utf-8", "surrogateescape"),
            header.devmajor,
            header.devminor,
            header.xattrs or NO_XATTRS,
            start,
            offset - start,
            stored,
            sparse,
        )


def is_pax_sparse(pax: dict[bytes, bytes]) -> bool:
    """Whether PAX records describe a sparse file of a known version (0.0, 0.1 or 1.0)."""
    major, minor = pax.get(b"GNU.sparse.major", b""), pax.get(b"GNU.sparse.minor", b"")
    if major or minor:
        return (major, minor) in ((b"0", b"0"), (b"0", b"1"), (b"1", b"0"))
    return bool(pax.get(b"GNU.sparse.map"))


def _without_sparse_map(pax: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the records that apply to a sparse file of the old GNU format, which has its map in its own header."""
    return {key: value for key, value in pax.items() if not key.startswith(b"GNU.sparse.")}


_TEXTS: Final = {b"path": "name", b"linkpath": "linkname", b"uname": "uname", b"gname": "gname"}
_NUMBERS: Final = {b"size": "size", b"uid": "owner", b"gid": "group"}


def _merge(header: Header, pax: dict[bytes, bytes]) -> None:
    """Apply PAX records to a header; an empty value leaves a field as it is, but an extended attribute may be empty."""
    for key, value in pax.items():
        if key.startswith(_XATTR):
            header.xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value
        elif not value:
            continue
        elif key in _TEXTS:
            setattr(header, _TEXTS[key], value)
        elif key in _NUMBERS:
            setattr(header, key.decode(), integer(value, _NUMBERS[key]))
        elif key == b"mtime":
            header.mtime = pax_time(value)
        elif key in (b"atime", b"ctime"):
            pax_time(value)
