"""What goes in a write, until the rows are asked once more whether one of them needs it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Going:
    """What goes with a write, as digests: rows that were deleted, and files or objects."""

    images: set[str] = field(default_factory=set)
    chains: set[str] = field(default_factory=set)
    stood: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """Of each layer in its place whose row was deleted the layer on which it stood, and its content."""
    contents: set[str] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    """The manifests that go with their image, though an index may name them."""
    leased: set[str] = field(default_factory=set)
    """The layers, contents and blobs whose rows were deleted, as no lease names them.

    A lease says nothing of what has only a file left.
    """
