"""Challenges: how a server says what authorization it wants (RFC 9110, 11.6.1), as registries really write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.model.regex import regex
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = regex(rf"[\s,]*({_WORD})(?:\s+(?!=)|\s*(?=,|\Z))")
_PARAMETER: Final = regex(
    rf"[\s,]*({_WORD})\s*=\s*" + r'(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))[^\S\r\n]*(?=,|\Z|\s)',
)
_ESCAPED: Final = regex(r"\\(.)")
_LONGEST: Final = 16384
_MOST: Final = 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in: its scheme and the names of its parameters in lower case."""

    scheme: str
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that it asks for; one value may hold several, separated by spaces."""
        return tuple(self.params.get("scope", "").split())


def challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every challenge in the lines of ``WWW-Authenticate``. What cannot be read ends its line."""
    found: list[Challenge] = []
    for line in headers:
        position, text = 0, line[:_LONGEST]
        while len(found) < _MOST and (scheme := _SCHEME.match(text, position)) is not None:
            position = scheme.end()
            params: dict[str, str] = {}
            while (parameter := _PARAMETER.match(text, position)) is not None:
                position = parameter.end()
                name, quoted, bare = parameter.groups()
                params.setdefault(name.lower(), bare if quoted is None else _ESCAPED.sub(r"\1", quoted))
            found.append(Challenge(scheme[1].lower(), params))
    return tuple(found)


def chosen(found: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge that is answered: bearer that says where, then basic, and nothing else."""
    known = [one for one in found if one.scheme in {"bearer", "basic"}]
    order = {("bearer", True): 0, ("basic", True): 1, ("basic", False): 1, ("bearer", False): 2}
    return min(known, key=lambda one: order[one.scheme, bool(one.params.get("realm"))], default=None)
