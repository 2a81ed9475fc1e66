"""What a long operation says while it runs: events as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
    """A layer is there already and is not moved again."""

    layer: str


ProgressEvent = LayerProgress | LayerDone | LayerExists
Progress = Callable[[ProgressEvent], object]
"""Called from the operation's own thread, about once a mebibyte; what it raises ends the operation."""
