"""The pages of a database whose schema is lost: their size, and which ones begin trees.

The words are those of https://www.sqlite.org/fileformat2.html: 1.3.2 for sizes, 1.5 for free pages, 1.6 for trees.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from orlop.store.rows.sqlite.damage.working import opened
from orlop.store.rows.sqlite.unopened import DATABASE_HEADER, DATABASE_MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZES: Final = tuple(1 << power for power in range(9, 17))
"""The sizes in bytes that pages may have."""
_TREES: Final = frozenset((2, 5, 10, 13))
_INNER: Final = frozenset((2, 5))
"""With which bytes the pages of trees begin, and those that lead to others."""
_ENOUGH: Final = 0.5


def page_size(path: str) -> int:
    """Return the size of a database's pages in bytes: as its header says, or else as its pages look.

    A page of a tree names the places of its cells, and the first of these end where it ends: with too small a size
    hardly any page is one, with a multiple of the right size as many are as with that.
    """
    with opened(path) as file:
        header = file.read(DATABASE_HEADER)
        stated = int.from_bytes(header[16:18], "big")
        stated = 1 << 16 if stated == 1 else stated
        if header.startswith(DATABASE_MAGIC) and stated in _SIZES:
            return stated
        shares = {page: _share_of_trees(file, page) for page in _SIZES}
    return next(page for page, share in shares.items() if share >= _ENOUGH * max(shares.values()))


def _share_of_trees(file: BinaryIO, page: int) -> float:
    places = range(page, os.fstat(file.fileno()).st_size, page)
    return sum(_is_tree(os.pread(file.fileno(), page, place)) for place in places) / max(1, len(places))


def _is_tree(content: bytes) -> bool:
    """Return whether bytes look like a page of a tree that has cells."""
    begin = 12 if content[0] in _INNER else 8
    count = _number(content, 3, 2)
    end = begin + 2 * count
    if content[0] not in _TREES or count == 0 or end > len(content):
        return False
    return all(end <= _number(content, place, 2) < len(content) - 3 for place in range(begin, end, 2))


def tree_roots(path: str, page: int) -> list[int]:
    """Return the pages with which trees begin, by their bytes: no page leads to them, and they are not free."""
    with opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        pages = range(2, len(content) // page + 1)
        found = [number for number in pages if content[(number - 1) * page] in _TREES]
        below = set(_free(content, page))
        for number in found:
            if content[(number - 1) * page] in _INNER:
                below.update(_children(content[(number - 1) * page : number * page]))
    return [number for number in found if number not in below]


def knows_free(path: str, page: int) -> bool:
    """Return whether the header knows the free pages, as many as it says: what is in them was removed."""
    with opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content[: len(DATABASE_MAGIC)] == DATABASE_MAGIC and len({*_free(content, page)}) == _number(content, 36)


def _children(content: bytes) -> Iterator[int]:
    """Yield the pages to which an inner page leads."""
    yield _number(content, 8)
    for place in range(12, min(12 + 2 * _number(content, 3, 2), len(content) - 1), 2):
        yield _number(content, _number(content, place, 2))


def _free(content: mmap.mmap, page: int) -> Iterator[int]:
    """Yield the free pages that the header knows, if it is there."""
    trunk = _number(content, 32) if content[: len(DATABASE_MAGIC)] == DATABASE_MAGIC else 0
    seen = set[int]()
    while 1 < trunk <= len(content) // page and trunk not in seen:
        seen.add(trunk)
        at = (trunk - 1) * page
        for place in range(min(_number(content, at + 4), page // 4 - 2)):
            yield _number(content, at + 8 + 4 * place)
        trunk = _number(content, at)
    yield from seen


def _number(content: bytes | mmap.mmap, at: int, size: int = 4) -> int:
    return int.from_bytes(content[at : at + size], "big")
