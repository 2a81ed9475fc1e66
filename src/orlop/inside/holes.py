"""Digests of contents with holes, whose zeros need not be read: a file of exabytes can be a few bytes in a layer.

Two contents have the same digest if they have the same size and bytes, wherever one of them has holes and the other one
zeros that are stored. So only blocks that are not all zeros count, each with its number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orlop.inside.content import Contents, Place

__all__ = ["HoleDigest", "digest_of"]

_BLOCK: Final = 4096
_ZEROS: Final = bytes(_BLOCK)
_NUMBER: Final = 16


class HoleDigest:
    """The digest of a content that comes in pieces, in order, between which zeros may be missing.

    Args:
        digest: what is updated.
        size: of the content.
    """

    def __init__(self, digest: hashlib._Hash, size: int) -> None:
        self._digest = digest
        self._digest.update(size.to_bytes(_NUMBER))
        self._number = 0  # of the block that came only in part
        self._part = bytearray(_BLOCK)

    def update(self, at: int, piece: bytes) -> None:
        """Take a piece that lies at a place."""
        start = 0
        while start < len(piece):
            number, within = divmod(at + start, _BLOCK)
            data = piece[start : start + _BLOCK - within]
            if number != self._number:
                self._end_part()
                self._number = number
            if len(data) == _BLOCK:
                self._add(number, data)
            else:
                self._part[within : within + len(data)] = data
            start += len(data)

    def digest(self) -> bytes:
        """Return the digest; nothing can come after it."""
        self._end_part()
        return self._digest.digest()

    def _end_part(self) -> None:
        self._add(self._number, self._part)
        self._part[:] = _ZEROS

    def _add(self, number: int, block: bytes | bytearray) -> None:
        if block != _ZEROS:
            self._digest.update(number.to_bytes(_NUMBER))
            self._digest.update(block)


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
