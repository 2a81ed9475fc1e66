"""Documents found by their digest in the bytes of a database, whatever the pages around them say.

A row that holds a document begins with its digest as a text of 71 bytes. Before it lie the sizes of its columns, after
it the rest of the row; what does not fit on the page goes on in others, each of which names the next.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

_DIGEST: Final = b"\x81\x1b"
"""The size of a text of 71 bytes, as SQLite writes it before a row."""
_FIXED: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def carved(content: mmap.mmap, digest: str, page: int) -> Iterator[bytes]:
    """Yield what may be the document that a digest names; the caller compares it with the digest.

    Args:
        content: all of the database.
        digest: of the algorithm sha256.
        page: the size of a page in bytes.
    """
    key = digest.encode()
    at = content.find(key)
    while at >= 0:
        yield from _rows_at(content, at, page)
        yield from _documents_after(content, at + len(key), page)
        at = content.find(key, at + 1)


def _rows_at(content: mmap.mmap, at: int, page: int) -> Iterator[bytes]:
    """Yield the columns that hold bytes of a row whose digest lies at a place."""
    for length in range(4, 20):
        start = at - length
        if start < 0 or content[start] != length or content[start + 1 : start + 3] != _DIGEST:
            continue
        sizes = list(_sizes(content[start + 1 : at]))
        if sum(size for size, _ in sizes) <= len(content):
            row = _row(content, start, length + sum(size for size, _ in sizes), page)
            place = length
            for size, is_bytes in sizes:
                if is_bytes:
                    yield row[place : place + size]
                place += size


def _sizes(header: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the sizes of columns, and whether they hold bytes, as the head of a row says."""
    value = 0
    for byte in header:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            yield (_FIXED[value] if value < len(_FIXED) else (value - 12) // 2), value >= 12 and value % 2 == 0
            value = 0


def _row(content: mmap.mmap, start: int, size: int, page: int) -> bytes:
    """Return a row of a table that begins at a place, with what of it lies on other pages."""
    most, least = page - 35, (page - 12) * 32 // 255 - 23
    if size <= most:
        return content[start : start + size]
    local = least + (size - least) % (page - 4)
    local = local if local <= most else least
    parts = [content[start : start + local]]
    following = int.from_bytes(content[start + local : start + local + 4], "big")
    left = size - local
    while left > 0 and 1 < following <= len(content) // page:
        place = (following - 1) * page
        parts.append(content[place + 4 : place + 4 + min(left, page - 4)])
        left -= page - 4
        following = int.from_bytes(content[place : place + 4], "big")
    return b"".join(parts)


def _documents_after(content: mmap.mmap, at: int, page: int) -> Iterator[bytes]:
    """Yield what is written as an object of JSON behind a place, on the same page: the sizes before it may be wrong."""
    end = (at // page + 1) * page
    begin = content.find(b"{", at, min(end, at + 128))
    if begin >= 0:
        text = content[begin:end].decode("latin-1")
        try:
            _, length = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return
        for more in range(4):
            yield content[begin : begin + length + more]
