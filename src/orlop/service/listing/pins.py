"""``pin`` and ``unpin``: images that stay until somebody removes them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.service.listing.lookup import find_image
from orlop.service.listing.summaries import list_images
from orlop.store.rows.metadata import PINNED

if TYPE_CHECKING:
    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.service.listing.summaries import ImageSummary
    from orlop.store.root import Store


def pin(store: Store, name: ImageName) -> ImageID:
    """See `orlop.service.ImageService.pin`."""
    with store.metadata.write():
        image_id = find_image(store, name)
        store.images.pin(image_id)
    return image_id


def unpin(store: Store, name: ImageName) -> ImageID:
    """See `orlop.service.ImageService.unpin`."""
    with store.metadata.write():
        image_id = find_image(store, name)
        store.images.unpin(image_id)
    return image_id


def pinned(store: Store) -> list[ImageSummary]:
    """See `orlop.service.ImageService.pinned`."""
    with store.metadata.read() as rows:
        marked = rows.metadata_of_all(PINNED)
        return [image for image in list_images(store, None, all=True) if image.id in marked] if marked else []
