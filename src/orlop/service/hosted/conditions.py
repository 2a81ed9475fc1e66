"""Conditions of requests (``If-Match`` and the like): to what a tag or a digest has to lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import PreconditionFailed
from orlop.store.content import is_sound

if TYPE_CHECKING:
    from orlop.service.hosted.repository import Repository
    from orlop.store.rows.metadata import Rows


@dataclass(frozen=True, slots=True)
class Entities:
    """Some versions of content, by their digests, or ``any`` of them."""

    digests: frozenset[str] = frozenset()
    any: bool = False

    def has(self, current: str | None) -> bool:
        """Return whether they have what is there now; see `Condition.check`."""
        return current is not None and (self.any or (current != "" and current in self.digests))


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to be there: one of those that ``match``, and none of those that ``differ``, where these are said."""

    match: Entities | None = None
    differ: Entities | None = None

    def __bool__(self) -> bool:
        return self.match is not None or self.differ is not None

    def check(self, current: str | None, what: str) -> None:
        """Raise `PreconditionFailed` where it is not met.

        Args:
            current: the digest of what is there; nothing where nothing is, and empty where it has no digest yet.
            what: how the message calls it.
        """
        if self.match is not None and not self.match.has(current):
            now = "does not exist" if current is None else f"is {current}" if current else "is an image without one"
            raise PreconditionFailed(f"{what} {now}, and not what If-Match names; read it again")
        if self.differ is not None and self.differ.has(current):
            raise PreconditionFailed(f"{what} exists already, as If-None-Match says that it must not; read it first")


ALWAYS: Final = Condition()
"""Nothing has to be there."""


def meant(rows: Rows, repository: Repository, tag: str) -> str | None:
    """Return the digest to which a tag leads, as `Condition.check` takes it. What is damaged is not there."""
    top = rows.top(repository.key, f":{tag}")
    row = None if top is None else rows.manifest(top.digest)
    if row is not None:
        return str(row.digest) if is_sound(row.digest, row.raw) else None
    return None if rows.reference(repository.key, f":{tag}") is None else ""
