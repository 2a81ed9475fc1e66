"""Several layers as one: which members of their tars are visible, and the tar that they make together.

Whiteouts are those of the OCI image spec ("Image Layer Filesystem Changeset"): ``.wh.NAME`` hides what lower layers
have under that name, and ``.wh..wh..opq`` everything they have in its directory; neither hides anything in its own
layer.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidTar, TocDamaged
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE, TYPE_HARDLINK
from orlop.streams.tar_write import entry_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.streams.tar_entry import TarEntry

_WHITEOUT: Final = ".wh."
_RESERVED: Final = ".wh..wh."
_OPAQUE: Final = ".wh..wh..opq"
_NO_NAMES: Final = frozenset({"", ".", ".."})
_BLOCK: Final = 512


@dataclass(slots=True)
class Piece:
    """Bytes ``start`` to ``end`` of a layer's tar that belong to the result, after a header that replaces their own."""

    start: int
    end: int
    header: bytes = b""


class Squash:
    """Decides what is visible in a stack of layers. They are added from the top down.

    Memory grows with the number of members, not with their content.

    Args:
        keep_whiteouts: whether the result will be placed on a layer below, in which whiteouts hide something.
    """

    def __init__(self, *, keep_whiteouts: bool) -> None:
        self._keep_whiteouts = keep_whiteouts
        self._seen: set[str] = set()
        self._covered: set[str] = set()  # nothing of lower layers at these paths, or below them, is visible
        self._opaque: set[str] = set()  # nothing below these paths is visible

    def add(self, entries: Iterable[TarEntry]) -> list[Piece]:
        """Take the members of the next layer down and return the visible ones, in their order.

        If the iteration fails nothing has changed, and the layer may be added again.

        Raises:
            InvalidTar: a visible hard link leads to a hidden file whose content cannot be found.
        """
        layer = _Layer()
        for entry in entries:
            path = _clean(entry.name)
            folder, _, name = path.rpartition("/")
            if name.startswith(_RESERVED):
                if name == _OPAQUE:
                    layer.opaque.add(folder)
                    if not self._hides(folder) and folder not in self._opaque:
                        layer.keep(entry, if_asked=self._keep_whiteouts)
            elif name.startswith(_WHITEOUT) and name[4:] in _NO_NAMES:
                # It does not name a file: what it would hide depends on the reader.
                layer.keep(entry, if_asked=self._keep_whiteouts and not self._hides(path))
            elif name.startswith(_WHITEOUT):
                hidden = f"{folder}/{name[4:]}" if folder else name[4:]
                layer.covered.add(hidden)
                if not self._hides(hidden):
                    layer.keep(entry, if_asked=self._keep_whiteouts)
            else:
                layer.seen.add(path)
                if entry.type != TYPE_DIR:
                    layer.covered.add(path)
                if path in self._seen or self._hides(path):
                    layer.drop(path, entry)
                else:
                    layer.keep_member(path, entry)
        pieces = layer.result()
        self._seen |= layer.seen
        self._covered |= layer.covered
        self._opaque |= layer.opaque
        return pieces

    def _hides(self, path: str) -> bool:
        """Return whether a path is hidden in the layers below those that were added."""
        if path in self._covered:
            return True
        while path:
            path = path.rpartition("/")[0]
            if path in self._covered or path in self._opaque:
                return True
        return False


class _Layer:
    """The members of one layer, and which of them are kept."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.covered: set[str] = set()
        self.opaque: set[str] = set()
        self._pieces: list[Piece] = []
        # Members that upper layers hide, but whose content links of this layer may share.
        self._dropped: dict[str, tuple[int, TarEntry]] = {}
        self._links: list[tuple[int, str, TarEntry]] = []
        self._kept: set[str] = set()
        self._ends: dict[str, str | None] = {}  # where chains of hidden links lead

    def keep(self, entry: TarEntry, *, if_asked: bool = True) -> None:
        if if_asked:
            self._pieces.append(Piece(entry.header_offset, _end(entry)))

    def keep_member(self, path: str, entry: TarEntry) -> None:
        if entry.type == TYPE_HARDLINK:
            self._links.append((len(self._pieces), path, entry))
        else:
            self._kept.add(path)
        self.keep(entry)

    def drop(self, path: str, entry: TarEntry) -> None:
        if entry.type in {TYPE_FILE, TYPE_HARDLINK}:
            # An empty piece marks the position of the content, in case it is needed.
            self._dropped[path] = len(self._pieces), entry
            self._pieces.append(Piece(entry.header_offset, entry.header_offset))

    def result(self) -> list[Piece]:
        heirs: dict[str, str] = {}
        for place, path, entry in self._links:
            target = self._content_of(_clean(entry.linkname))
            if target is None:
                continue
            name, (content_place, content) = target
            self._pieces[place] = Piece(entry.header_offset, entry.header_offset)
            if name in heirs:
                header = entry_header(entry, name=entry.name, linkname=heirs[name])
                self._pieces[place].header = header
                continue
            if content.sparse:
                raise InvalidTar(f"the layers cannot be merged: {path!r} shares a sparse file that is hidden")
            heirs[name] = entry.name
            header = entry_header(content, name=entry.name)
            self._pieces[content_place] = Piece(content.offset, _end(content), header)
        return [piece for piece in self._pieces if piece.header or piece.end > piece.start]

    def _content_of(self, path: str) -> tuple[str, tuple[int, TarEntry]] | None:
        """Return the hidden file that a link leads to; None if that file is visible, or not in this layer."""
        way: dict[str, None] = {}
        end: str | None = path
        while end is not None:
            if end in self._ends:
                end = self._ends[end]
                break
            if end in way:
                raise InvalidTar(f"the layers cannot be merged: {end!r} is a hard link to itself")
            way[end] = None
            found = None if end in self._kept else self._dropped.get(end)
            if found is None:
                end = None
            elif found[1].type == TYPE_FILE:
                break
            else:
                end = _clean(found[1].linkname)
        # Very many links may follow one chain.
        self._ends |= dict.fromkeys(way, end)
        return None if end is None else (end, self._dropped[end])


def cut(chunks: Iterable[bytes], pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield the pieces of a layer's tar, which comes in chunks; all chunks are read, so that they are verified.

    Raises TocDamaged at the end if the layer ends before a piece does.
    """
    wanted = iter(pieces)
    piece = next(wanted, None)
    position = given = 0
    for chunk in chunks:
        view = memoryview(chunk)
        end = position + len(view)
        while piece is not None and piece.start <= end:
            if piece.header:
                yield piece.header
                piece.header = b""
            part = view[piece.start - position : piece.end - position]
            if part:
                given += len(part)
                yield bytes(part)
            if piece.end > end:
                piece.start = end
                break
            piece = next(wanted, None)
        position = end
    # The last member of a tar may end before its block does.
    if piece is not None and (piece.header or piece.end - position >= _BLOCK):
        raise TocDamaged(f"a table of contents tells of bytes until {piece.end} in a layer of {position}; run a repair")
    if rest := padding(given):
        yield rest


def _end(entry: TarEntry) -> int:
    return entry.offset + entry.stored_size + -entry.stored_size % _BLOCK


def _clean(path: str) -> str:
    """Return a path in the form in which paths are compared: no "." or "..", no root, no slash at its end."""
    return posixpath.normpath("/" + path.lstrip("/"))[1:]
