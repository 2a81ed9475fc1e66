"""What every save does, whatever its format: which images names stand for, and how they are kept meanwhile."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from orlop.errors import ImageNotFound, InvalidInput
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.service.listing.lookup import find_image
from orlop.store.images import not_found
from orlop.store.references import unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, TypeAlias

    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.store.leases import Hold
    from orlop.store.root import Store

    AskedPlatforms: TypeAlias = "Platform | str | list[Platform] | list[str] | list[Platform | str] | None"

_ALGORITHM: Final = "sha256"
DOCKER: Final = "docker"
"""The format that an engine of today writes."""
OLD_DOCKER: Final = "docker-20.10"
"""The one that engines of then wrote."""
TAR: Final = "oci"
"""The format of a tar that is an OCI layout."""
DIRECTORY: Final = "oci-dir"
"""The format of a directory that is one."""
FORMATS: Final = (DOCKER, OLD_DOCKER, TAR, DIRECTORY)
"""All formats in which images are saved."""


def require_names(names: Sequence[ImageName]) -> None:
    """Raise `InvalidInput` where no image is named."""
    if not names:
        msg = "no image was named; name at least one"
        raise InvalidInput(msg)


def named(store: Store, name: ImageName) -> list[tuple[ImageID, Reference | None]]:
    """Return what one name stands for: a bare one for all tags of its repository, an ID or a digest for no tag."""
    parsed = name.asked
    if isinstance(parsed, Digest):
        return [(find_image(store, name), None)]
    if parsed.familiar_name == _ALGORITHM:
        # What is written like an ID is the start of one.
        return [(find_image(store, name), None)]
    if parsed.digest is not None:
        try:
            image_id = find_image(store, name)
        except ImageNotFound:
            raise unknown(parsed) from None
        return [(image_id, None if parsed.tag is None else Reference(parsed.domain, parsed.path, parsed.tag))]
    if parsed.tag is not None:
        return [(store.references.get(parsed), parsed)]
    tagged = store.references.of_repository(parsed.name)
    if tagged:
        return [(image_id, reference if reference.tag else None) for reference, image_id in tagged]
    try:
        return [(store.images.search(name.text), None)]
    except ImageNotFound:
        raise not_found(name.text) from None


def note_saved(store: Store, images: Sequence[Image], hold: Hold | None) -> None:
    """Record that images were saved, and release in the same write what was relied on."""
    if hold is not None:
        store.with_reserve(partial(_note, store, images, hold))


def _note(store: Store, images: Sequence[Image], hold: Hold) -> None:
    with store.metadata.write():
        for image in images:
            config = image.config
            store.events.image("save", image.id, labels=None if config is None else config.labels)
            # It may have been removed meanwhile: its layers were held, the image was not.
            with suppress(ImageNotFound):
                store.images.set_last_used(image.id)
        hold.release()
