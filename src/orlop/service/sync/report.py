"""What a sync did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.errors import OrlopError
    from orlop.model.digest import Digest


class SyncAction(Enum):
    """What became of a tag; in a dry run, what would."""

    COPIED = "copied"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    DROPPED = "dropped"
    """The source has dropped it, and it stays, as removals were not asked for or could not be relied on."""
    DEFERRED = "deferred"
    """It was not looked at, or not copied, since a registry may not be asked any more; a later run does it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SyncedTag:
    """One tag.

    Attributes:
        source: the name that it has there. target: the name that it has, or would get, there.
        action: what became of it.
        reason: why, in a few words.
        digest: of the manifest or index that it leads to at the target, where that is known.
        size: in a dry run, how many bytes of content the target lacks; else how many were copied.
        error: what made it fail, or defer.
    """

    source: str
    target: str
    action: SyncAction
    reason: str
    digest: Digest | None = None
    size: int = 0
    error: OrlopError | None = None


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, tag by tag in the order of the file.

    Attributes:
        tags: each tag that the file speaks of.
        dry_run: whether nothing was changed.
        fetched: bytes of blobs and lists that came from registries. sent: bytes of blobs that went to them.
    """

    tags: tuple[SyncedTag, ...]
    dry_run: bool = False
    fetched: int = 0
    sent: int = 0

    def count(self, action: SyncAction) -> int:
        """Return how many tags had an action."""
        return sum(one.action is action for one in self.tags)

    @property
    def size(self) -> int:
        """How many bytes of content were copied, or would be."""
        return sum(one.size for one in self.tags)

    @property
    def error(self) -> OrlopError | None:
        """The first error, of tags that failed before those that are deferred."""
        errors = [one for one in self.tags if one.error is not None]
        errors.sort(key=lambda one: one.action is not SyncAction.FAILED)
        return errors[0].error if errors else None
