"""Whether lines fit a regular expression, in time that grows with the bytes of the line and never faster.

An image can hold lines that someone made to stop a matcher that backtracks. So an expression becomes a
nondeterministic automaton, and this one, as it is needed, a deterministic one: a state of it is the set of all places
where the match may be, and each byte leads to one next state. At most `_STATES` are kept; then they are forgotten and
made again, so memory is bounded, and the work for a byte is at most the size of the expression.

A loop in Python for each byte is slow. Most expressions have a *core*: a few bytes, of small sets, which are in each
line that fits, such as a fixed word. Lines that do not have it are passed over by `re`, which cannot backtrack there:
a core has no repetitions, and few alternatives. If the core is the whole expression, that answers it.
"""

from __future__ import annotations

import re
from math import log2
from typing import TYPE_CHECKING, Final

from orlop.inside.expression import Cat, Edge, Either, OneOf, Repeat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.inside.expression import Expression

__all__ = ["Automaton"]

_STATES: Final = 500
_MOST_CORES: Final = 32
_LONGEST_CORE: Final = 64

_Core = tuple[frozenset[int], ...]


class _State:
    """A state of the deterministic automaton: where each byte leads, and what is accepted there."""

    __slots__ = ("accepts", "after", "at_end", "places")

    def __init__(self, places: frozenset[int], *, accepts: bool, at_end: bool) -> None:
        self.places = places
        self.accepts = accepts
        self.at_end = at_end
        self.after: dict[int, _State] = {}


class Automaton:
    """A matcher of an expression.

    Args:
        tree: the expression.
    """

    def __init__(self, tree: Expression) -> None:
        # Of each place: the bytes that lead on (None if nothing needs to be read), an edge that must be there, and
        # the places after it. Place 0 accepts.
        self._bytes: list[frozenset[int] | None] = [None]
        self._edge: list[Edge | None] = [None]
        self._after: list[list[int]] = [[]]
        self._start = self._place(tree, 0)
        self._states: dict[frozenset[int], _State] = {}
        self._first = self._begun()
        cores = _cores(tree)
        self._exact = cores is not None and _fixed(tree) == cores
        self._core = None if cores is None else re.compile(b"|".join(map(_written, cores)), re.DOTALL)

    def lines(self, text: bytes, *, begins: bool = True, ends: bool = True) -> Iterator[tuple[int, int]]:
        """Yield where lines that fit begin and end in a text of whole lines.

        Args:
            text: lines with newlines between them.
            begins: whether the text begins where a line does.
            ends: whether it ends where a line does.
        """
        at = 0
        while at <= len(text):
            if self._core is not None:
                found = self._core.search(text, at)
                if found is None:
                    return
                at = text.rfind(b"\n", at, found.start()) + 1 or at
            end = text.find(b"\n", at)
            end = len(text) if end < 0 else end
            if self._exact or self._fits(text[at:end], begins=begins or at > 0, ends=ends or end < len(text)):
                yield at, end
            at = end + 1

    def _fits(self, line: bytes, *, begins: bool, ends: bool) -> bool:
        state = self._first if begins else self._state(self._closed((self._start,), begins=False, ends=False))
        if state.accepts:
            return True
        for byte in line:
            following = state.after.get(byte)
            state = self._step(state, byte) if following is None else following
            if state.accepts:
                return True
        return ends and state.at_end

    def _begun(self) -> _State:
        places = self._closed((self._start,), begins=True, ends=False)
        at_end = 0 in self._closed((self._start,), begins=True, ends=True)
        return _State(places, accepts=0 in places, at_end=at_end)

    def _step(self, state: _State, byte: int) -> _State:
        moved = [self._start]
        for place in state.places:
            read = self._bytes[place]
            if read is not None and byte in read:
                moved += self._after[place]
        following = self._state(self._closed(moved, begins=False, ends=False))
        state.after[byte] = following
        return following

    def _state(self, places: frozenset[int]) -> _State:
        found = self._states.get(places)
        if found is None:
            if len(self._states) >= _STATES:
                self._states.clear()
                self._first.after.clear()
            at_end = 0 in self._closed(places, begins=False, ends=True)
            found = self._states[places] = _State(places, accepts=0 in places, at_end=at_end)
        return found

    def _closed(self, places: Iterable[int], *, begins: bool, ends: bool) -> frozenset[int]:
        """Return places and those that they lead to without a byte."""
        found: set[int] = set()
        stack = list(places)
        while stack:
            place = stack.pop()
            if place in found:
                continue
            found.add(place)
            edge = self._edge[place]
            if self._bytes[place] is None and (edge is None or (begins if edge.begins else ends)):
                stack += self._after[place]
        return frozenset(found)

    # Making places.

    def _new(self, after: list[int], read: frozenset[int] | None = None, edge: Edge | None = None) -> int:
        self._bytes.append(read)
        self._edge.append(edge)
        self._after.append(after)
        return len(self._after) - 1

    def _place(self, tree: Expression, after: int) -> int:
        """Return the place where an expression begins that leads to another place."""
        if isinstance(tree, OneOf):
            return self._new([after], tree.bytes)
        if isinstance(tree, Edge):
            return self._new([after], edge=tree)
        if isinstance(tree, Either):
            return self._new([self._place(part, after) for part in tree.parts])
        if isinstance(tree, Cat):
            for part in reversed(tree.parts):
                after = self._place(part, after)
            return after
        return self._repeated(tree, after)

    def _repeated(self, tree: Repeat, after: int) -> int:
        if tree.most is None:
            loop = self._new([after])
            self._after[loop].append(self._place(tree.part, loop))
            at = loop
        else:
            at = after
            for _ in range(tree.most - tree.least):
                at = self._new([after, self._place(tree.part, at)])
        for _ in range(tree.least):
            at = self._place(tree.part, at)
        return at


