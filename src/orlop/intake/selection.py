"""Which images of a source are wanted, by their names."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from orlop.errors import AmbiguousID, ImageNotFound
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    found = OfferedNames(content.images, content.manifests)
    for name in {name.text: name for name in names}.values():
        images = found.places(name)
        artifacts = found.artifacts(name)
        tops += artifacts
        if not images and not artifacts:
            tags = {tag.familiar for entry in content.images for tag in entry.references}
            tags |= {tag.familiar for manifest in content.manifests for tag in manifest.names}
            held = ", ".join(sorted(tags))
            msg = f"{words.name} holds no image {name.text}" + (
                f"; it holds {held}" if held else "; its images have no names"
            )
            raise ImageNotFound(msg)
        for place, references in images.items():
            image = content.images[place].image.id
            before = kept.setdefault(image, set())
            if references is None or before is None:
                kept[image] = None  # it stands for all of them
            else:
                before |= references
    part = content.of_images(kept, tops)
    return replace(part, images=tuple(under(entry, kept[entry.image.id]) for entry in part.images))


class OfferedNames:
    """What each name stands for. Both names and images may be very many, so all is looked up.

    Images are known by their places among all. What stands under no tag is that of all tags of a repository.
    """

    def __init__(self, images: Sequence[OfferedImage], manifests: Iterable[OfferedManifest]) -> None:
        self._images = images
        self._tagged: dict[tuple[str, str | None], dict[int, set[Reference]]] = {}
        self._by_digest: dict[tuple[str, int], set[Reference]] = {}
        self._wanted: dict[Reference, set[int]] = {}
        self._repositories: dict[str, set[int]] = {}
        self._places: dict[ImageID, list[int]] = {}
        self._tops: dict[tuple[int, Reference], set[Digest]] = {}
        for place, entry in enumerate(images):
            self._add(place, entry)
        self._ids = sorted((image.hex, places) for image, places in self._places.items())
        self._owners: dict[Digest, set[ImageID]] = {}
        self._unnamed: set[Digest] = set()
        self._named: dict[tuple[str, str | None], dict[Digest, None]] = {}
        for manifest in manifests:
            self._add_manifest(manifest)

    def _add(self, place: int, entry: OfferedImage) -> None:
        for tag in entry.references:
            for key in ((tag.name, tag.tag), (tag.name, None)):
                self._tagged.setdefault(key, {}).setdefault(place, set()).add(tag)
            self._repositories.setdefault(tag.name, set()).add(place)
        for one in entry.digests:
            self._wanted.setdefault(one, set()).add(place)
            self._by_digest.setdefault((one.name, place), set()).add(one)
            self._repositories.setdefault(one.name, set()).add(place)
        for tag, digest in entry.tops:
            self._tops.setdefault((place, tag), set()).add(digest)
        self._places.setdefault(entry.image.id, []).append(place)

    def _add_manifest(self, manifest: OfferedManifest) -> None:
        digest = manifest.row.digest
        self._owners.setdefault(digest, set()).update(manifest.images)
        if not manifest.images:
            self._unnamed.add(digest)
        for one in manifest.names:
            for key in ((one.name, one.tag), (one.name, None)):
                self._named.setdefault(key, {})[digest] = None

    def artifacts(self, name: ImageName) -> list[Digest]:
        """Return what is not an image and has a name."""
        asked = name.asked
        if isinstance(asked, Digest):
            return [asked] if asked in self._unnamed else []
        found = self._named.get((asked.name, asked.tag), {})
        if asked.digest is None:
            return list(found)
        return [asked.digest] if asked.digest in found else []

    def places(self, name: ImageName, *, several: bool = False) -> dict[int, set[Reference] | None]:
        """Return the images that a name stands for, with those of their names that are meant, or nothing for all.

        Args:
            name: the name.
            several: take all images whose IDs begin with it.

        Raises:
            AmbiguousID: there are several such, and they are not to be taken.
        """
        if isinstance(name.asked, Reference):
            found = self._tag(name.asked) if name.asked.digest is None else self._digest(name.asked, name.asked.digest)
            if found:
                return dict(sorted(found.items()))
        places = self._beginning(name, several=several)
        if not places and isinstance(name.asked, Digest):
            places = self._owned({name.asked})
        return dict.fromkeys(sorted(places))

    def _beginning(self, name: ImageName, *, several: bool) -> list[int]:
        """Return the images whose ID a name is, or begins."""
        # `s` is not the beginning of an ID, though `sha256:…` is one.
        digits = name.digits
        first = bisect_left(self._ids, digits, key=itemgetter(0)) if digits else len(self._ids)
        found = list(takewhile(lambda one: one[0].startswith(digits), islice(self._ids, first, None)))
        if len(found) > 1 and not several:
            raise AmbiguousID(f"several image IDs start with {name.text!r}; give more of it")
        return [place for _, places in found for place in places]

    def _tag(self, name: Reference) -> dict[int, set[Reference]]:
        """Return the images of a tag, or of all tags of a repository, and those of the indexes that these mean."""
        found: dict[int, set[Reference]] = {}
        meant: set[Digest] = set()
        for place, tags in self._tagged.get((name.name, name.tag), {}).items():
            tops = {digest for tag in tags for digest in self._tops.get((place, tag), ())}
            digests = self._by_digest.get((name.name, place), ())
            found[place] = tags | {one for one in digests if name.tag is None or one.digest in tops}
            meant |= tops
        tagged = {self._images[place].image.id for place in found}
        for place in self._owned(meant):
            if self._images[place].image.id not in tagged:
                found[place] = self._by_digest.get((name.name, place), set())
        return found

    def _digest(self, name: Reference, digest: Digest) -> dict[int, set[Reference]]:
        """Return the images of a repository that have a digest or whose manifest has it; a tag with it must agree.

        A store finds them so, see `orlop.service.listing.lookup.find_image`. An index stands for all its images.
        """
        wanted = Reference(name.domain, name.path, None, digest)
        here = self._repositories.get(name.name, set())
        found = {
            place: self._by_digest.get((name.name, place), set()) for place in self._owned({digest}) if place in here
        }
        found |= {place: {wanted} for place in self._wanted.get(wanted, ())}
        if name.tag is None:
            return found
        tagged = self._tagged.get((name.name, name.tag), {})
        if not tagged.keys() & found.keys():
            return {}
        return {place: digests | tagged.get(place, set()) for place, digests in found.items()}

    def _owned(self, digests: set[Digest]) -> list[int]:
        """Return the images to which manifests or indexes belong."""
        owners = {owner for digest in digests for owner in self._owners.get(digest, ())}
        return [place for owner in owners for place in self._places.get(owner, ())]


def under(entry: OfferedImage, names: set[Reference] | None) -> OfferedImage:
    """Return an image under some of its names alone, or as it is for nothing."""
    if names is None:
        return entry
    return replace(
        entry,
        references=tuple(one for one in entry.references if one in names),
        digests=tuple(one for one in entry.digests if one in names),
        tops=tuple(pair for pair in entry.tops if pair[0] in names),
    )
