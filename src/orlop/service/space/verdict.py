"""Verdicts: what a pruning does with every image and every layer, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.service.space.remove import RemoveReport

if TYPE_CHECKING:
    from orlop.model.digest import ChainID, DiffID, ImageID
    from orlop.model.reference import Reference

IMAGE_REASONS: Final = {
    # They go.
    "dangling": "has no tag, and no image is made from it",
    "all": "all images were asked for",
    "old": "has none of the newest tags of its repositories",
    "quota": "was least recently used",
    "along": "only images that go are made from it",
    # They stay.
    "pinned": "is pinned",
    "parent": "an image that stays is made from it",
    "index": "an index that stays needs it",
    "named": "has a tag",
    "newest": "is among the newest of a repository",
    "newer": "is newer than the filter until says",
    "labels": "does not have the labels that the filters ask for",
    "fits": "fits in the size that was asked for",
    "in-use": "a process is working with it",
    "shared": "has no bytes of its own to free",
}
"""What the ``reason`` of an `ImageVerdict` may be, and what it means of the image."""

LAYER_REASONS: Final = {
    # They go.
    "unneeded": "no image that stays has it",
    "left": "only a process that has ended held it",
    # They stay.
    "needed": "an image that stays has it",
    "held": "a process is working with it",
    "loose": "no image has it; gc removes it",
}
"""What the ``reason`` of a `LayerVerdict` may be, and what it means of the layer."""


@dataclass(frozen=True, slots=True)
class ImageVerdict:
    """What becomes of an image.

    ``references`` are its names, ``untagged`` those of them that it loses; ``reason`` is one of `IMAGE_REASONS`.
    ``size`` is the bytes of the files in all its layers; ``last_used`` is in nanoseconds since 1970.
    """

    id: ImageID
    goes: bool
    reason: str
    references: tuple[Reference, ...]
    untagged: tuple[Reference, ...]
    size: int
    last_used: int

    @property
    def why(self) -> str:
        """The reason as a clause about the image, for people."""
        return IMAGE_REASONS[self.reason]


@dataclass(frozen=True, slots=True)
class LayerVerdict:
    """What becomes of a layer in its place.

    ``reason`` is one of `LAYER_REASONS`. ``size`` is the bytes of the files in it, ``stored`` those that its content
    takes on the disk. ``freed`` is what the disk gets back with it: nothing where the same content is needed elsewhere.
    """

    chain_id: ChainID
    diff_id: DiffID
    goes: bool
    reason: str
    size: int
    stored: int
    freed: int

    @property
    def why(self) -> str:
        """The reason as a clause about the layer, for people."""
        return LAYER_REASONS[self.reason]


@dataclass(frozen=True, slots=True)
class PruneReport(RemoveReport):
    """What went, in order, as a `RemoveReport` says it; after a dry run, what would go.

    ``reclaimed`` is the bytes of the files in the layers that went, as docker counts them. ``freed`` is what the disk
    got back: the bytes of blobs and tables of contents that went, but for files that have another name, as in a copy
    that shares them. Of such files ``stored`` bytes were there before, and ``left`` are. There is a verdict for each
    image, newest first, and for each layer.
    """

    reclaimed: int
    freed: int = 0
    stored: int = 0
    left: int = 0
    images: tuple[ImageVerdict, ...] = ()
    layers: tuple[LayerVerdict, ...] = ()
    dry_run: bool = False
