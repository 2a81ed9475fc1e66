"""Patterns of names, as Go's ``path.Match`` reads them: ``*``, ``?``, classes in brackets, and backslashes.

A pattern is cut at its stars into pieces. Every part of a piece stands for exactly one character, so a piece has a
fixed length. A piece without a star before it must begin where the previous one ended. A piece after a star is matched
at the first place where it fits, without a slash in between, and the last piece at the end of the text. As in Go, there
is no backtracking: matching takes at most the length of the text times that of the pattern. A regular expression would
try all ways to share the text among several stars, so none is made from a stranger's pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from orlop.errors import InvalidFilter

__all__ = ["Pattern"]


@dataclass(frozen=True, slots=True)
class _Class:
    """One character of some ranges, or of none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def __contains__(self, character: str) -> bool:
        # Unlike the wildcards, a class may contain a slash. A range from high to low is empty; it is not an error.
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


@dataclass(frozen=True, slots=True)
class _AnyButSlash:
    """One character that is not a slash."""

    def __contains__(self, character: str) -> bool:
        return character != "/"


_Part = str | _Class | _AnyButSlash


@dataclass(frozen=True, slots=True)
class _Piece:
    """Parts that stand for one character each, and whether a star precedes them; ``text`` if all are plain."""

    star: bool
    parts: tuple[_Part, ...]
    text: str | None

    def fits(self, text: str, at: int) -> bool:
        """Return whether the piece fits at a position; the text must be long enough for it."""
        if self.text is not None:
            return text.startswith(self.text, at)
        return all(text[at + number] in part for number, part in enumerate(self.parts))

    def find(self, text: str, start: int) -> int:
        """Return the first position at which the piece fits and to which a star reaches, or -1."""
        slash = text.find("/", start)
        last = min(len(text) - len(self.parts), len(text) if slash < 0 else slash)
        if self.text is not None:
            return text.find(self.text, start, max(0, last + len(self.parts)))
        return next((at for at in range(start, last + 1) if self.fits(text, at)), -1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of names. Make one with `parse`. Immutable."""

    _pieces: tuple[_Piece, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            InvalidFilter: a class in brackets or a backslash has no end.
        """
        return cls(tuple(_Reader(text).pieces()))

    @classmethod
    def parse_glob(cls, text: str) -> Self:
        """Read a pattern as shells and find(1) do (POSIX, "Pattern Matching Notation").

        ``[!a]`` is one character other than ``a``, as is ``[^a]``; a class may hold ``]`` at its beginning, ``-`` at
        either end, and others by name, such as ``[:digit:]``. A bracket without an end stands for itself. Names have
        no slash.

        Raises:
            InvalidFilter: a class has a name that is not known, or a backslash has nothing after it.
        """
        return cls(tuple(_GlobReader(text).pieces()))

    def matches(self, text: str) -> bool:
        """Return whether the whole text matches the pattern."""
        at = 0
        *pieces, last = self._pieces
        for piece in pieces:
            size = len(piece.parts)
            if piece.star:
                at = piece.find(text, at)
            elif len(text) - at < size or not piece.fits(text, at):
                at = -1
            if at < 0:
                return False
            at += size
        end = len(text) - len(last.parts)
        if end < at or not last.fits(text, end):
            return False
        return text.find("/", at, end) < 0 if last.star else end == at


class _Reader:
    """A pattern that is being parsed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def pieces(self) -> list[_Piece]:
        """Read all pieces, one at least."""
        found: list[_Piece] = []
        star = False
        while True:
            parts: list[_Part] = []
            while self._at < len(self._text) and self._text[self._at] != "*":
                parts.append(self._part())
            if parts or not found or self._at == len(self._text):
                plain = [part for part in parts if isinstance(part, str)]
                found.append(_Piece(star, tuple(parts), "".join(plain) if len(plain) == len(parts) else None))
            if self._at == len(self._text):
                return found
            star = True
            self._at += 1

    def _part(self) -> _Part:
        character = self._take()
        if character == "?":
            return _AnyButSlash()
        if character == "[":
            return self._class()
        return self._escaped() if character == "\\" else character

    def _class(self) -> _Part:
        negated = self._text.startswith("^", self._at)
        self._at += negated
        ranges: list[tuple[str, str]] = []
        while not ranges or not self._text.startswith("]", self._at):
            low = high = self._member()
            if self._text.startswith("-", self._at):
                self._at += 1
                high = self._member()
            ranges.append((low, high))
        self._at += 1
        return _Class(tuple(ranges), negated)

    def _member(self) -> str:
        character = self._take()
        if character in {"-", "]"}:
            raise self._bad()
        return self._escaped() if character == "\\" else character

    def _escaped(self) -> str:
        return self._take()

    def _take(self) -> str:
        """Return the next character; the pattern is incomplete without it."""
        if self._at == len(self._text):
            raise self._bad()
        self._at += 1
        return self._text[self._at - 1]

    def _bad(self) -> InvalidFilter:
        return InvalidFilter(
            f"{self._text!r} is not a valid pattern of names: a class in brackets or a backslash has no end"
        )


_CLASSES = {
    "alnum": ("09", "AZ", "az"),
    "alpha": ("AZ", "az"),
    "blank": ("\t\t", "  "),
    "cntrl": ("\0\x1f", "\x7f\x7f"),
    "digit": ("09",),
    "graph": ("!~",),
    "lower": ("az",),
    "print": (" ~",),
    "punct": ("!/", ":@", "[`", "{~"),
    "space": ("\t\r", "  "),
    "upper": ("AZ",),
    "xdigit": ("09", "AF", "af"),
}
"""The ranges of ASCII that the classes of POSIX stand for."""


class _GlobReader(_Reader):
    """A pattern of the shell that is being parsed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # Where members of a class begin behind which no class ends: else very many brackets take a very long time.
        self._endless: set[int] = set()

    def _class(self) -> _Part:
        start = self._at
        negated = self._text.startswith(("!", "^"), self._at)
        self._at += negated
        ranges: list[tuple[str, str]] = []
        first = self._at
        passed: list[int] = []
        while self._at < len(self._text) and self._at not in self._endless:
            if self._at > first:
                if self._text[self._at] == "]":
                    self._at += 1
                    return _Class(tuple(ranges), negated)
                passed.append(self._at)
            ranges += self._members()
        self._endless.update(passed)
        # Without an end it is a bracket like any other character.
        self._at = start
        return "["

    def _members(self) -> list[tuple[str, str]]:
        """Read a class with a name, a range, or a single character."""
        for mark in ":=.":
            end = self._text.find(f"{mark}]", self._at + 2) if self._text.startswith(f"[{mark}", self._at) else -1
            if end >= 0:
                name = self._text[self._at + 2 : end]
                self._at = end + 2
                return self._named(name) if mark == ":" else self._alone(name)
        low = self._one()
        # A hyphen at the end of a class stands for itself.
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
            self._at += 1
            return [(low, self._one())]
        return [(low, low)]

    def _named(self, name: str) -> list[tuple[str, str]]:
        if name not in _CLASSES:
            raise InvalidFilter(
                f"{self._text!r} is not a valid pattern of names: [:{name}:] is not a class of characters"
            )
        return [(one[0], one[1]) for one in _CLASSES[name]]

    def _alone(self, name: str) -> list[tuple[str, str]]:
        if len(name) != 1:
            raise InvalidFilter(f"{self._text!r} is not a valid pattern of names: {name!r} is not one character")
        return [(name, name)]

    def _one(self) -> str:
        character = self._take()
        return self._take() if character == "\\" else character
