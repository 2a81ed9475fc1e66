"""From what a user calls an image to its ID: a reference, an ID, or a unique prefix of one."""

from __future__ import annotations

from contextlib import suppress

from orlop.errors import DigestMismatch, ImageNotFound, InvalidManifest, PlatformNotFound, ReferenceNotFound
from orlop.model.digest import Digest, ImageID
from orlop.store.images import not_found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ManifestRow, Rows


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
        return _by_digest(store, name, asked)
    try:
        return _known(store, store.references.get(asked), name)
    except ReferenceNotFound:
        pass
    try:
        return store.images.search(name.text)
    except ImageNotFound:
        raise _not_found(store, name, name.shown) from None


_WHAT: Final = {
    "artifact": "it is an artifact, whose content is not unpacked",
    "image": "not all of its layers are here",
    "index": "it is an index without an image that is here",
}


def _not_found(store: Store, name: ImageName, shown: str) -> ImageNotFound:
    """Return the error for a name that means no image: docker's words, and what it means instead, if anything."""
    what = meant_instead(store, name)
    return ImageNotFound(f"{not_found(shown)}; {what}") if what else not_found(shown)


def meant_instead(store: Store, name: ImageName) -> str:
    """Return what a name that means no image means, and what can be done with that; nothing if it means nothing."""
    from orlop.service.listing.content import find_content, kind_here  # noqa: PLC0415 - most names mean an image
    from orlop.store.content import node_of  # noqa: PLC0415 - as above
    from orlop.store.loose import loose_blob  # noqa: PLC0415 - as above

    found = find_content(store, name)
    with store.metadata.read() as rows:
        row = None if found is None else rows.manifest(found[0])
        try:
            kind = "" if row is None or loose_blob(row) is not None else kind_here(store, rows, node_of(row))
        except (DigestMismatch, InvalidManifest):
            kind = ""
        unread = "" if kind not in _WHAT or row is None else _unread(rows, row)
    if kind not in _WHAT:
        return ""
    what = f"{why_unread(unread)}." if unread else f"{_WHAT[kind]}:"
    return f"{what} `orlop save`, `copy` and `push` carry it as it is"


def _unread(rows: Rows, row: ManifestRow) -> str:
    """Return the type of a layer that cannot be read, of a manifest or what an index leads to; empty if none is."""
    from orlop.model.manifest import Index, unread_layer  # noqa: PLC0415 - as in `meant_instead`
    from orlop.store.content import node_of  # noqa: PLC0415 - as above

    document = node_of(row).document
    if not isinstance(document, Index):
        return unread_layer(document)
    with suppress(DigestMismatch, InvalidManifest):
        for child in document.manifests:
            below = rows.manifest(child.digest)
            found = "" if below is None else unread_layer(node_of(below).document)
            if found:
                return found
    return ""


def why_unread(media_type: str) -> str:
    """Return why nothing can be looked at in what would be an image, if not for a layer of some type."""
    if media_type.endswith("+encrypted"):
        return "its layers are encrypted; look at a copy that was decrypted, as with `skopeo copy --decryption-key`"
    return f"a layer of it, of the type {media_type}, is not a tar of files; look at the image it was converted from"


def _known(store: Store, image_id: ImageID, name: ImageName) -> ImageID:
    # A name may outlive its image where a program deleted that by itself.
    with store.metadata.read() as rows:
        is_there = rows.image_row(image_id) is not None
    if not is_there:
        raise _not_found(store, name, name.shown)
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


def _by_digest(store: Store, name: ImageName, reference: Reference) -> ImageID:
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
    raise _not_found(store, name, reference.familiar)
