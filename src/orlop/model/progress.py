"""What a long operation says while it runs: events as values."""

from __future__ import annotations

from collections.abc import Callable

from orlop.model.values import dataclass


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """Bytes of one layer that have been moved so far; ``total`` is not known for every source."""

    layer: str
    current: int
    total: int | None


@dataclass(frozen=True, slots=True)
class LayerDone:
    """A layer has been moved whole."""

    layer: str


@dataclass(frozen=True, slots=True)
class LayerExists:
    """A layer is there already and is not moved again.

    ``mounted_from`` is the repository that a registry took it from, where it had it only in another one.
    """

    layer: str
    mounted_from: str = ""


ProgressEvent = LayerProgress | LayerDone | LayerExists
Progress = Callable[[ProgressEvent], object]
"""Called with one event at a time, about once a mebibyte, by the thread that does the work, which may not be the
caller's; what it raises ends the operation."""
