"""Trees as columns: rows in depth-first order, of which the smallest are summed up where there are too many.

A row is kept if the weight of all that is below it is among the largest, as long as there is room for its texts. A
directory weighs at least as much as what is in it and comes first, so what is kept is a tree again. The rest of a
directory becomes one row that says how many rows it stands for; sums stay exact.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MOST_ROWS", "Rest", "Rows", "front_coded", "text_length"]

MOST_ROWS: Final = 300_000
"""How many rows a page holds."""
_MOST_TEXT: Final = 8 << 20
"""How many characters of JSON the names and link targets of these rows have."""
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(slots=True)
class Rest:
    """What a row stands for that sums up others: how many, and the sum of each column."""

    count: int
    sums: list[int]


@dataclass(slots=True)
class Rows:
    """Rows in depth-first order.

    Attributes:
        names: of each row; that of the root is empty.
        parents: the number of the row that each is in; of the root -1.
        folders: whether each is a directory.
        columns: numbers of each row that are summed up, such as bytes.
        texts: characters of JSON of each row beside its name.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    folders: list[bool] = field(default_factory=list)
    columns: tuple[list[int], ...] = ()
    texts: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def shortened(self, most: int) -> Iterator[tuple[int, Rest | None]]:
        """Yield the numbers of the rows that are kept, in order.

        A `Rest` follows its directory directly, with the directory's number.
        """
        kept = self._kept(most)
        if kept is None:
            yield from ((row, None) for row in range(len(self)))
            return
        rests: dict[int, Rest] = {}
        places = array("q", range(len(self)))
        for row in range(len(self)):
            if not kept[row]:
                place = places[row] = places[self.parents[row]]
                rest = rests.setdefault(place, Rest(0, [0] * len(self.columns)))
                rest.count += 1
                for number, column in enumerate(self.columns):
                    rest.sums[number] += column[row]
        for row in range(len(self)):
            if places[row] == row:
                yield row, None
                if row in rests:
                    yield row, rests[row]

    def _kept(self, most: int) -> bytearray | None:
        """Return which rows are kept, or nothing if all are."""
        lengths = [text_length(name) for name in self.names]
        for row, length in enumerate(self.texts):
            lengths[row] += length
        if len(self) <= most and sum(lengths) <= _MOST_TEXT:
            return None
        # Sums that are too large for exact floats are rounded, but never below one of what they sum up.
        weights = array("d", (sum(numbers) for numbers in zip(*self.columns, strict=True)))
        for row in range(len(self) - 1, 0, -1):
            weights[self.parents[row]] += weights[row]
        kept, room = bytearray(len(self)), _MOST_TEXT
        for row in sorted(range(len(self)), key=weights.__getitem__, reverse=True)[:most]:
            room -= lengths[row]
            if room < 0:
                break
            kept[row] = 1
        return kept


def text_length(text: str) -> int:
    """Return how many characters a text takes between the quotes of JSON in ASCII."""
    return len(encode_basestring_ascii(text)) - 2


def front_coded(names: Sequence[str]) -> list[str]:
    """Return names, each as a digit to base 62, how many characters it shares with the one before, and the others."""
    coded = []
    before = ""
    for name in names:
        shared, most = 0, min(len(before), len(name), len(_DIGITS) - 1)
        while shared < most and before[shared] == name[shared]:
            shared += 1
        coded.append(_DIGITS[shared] + name[shared:])
        before = name
    return coded
