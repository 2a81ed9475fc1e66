"""Regular expressions over bytes, parsed into a tree.

The syntax is that of ``grep -E``, without what cannot be matched in linear time: no back references, no assertions
except ``^`` and ``$``. A character that is not ASCII stands for its bytes in UTF-8, and ``.`` for one byte. In
brackets only ASCII is allowed, and a backslash there stands for itself, as POSIX has it. Repetitions are written out
when an automaton is made of the tree, so their product is bounded: an expression that would need more than `MOST`
states is refused.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidFilter
from orlop.model.given import check_text
from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MOST",
    "Cat",
    "Edge",
    "Either",
    "Expression",
    "OneOf",
    "Repeat",
    "literal",
    "parse",
    "whole_word",
]

MOST: Final = 2000
"""The most bytes, ends and repetitions that an expression may have once it is written out."""

_DEEPEST: Final = 50
_REPEATS: Final = 3
_SIGNS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_ALL: Final = frozenset(range(256)) - {10}


class OneOf(NamedTuple):
    """One byte of a set."""

    bytes: frozenset[int]


class Edge(NamedTuple):
    """The beginning or the end of a line."""

    begins: bool


class Cat(NamedTuple):
    """Expressions after each other."""

    parts: tuple[Expression, ...]


class Either(NamedTuple):
    """One of several expressions."""

    parts: tuple[Expression, ...]


class Repeat(NamedTuple):
    """An expression from ``least`` to ``most`` times; None for any number."""

    part: Expression
    least: int
    most: int | None


Expression = OneOf | Edge | Cat | Either | Repeat


def _set(characters: str) -> frozenset[int]:
    return frozenset(characters.encode())


_WORD: Final = _set(string.ascii_letters + string.digits + "_")
_SPACE: Final = _set(" \t\r\f\v")
_DIGIT: Final = _set(string.digits)
_ESCAPES: Final = {
    "w": _WORD,
    "W": _ALL - _WORD,
    "d": _DIGIT,
    "D": _ALL - _DIGIT,
    "s": _SPACE,
    "S": _ALL - _SPACE,
    "t": _set("\t"),
    "r": _set("\r"),
    "f": _set("\f"),
    "v": _set("\v"),
}
_CLASSES: Final = {
    "alpha": _set(string.ascii_letters),
    "digit": _DIGIT,
    "alnum": _set(string.ascii_letters + string.digits),
    "upper": _set(string.ascii_uppercase),
    "lower": _set(string.ascii_lowercase),
    "space": _SPACE,
    "blank": _set(" \t"),
    "punct": _set(string.punctuation),
    "xdigit": _set(string.hexdigits),
    "print": frozenset(range(32, 127)),
    "graph": frozenset(range(33, 127)),
    "cntrl": frozenset({*range(32), 127} - {10}),
}


def literal(text: str, *, ignore_case: bool = False) -> Cat:
    """Return an expression that a text fits, and nothing else. Raises InvalidFilter if it is of several lines.

    Args:
        text: it.
        ignore_case: let it fit texts, too, whose letters of ASCII differ by case.
    """
    check_text(text, "a pattern")
    if "\n" in text:
        raise InvalidFilter("a pattern with a newline matches no line; search for a part of it")
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidFilter("a pattern has half of a pair of surrogates, which no file has; leave it out") from error
    each = (frozenset((byte,)) for byte in raw)
    return Cat(tuple(OneOf(_without_case(one) if ignore_case else one) for one in each))


def parse(text: str, *, ignore_case: bool = False) -> Expression:
    """Return the tree of a regular expression, which may not tell capital letters of ASCII from small ones.

    Raises:
        InvalidFilter: it is malformed, uses what is not supported, or is too large.
    """
    literal(text)
    parser = _Parser(text, ignore_case=ignore_case)
    found = parser.either(0)
    if parser.at < len(text):
        raise InvalidFilter(f"the regular expression {text!r} closes a group that is not open; write \\) for the byte")
    if _size(found) > MOST:
        raise InvalidFilter(f"the regular expression {text!r} is too large once its repetitions are written out")
    return found


def whole_word(part: Expression) -> Expression:
    """Return an expression that fits where no byte of a word is just before or after a part."""
    beside = OneOf(_ALL - _WORD)
    return Cat((Either((Edge(begins=True), beside)), part, Either((Edge(begins=False), beside))))


def _without_case(found: Iterable[int]) -> frozenset[int]:
    """Return bytes, and those of the same letters of ASCII in the other case."""
    text = bytes(found)
    return frozenset((*text, *text.lower(), *text.upper()))


def _size(tree: Expression) -> int:
    if isinstance(tree, Repeat):
        return 1 + _size(tree.part) * max(tree.least, tree.most or tree.least + 1)
    if isinstance(tree, OneOf | Edge):
        return 1
    return 1 + sum(map(_size, tree.parts))


class _Parser:
    """A text that is read from `at` on."""

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self._text = text
        self._ignore_case = ignore_case
        self.at = 0

    def either(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise self._wrong(f"has groups more than {_DEEPEST} deep")
        parts = [self._cat(depth)]
        while self._next("|"):
            parts.append(self._cat(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _cat(self, depth: int) -> Cat:
        # A repetition where nothing can be repeated stands for nothing, as for grep.
        self._repeated(Cat(()))
        parts: list[Expression] = []
        while self.at < len(self._text) and self._text[self.at] not in "|)":
            parts.append(self._repeated(self._atom(depth)))
        return Cat(tuple(parts))

    def _repeated(self, part: Expression) -> Expression:
        braces = 0
        while True:
            sign = next((sign for sign in _SIGNS if self._next(sign)), "")
            if sign:
                part = _often(part, *_SIGNS[sign])
            elif self._next("{"):
                if (braces := braces + 1) > _REPEATS:
                    raise self._wrong(f"has more than {_REPEATS} counts for the same part")
                part = Repeat(part, *self._counts())
            else:
                return part
            if _size(part) > MOST:
                raise self._wrong("is too large once its repetitions are written out")

    def _counts(self) -> tuple[int, int | None]:
        inside, closed, _ = self._text[self.at :].partition("}")
        first, comma, last = inside.partition(",")
        numbers = [one for one in (first, last) if one]
        if not closed or not numbers or not all(_is_number(one) for one in numbers):
            raise self._wrong("has a brace without a count such as {2,5}; write \\{ for the byte")
        self.at += len(inside) + 1
        least = int(first or 0)
        most = (int(last) if last else None) if comma else least
        if most is not None and most < least:
            raise self._wrong(f"has the count {{{inside}}}, whose end is before its beginning")
        return least, most

    def _atom(self, depth: int) -> Expression:
        character = self._take()
        if character == "(":
            if self._text.startswith("?", self.at):
                raise self._wrong("has a group that begins with (?, which is not supported")
            found = self.either(depth + 1)
            if not self._next(")"):
                raise self._wrong("has a group that is not closed")
            return found
        if character == ".":
            return OneOf(_ALL)
        if character in "^$":
            return Edge(character == "^")
        if character == "[":
            return OneOf(self._bracket())
        return OneOf(self._escaped()) if character == "\\" else self._of(character)

    def _escaped(self) -> frozenset[int]:
        if self.at == len(self._text):
            raise self._wrong("ends in a backslash")
        character = self._take()
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character.isalnum() or character in "<>`'" or not character.isascii():
            raise self._wrong(f"has \\{character}, which is not supported")
        return _set(character)

    def _bracket(self) -> frozenset[int]:
        name, closed, _ = self._text[self.at :].partition(":]")
        if closed and name[:1] == ":" and name[1:] in _CLASSES:
            raise self._wrong(f"has a class outside a bracket; write [[{name}:]]")
        negated = self._next("^")
        found: set[int] = set()
        first = True
        while first or not self._next("]"):
            first = False
            found.update(self._member())
        either = _without_case(found) if self._ignore_case else frozenset(found)
        return _ALL - either if negated else either - {10}

    def _member(self) -> Iterable[int]:
        if self._next("[:"):
            name, closed, _ = self._text[self.at :].partition(":]")
            if not closed or name not in _CLASSES:
                raise self._wrong(f"has a class of characters that is not one of {', '.join(_CLASSES)}")
            self.at += len(name) + 2
            return _CLASSES[name]
        if self._text.startswith(("[.", "[="), self.at):
            raise self._wrong("has a bracket with [. or [=, which is not supported")
        start = self._single()
        if len(start) == 1 and self._text.startswith("-", self.at) and not self._text.startswith("-]", self.at):
            self.at += 1
            end = self._single()
            if len(end) != 1 or min(end) < min(start):
                raise self._wrong("has a range of characters whose end is before its beginning")
            return range(min(start), min(end) + 1)
        return start

    def _single(self) -> frozenset[int]:
        if self.at == len(self._text):
            raise self._wrong("has a bracket that is not closed; write \\[ for the byte")
        character = self._take()
        if not character.isascii():
            raise self._wrong("has characters in brackets that are not ASCII; use (a|b) for these")
        return _set(character)

    def _of(self, character: str) -> Expression:
        found = literal(character, ignore_case=self._ignore_case)
        return found.parts[0] if len(found.parts) == 1 else found

    def _take(self) -> str:
        self.at += 1
        return self._text[self.at - 1]

    def _next(self, word: str) -> bool:
        """Return whether a word comes next, and pass it if it does."""
        found = self._text.startswith(word, self.at)
        self.at += len(word) if found else 0
        return found

    def _wrong(self, what: str) -> InvalidFilter:
        return InvalidFilter(f"the regular expression {self._text!r} {what}")


def _often(part: Expression, least: int, most: int | None) -> Repeat:
    """Return a part that is repeated as a sign says; a sign after a sign makes one of both."""
    if isinstance(part, Repeat) and (part.least, part.most) in _SIGNS.values():
        both = None if part.most is None or most is None else 1
        return Repeat(part.part, min(part.least, least), both)
    return Repeat(part, least, most)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 4
