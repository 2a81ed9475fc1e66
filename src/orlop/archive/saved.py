"""What is written into an archive, whatever its form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class SaveItem:
    """An image to be saved, under these names; ``parent`` is the one that the store knows."""

    image: Image
    references: tuple[Reference, ...]
    parent: ImageID | None