# Cores: alternatives, one of which is in each line that fits.


def _cores(tree: Expression) -> list[_Core] | None:
    """Return the rarest core of an expression; None if it has none."""
    fixed = _fixed(tree)
    if fixed is not None:
        return fixed if all(fixed) else None
    if isinstance(tree, Repeat):
        return _cores(tree.part) if tree.least else None
    if isinstance(tree, Either):
        found: list[_Core] = []
        for part in tree.parts:
            cores = _cores(part)
            if cores is None:
                return None
            found += cores
        return found if len(found) <= _MOST_CORES else None
    return max(_runs(tree), key=_rarity, default=None) if isinstance(tree, Cat) else None


def _runs(tree: Cat) -> Iterator[list[_Core]]:
    """Yield the cores of parts, and of fixed parts that follow each other."""
    run: list[_Core] = []
    for part in tree.parts:
        fixed = _fixed(part)
        joined = None if fixed is None else _joined(run or [()], fixed)
        if joined is None:
            if run and all(run):
                yield run
            run = fixed or []
            cores = _cores(part)
            if fixed is None and cores is not None:
                yield cores
        else:
            run = joined
    if run and all(run):
        yield run


def _fixed(tree: Expression) -> list[_Core] | None:
    """Return all that an expression fits, as a few sequences of sets; None if it is not so simple."""
    if isinstance(tree, OneOf):
        return [(tree.bytes,)] if tree.bytes else None
    if isinstance(tree, Either):
        several = [_fixed(part) for part in tree.parts]
        found = [core for one in several if one is not None for core in one]
        return found if None not in several and len(found) <= _MOST_CORES else None
    if isinstance(tree, Cat) or (isinstance(tree, Repeat) and tree.least == tree.most):
        parts = tree.parts if isinstance(tree, Cat) else (tree.part,) * min(tree.least, _LONGEST_CORE + 1)
        joined: list[_Core] | None = [()]
        for part in parts:
            fixed = _fixed(part)
            joined = None if fixed is None or joined is None else _joined(joined, fixed)
            if joined is None:
                return None
        return joined
    return None


def _joined(before: list[_Core], after: list[_Core]) -> list[_Core] | None:
    if len(before) * len(after) > _MOST_CORES:
        return None
    joined = [one + other for one in before for other in after]
    return joined if max(map(len, joined)) <= _LONGEST_CORE else None


def _rarity(cores: list[_Core]) -> float:
    """Return about how many bits of a text the least rare of some cores fixes."""
    return min(sum(8 - log2(len(one)) for one in core) for core in cores) - log2(len(cores))


def _written(core: _Core) -> bytes:
    return b"".join(
        re.escape(bytes(one)) if len(one) == 1 else b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(one)) + b"]"
        for one in core
    )
