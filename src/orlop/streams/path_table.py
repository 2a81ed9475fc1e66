r"""The members of a layer in the order of their paths, so that one path is looked up without reading all of them.

A path table is derived from a table of contents and kept behind it, before the seek index if there is one. It is like
the sorted tables of databases: rows in blocks, and a directory that has the first key of each block. To look up a path
costs the directory and a block or two, however many members the layer has.

A key is a letter for the kind of row, ``m`` for members and ``w`` for whiteouts and opaque markers, and the path with
NUL in the place of each slash. So everything below a directory follows it without a gap. What the paths mean, and
whether a layer can be looked up like this at all (`PathTable.plain`), is known to those who make the table
(`orlop.inside.slices`).

What must never happen: that a table gives rows that its layer does not have. Each part has a checksum, a part that does
not fit is refused, and the reader then merges whole tables of contents. The table lies in the same file as the table of
contents that it was made from, and both are replaced at once.

The format, version 1, is one skippable zstd frame:

- the line ``orlop paths 1\n``;
- the blocks, each a zstd frame with a checksum: a JSON array of rows, which are arrays too (`_row`);
- the directory, such a frame too: a JSON object;
- the trailer (`_TRAILER`): the sizes of the directory and of the content of the skippable frame, and a mark.
"""

from __future__ import annotations

import struct
from bisect import bisect_left

from orlop.errors import TocDamaged
from orlop.model import plain_json
from orlop.model.tuples import NamedTuple
from orlop.streams.seek_index import seek_index_start
from orlop.streams.tar_entry import TarEntry
from orlop.streams.zstd_frame import compressed_frame, exactly, frame_content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, BinaryIO, Final

__all__ = ["MARKER", "MEMBER", "PathTable", "Row", "packed_paths", "path_table_start", "read_path_table"]

MEMBER: Final = "m"
"""The kind of the rows of members."""

MARKER: Final = "w"
"""The kind of the rows of whiteouts and opaque markers."""

_LINE: Final = b"orlop paths 1\n"
_XATTRS: Final = TarEntry._fields.index("xattrs")
_MAGIC: Final = b"\x50\x2a\x4d\x18"
_MARK: Final = b"orloppth"
_TRAILER: Final = struct.Struct("<II8s")
_ROWS: Final = 64  # in a block
_BLOCK_MAX: Final = 32 << 20
_ROW_MAX: Final = 1 << 18
_FRAME_MAX: Final = 64 << 20
_DAMAGE: Final = "the path table of a layer is damaged; run `orlop fsck --repair`"


class Row(NamedTuple):
    """A member or marker: its place in the order of the layer, and its entry."""

    number: int
    entry: TarEntry


class PathTable:
    """The path table of a layer.

    Args:
        plain: whether single paths can be looked up; a table that is not plain has no rows.
        links: the hard links of the layer, each with its target, as paths.
        blocks: the first key of each block, and where it lies in ``data``.
        data: the blocks.
    """

    def __init__(
        self, *, plain: bool, links: Sequence[tuple[str, str]], blocks: Sequence[tuple[str, int, int]], data: bytes
    ) -> None:
        self.plain = plain
        """Whether single paths can be looked up."""
        self.links = links
        """The hard links of the layer, each with its target."""
        self._firsts = [first for first, _, _ in blocks]
        self._blocks = blocks
        self._data = data
        self._read: dict[int, list[list[object]]] = {}  # rows as JSON has them; few of them are wanted

    def at(self, kind: str, path: str) -> list[Row]:
        """Return the rows at a path. Raises TocDamaged."""
        wanted = _key(kind, path)
        found: list[Row] = []
        for key, fields in self._from(wanted):
            if key != wanted:
                break
            found.append(_parsed_row(fields))
        return found

    def first_below(self, kind: str, path: str) -> Row | None:
        """Return a row below a directory that is not the root; None if there is none. Raises TocDamaged."""
        prefix = _key(kind, path) + "\0"
        for key, fields in self._from(prefix):
            return _parsed_row(fields) if key.startswith(prefix) else None
        return None

    def check(self) -> None:
        """Read every block. Raises TocDamaged if one is damaged."""
        for place in range(len(self._blocks)):
            for fields in self._block(place):
                _parsed_row(fields)
            self._read.clear()

    def _from(self, wanted: str) -> Iterator[tuple[str, list[object]]]:
        for place in range(max(bisect_left(self._firsts, wanted) - 1, 0), len(self._blocks)):
            for fields in self._block(place):
                key = fields[0]
                if not isinstance(key, str):
                    raise TocDamaged(_DAMAGE)
                if key >= wanted:
                    yield key, fields

    def _block(self, place: int) -> list[list[object]]:
        rows = self._read.get(place)
        if rows is None:
            _, start, size = self._blocks[place]
            rows = self._read[place] = _parsed_block(
                frame_content(self._data[start : start + size], _BLOCK_MAX, _DAMAGE)
            )
        return rows


