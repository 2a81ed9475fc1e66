"""Events of long operations, as values."""

from __future__ import annotations

from collections.abc import Callable

from orlop.model.values import dataclass


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """The bytes of one layer that have been moved so far; ``total`` is None if the source does not know it."""

    layer: str
    current: int
    total: int | None


@dataclass(frozen=True, slots=True)
class LayerDone:
    """A layer has been moved completely."""

    layer: str


@dataclass(frozen=True, slots=True)
class LayerExists:
    """A layer exists already and is not moved again.

    ``mounted_from`` is the other repository that the registry took it from, if it had it only there.
    """

    layer: str
    mounted_from: str = ""


ProgressEvent = LayerProgress | LayerDone | LayerExists
Progress = Callable[[ProgressEvent], object]
"""Called with one event at a time, about once per mebibyte, by the thread that does the work, which may not be the
caller's; an exception from it ends the operation."""
