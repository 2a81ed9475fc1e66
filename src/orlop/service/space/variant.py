"""One platform of an index that is removed: the names stay, for the other platforms.

A name that means an index points to the image of one of its platforms. Where that one goes, it points to another. What
the index is called by others loses the platform, too, since there is one image for all: so that has to be forced, as
with docker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import ImageInUse, PlatformNotFound
from orlop.intake.platforms import first_image, images_in, matches
from orlop.model.digest import Digest
from orlop.model.manifest import Index, parse_manifest
from orlop.store.content import reference_of_top, top_row
from orlop.store.references import suffix_of
from orlop.store.rows.metadata import ReferenceRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows

_SHOWN: Final = 8


def variant_of(store: Store, rows: WritableRows, name: ImageName, wanted: Platform) -> ImageID | None:
    """Return the image of a platform in the index that a name means; nothing where at most one of its images is here.

    Args:
        store: the store.
        rows: its rows.
        name: what the user calls the index.
        wanted: the platform; its variant and version count only where it has any.

    Raises:
        PlatformNotFound: there are several, and none is for it.
    """
    index = _index(rows, name)
    if index is None:
        return None
    here = images_in(rows, index)
    if len(here) <= 1:
        return None
    platforms = [store.images.get(image).platform for image in here]
    for image, platform in zip(here, platforms, strict=True):
        if matches(wanted, platform):
            return image
    found = ", ".join(str(platform).rstrip("/") for platform in platforms[:_SHOWN])
    raise PlatformNotFound(
        f"image with reference {name.text} was found but its platforms ({found}) do not match the specified platform"
        f" ({wanted})"
    )


def _index(rows: WritableRows, name: ImageName) -> Digest | None:
    """Return the index that a name means, if it means one."""
    asked = name.tagged
    if isinstance(asked, Digest):
        return None
    if asked.digest is not None:
        digest = asked.digest
    else:
        top = rows.top(asked.name, suffix_of(asked))
        if top is None:
            return None
        digest = top.digest
    row = rows.manifest(digest)
    return digest if row is not None and isinstance(parse_manifest(row.raw), Index) else None


def require_alone(store: Store, rows: WritableRows, name: ImageName, image: ImageID) -> None:
    """Raise `ImageInUse` where another name leads to the image: itself, or by an index."""
    tags = {reference for reference in store.references.of_image(image) if reference.tag is not None}
    for digest in rows.manifest_digests(image):
        tags.update(filter(None, map(reference_of_top, rows.tops(digest))))
    others = sorted(tag.familiar for tag in tags if tag != name.tagged)
    if others:
        more = ", and others" if len(others) > _SHOWN else ""
        raise ImageInUse(
            f"conflict: unable to delete {image.short} (must be forced) - it would be removed from all images"
            f" that have it: {', '.join(others[:_SHOWN])}{more}"
        )


def move_names(store: Store, rows: WritableRows, image: ImageID) -> None:
    """Point the names of an image that mean an index to another image of it; the others stay."""
    for reference, index in list(_named_indexes(store, rows, image)):
        left = [one for one in images_in(rows, index) if one != image]
        if not left:
            continue
        rows.put_reference(ReferenceRow(reference.name, suffix_of(reference), first_image(store, left), store.now()))
        if reference.digest is None:
            rows.put_top(top_row(reference, index, store.now()))


def _named_indexes(store: Store, rows: WritableRows, image: ImageID) -> Iterator[tuple[Reference, Digest]]:
    """Yield the names of an image that mean an index with it, by tag or digest."""
    came = set(rows.manifest_digests(image))
    for reference in store.references.of_image(image):
        digest = reference.digest
        if digest is None:
            top = rows.top(reference.name, suffix_of(reference))
            digest = None if top is None else top.digest
        row = rows.manifest(digest) if digest in came and digest is not None else None
        if row is not None and isinstance(parse_manifest(row.raw), Index):
            yield reference, row.digest
