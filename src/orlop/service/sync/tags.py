"""A tag that a sync is about, from what the source has to what the target then has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.errors import OrlopError
    from orlop.model.reference import Reference
    from orlop.service.sync.sources import Item
    from orlop.service.sync.state import Known
    from orlop.transfer.source import Root


@dataclass(frozen=True, slots=True)
class Named:
    """A tag of the source, and the name that it gets at the target."""

    item: Item
    name: Reference
    is_there: bool = False
    """Whether the source still has a tag that is to be removed, as it is not among the newest any more."""


@dataclass(slots=True)
class Look:
    """What a tag leads to at the source and at the target, or why that is not known."""

    found: str = ""
    there: str | None = None
    error: OrlopError | None = None


@dataclass(slots=True)
class Taken:
    """A tag that was copied and may not be visible yet.

    Attributes:
        one: the tag. root: what it leads to. about: what refers to that and came along.
        known: what is remembered of it, once it is there. reason: why it was copied.
        size: returns how many bytes crossed the network for it.
    """

    one: Named
    root: Root
    about: Sequence[Root]
    known: Known
    reason: str
    size: Callable[[], int] = lambda: 0
