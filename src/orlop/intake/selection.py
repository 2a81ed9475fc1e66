"""Which images of a source are wanted, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import AmbiguousID, ImageNotFound
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.intake.offer import Offer, OfferedImage, OfferedManifest
    from orlop.intake.words import Words
    from orlop.model.digest import ImageID
    from orlop.model.names import ImageName


def selected(content: Offer, names: Sequence[ImageName], words: Words) -> Offer:
    """Return the part of an offer that names stand for.

    A name with a tag stands for the image of that tag, under it alone; where its tag is that of an index, for the
    images of all platforms. A bare name stands for all tags of its repository, ``NAME@DIGEST`` for what has the digest,
    under the tag if one is given with it, an ID or the first digits of one for the image under all its names, and the
    digest of a manifest or an index for its images.

    Raises:
        ImageNotFound: the source has nothing of a name. AmbiguousID: several IDs begin with it.
    """
    kept: dict[ImageID, set[Reference] | None] = {}
    tops: list[Digest] = []
    for name in names:
        found = list(_named(content, name))
        artifacts = [one.row.digest for one in content.manifests if _is_named(one, name)]
        tops += artifacts
        if not found and not artifacts:
            tags = {tag.familiar for entry in content.images for tag in entry.references}
            tags |= {tag.familiar for manifest in content.manifests for tag in manifest.names}
            held = ", ".join(sorted(tags))
            msg = f"{words.name} holds no image {name.text}" + (
                f"; it holds {held}" if held else "; its images have no names"
            )
            raise ImageNotFound(msg)
        for entry, references in found:
            before = kept.setdefault(entry.image.id, set())
            # None stands for all of them.
            kept[entry.image.id] = None if references is None or before is None else before | references
    part = content.of_images(kept, tops)
    return replace(part, images=tuple(_under(entry, kept[entry.image.id]) for entry in part.images))


def _is_named(manifest: OfferedManifest, name: ImageName) -> bool:
    """Return whether a name stands for something that is not an image."""
    asked = name.asked
    if isinstance(asked, Digest):
        return not manifest.images and asked == manifest.row.digest
    return any(one.name == asked.name and asked.tag in {None, one.tag} for one in manifest.names) and (
        asked.digest in {None, manifest.row.digest}
    )


def _named(content: Offer, name: ImageName) -> Iterable[tuple[OfferedImage, set[Reference] | None]]:
    """Yield the images that a name stands for, with those of their names that are meant, or nothing for all."""
    if not isinstance(name.asked, Digest):
        meant = list(_by_reference(content, name.asked))
        if meant:
            return meant
    # `s` is not the beginning of an ID, though `sha256:…` is one.
    found = [entry for entry in content.images if name.digits and entry.image.id.hex.startswith(name.digits)]
    if len({entry.image.id for entry in found}) > 1:
        raise AmbiguousID(f"several image IDs start with {name.text!r}; give more of it")
    if not found and isinstance(name.asked, Digest):
        owners = _owners(content, {name.asked})
        found = [entry for entry in content.images if entry.image.id in owners]
    return [(entry, None) for entry in found]


def _by_reference(content: Offer, name: Reference) -> Iterable[tuple[OfferedImage, set[Reference]]]:
    return _by_tag(content, name) if name.digest is None else _by_digest(content, name, name.digest)


def _by_tag(content: Offer, name: Reference) -> Iterator[tuple[OfferedImage, set[Reference]]]:
    """Yield the images of a tag, or of all tags of a repository, and those of the indexes that these mean."""
    tagged: set[ImageID] = set()
    meant: set[Digest] = set()
    for entry in content.images:
        tags = {tag for tag in entry.references if tag.name == name.name and name.tag in {None, tag.tag}}
        if tags:
            tops = {digest for tag, digest in entry.tops if tag in tags}
            yield entry, tags | {one for one in _named_by_digest(entry, name) if name.tag is None or one.digest in tops}
            tagged.add(entry.image.id)
            meant |= tops
    owners = _owners(content, meant) - tagged
    for entry in content.images:
        if entry.image.id in owners:
            yield entry, _named_by_digest(entry, name)


def _by_digest(content: Offer, name: Reference, digest: Digest) -> Iterator[tuple[OfferedImage, set[Reference]]]:
    """Yield the images of a repository that have a digest or whose manifest has it; a tag given with it must agree.

    A store finds them so, see `orlop.service.listing.lookup.find_image`. An index stands for all its images.
    """
    owners = _owners(content, {digest})
    wanted = Reference(name.domain, name.path, None, digest)
    tag = replace(name, digest=None)
    found = [
        entry
        for entry in content.images
        if wanted in entry.digests
        or (entry.image.id in owners and any(one.name == name.name for one in (*entry.references, *entry.digests)))
    ]
    if name.tag is not None and not any(tag in entry.references for entry in found):
        return
    for entry in found:
        yield entry, ({wanted} & set(entry.digests) or _named_by_digest(entry, name)) | ({tag} & set(entry.references))


def _owners(content: Offer, digests: set[Digest]) -> set[ImageID]:
    """Return the images to which manifests or indexes belong."""
    return {owner for manifest in content.manifests if manifest.row.digest in digests for owner in manifest.images}


def _named_by_digest(entry: OfferedImage, name: Reference) -> set[Reference]:
    """Return an image's names by digest in the repository of a name."""
    return {one for one in entry.digests if one.name == name.name}


def _under(entry: OfferedImage, names: set[Reference] | None) -> OfferedImage:
    if names is None:
        return entry
    return replace(
        entry,
        references=tuple(one for one in entry.references if one in names),
        digests=tuple(one for one in entry.digests if one in names),
        tops=tuple(pair for pair in entry.tops if pair[0] in names),
    )
