"""Findings of an audit that are allowed: by a rule, ``RULE:PATTERN`` with a pattern of paths, or a fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import InvalidFilter
from orlop.model.given import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.inside.finding import AuditFinding

__all__ = ["allowance"]


def allowance(words: Sequence[str]) -> Callable[[AuditFinding], bool]:
    """Return a function that tells whether one of some words allows a finding.

    Raises:
        InvalidFilter: a word has no rule, or a pattern is malformed or empty.
    """
    from orlop.inside.find import path_matcher  # noqa: PLC0415 - few audits allow paths

    rules = []
    for word in words:
        rule, mark, pattern = word.partition(":")
        if not rule:
            raise InvalidFilter("an empty value allows nothing; use a rule, RULE:PATTERN or a fingerprint")
        if mark and not pattern:
            raise InvalidFilter(f"{brief(word)} has no pattern of paths; without the colon it allows the whole rule")
        rules.append((rule, path_matcher(pattern) if mark else None))

    def fits(finding: AuditFinding) -> bool:
        return any(
            rule == finding.fingerprint or (rule == finding.rule and (matches is None or matches(finding.path)))
            for rule, matches in rules
        )

    return fits
