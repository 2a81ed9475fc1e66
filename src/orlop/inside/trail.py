"""How far symbolic links are followed: for one path as far as Linux does, and for all paths of a view within a budget.

One path may lead through 40 links with targets of 4,095 characters: some 80,000 names to look up, which takes 10 ms.
A single one does no harm. But an image may have a million such paths, and all are looked at when its layers are merged
or audited. So each path has a number of names in targets for nothing, far more than links of real images need, and what
exceeds that is taken from a number that all paths of a view share. When it is used up, such links lead nowhere.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


__all__ = ["HOPS", "LONGEST", "Allowance", "Trail"]

HOPS: Final = 40
"""The most links that are followed, as by Linux."""
LONGEST: Final = 4095
"""How long the target of a link that is followed may be. Linux makes none longer, and each look would take long."""

_FREE: Final = 128
_SHARED: Final = 5_000_000


class Allowance:
    """What all paths of a view share; `names` is how many names in targets of links may still be looked up."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names = _SHARED


class Trail:
    """The links that one path leads through; ``allowance`` is that of its view."""

    __slots__ = ("_allowance", "_free", "_hops")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._free = _FREE
        self._hops = 0

    def names(self, target: str) -> list[str] | None:
        """Return the names in the target of the next link, the last one first; None if it is not followed."""
        self._hops += 1
        if self._hops > HOPS or len(target) > LONGEST:
            return None
        found = target.split("/")[::-1]
        self._free -= len(found)
        if self._free < 0:
            self._allowance.names += self._free
            self._free = 0
            if self._allowance.names < 0:
                self._allowance.names = 0
                return None
        return found

    def refusal(self, target: str) -> str:
        """Return why the last link, with that target, was not followed: a clause that goes on with a path."""
        if self._hops > HOPS:
            return "links form a loop"
        if len(target) > LONGEST:
            return f"a link leads nowhere, since its target has over {LONGEST} characters,"
        return "a link is not followed, since the links of the image have too long targets together,"
