"""``save`` in the form in which an engine with containerd saves: for images that came in such an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.archive.containerd_form import Listing
from orlop.archive.containerd_save import containerd_chunks
from orlop.archive.oci_platforms import Platforms
from orlop.archive.save_report import OmittedManifests, SaveReport
from orlop.errors import InvalidManifest
from orlop.service.save_oci import asked_content, held_content
from orlop.service.saving import note_saved

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.model.progress import Progress
    from orlop.service.saving import AskedPlatforms
    from orlop.store.root import Store


def containerd_tar(
    store: Store, names: Sequence[ImageName], *, platform: AskedPlatforms, progress: Progress | None
) -> Generator[bytes, None, SaveReport | None]:
    """Yield the bytes of an archive as an engine with containerd writes it, and return what there is to tell of it.

    Yields and returns nothing where it would not be one: an image came otherwise, or the store has its layers in other
    forms than its manifest names.
    """
    asked = list(asked_content(store, names))
    if any(one.image is not None and _listing(store, one.image) is None for one in asked):
        return None
    with held_content(store, asked, Platforms.of(platform), None) as (content, hold):
        if content.remade:
            return None
        listings = {image.id: listing for image in content.images if (listing := _listing(store, image.id)) is not None}
        yield from containerd_chunks(store, content, listings, progress)
        note_saved(store, content.images, hold)
    return SaveReport(tuple(OmittedManifests(digest, lacking) for digest, lacking in content.omitted.items()))


def _listing(store: Store, image_id: ImageID) -> Listing | None:
    """Return how the archive that an image came in listed it; nothing where that is not known, or not readable."""
    raw = store.images.get_listing(image_id)
    try:
        return None if raw is None else Listing.from_json(raw)
    except InvalidManifest:
        return None
