"""Versions in tags, and ranges of them.

A tag is a version if it consists of numbers with dots between them, perhaps after a ``v`` and before a suffix, such as
``3.20``, ``v1.2.3``, ``1.25-alpine`` and ``2.0.0-rc.1``. Versions are ordered as in Semantic Versioning 2.0: by their
numbers, of which missing ones count as zero; a version with a suffix comes before the same one without; suffixes are
compared part by part, and numbers in them as numbers.

A range looks at the numbers alone, so that ``2.0-rc1`` is not below 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from orlop.errors import InvalidInput

_NUMBERS: Final = r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,7}"
_VERSION: Final = re.compile(rf"v?({_NUMBERS})(?:[-_+]([0-9A-Za-z_.-]+))?", re.ASCII)
_PART: Final = re.compile(rf"\s*(>=|<=|!=|==|=|>|<|\^|~)?\s*v?({_NUMBERS})\s*(?:,|\Z|(?=[\s<>=!^~]))", re.ASCII)

_Numbers: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A version: its ``numbers``, without zeros at their end, and the ``suffix`` that follows them."""

    numbers: _Numbers
    suffix: str

    @classmethod
    def of(cls, tag: str) -> Self | None:
        """Return the version that a tag is, or None."""
        match = _VERSION.fullmatch(tag)
        return None if match is None else cls(_numbers(match[1]), match[2] or "")

    @property
    def key(self) -> tuple[object, ...]:
        """What versions are ordered by."""
        parts = re.split(r"[._-]", self.suffix) if self.suffix else []
        ranked = ((0, int(one), "") if one.isdecimal() else (1, 0, one) for one in parts)
        return self.numbers, not parts, tuple(ranked)


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Conditions that a version must all meet: pairs of numbers from which on, and below which, it may be."""

    text: str
    among: tuple[tuple[_Numbers, _Numbers | None], ...]
    but: tuple[_Numbers, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read conditions such as ``>=1.20, <2``, ``~1.4`` (1.4 to below 1.5) or ``^1.4`` (1.4 to below 2).

        Raises:
            InvalidInput: it is not a valid range.
        """
        among: list[tuple[_Numbers, _Numbers | None]] = []
        but: list[_Numbers] = []
        position = 0
        while position < len(text) or not (among or but):
            match = _PART.match(text, position)
            if match is None:
                raise InvalidInput(
                    f"{text!r} is not a range of versions from its character {position + 1} on:"
                    " expected conditions such as >=1.20, <2"
                )
            position = match.end()
            operator, numbers = match[1] or "=", _numbers(match[2])
            if operator == "!=":
                but.append(numbers)
            else:
                among.append(_bounds(operator, numbers, [int(one) for one in match[2].split(".")]))
        return cls(text, tuple(among), tuple(but))

    def __contains__(self, version: Version) -> bool:
        """Return whether a version meets all conditions."""
        numbers = version.numbers
        return numbers not in self.but and all(
            low <= numbers and (high is None or numbers < high) for low, high in self.among
        )


def _numbers(text: str) -> _Numbers:
    """Return the numbers of a version without zeros at their end, so that equal versions are equal."""
    return _trimmed([int(one) for one in text.split(".")])


def _trimmed(numbers: list[int]) -> _Numbers:
    while len(numbers) > 1 and not numbers[-1]:
        numbers = numbers[:-1]
    return tuple(numbers)


def _after(numbers: _Numbers) -> _Numbers:
    """Return the least numbers that are greater."""
    return (*numbers, 0)


def _bounds(operator: str, numbers: _Numbers, written: list[int]) -> tuple[_Numbers, _Numbers | None]:
    """Return from where on, and below what, one condition holds."""
    if operator == "~":
        kept = written[:2]
        return numbers, _trimmed([*kept[:-1], kept[-1] + 1])
    if operator == "^":
        first = next((place for place, one in enumerate(written) if one), len(written) - 1)
        return numbers, _trimmed([*written[:first], written[first] + 1])
    bounds: dict[str, tuple[_Numbers, _Numbers | None]] = {
        ">=": (numbers, None),
        ">": (_after(numbers), None),
        "<": ((0,), numbers),
        "<=": ((0,), _after(numbers)),
    }
    return bounds.get(operator, (numbers, _after(numbers)))
