"""Files of packages, from the databases of rpm: SQLite's (``rpmdb.sqlite``) and rpm's own (``Packages.db``).

Both hold a header for each package: two counts (entries, bytes of data), the entries (tag, type, offset and count, in
16 bytes, big-endian), and the data. The paths of a package are in three arrays: base names, directories, and the number
of the directory of each base name. Berkeley DB, of older distributions, is not read.

A database comes from an image, so nothing in it is trusted: what does not fit is left out, offsets are checked, and the
one query that SQLite runs reads a table, never a view, and ends after so many steps.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.streams.interruption import OFTEN, interruptible

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

__all__ = ["ndb_headers", "package_files", "sqlite_headers"]

_NAME: Final = 1000
_DIR_INDEXES: Final = 1116
_BASE_NAMES: Final = 1117
_DIR_NAMES: Final = 1118
_ENTRY: Final = struct.Struct(">IIII")
_SLOT: Final = struct.Struct("<4sIII")  # magic, number of the package, first block, blocks
_BLOB: Final = struct.Struct("<4sIII")  # magic, number of the package, generation, bytes
_BLOCK: Final = 16
_PAGE: Final = 4096
_TURNS: Final = 50_000_000 // OFTEN  # of so many instructions of SQLite's machine


def package_files(header: bytes) -> Iterator[tuple[str, str]]:
    """Yield the name of the package of a header with each of its paths; nothing if the header is damaged."""
    try:
        found = _tags(header)
        (name,) = _texts(found, _NAME)
        bases, folders = _texts(found, _BASE_NAMES), _texts(found, _DIR_NAMES)
        data, count = found[_DIR_INDEXES]
        numbers = struct.unpack_from(f">{count}I", data)
        paths = [folders[number] + base for number, base in zip(numbers, bases, strict=True)]
    except (struct.error, KeyError, IndexError, ValueError):
        return
    for path in paths:
        yield name, path


def sqlite_headers(database: bytes) -> Iterator[bytes]:
    """Yield the header of each package in a database of SQLite, as far as it can be read."""
    import sqlite3  # noqa: PLC0415 - few images have such a database

    from orlop.store.rows.sqlite.forks import BLOCKS  # noqa: PLC0415 - the same

    # rpm leaves the file in the mode of a write-ahead log, which one in memory cannot have.
    plain = database[:18] + b"\x01\x01" + database[20:]
    # A fork waits for the end of what uses SQLite, and whoever asks for a header may take any time for it.
    with BLOCKS.block():
        connection = sqlite3.connect(":memory:")
    try:
        with suppress(sqlite3.Error, OverflowError), interruptible(connection, range(_TURNS)):
            with BLOCKS.block():
                found = _packages(connection, plain)
            while True:
                with BLOCKS.block():
                    row = found.fetchone()
                if row is None:
                    return
                if isinstance(row[0], bytes):
                    yield row[0]
    finally:
        with BLOCKS.block():
            connection.close()


def _packages(connection: sqlite3.Connection, database: bytes) -> sqlite3.Cursor:
    """Return a cursor over the headers; an empty one if the table is missing."""
    connection.deserialize(database)
    connection.execute("PRAGMA trusted_schema = OFF")
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'Packages' AND type = 'table' AND sql LIKE 'CREATE TABLE%'"
    there = connection.execute(query).fetchone() == (1,)
    return connection.execute("SELECT blob FROM Packages" if there else "SELECT 0 WHERE 0")


def ndb_headers(database: bytes) -> Iterator[bytes]:
    """Yield the header of each package in a database in rpm's own format, as far as it can be read."""
    if database[:4] != b"RpmP" or len(database) < 2 * _BLOCK:
        return
    pages = int.from_bytes(database[12:16], "little")
    view = memoryview(database)
    left = len(database)
    for at in range(2 * _BLOCK, min(pages * _PAGE, len(database)) - _SLOT.size + 1, _SLOT.size):
        magic, number, block, _ = _SLOT.unpack_from(view, at)
        start = block * _BLOCK
        if magic != b"Slot" or not block or start + _BLOB.size > len(database):
            continue
        mark, same, _, size = _BLOB.unpack_from(view, start)
        # Slots that share a blob must not multiply the work.
        if (
            mark == b"BlbS"
            and same == number
            and start + _BLOB.size + size <= len(database)
            and (left := left - size) >= 0
        ):
            yield bytes(view[start + _BLOB.size :][:size])


def _tags(header: bytes) -> dict[int, tuple[bytes, int]]:
    """Return where the data of each tag that counts begins, and how many values it has. Raises struct.error."""
    entries, size = struct.unpack_from(">II", header)
    start = 8 + entries * _ENTRY.size
    if start + size > len(header):
        raise struct.error("the header of a package is too short")
    found: dict[int, tuple[bytes, int]] = {}
    for number in range(entries):
        tag, _, offset, count = _ENTRY.unpack_from(header, 8 + number * _ENTRY.size)
        if tag in {_NAME, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES} and offset <= size and count <= size:
            found.setdefault(tag, (header[start + offset : start + size], count))
    return found


def _texts(found: dict[int, tuple[bytes, int]], tag: int) -> list[str]:
    data, count = found[tag]
    texts = data.split(b"\0", count)[:count]
    if len(texts) < count:
        raise ValueError("the header of a package has fewer texts than it says")
    return [text.decode("utf-8", "surrogateescape") for text in texts]
