"""What changed between two texts, line by line, in a time that grows with their length.

The usual way of `difflib` takes hours for some pairs of texts that anyone can put into an image. Here, equal lines at
both ends are passed over, and lines that occur once in both texts are anchors (as in "patience diff"); what lies
between two anchors is treated in the same way. Without an anchor, few lines are compared by `difflib`, as long as the
allowance lasts, and many lines count as replaced. The result is right in any case, and mostly short.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["escaped", "unified"]

_AROUND: Final = 3
_DEEPEST: Final = 8
_FEW: Final = 1 << 12
"""How many pairs of lines are compared by `difflib` at once."""
_ALLOWED: Final = 1 << 20
"""How many pairs it compares in all."""
_NO_END: Final = b"\\ No newline at end of file"

_LETTERS: Final = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r"}
_CONTROLS: Final = {number: f"\\{_LETTERS.get(chr(number), f'{number:03o}')}" for number in (*range(0x20), 0x7F)}
_QUOTED: Final = {**_CONTROLS, ord('"'): '\\"', ord("\\"): "\\\\"}

_Block = tuple[int, int, int]
"""Where lines begin in both texts that are equal, and how many they are."""
_Piece = tuple[int, int, int, int]
"""Where something begins and ends in both texts."""


def unified(old: bytes, new: bytes, old_name: str, new_name: str) -> Iterator[bytes]:
    """Yield the lines of a unified diff of two texts, without their ends; none if the texts are equal."""
    before, after = _lines(old), _lines(new)
    changes = _changes(before, after)
    if changes:
        yield f"--- {_named(old_name)}".encode("utf-8", "surrogateescape")
        yield f"+++ {_named(new_name)}".encode("utf-8", "surrogateescape")
    for hunk in _hunks(changes, len(before)):
        yield from _printed(hunk, before, after)


def escaped(text: str) -> str:
    """Return a text on one line, in which control characters are escaped as in C."""
    return text.translate(_CONTROLS)


def _named(name: str) -> str:
    """Return a name as a header of a unified diff has it, in which it must not end the line, and patch(1) finds it."""
    quoted = name.translate(_QUOTED)
    if quoted != name or name.endswith(" "):
        return f'"{quoted}"'
    # Without a tab, what follows a space would be taken for a time.
    return f"{name}\t" if " " in name else name


def _lines(text: bytes) -> list[bytes]:
    """Return the lines of a text with their ends, which the last one may lack."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _changes(before: Sequence[bytes], after: Sequence[bytes]) -> list[_Piece]:
    """Return the pieces of both texts that differ, in order."""
    changes: list[_Piece] = []
    old_at = new_at = 0
    for old_start, new_start, size in [*sorted(_equal(before, after)), (len(before), len(after), 0)]:
        if old_at < old_start or new_at < new_start:
            changes.append((old_at, old_start, new_at, new_start))
        old_at, new_at = old_start + size, new_start + size
    return changes


def _equal(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[_Block]:
    """Yield blocks of equal lines, in any order, of which none crosses another."""
    allowed = _ALLOWED
    stack = [(0, len(before), 0, len(after), 0)]
    while stack:
        low, high, new_low, new_high, depth = stack.pop()
        start, new_start = low, new_low
        while low < high and new_low < new_high and before[low] == after[new_low]:
            low, new_low = low + 1, new_low + 1
        yield start, new_start, low - start
        end = high
        while low < high and new_low < new_high and before[high - 1] == after[new_high - 1]:
            high, new_high = high - 1, new_high - 1
        yield high, new_high, end - high
        pairs = (high - low) * (new_high - new_low)
        if not pairs:
            continue
        anchors = _anchors(before, after, (low, high, new_low, new_high)) if depth < _DEEPEST else []
        if anchors:
            for old_at, new_at in [*anchors, (high, new_high)]:
                # An anchor is the first line of the next piece, whose equal lines are passed over at once.
                stack.append((low, old_at, new_low, new_at, depth + 1))
                low, new_low = old_at, new_at
            stack.append((low, high, new_low, new_high, depth + 1))
        elif pairs <= min(_FEW, allowed):
            allowed -= pairs
            matcher = SequenceMatcher(None, before[low:high], after[new_low:new_high], autojunk=False)
            for one, other, size in matcher.get_matching_blocks():
                yield low + one, new_low + other, size


def _anchors(before: Sequence[bytes], after: Sequence[bytes], piece: _Piece) -> list[tuple[int, int]]:
    """Return where lines are that occur once in a piece of either text, as many as are in the same order in both."""
    low, high, new_low, new_high = piece
    times, new_times = Counter(before[low:high]), Counter(after[new_low:new_high])
    places = {after[at]: at for at in range(new_low, new_high) if new_times[after[at]] == 1}
    pairs = [(at, places[before[at]]) for at in range(low, high) if times[before[at]] == 1 and before[at] in places]
    # The longest increasing subsequence: of each length the pair with which one ends the earliest, and who is before.
    ends: list[int] = []
    last: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        previous.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        last[length : length + 1] = [number]
    found: list[tuple[int, int]] = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(pairs[at])
        at = previous[at]
    return found[::-1]


def _hunks(changes: Sequence[_Piece], old_size: int) -> Iterator[tuple[_Piece, list[_Piece]]]:
    """Yield changes that are near each other together, each with where the lines around them begin and end."""
    near: list[_Piece] = []
    for change in [*changes, None]:
        if near and (change is None or change[0] - near[-1][1] > 2 * _AROUND):
            before, after = min(_AROUND, near[0][0]), min(_AROUND, old_size - near[-1][1])
            yield (near[0][0] - before, near[-1][1] + after, near[0][2] - before, near[-1][3] + after), near
            near = []
        if change is not None:
            near.append(change)


def _printed(hunk: tuple[_Piece, list[_Piece]], before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[bytes]:
    (low, high, new_low, new_high), changes = hunk
    yield f"@@ -{_range(low, high)} +{_range(new_low, new_high)} @@".encode()
    at = low
    for old_start, old_end, new_start, new_end in changes:
        yield from _marked(b" ", before[at:old_start])
        yield from _marked(b"-", before[old_start:old_end])
        yield from _marked(b"+", after[new_start:new_end])
        at = old_end
    yield from _marked(b" ", before[at:high])


def _marked(mark: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line.removesuffix(b"\n")
        if not line.endswith(b"\n"):
            yield _NO_END


def _range(low: int, high: int) -> str:
    """Return how a unified diff names lines: the first, and how many unless it is one; before which if it is none."""
    size = high - low
    return f"{low + bool(size)}" if size == 1 else f"{low + bool(size)},{size}"
