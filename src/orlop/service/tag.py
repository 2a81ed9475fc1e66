"""``tag``: one more name for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import InvalidReference
from orlop.model.reference import Reference
from orlop.service.listing.lookup import find_image, labels
from orlop.store.events import LABELS

if TYPE_CHECKING:
    from orlop.store.root import Store


def tag(store: Store, source: str, target: str) -> None:
    """See `orlop.service.ImageService.tag`."""
    reference = Reference.parse(target)
    if reference.digest is not None:
        msg = f"{target!r} has a digest, which follows from the image; name a tag only"
        raise InvalidReference(msg)
    named = reference.with_default_tag()
    with store.metadata.write():
        image_id = find_image(store, source)
        store.references.set(named, image_id)
        store.images.set_last_used(image_id)
        store.events.image("tag", image_id, name=named.familiar, labels=labels(store, image_id, most=LABELS))
