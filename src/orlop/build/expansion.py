"""Words of Dockerfile instructions: how they are told apart, and what variables and quotes in them become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from orlop.errors import InvalidInstruction

if TYPE_CHECKING:
    from collections.abc import Mapping

_ESCAPE: Final = "\\"
_SPECIAL: Final = frozenset("0123456789@*#?-!$")
_MOST: Final = 1 << 20  # characters that variables may add to one text: each may hold several of the one before it

_MAX_NESTING: Final = 100


def split_words(text: str) -> list[str]:
    """Cut a text at white space, but not inside quotes or after a backslash; quotes and backslashes stay."""
    words: list[str] = []
    word = ""
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == _ESCAPE and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    return [*words, word] if word else words


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put values in place of ``$name``, ``${name}``, ``${name:-word}``, ``${name:+word}``; take quotes away.

    Raises:
        InvalidInstruction: a quote or a brace is not closed, or the form of a substitution is not known.
    """
    return "".join(text for text, _ in _Expansion(text, values).run())


def expand_words(text: str, values: Mapping[str, str]) -> list[str]:
    """Do what `expand` does, and cut the result at white space that was not quoted. Raises what `expand` raises."""
    words: list[str] = []
    word: list[str] = []
    present = False
    for part, quoted in _Expansion(text, values).run():
        for character in part:
            if not quoted and character.isspace():
                words += ["".join(word)] if word or present else []
                word.clear()
                present = False
            else:
                word.append(character)
        present = present or quoted
    return [*words, "".join(word)] if word or present else words


class _Expansion:
    """One text under expansion; its parts are told with whether they were quoted."""

    def __init__(self, text: str, values: Mapping[str, str]) -> None:
        self._text = text
        self._values = values
        self._at = 0
        self._added = self._depth = 0

    def run(self, stop: str = "") -> list[tuple[str, bool]]:
        """Return the parts up to the end, or to the character that stops it, which is passed over."""
        parts: list[tuple[str, bool]] = []
        self._depth += 1
        if self._depth > _MAX_NESTING:
            self._refuse(f"substitutions nest more than {_MAX_NESTING} deep")
        while (character := self._next()) != stop:
            if not character:
                self._refuse(f"there is no {stop}")
            if character == "'":
                parts.append((self._single(), True))
            elif character == '"':
                parts.append((self._double(), True))
            elif character == "$":
                parts.append((self._variable(), False))
            elif character == _ESCAPE:
                parts.append((self._next(), True))
            else:
                parts.append((character, False))
        self._depth -= 1
        return parts

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            self._refuse("a ' is not closed")
        inner, self._at = self._text[self._at : end], end + 1
        return inner

    def _double(self) -> str:
        inner = ""
        while (character := self._next()) != '"':
            if not character:
                self._refuse('a " is not closed')
            if character == "$":
                inner += self._variable()
            elif character == _ESCAPE:
                following = self._next()
                inner += following if following in {'"', "$", _ESCAPE} else character + following
            else:
                inner += character
        return inner

    def _variable(self) -> str:
        """Return what stands for a variable, whose dollar sign was passed over."""
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._at += 1
        name = self._name()
        following = self._next()
        if not name or not following:
            self._refuse("${ needs a name and a }")
        value = self._value(name)
        if following == "}":
            return value
        modifier = self._next()
        if following != ":" or modifier not in {"-", "+", "?"}:
            self._refuse(
                f"a substitution has one of the forms ${{{name}}}, ${{{name}:-…}}, ${{{name}:+…}}, ${{{name}:?…}}"
            )
        word = "".join(text for text, _ in self.run("}"))
        if modifier == "?" and not value:
            self._refuse(f"{name}: {word or 'it is not set'}")
        if modifier == "+":
            return word if value else ""
        return value or word

    def _value(self, name: str) -> str:
        value = self._values.get(name, "")
        self._added += len(value)
        if self._added > _MOST:
            self._refuse(f"variables add more than {_MOST} characters to it")
        return value

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first and first in _SPECIAL:
            self._at += 1
            return first
        while (character := self._peek()) and (character == "_" or (character.isascii() and character.isalnum())):
            self._at += 1
        return self._text[start : self._at]

    def _refuse(self, why: str) -> NoReturn:
        msg = f"{self._text!r} cannot be expanded: {why}"
        raise InvalidInstruction(msg)
