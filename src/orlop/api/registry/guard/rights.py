"""Rights: which users may do what in which repositories.

A rule allows some actions in the repositories that match its patterns, for some users. Rules only add: what no rule
allows is refused, so their order does not matter.

A pattern is compared part by part. ``*``, ``?`` and brackets stand for characters within a part, as in Go's
``path.Match``; the part ``**`` stands for any number of parts, even none; the part ``{user}`` stands for the name of
the user that asks. Matching takes at most the number of parts of the name times that of the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidFilter
from orlop.model.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.registry.routes import Need

ANONYMOUS: Final = ""
"""The name of a client that did not say who it is."""
ANYBODY: Final = "*"
"""Stands for every user who has a name."""
ACTIONS: Final = ("catalog", "delete", "pull", "push")
"""What a rule can allow, sorted."""
_ANY_PARTS: Final = "**"
_USER: Final = "{user}"


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """A pattern of repositories' names. Make one with `parse`."""

    text: str
    _parts: tuple[Pattern | str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern. Raises `InvalidFilter` if it is not a valid one."""
        parts = text.split("/")
        if not all(parts):
            raise InvalidFilter(f"{text!r} is not a valid pattern of repositories: a part of it is empty")
        mixed = next((one for one in parts if one not in {_ANY_PARTS, _USER} and (_ANY_PARTS in one or "{" in one)), "")
        if mixed:
            raise InvalidFilter(f"{text!r} is not a valid pattern of repositories: ** and {{user}} must be whole parts")
        return cls(text, tuple(one if one in {_ANY_PARTS, _USER} else Pattern.parse(one) for one in parts))

    def matches(self, repository: str, user: str) -> bool:
        """Return whether a repository's name matches the pattern, when this user asks."""
        # The positions in the pattern that the parts read so far can have led to.
        reached = self._skipped({0})
        for part in repository.split("/"):
            reached = self._skipped({after for at in reached for after in self._after(at, part, user)})
        return len(self._parts) in reached

    def _after(self, at: int, part: str, user: str) -> tuple[int, ...]:
        wanted = self._parts[at] if at < len(self._parts) else None
        if wanted is None:
            return ()
        if wanted == _ANY_PARTS:
            return (at,)
        if isinstance(wanted, str):
            return (at + 1,) if user not in {ANONYMOUS, ANYBODY} and part == user else ()
        return (at + 1,) if wanted.matches(part) else ()

    def _skipped(self, reached: set[int]) -> set[int]:
        """Return positions with those behind each ``**`` there, which may stand for nothing."""
        found: set[int] = set()
        for start in reached:
            at = start
            found.add(at)
            while at < len(self._parts) and self._parts[at] == _ANY_PARTS:
                at += 1
                found.add(at)
        return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: these users may do this in these repositories.

    ``users`` may contain `ANYBODY`, and `ANONYMOUS` if nobody needs to log in. ``catalog`` is an action without a
    repository.
    """

    users: frozenset[str]
    actions: frozenset[str]
    repositories: tuple[RepositoryPattern, ...] = ()

    def is_for(self, user: str) -> bool:
        """Return whether the rule is about this user; what anonymous clients may do, everybody may."""
        return user in self.users or ANONYMOUS in self.users or (user != ANONYMOUS and ANYBODY in self.users)

    def allows(self, user: str, action: str, repository: str) -> bool:
        """Return whether a user may do something in a repository, by this rule."""
        is_about = action in self.actions and self.is_for(user)
        return is_about and (action == "catalog" or any(one.matches(repository, user) for one in self.repositories))


@dataclass(frozen=True, slots=True)
class Rights:
    """All rules of a registry."""

    rules: tuple[Rule, ...]

    def allows(self, user: str, action: str, repository: str = "") -> bool:
        """Return whether a user may do something: one of `ACTIONS`, in a repository if it is not ``catalog``."""
        return any(rule.allows(user, action, repository) for rule in self.rules)

    def allowed(self, user: str, kind: str, name: str, actions: Iterable[str]) -> frozenset[str]:
        """Return those of some actions of a scope that a user may do.

        Args:
            user: the name, or `ANONYMOUS`.
            kind: ``repository`` or ``registry``; on other kinds nobody has a right.
            name: of the repository, or ``catalog``.
            actions: what is asked for; ``*`` is the only action on the catalog, and all actions on a repository.
        """
        asked = frozenset(actions)
        if (kind, name) == ("registry", "catalog"):
            return asked & {"*"} if self.allows(user, "catalog") else frozenset()
        if kind != "repository":
            return frozenset()
        if "*" in asked:
            asked = frozenset(ACTIONS) - {"catalog"}
        return frozenset(one for one in asked if one != "catalog" and self.allows(user, one, name))

    def meets(self, user: str, need: Need) -> bool:
        """Return whether a user has all that a request needs."""
        return self.allowed(user, need.kind, need.name, need.actions) >= frozenset(need.actions)


EVERYTHING: Final = Rights(
    (Rule(frozenset({ANONYMOUS}), frozenset(ACTIONS), (RepositoryPattern.parse(_ANY_PARTS),)),),
)
"""Anybody may do everything: a registry without access control."""
