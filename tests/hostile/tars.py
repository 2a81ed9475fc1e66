"""Tars put together by hand, so that their headers can say anything."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

END = bytes(1024)
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"


def padded(data: bytes) -> bytes:
    """Fill up the last block."""
    return data + bytes(-len(data) % 512)


def octal(number: int, width: int = 12) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def base256(number: int, width: int = 12) -> bytes:
    """A number in GNU's other way: big-endian, two's complement, behind a marker bit."""
    return bytes([0x80 if number >= 0 else 0xFF]) + (number % (1 << 8 * (width - 1))).to_bytes(width - 1, "big")


def header(
    name: bytes, size: int | bytes = 0, *, kind: bytes = b"0", link: bytes = b"", magic: bytes = USTAR, at: bytes = b""
) -> bytes:
    """One header block with a right checksum; ``at`` are the bytes from 345 on."""
    number = size if isinstance(size, bytes) else octal(size)
    block = name.ljust(100, b"\0")[:100] + b"0000644\0" + b"0000000\0" * 2 + number + octal(0)
    block += b" " * 8 + kind + link.ljust(100, b"\0")[:100] + magic + bytes(80) + at
    block = block.ljust(512, b"\0")[:512]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: bytes, content: bytes = b"", **fields: bytes) -> bytes:
    return header(name, len(content), **fields) + padded(content)


def record(key: bytes, value: bytes) -> bytes:
    """One record of a PAX header, whose length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    size = next(size for digits in itertools.count(1) if len(str(size := len(rest) + digits)) == digits)
    return b"%d" % size + rest


def pax(records: dict[bytes, bytes] | bytes, kind: bytes = b"x") -> bytes:
    """A PAX header; its records may be given as raw bytes."""
    body = records if isinstance(records, bytes) else b"".join(itertools.starmap(record, records.items()))
    return member(b"PaxHeaders/x", body, kind=kind)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return member(b"././@LongLink", name + b"\0", kind=kind, magic=GNU)


def sparse(name: bytes, real_size: int, stored: bytes = b"") -> bytes:
    """A sparse file in the PAX format 1.0, whose stored bytes lie at its beginning."""
    facts = {b"major": b"1", b"minor": b"0", b"name": name, b"realsize": b"%d" % real_size}
    numbers = b"1\n0\n%d\n" % len(stored) if stored else b"0\n"
    return pax({b"GNU.sparse." + key: value for key, value in facts.items()}) + member(name, padded(numbers) + stored)


def old_sparse(name: bytes, real_size: int) -> bytes:
    """A sparse file in the old format of GNU tar, all of it a hole."""
    at = bytes(41) + base256(real_size, 12).rjust(12 + 97, b"\0")
    return header(name, kind=b"S", magic=GNU, at=at)


def tar(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def files(content: dict[str, bytes]) -> bytes:
    """The members of a tar, without its end."""
    return b"".join(member(name.encode("utf-8", "surrogateescape"), body) for name, body in content.items())


def repeated(part: bytes, times: int, *, most: int = 1 << 20) -> Iterator[bytes]:
    """The same bytes again and again, in pieces of about a megabyte."""
    many = max(1, most // len(part))
    for _ in range(times // many):
        yield part * many
    yield part * (times % many)


def chained(*parts: Iterable[bytes]) -> Iterator[bytes]:
    return itertools.chain(*parts)
