"""The names of images on the disk of another engine: which ones a user means, and which ones a rescue gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound
from orlop.intake.selection import OfferedNames, under
from orlop.model.names import image_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.foreign.held import ForeignImage
    from orlop.foreign.root import ForeignRoot
    from orlop.model.names import ImageName, Name
    from orlop.model.reference import Reference


class GivenNames:
    """The tags that images were taken under: of several images of a disk that have the same one, the first gets it."""

    def __init__(self) -> None:
        self._owners: dict[Reference, ForeignImage] = {}

    def left_for(self, image: ForeignImage) -> tuple[ForeignImage, list[str]]:
        """Return an image under those of its tags that no other image has, and a sentence for each of the others."""
        if image.offered is None:
            return image, []
        tags: list[Reference] = []
        problems: list[str] = []
        for tag in image.offered.references:
            owner = self._owners.get(tag)
            if owner is None or owner.id == image.id:
                tags.append(tag)
            else:
                problems.append(
                    f"its name {tag.familiar} went to the image {owner.id} of {owner.place}, which has it, too"
                )
        if not problems:
            return image, []
        left = set(tags)
        tops = tuple(top for top in image.offered.tops if top[0] in left)
        return replace(image, offered=replace(image.offered, references=tuple(tags), tops=tops)), problems

    def note(self, image: ForeignImage) -> None:
        """Note that an image was taken."""
        for tag in () if image.offered is None else image.offered.references:
            self._owners.setdefault(tag, image)


def saved_names(image: ForeignImage) -> list[str]:
    """Return the names under which an image that was taken is in the store: its tags, or else its ID."""
    if image.offered is None:
        return []
    return [tag.familiar for tag in image.offered.references] or [image.id]


def selected_images(foreign: ForeignRoot, names: Sequence[Name]) -> list[ForeignImage]:
    """Return the images that names stand for, under these names alone; all of them without names.

    Raises:
        ImageNotFound: the root has no image of a name. InvalidReference: it is not a name.
    """
    if not names:
        return list(foreign.images)
    offered = [(number, image.offered) for number, image in enumerate(foreign.images) if image.offered is not None]
    known = OfferedNames([image for _, image in offered], foreign.manifests)
    others = [(number, image) for number, image in enumerate(foreign.images) if image.offered is None]
    found: dict[int, set[Reference] | None] = {}
    for name in image_names(names):
        there = {offered[place][0]: names for place, names in known.places(name, several=True).items()}
        there |= {number: None for number, image in others if _is_meant(image, name)}
        if not there:
            raise ImageNotFound(f"the root {foreign.path} holds no image {name.text}; orlop rescue --list shows all")
        for number, meant in there.items():
            before = found.setdefault(number, set())
            if meant is None or before is None:
                found[number] = None  # it stands for all of them
            else:
                before |= meant
    return [_under(foreign.images[number], found[number]) for number in sorted(found)]


def _is_meant(image: ForeignImage, name: ImageName) -> bool:
    return name.text in image.names or (bool(name.digits) and image.id.removeprefix("sha256:").startswith(name.digits))


def _under(image: ForeignImage, names: set[Reference] | None) -> ForeignImage:
    """Return an image under some of its names alone, or as it is for nothing."""
    return image if image.offered is None else replace(image, offered=under(image.offered, names))
