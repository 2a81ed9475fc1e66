"""What an archive format must offer: images go in from a stream and out to one.

The counterpart of ``image.Exporter`` of the Go package ``docker/image``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.archive.members import Members
    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that an archive held: ``created`` says that it was not in the store before."""

    id: ImageID
    references: tuple[Reference, ...]
    created: bool


@dataclass(frozen=True, slots=True)
class MovedReference:
    """A name that pointed to another image before the load."""

    reference: Reference
    old_id: ImageID


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, in the archive's order."""

    images: tuple[LoadedImage, ...]
    moved: tuple[MovedReference, ...]

    def messages(self) -> tuple[str, ...]:
        """Give the lines that a Docker daemon prints for this load."""
        lines: list[str] = []
        moved = {move.reference: move.old_id for move in self.moved}
        for image in self.images:
            for reference in image.references:
                if reference in moved:
                    lines.append(
                        f"The image {reference.familiar} already exists, renaming the old one with ID"
                        f" {moved[reference]} to empty string"
                    )
                lines.append(f"Loaded image: {reference.familiar}")
        if self.images and not self.images[-1].references:
            # Daemons print the IDs of all images, but only where the last one has no name.
            lines += [f"Loaded image ID: {image.id}" for image in self.images]
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class SaveItem:
    """An image to be saved, under these names; ``parent`` is the one that the store knows."""

    image: Image
    references: tuple[Reference, ...]
    parent: ImageID | None


class Exporter(ABC):
    """One archive format over one store."""

    @abstractmethod
    def load(self, members: Members) -> LoadReport:
        """Keep everything an archive holds, all or nothing. The caller closes the members."""

    @abstractmethod
    def save(self, items: Sequence[SaveItem], *, progress: Progress | None = None) -> Iterator[bytes]:
        """Give the bytes of an archive; a damaged layer raises before its last byte is given."""
