"""Findings that are too many to be listed: they are counted, and a digest tells whether others are the same.

Somebody who wants to hide a secret can bring very many others along. What is beyond the bound of a list must still be
new beside a baseline if anything of it is, and must not take up memory: so its digest is the fingerprint of one finding
that stands for all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.inside.finding import SEVERITIES
from orlop.inside.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.inside.finding import AuditFinding

__all__ = ["Listing"]


class Listing:
    """Findings of which so many are listed of each rule.

    Args:
        most: returns how many of a rule.
    """

    def __init__(self, most: Callable[[str], int]) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._rests: dict[str, Rest] = {}
        self._worst: dict[str, AuditFinding] = {}

    def has_room(self, one: AuditFinding) -> bool:
        """Count a finding, and return whether it is to be listed."""
        count = self._counts[one.rule] = self._counts.get(one.rule, 0) + 1
        if count <= self._most(one.rule):
            return True
        rest = self._rests.setdefault(one.rule, Rest())
        rest.add(f"{count}\0{one.path}\0{one.fingerprint}\0{one.severity}")
        worst = self._worst.get(one.rule, one)
        if SEVERITIES.index(one.severity) >= SEVERITIES.index(worst.severity):
            self._worst[one.rule] = one
        return False

    def rest(self) -> Iterator[AuditFinding]:
        """Yield a finding of each rule that has more than are listed, which stands for all others."""
        for rule, rest in self._rests.items():
            one = self._worst[rule]
            text = f"{one.text}; so it is with {rest.count:,} more"
            yield one._replace(text=text, layer=0, path="", seen=True, size=0, fingerprint=rest.fingerprint)
