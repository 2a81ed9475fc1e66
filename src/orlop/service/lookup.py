"""From what a user calls an image to its ID: a reference, an ID, or a unique prefix of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound, ReferenceNotFound
from orlop.model.digest import Digest, ImageID
from orlop.model.reference import parse_any
from orlop.store.images import not_found

if TYPE_CHECKING:
    from orlop.model.reference import Reference
    from orlop.store.root import Store

_PREFIX = "sha256:"


def find_image(store: Store, name: str) -> ImageID:
    """Find an image as daemons do: a full ID first, then a name with its tag, then a prefix of an ID.

    A name with a digest finds the image under that name, too, whose manifest or index has the digest.

    Raises:
        ImageNotFound: there is none. AmbiguousID: a prefix fits several. InvalidReference: the text is no name at all.
    """
    parsed = parse_any(name)
    if isinstance(parsed, Digest):
        image_id = ImageID.wrap(parsed)
        with store.metadata.read() as rows:
            if rows.image_row(image_id) is None:
                raise not_found(str(image_id))
        return image_id
    try:
        return store.references.get(parsed.with_default_tag())
    except ReferenceNotFound:
        if parsed.digest is not None and (by_manifest := _by_manifest(store, parsed)) is not None:
            return by_manifest
    try:
        return store.images.search(name)
    except ImageNotFound:
        raise not_found(parsed.with_default_tag().familiar) from None


def _by_manifest(store: Store, reference: Reference) -> ImageID | None:
    with store.metadata.read() as rows:
        for image_id in sorted({row.image for row in rows.references(name=reference.name)}):
            if any(manifest.digest == reference.digest for manifest in rows.manifests(image_id)):
                return image_id
    return None


def is_id_of(image_id: ImageID, text: str) -> bool:
    """Say whether a text is an image's ID or a prefix of it, with or without its algorithm."""
    return bool(text) and str(image_id).startswith((text, f"{_PREFIX}{text}"))