def packed_paths(rows: Iterable[tuple[str, str, Row]], links: Sequence[tuple[str, str]], *, plain: bool) -> bytes:
    """Return a path table as bytes, which are written behind a table of contents; a small one if it would be too large.

    Args:
        rows: kind, path and row of each marker and member.
        links: see `PathTable`.
        plain: see `PathTable`.
    """
    from json import dumps  # noqa: PLC0415 - made once for a layer, and read often

    blocks: list[tuple[str, int, int]] = []
    parts: list[bytes] = []
    at = 0
    if plain:
        keyed = sorted((_key(kind, path), row) for kind, path, row in rows)
        for start in range(0, len(keyed), _ROWS):
            texts = [dumps(_row(key, row), separators=(",", ":")) for key, row in keyed[start : start + _ROWS]]
            part = compressed_frame(f"[{','.join(texts)}]".encode())
            blocks.append((keyed[start][0], at, len(part)))
            parts.append(part)
            at += len(part)
            if at > _FRAME_MAX // 2 or max(map(len, texts)) > _ROW_MAX:
                return packed_paths((), (), plain=False)
    facts = {"plain": plain, "links": links if plain else (), "blocks": blocks}
    directory = dumps(facts, separators=(",", ":")).encode()
    if len(directory) > _BLOCK_MAX:
        return packed_paths((), (), plain=False)
    parts.append(compressed_frame(directory))
    size = len(_LINE) + at + len(parts[-1]) + _TRAILER.size
    trailer = _TRAILER.pack(len(parts[-1]), size, _MARK)
    return b"".join((_MAGIC, size.to_bytes(4, "little"), _LINE, *parts, trailer))


def path_table_start(file: BinaryIO) -> int:
    """Return where the path table behind a table of contents begins; where it would end if there is none.

    Raises:
        TocDamaged: a size cannot be right. OSError: the file cannot be read.
    """
    end = seek_index_start(file)
    size = _sizes(file, end)[1]
    return end - size - 8 if size else end


def read_path_table(file: BinaryIO) -> PathTable | None:
    """Return the path table behind a table of contents; None if there is none.

    Args:
        file: the table of contents, which can seek; the caller closes it.

    Raises:
        TocDamaged: there is one, and it is damaged. OSError: the file cannot be read.
    """
    end = seek_index_start(file)
    directory_size, size = _sizes(file, end)
    if not size:
        return None
    file.seek(end - size - 8)
    data = exactly(file, size + 8, _DAMAGE)
    head = _MAGIC + size.to_bytes(4, "little") + _LINE
    blocks_size = size - len(_LINE) - directory_size - _TRAILER.size
    if blocks_size < 0 or not data.startswith(head):
        raise TocDamaged(_DAMAGE)
    blocks, rest = data[len(head) :][:blocks_size], data[len(head) + blocks_size : -_TRAILER.size]
    try:
        facts = plain_json.loads(frame_content(rest, _BLOCK_MAX, _DAMAGE))
        places = [(str(first), int(start), int(length)) for first, start, length in facts["blocks"]]
        links = [(str(path), str(target)) for path, target in facts["links"]]
        plain = facts["plain"] is True
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise TocDamaged(_DAMAGE) from error
    return PathTable(plain=plain, links=links, blocks=places, data=blocks)


def _sizes(file: BinaryIO, end: int) -> tuple[int, int]:
    """Return the sizes of the directory and of the frame that ends there; zeros if there is no path table."""
    if end < _TRAILER.size:
        return 0, 0
    file.seek(end - _TRAILER.size)
    directory_size, size, mark = _TRAILER.unpack(exactly(file, _TRAILER.size, _DAMAGE))
    if mark != _MARK:
        return 0, 0
    if not _TRAILER.size < size <= min(_FRAME_MAX, end - 8):
        raise TocDamaged(_DAMAGE)
    return directory_size, size


def _key(kind: str, path: str) -> str:
    return kind + path.replace("/", "\0")


def _row(key: str, row: Row) -> list[object]:
    """Return a row as JSON has it: key, number, then the fields of the entry, with bytes as Latin-1."""
    number, entry = row
    xattrs = {name: value.decode("latin-1") for name, value in entry.xattrs.items()}
    return [key, number, *entry[:_XATTRS], xattrs, entry.header_offset, entry.offset, *entry[_XATTRS + 3 :]]


def _parsed_block(text: bytes) -> list[list[object]]:
    try:
        rows: object = plain_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TocDamaged(_DAMAGE) from error
    if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
        raise TocDamaged(_DAMAGE)
    return rows


def _parsed_row(fields: Sequence[Any]) -> Row:
    try:
        return Row(fields[1], _entry(fields[2:]))
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise TocDamaged(_DAMAGE) from error


def _entry(fields: Sequence[Any]) -> TarEntry:
    entry = TarEntry(*fields)
    seconds, nanoseconds = entry.mtime
    xattrs = {name: value.encode("latin-1") for name, value in entry.xattrs.items()}  # type: ignore[attr-defined]
    # A table has the offset of the content, where an entry has the size of what lies before it.
    size = entry.headers_size - entry.header_offset
    return entry._replace(mtime=(seconds, nanoseconds), xattrs=xattrs, headers_size=size)
