"""Which images of a source are wanted, by their names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import ImageNotFound
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.intake.offer import Offer, OfferedImage
    from orlop.intake.words import Words
    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName
    from orlop.model.reference import Reference


def selected(content: Offer, names: Sequence[ImageName], words: Words) -> Offer:
    """Return the part of an offer that names stand for.

    A name with a tag stands for the image of that tag, under it alone; where its tag is that of an index, for the
    images of all platforms. A bare name stands for all tags of its repository, ``NAME@DIGEST`` for what has the digest,
    an ID or the first digits of one for the image under all its names.

    Raises:
        ImageNotFound: the source has nothing of a name.
    """
    kept: dict[ImageID, set[Reference] | None] = {}
    for name in names:
        found = list(_named(content, name))
        if not found:
            held = ", ".join(sorted({tag.familiar for entry in content.images for tag in entry.references}))
            msg = f"{words.name} holds no image {name.text}" + (
                f"; it holds {held}" if held else "; its images have no names"
            )
            raise ImageNotFound(msg)
        for entry, references in found:
            before = kept.setdefault(entry.image.id, set())
            # None stands for all of them.
            kept[entry.image.id] = None if references is None or before is None else before | references
    images = tuple(_under(entry, kept[entry.image.id]) for entry in content.images if entry.image.id in kept)
    manifests = (
        replace(manifest, images=tuple(owner for owner in manifest.images if owner in kept))
        for manifest in content.manifests
    )
    return replace(content, images=images, manifests=tuple(manifest for manifest in manifests if manifest.images))


def _named(content: Offer, name: ImageName) -> Iterable[tuple[OfferedImage, set[Reference] | None]]:
    """Yield the images that a name stands for, with those of their names that are meant, or nothing for all."""
    if not isinstance(name.asked, Digest):
        meant = list(_by_reference(content, name.asked))
        if meant:
            return meant
    # `s` is not the beginning of an ID, though `sha256:…` is one.
    return [(entry, None) for entry in content.images if name.digits and entry.image.id.hex.startswith(name.digits)]


def _by_reference(content: Offer, name: Reference) -> Iterable[tuple[OfferedImage, set[Reference]]]:
    for entry in content.images:
        same = {one for one in (*entry.references, *entry.digests) if one.name == name.name}
        meant = {one for one in same if _is_meant(one, name)}
        if not meant:
            continue
        # A tag's name by digest belongs to it, and leads to the images of an index that have no tag.
        digests = {one for one in same if one.digest is not None}
        yield entry, meant | digests
        tops = {one.digest for one in digests}
        owners = {owner for manifest in content.manifests if manifest.row.digest in tops for owner in manifest.images}
        for other in content.images:
            if other.image.id in owners and other.image.id != entry.image.id and not other.references:
                yield other, {one for one in other.digests if one.name == name.name}


def _is_meant(one: Reference, name: Reference) -> bool:
    if name.digest is not None:
        return one.digest == name.digest
    return one.tag is not None and name.tag in {None, one.tag}


def _under(entry: OfferedImage, names: set[Reference] | None) -> OfferedImage:
    if names is None:
        return entry
    return replace(
        entry,
        references=tuple(one for one in entry.references if one in names),
        digests=tuple(one for one in entry.digests if one in names),
    )
