"""Whether a hot journal is whole, and is that of the database beside it.

A database that is not in WAL mode, as one that was moved, undoes what was interrupted by its journal: SQLite writes the
pages that the journal holds back into the database, and cuts that to the size that the journal states. It stops at the
first record with a wrong checksum. Records are on disk before the header counts them.

Of whom a journal is SQLite does not ask. These are not the database's own:

- one beside a database in WAL mode that holds more than the first page: what goes by a journal there is the change of
  the mode alone, which writes that page;
- one that states another size of the pages, or would cut a database in WAL mode;
- one whose first page has another number (`lineage`), or was not written just before that of the database.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from orlop.store.rows.sqlite.lineage import NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_HEADER: Final = struct.Struct(">8s5I")
_MASK: Final = 0xFFFFFFFF
_SIZES: Final = frozenset(1 << power for power in range(9, 17))
_WAL: Final = b"\2\2"
_CHANGES: Final = slice(24, 28)


class _Damaged(Exception):
    """A header, or else a record, is damaged."""


def fault_of(path: str, data: bytes, database: bytes, size: int) -> str | None:
    """Return what is wrong with a hot journal, as a clause, or nothing.

    Args:
        path: of the database.
        data: the journal.
        database: the header of the database, or nothing where somebody works with it.
        size: of the database in bytes.
    """
    try:
        records = list(_records(data))
    except _Damaged as error:
        if str(error) == "header":
            return f"the header of the journal {path}-journal is damaged"
        return f"the journal {path}-journal is damaged, by which an interrupted change is undone"
    if database and _is_foreign(data, dict(records), database, size):
        return f"the journal {path}-journal is not of this database, or of another moment of it"
    return None


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers and the contents of pages; what was added later begins with a header of its own."""
    at, page, step = 0, 0, 0
    while at == 0 or data[at : at + 8] == MAGIC:
        if data[at : at + 8] != MAGIC or len(data) < at + _HEADER.size:
            raise _Damaged("header")
        _, count, nonce, _, sector, size = _HEADER.unpack_from(data, at)
        if at == 0:
            step, page = sector, size
        if count in {0, _MASK}:
            return
        if page not in _SIZES or step not in _SIZES:
            raise _Damaged("header")
        at += step
        for _ in range(count):
            content, stored = data[at + 4 : at + 4 + page], data[at + 4 + page : at + 8 + page]
            summed = (nonce + sum(content[page - 200 : 0 : -200])) & _MASK
            if len(content) < page or summed.to_bytes(4, "big") != stored:
                raise _Damaged("record")
            yield int.from_bytes(data[at : at + 4], "big"), content
            at += page + 8
        at += -at % step


def _is_foreign(data: bytes, pages: dict[int, bytes], database: bytes, size: int) -> bool:
    _, _, _, count, _, page = _HEADER.unpack_from(data)
    own = int.from_bytes(database[16:18], "big")
    if page != (own if own > 1 else 1 << 16):
        return True
    # A database that is laid out had no page before the first.
    if database[18:20] == _WAL and (set(pages) - {1} or (count * page < size and size > page)):
        return True
    first = pages.get(1)
    if first is None:
        return False
    ahead = (_number(database, _CHANGES) - _number(first, _CHANGES)) & _MASK
    return ahead > 1 or first[NUMBER] != database[NUMBER]


def _number(header: bytes, place: slice) -> int:
    return int.from_bytes(header[place], "big")
