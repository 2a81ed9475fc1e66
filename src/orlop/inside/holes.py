"""Digests of contents with holes, whose zeros need not be read: a file of exabytes can be a few bytes in a layer.

Two contents have the same digest if they have the same size and bytes, wherever one of them has holes and the other one
zeros that are stored. So only blocks that are not all zeros count, each with its number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orlop.inside.content import Contents, Place

__all__ = ["LONGEST_HOLE", "HoleDigest", "digest_of"]

LONGEST_HOLE: Final = 64
"""How many zeros of a hole are searched: enough to part what lies around it, and to tell that a file is binary.

A piece of a sparse file takes about so many bytes in a layer, so what is searched grows with the layer.
"""

_BLOCK: Final = 256  # no more than a few times what a piece of a sparse file takes in a layer
_ZEROS: Final = bytes(_BLOCK)
_NUMBER: Final = 16


class HoleDigest:
    """The digest of a content that comes in pieces, in order, between which zeros may be missing.

    It is that of the size, and of each run of blocks that are not all zeros, behind which come the number of its first
    block and how many it has.

    Args:
        digest: what is updated.
        size: of the content.
    """

    def __init__(self, digest: hashlib._Hash, size: int) -> None:
        self._digest = digest
        self._digest.update(size.to_bytes(_NUMBER))
        self._first = self._next = 0  # the run of blocks that goes on
        self._number = 0  # of the block that came only in part
        self._part = bytearray(_BLOCK)

    def update(self, at: int, piece: bytes) -> None:
        """Take a piece that lies at a place."""
        number, within = divmod(at, _BLOCK)
        start = 0
        if within:
            start = min(_BLOCK - within, len(piece))
            self._add_part(number, within, piece[:start])
            number += 1
        end = len(piece) - (len(piece) - start) % _BLOCK
        if start < end:
            self._end_part()
            self._add(number, piece[start:end])
        if end < len(piece):
            self._add_part(number + (end - start) // _BLOCK, 0, piece[end:])

    def digest(self) -> bytes:
        """Return the digest; nothing can come after it."""
        self._end_part()
        self._end_run()
        return self._digest.digest()

    def _add_part(self, number: int, within: int, data: bytes) -> None:
        if number != self._number:
            self._end_part()
            self._number = number
        self._part[within : within + len(data)] = data

    def _end_part(self) -> None:
        if self._part != _ZEROS:
            self._add_run(self._number, self._part)
            self._part[:] = _ZEROS

    def _add(self, number: int, blocks: bytes) -> None:
        """Take whole blocks."""
        start = 0
        for at in range(0, len(blocks), _BLOCK):
            # A search for zeros takes longer, as it looks for them at every place.
            if blocks.startswith(_ZEROS, at):
                if start < at:
                    self._add_run(number + start // _BLOCK, blocks[start:at])
                start = at + _BLOCK
        self._add_run(number + start // _BLOCK, blocks[start:])

    def _add_run(self, number: int, blocks: bytes | bytearray) -> None:
        if not blocks:
            return
        if number != self._next:
            self._end_run()
            self._first = number
        self._digest.update(blocks)
        self._next = number + len(blocks) // _BLOCK

    def _end_run(self) -> None:
        self._digest.update(self._first.to_bytes(_NUMBER) + (self._next - self._first).to_bytes(_NUMBER))


def digest_of(contents: Contents, place: Place, *, holes: bool) -> bytes:
    """Return the digest of a content; those with and without ``holes`` cannot be compared.

    Raises:
        What `Contents.chunks` does.
    """
    if holes:
        found = HoleDigest(hashlib.sha256(), place[1].size)
        for at, piece in contents.located(place):
            found.update(at, piece)
        return found.digest()
    digest = hashlib.sha256()
    for chunk in contents.chunks(place):
        digest.update(chunk)
    return digest.digest()
