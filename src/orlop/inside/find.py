"""Which files are asked for: by name, path, type, size, permissions, time and layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidFilter
from orlop.model.given import check_text
from orlop.model.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from orlop.inside.info import FileInfo

__all__ = ["Conditions", "path_matcher"]

_TYPES: Final = {"f": "file", "d": "dir", "l": "symlink", "c": "char", "b": "block", "p": "fifo"}
_SIZE: Final = re.compile(r"([+-]?)([0-9]{1,18})([cwbkMGT]?)")
_UNITS: Final = {"": 1, "c": 1, "w": 2, "b": 512, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PERM: Final = re.compile(r"([-/]?)0{0,9}([0-7]{1,4})")
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxst]*)+)")
_ACTION: Final = re.compile(r"([-+=])([rwxst]*)")
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_MAY: Final = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def path_matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a path from the root fits a pattern of the shell.

    ``*`` and ``?`` stand for characters of one name, ``**`` for any number of directories. The work for a path is at
    most the number of its names times that of the pattern's.

    Raises:
        InvalidFilter: the pattern is malformed. WrongType: it is not a text.
    """
    check_text(pattern, "a pattern of paths")
    parts = [None if part == "**" else Pattern.parse_glob(part) for part in pattern.strip("/").split("/")]

    def fits(path: str) -> bool:
        # Which numbers of the pattern's parts can be used up by the names so far.
        used = _passed({0}, parts)
        for name in path.strip("/").split("/"):
            after = set()
            for number in used:
                part = parts[number] if number < len(parts) else ""
                if part is None:
                    after.add(number)
                elif isinstance(part, Pattern) and part.matches(name):
                    after.add(number + 1)
            used = _passed(after, parts)
            if not used:
                return False
        return len(parts) in used

    return fits


def _passed(numbers: set[int], parts: list[Pattern | None]) -> set[int]:
    """Add what can be reached because ``**`` may stand for nothing."""
    for number in sorted(numbers):
        at = number
        while at < len(parts) and parts[at] is None:
            at += 1
            numbers.add(at)
    return numbers


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of a file that is looked for; a condition that is None always holds.

    Make one of texts with `parse`, which says what they mean.
    """

    name: Pattern | None = None
    types: frozenset[str] | None = None
    size: tuple[str, int, int] | None = None
    perm: tuple[str, int] | None = None
    newer_ns: int | None = None
    layer: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        name: str | None = None,
        types: str | None = None,
        size: str | None = None,
        perm: str | None = None,
        newer_ns: int | None = None,
        layer: int | None = None,
    ) -> Self:
        """Read conditions, as find(1) has them.

        Args:
            name: a pattern of the last name of the path, see `orlop.model.pattern.Pattern.parse_glob`.
            types: letters with commas between them: f, d, l, c, b, p.
            size: bytes, or with b (512), k, M, G or T, rounded up to whole ones; ``+N`` is more than N, ``-N`` less.
            perm: octal or as for chmod(1): exactly these bits, ``-BITS`` all of these, ``/BITS`` any of these.
            newer_ns: changed after this time, in nanoseconds since 1970.
            layer: the number of the layer that last named it.

        Raises:
            InvalidFilter: one cannot be read.
        """
        wanted = None
        if types is not None:
            letters = types.split(",")
            if not set(letters) <= set(_TYPES):
                raise InvalidFilter(f"{types!r} is not a valid type; use letters of f, d, l, c, b, p with commas")
            wanted = frozenset(_TYPES[letter] for letter in letters)
        return cls(
            None if name is None else Pattern.parse_glob(name),
            wanted,
            None if size is None else _size(size),
            None if perm is None else _perm(perm),
            newer_ns,
            layer,
        )

    def fit(self, info: FileInfo) -> bool:
        """Return whether all conditions hold."""
        return (
            (self.types is None or info.type in self.types)
            and (self.layer is None or info.layer == self.layer)
            and (self.name is None or self.name.matches(info.path.rpartition("/")[2] or "/"))
            and (self.size is None or _size_fits(self.size, info.size))
            and (self.perm is None or _perm_fits(self.perm, info.mode))
            and (self.newer_ns is None or info.mtime_ns > self.newer_ns)
        )


def _size(text: str) -> tuple[str, int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidFilter(f"{text!r} is not a valid size; use a number such as 100, +10M or -4k")
    return match[1], int(match[2]), _UNITS[match[3]]


def _size_fits(size: tuple[str, int, int], found: int) -> bool:
    sign, number, unit = size
    units = -(-found // unit)
    return units > number if sign == "+" else units < number if sign == "-" else units == number


def _perm(text: str) -> tuple[str, int]:
    match = _PERM.fullmatch(text)
    if match is not None:
        return match[1], int(match[2], 8)
    sign = text[:1] if text.startswith(("-", "/")) else ""
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.removeprefix(sign).split(",")]
    bits = 0
    for clause in clauses:
        if clause is None:
            raise InvalidFilter(
                f"{text!r} is not a valid mode; use octal digits such as 0644, -4000 or /6000, or letters such as -u+s"
            )
        for action, letters in _ACTION.findall(clause[2]):
            bits = _changed(bits, clause[1] or "a", action, letters)
    return sign, bits


def _changed(bits: int, who: str, action: str, letters: str) -> int:
    """Return a mode after what a clause of chmod(1) does to it."""
    whose = _any(_WHO[one] for one in who)
    given = _any(_MAY[one] for one in letters) & (whose | 0o1000)
    if action == "=":
        bits &= ~whose
    return bits & ~given if action == "-" else bits | given


def _any(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


def _perm_fits(perm: tuple[str, int], mode: int) -> bool:
    sign, bits = perm
    if sign == "-":
        return mode & bits == bits
    return bool(mode & bits) or not bits if sign == "/" else mode == bits
