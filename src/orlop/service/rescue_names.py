"""The names of images on the disk of another engine: which ones a user means, and which ones a rescue gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound
from orlop.intake.offer import Offer
from orlop.intake.selection import selected
from orlop.intake.taking import measuring
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
        tops = tuple(top for top in image.offered.tops if top[0] in tags)
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
    found: dict[int, ForeignImage] = {}
    for name in image_names(names):
        matching = [(number, _named(foreign, image, name)) for number, image in enumerate(foreign.images)]
        there = {number: image for number, image in matching if image is not None}
        if not there:
            raise ImageNotFound(f"the root {foreign.path} holds no image {name.text}; orlop rescue --list shows all")
        for number, image in there.items():
            before = found.get(number)
            found[number] = image if before is None else _merged(before, image)
    return [found[number] for number in sorted(found)]


def _named(foreign: ForeignRoot, image: ForeignImage, name: ImageName) -> ForeignImage | None:
    if image.offered is None:
        known = name.text in image.names or (
            bool(name.digits) and image.id.removeprefix("sha256:").startswith(name.digits)
        )
        return image if known else None
    with measuring(foreign.limits) as taking:
        words = foreign.source(taking, ()).words
    try:
        offer = selected(Offer((image.offered,), foreign.manifests), [name], words)
    except ImageNotFound:
        return None
    return replace(image, offered=offer.images[0])


def _merged(one: ForeignImage, other: ForeignImage) -> ForeignImage:
    if one.offered is None or other.offered is None:
        return one
    first, second = one.offered, other.offered
    return replace(
        one,
        offered=replace(
            first,
            references=tuple(dict.fromkeys((*first.references, *second.references))),
            digests=tuple(dict.fromkeys((*first.digests, *second.digests))),
            tops=tuple(dict.fromkeys((*first.tops, *second.tops))),
        ),
    )
