"""From what a user calls an image to its ID: a reference, an ID, or a unique prefix of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound, PlatformNotFound, ReferenceNotFound
from orlop.model.digest import Digest, ImageID
from orlop.store.images import not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store


def find_image(store: Store, name: ImageName) -> ImageID:
    """Find an image as daemons do: a full ID first, then a name with its tag, then a prefix of an ID.

    A name with a digest finds the image under that name, too, whose manifest or index has the digest.

    Raises:
        ImageNotFound: there is none. AmbiguousID: a prefix fits several.
    """
    asked = name.tagged
    if isinstance(asked, Digest):
        return _known(store, ImageID.wrap(asked), name)
    if asked.digest is not None:
        return _by_digest(store, asked)
    try:
        return _known(store, store.references.get(asked), name)
    except ReferenceNotFound:
        pass
    try:
        return store.images.search(name.text)
    except ImageNotFound:
        raise not_found(name.shown) from None


def _known(store: Store, image_id: ImageID, name: ImageName) -> ImageID:
    # A name may outlive its image where a program deleted that by itself.
    with store.metadata.read() as rows:
        if rows.image_row(image_id) is None:
            raise not_found(name.shown)
    return image_id


def platform_of(asked: Platform | str | None) -> Platform | None:
    """Return the platform that a caller asks for; raise `InvalidPlatform` for a text that is not one."""
    if asked is None:
        return None
    from orlop.intake.platforms import chosen  # noqa: PLC0415 - few ask for one

    return chosen(asked).asked


def check_platform(store: Store, name: ImageName, image_id: ImageID, wanted: Platform | None) -> None:
    """Check that an image is for a platform, if one is wanted.

    Args:
        store: where it is.
        name: what the user calls it, for the error.
        image_id: the image.
        wanted: the platform; its variant and version count only where it has any.

    Raises:
        PlatformNotFound: the image is for another.
    """
    if wanted is None:
        return
    from orlop.intake.platforms import matches  # noqa: PLC0415 - few ask for one

    found = store.images.get(image_id).platform
    if not matches(wanted, found):
        msg = (
            f"image with reference {name.text} was found but its platform ({found}) does not match"
            f" the specified platform ({wanted})"
        )
        raise PlatformNotFound(msg)


def labels(store: Store, image_id: ImageID, *, most: int | None = None) -> Mapping[str, str] | None:
    """Return an image's labels; one whose config has none, or more than ``most`` bytes, or that is gone, has none."""
    with store.metadata.read() as rows:
        return rows.labels([image_id], most=most).get(image_id)


def _by_digest(store: Store, reference: Reference) -> ImageID:
    """Find the image of a repository that has a digest or whose manifest has it; a tag given with it must agree."""
    with store.metadata.read() as rows:
        named = rows.references(name=reference.name)
        carriers = [row.image for row in named if row.suffix == f"@{reference.digest}"]
        carriers += [
            image for image in sorted({row.image for row in named}) if reference.digest in rows.manifest_digests(image)
        ]
        tagged = {row.image for row in named if reference.tag is None or row.suffix == f":{reference.tag}"}
        for image in carriers:
            if image in tagged and rows.image_row(image) is not None:
                return image
    raise not_found(reference.familiar)
