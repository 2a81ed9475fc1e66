"""Tags that a sync has written, or that a dry run would have: each entry sees what those before it did."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.model.reference import Reference
    from orlop.service.sync.targets import SyncTarget


class NotedTags:
    """Tags that were written or removed at any target, and those that would be."""

    def __init__(self) -> None:
        self._tags: dict[str, dict[Reference, str | None]] = {}

    def take(self, target: SyncTarget, name: Reference, digest: str | None) -> None:
        """Note what a tag leads to; None if it is gone."""
        self._of(target, name)[name] = digest

    def digest(self, target: SyncTarget, name: Reference) -> str | None:
        """Return what a tag leads to, if that was noted."""
        return self._of(target, name).get(name)

    def found(self, target: SyncTarget, name: Reference) -> str | None:
        """Return what a tag would lead to, as `SyncTarget.found` does."""
        noted = self._of(target, name)
        return noted[name] if name in noted else target.found(name)

    def tags(self, target: SyncTarget, repository: Reference) -> Iterable[str]:
        """Return the tags that a repository would have, as `SyncTarget.tags` does."""
        noted = {str(name.tag): digest for name, digest in self._of(target, repository).items()}
        there = [tag for tag in target.tags(repository) if tag not in noted]
        return [*there, *(tag for tag, digest in noted.items() if digest is not None)]

    def _of(self, target: SyncTarget, name: Reference) -> dict[Reference, str | None]:
        place = target.place(name)
        # Entries may spell the path of one layout in several ways.
        path = os.path.realpath(place.path) if place.path else ""
        return self._tags.setdefault(f"{place.kind.value}:{path}:{name.name}", {})
