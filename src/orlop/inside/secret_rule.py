"""What a rule for secrets is, and how what only stands for a secret is told from one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BEGINNING", "END", "EXPLAINED", "Rule", "is_begun_at", "is_varied"]

BEGINNING: Final = (
    rb"(?:(?<![A-Za-z0-9_.-])|(?<=\\[abfnrtv0])|(?<=[%][0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"
    rb"|(?<=\x1b\[[0-9]m)|(?<=\x1b\[[0-9]{2}m))"
)
"""What is before a token that begins no word: also an escape, which may end in a letter, as in ``\\n`` and ``%3D``."""
_ESCAPED: Final = re.compile(
    rb"(?:\\[abfnrtv]|\\0?[0-7]{1,3}|[%][0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\x1b\[[0-9;]{0,12}m)\Z"
)
_LONGEST_ESCAPE: Final = 16

END: Final = rb"(?![A-Za-z0-9_-])"
"""What follows a token."""
EXPLAINED: Final = re.compile(
    rb"x{10}|your|example|placeholder|redacted|replace|insert|sample|dummy|changeme", re.IGNORECASE
)
"""What hardly any secret has in it, other than those that stand for one."""
_ENDING: Final = 20
_DIFFERING: Final = 6
_PERIOD: Final = 12
_STEPS: Final = (1, 2)


def is_begun_at(data: bytes, place: int) -> bool:
    """Return whether a word may begin at a place: behind a letter or digit only if that ends an escape."""
    if not place or not (data[place - 1 : place].isalnum() and data[place : place + 1].isalnum()):
        return True
    return _ESCAPED.search(data[max(0, place - _LONGEST_ESCAPE) : place]) is not None


def is_varied(token: bytes, around: bytes = b"") -> bool:
    """Return whether a token is none of a text that explains tokens: ``glpat-xxxxxxxxxxxxxxxxxxxx``."""
    del around
    return not EXPLAINED.search(token) and not _is_filler(token[-_ENDING:])


def _is_filler(text: bytes) -> bool:
    """Return whether somebody typed a text to fill a place: few characters, the same ones again, or a row of them."""
    if len({*text}) < _DIFFERING or any(text[period:] == text[:-period] for period in range(1, _PERIOD + 1)):
        return True
    return any(_rising(text, step) > (len(text) - step) // 2 for step in _STEPS)


def _rising(text: bytes, step: int) -> int:
    """Return how often a character is the next one after that some places before, as in ``1234`` and ``a1b2c3``."""
    return sum(after - before in (1, -9) for before, after in zip(text, text[step:], strict=False))


class Rule(NamedTuple):
    """What a secret looks like; ``check`` judges a match further, with the bytes around it.

    Without one of its ``starts``, if it has any, a text is not searched. A pattern that begins with no fixed bytes is
    tried only ``before`` so many bytes in front of its ``core``, which is found much faster. ``severity`` is low where
    what looks so is mostly meant to be published.
    """

    text: str
    starts: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    check: Callable[[bytes, bytes], bool] = is_varied
    severity: str = "high"
    core: re.Pattern[bytes] | None = None
    before: tuple[int, ...] = (0,)

    def matches(self, data: bytes) -> Iterator[re.Match[bytes]]:
        """Yield what fits the pattern, in order and without overlaps."""
        if self.core is None:
            yield from self.pattern.finditer(data)
            return
        end = 0
        for core in self.core.finditer(data):
            starts = (core.start() - before for before in self.before)
            found = (self.pattern.match(data, start) for start in starts if start >= end)
            if match := next(filter(None, found), None):
                end = match.end()
                yield match
