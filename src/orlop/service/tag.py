"""``tag``: one more name for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.service.listing.lookup import find_image, labels
from orlop.store.events import LABELS

if TYPE_CHECKING:
    from orlop.model.names import ImageName
    from orlop.model.reference import Reference
    from orlop.store.root import Store


def tag(store: Store, source: ImageName, target: Reference) -> None:
    """See `orlop.service.ImageService.tag`."""
    with store.metadata.write() as rows:
        image_id = find_image(store, source)
        store.references.set(target, image_id)
        store.blobs.remove(rows, rows.prune_freed())
        store.images.set_last_used(image_id)
        store.events.image("tag", image_id, name=target.familiar, labels=labels(store, image_id, most=LABELS))
