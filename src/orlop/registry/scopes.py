"""Scopes: what a token allows, as ``repository:team/app:pull,push``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions on one thing. ``kind`` is ``repository`` or ``registry``, with a class in parentheses if it has one."""

    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope. A name may hold colons, as that of a host with a port does."""
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        return cls(kind, name, frozenset(filter(None, actions.split(","))))

    def covers(self, other: Scope) -> bool:
        """Return whether what another scope allows is allowed by this one."""
        same = (self.kind, self.name) == (other.kind, other.name)
        return same and (other.actions <= self.actions or "*" in self.actions)

    def __str__(self) -> str:
        """Return the text; ``pull`` comes before ``push``."""
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


CATALOG = Scope("registry", "catalog", frozenset("*"))
"""To list all repositories."""


def pull(repository: str) -> Scope:
    """Return the scope to read a repository."""
    return Scope("repository", repository, frozenset({"pull"}))


def push(repository: str) -> Scope:
    """Return the scope to write to a repository, and read it."""
    return Scope("repository", repository, frozenset({"pull", "push"}))


def delete(repository: str) -> Scope:
    """Return the scope to delete from a repository, and read it."""
    return Scope("repository", repository, frozenset({"delete", "pull"}))


def merged(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return scopes with one for each thing, which allows all that several allowed; the first come first.

    Some servers look at the first scope only, so what is wanted most stands first.
    """
    found: dict[tuple[str, str], Scope] = {}
    for scope in scopes:
        key = scope.kind, scope.name
        known = found.get(key)
        found[key] = scope if known is None else Scope(*key, known.actions | scope.actions)
    return tuple(found.values())


def are_covered(wanted: Iterable[Scope], by: Iterable[Scope]) -> bool:
    """Return whether every scope is covered by one of some others."""
    offered = tuple(by)
    return all(any(one.covers(scope) for one in offered) for scope in wanted)
