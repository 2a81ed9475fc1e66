"""Maps of sparse files in tars: which pieces of a file are stored, in all formats of GNU tar.

Go's archive/tar reads the map together with the header, and refuses the archive if the map is not valid. So does this
module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.streams.tar_entry import BLOCK
from orlop.streams.tar_header import MalformedError, integer, is_pax_sparse, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.errors import LimitExceeded
    from orlop.model.limits import Limits
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Piece", "SparseMap", "check_pieces", "is_map_in_content", "pieces_in_header", "pieces_in_pax", "too_many"]

Piece: TypeAlias = tuple[int, int]
"""A piece: its offset in the file, and its number of bytes."""

_PIECE: Final = 24


def pieces_in_header(table: bytes) -> list[Piece]:
    """Read a part of a map in the old GNU format, up to its end. Raises MalformedError."""
    pieces: list[Piece] = []
    for at in range(0, len(table), _PIECE):
        if not table[at]:
            break
        pieces.append((number(table[at : at + 12], "sparse map"), number(table[at + 12 : at + _PIECE], "sparse map")))
    return pieces


def is_map_in_content(pax: dict[bytes, bytes]) -> bool:
    """Return whether the map is at the beginning of the content: PAX format 1.0."""
    return is_pax_sparse(pax) and pax.get(b"GNU.sparse.major") == b"1"


def pieces_in_pax(pax: dict[bytes, bytes], limits: Limits, where: str) -> list[Piece]:
    """Read the map of the PAX formats 0.0 and 0.1. Raises MalformedError, and LimitExceeded with ``where``."""
    count = integer(pax.get(b"GNU.sparse.numblocks", b""), "number of sparse pieces")
    if count > limits.sparse_pieces:
        raise too_many(limits, where, count)
    text = pax.get(b"GNU.sparse.map", b"")
    numbers = [integer(part, "sparse map") for part in text.split(b",")] if text else []
    if len(numbers) != 2 * count:
        raise MalformedError("its sparse map has not as many pieces as it says")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


class SparseMap:
    """The map of the PAX format 1.0, which comes block by block: decimal numbers, each with a newline."""

    def __init__(self, entry: TarEntry, limits: Limits, where: str) -> None:
        self.entry = entry
        self.size = 0
        """How many bytes of the content were taken."""
        self._limits = limits
        self._where = where
        self._numbers: list[int] = []
        self._rest = b""
        self._wanted = 1

    def take(self, read: Callable[[], bytes]) -> bool:
        """Take one more block of content, if there is one; return whether the map is complete and valid.

        Raises:
            MalformedError: it is not a valid map. LimitExceeded: it has too many pieces.
        """
        if self.entry.stored_size - self.size < BLOCK:
            raise MalformedError("its sparse map is longer than its content")
        self.size += BLOCK
        *texts, self._rest = (self._rest + read()).split(b"\n")
        if not texts:
            raise MalformedError("its sparse map is not a list of numbers")
        if self._wanted == 1:
            count = integer(texts[0], "number of sparse pieces")
            if count < 0:
                raise MalformedError("its number of sparse pieces is negative")
            if count > self._limits.sparse_pieces:
                raise too_many(self._limits, self._where, count)
            self._wanted += 2 * count
        self._numbers.extend(integer(text, "sparse map") for text in texts[: self._wanted - len(self._numbers)])
        if len(self._numbers) < self._wanted:
            return False
        check_pieces(self.pieces, self.entry.size, self.entry.stored_size - self.size)
        return True

    @property
    def pieces(self) -> list[Piece]:
        """The pieces of a map that is complete."""
        return list(zip(self._numbers[1::2], self._numbers[2::2], strict=True))


def check_pieces(pieces: list[Piece], size: int, stored: int) -> None:
    """Check that pieces are in order in a file of this size, and match the stored bytes. Raises MalformedError."""
    end = 0
    for start, length in pieces:
        if start < end or length < 0 or start + length > size:
            raise MalformedError("its sparse map is out of order or exceeds its size")
        end = start + length
    named = sum(length for _, length in pieces)
    if named > stored:
        raise MalformedError("its sparse map names more content than there is")
    if named < stored:
        raise MalformedError("it has more content than its sparse map names")


def too_many(limits: Limits, where: str, count: int) -> LimitExceeded:
    """Return the error for a map with too many pieces."""
    return limits.exceeded("sparse_pieces", f"{where}: its sparse map has {count} pieces or more")
