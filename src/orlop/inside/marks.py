"""A set of numbers of 64 bits that takes 12 to 24 bytes for each; a set of digests takes six times as much.

It is a table with open addresses: a number stands at the place that its lowest bits name, or at the next one that is
free. The numbers are taken from digests, so they are spread evenly, and nearly all stand where they are looked for.
"""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["Marks"]

_SMALLEST: Final = 1 << 10


class Marks:
    """Numbers from 0 to 2**64 - 1, of which 0 and 1 count as the same."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _SMALLEST))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, number: int) -> bool:
        """Add a number; return whether it is new."""
        if not _put(self._table, number or 1):
            return False
        self._count += 1
        # Two thirds are the most that is still quick.
        if 3 * self._count > 2 * len(self._table):
            larger = array("Q", bytes(16 * len(self._table)))
            for one in self._table:
                if one:
                    _put(larger, one)
            self._table = larger
        return True


def _put(table: array[int], number: int) -> bool:
    last = len(table) - 1
    place = number & last
    while found := table[place]:
        if found == number:
            return False
        place = (place + 1) & last
    table[place] = number
    return True
