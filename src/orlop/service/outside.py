"""``images``, ``inspect``, ``history`` and ``files`` over images that are in no store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from orlop.errors import AmbiguousID, ImageNotFound
from orlop.model.closing import Closing
from orlop.model.digest import Digest, ImageID
from orlop.model.names import ImageName, NamePattern, listed_name
from orlop.service.listing.history import steps
from orlop.service.listing.inspect import ImageDetails
from orlop.service.listing.lookup import why_unread
from orlop.service.listing.summaries import ImageSummary
from orlop.service.outside_image import OutsideImage
from orlop.store.images import not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.inside.audit import Audit
    from orlop.inside.finding import AuditFinding
    from orlop.inside.view import ImageFiles
    from orlop.model.names import Name
    from orlop.model.reference import Reference
    from orlop.service.listing.history import HistoryEntry


I = TypeVar("I", bound=OutsideImage)  # noqa: E741 - as `L` elsewhere


class OutsideService(Closing, Generic[I]):
    """The verbs of `orlop.ImageService` that only look; a context manager that closes what it looks at.

    Nothing is written anywhere. Names are as in a store; ``None`` in place of one stands for the only image.

    Args:
        images: the images, in the order of the place where they are.
        place: what messages call that place.
    """

    def __init__(self, images: Iterable[I], place: str) -> None:
        self._place = place
        # An image may be there under several manifests: the first stands for it, with the names of all.
        self._by_id: dict[ImageID, I] = {}
        self._named: dict[ImageID, list[Reference]] = {}
        for image in images:
            self._by_id.setdefault(image.id, image)
            self._named.setdefault(image.id, []).extend((*image.references, *image.digests))

    def images(
        self,
        name: Name | None = None,
        *,
        all: bool = False,  # noqa: A002 - docker's word
        filters: Sequence[str] = (),
    ) -> list[ImageSummary]:
        """List the images, newest first, see `orlop.ImageService.images`.

        Raises:
            InvalidReference: the name is none. DigestMismatch, SizeMismatch, InvalidTar, …: a layer is damaged.
        """
        return list(self.iter_images(name, all=all, filters=filters))

    def iter_images(
        self,
        name: Name | None = None,
        *,
        all: bool = False,  # noqa: A002 - as above
        filters: Sequence[str] = (),
    ) -> Iterator[ImageSummary]:
        """Yield what `images` gives, one by one."""
        asked = None if name is None else listed_name(name)
        if not filters and not isinstance(asked, NamePattern):
            return self._images(asked, all=all)
        from orlop.service.listing.filters import parse_filters, select  # noqa: PLC0415 - most lists have none

        if isinstance(asked, NamePattern):
            filters = [*filters, f"reference={asked.text}"]
            asked = None
        wanted = parse_filters(filters, now=time.time_ns())
        return select(
            self._images(asked, all=all and not wanted.dangling), wanted, created=self._created, labels=self._labels
        )

    def _created(self, name: ImageName) -> tuple[int, int]:
        created = self._find(name).config.created
        return created.unix, created.nanosecond

    def _labels(self, image_id: ImageID) -> Mapping[str, str] | None:
        config = self._by_id[image_id].config.config
        return None if config is None else config.labels

    def _images(self, name: ImageName | None, *, all: bool) -> Iterator[ImageSummary]:  # noqa: A002 - as above
        found = list(self._by_id.values())
        parents = {image.config.parent for image in found}
        if name is not None:
            found = self._matching(name)
        elif not all:
            found = [image for image in found if image.id not in parents or self._named[image.id]]
        found.sort(key=lambda image: str(image.id))
        found.sort(key=lambda image: image.config.created.unix_ns, reverse=True)
        asked = None if name is None else name.asked
        for image in found:
            references = self._names_of(image)
            if not isinstance(asked, Digest) and asked is not None:
                same = tuple(one for one in references if one.name == asked.name)
                matched = tuple(one for one in same if asked.is_name_only or one.digest or one.tag == asked.tag)
                references = matched or references
            created = image.config.created
            yield ImageSummary(image.id, references, created.unix, image.size, image.config.parent, created.nanosecond)

    def inspect(self, name: Name | None = None) -> ImageDetails:
        """Return everything that is said of an image.

        Raises:
            ImageNotFound, AmbiguousID, InvalidReference: the name leads to no image, or to several.
            DigestMismatch, SizeMismatch, InvalidTar, …: a layer is damaged.
        """
        image = self._find(name)
        return ImageDetails(image.config, self._names_of(image), image.size, None, tuple(map(str, image.manifests)))

    def raw_config(self, name: Name | None = None) -> bytes:
        """Return the exact bytes of an image's config. Raises what `inspect` raises of names."""
        return self._find(name).raw_config

    def history(self, name: Name | None = None) -> list[HistoryEntry]:
        """Return the steps by which an image was made, newest first. Raises what `inspect` raises."""
        image = self._find(name)
        return steps(image.config, (layer.size for layer in image.layers), self._lineage(image))

    def files(
        self,
        name: Name | None = None,
        *,
        layer: int | None = None,
        up_to: int | None = None,
        resolve_links: bool = False,
    ) -> ImageFiles:
        """Return what is inside an image, see `orlop.ImageService.files`; its layers are read for it.

        Close it before this. Raises what `inspect` raises.
        """
        from orlop.service.files import outside_files  # noqa: PLC0415 - most looks are not inside

        return outside_files(self._find(name), layer=layer, up_to=up_to, resolve_links=resolve_links)

    def audit(
        self,
        name: Name | None = None,
        *,
        resolve_links: bool = False,
        contents: bool = True,
        visible_only: bool = False,
        allow: Sequence[str] = (),
        baseline: Iterable[AuditFinding] | None = None,
    ) -> Audit:
        """Audit an image, see `orlop.ImageService.audit`. Raises what `files` raises."""
        from orlop.inside.audit import audit  # noqa: PLC0415 - few looks are audits

        with self.files(name, resolve_links=resolve_links) as files:
            return audit(files, contents=contents, visible_only=visible_only, allow=allow, baseline=baseline)

    def _lineage(self, image: I) -> Iterator[tuple[ImageID, tuple[Reference, ...]]]:
        made: I | None = image
        while made is not None:
            yield made.id, made.references
            made = None if made.config.parent is None else self._by_id.get(made.config.parent)

    def close(self) -> None:
        """Release what is looked at."""

    def _find(self, name: Name | None) -> I:
        asked = None if name is None else ImageName.parse(name)
        found = list(self._by_id.values()) if asked is None else self._matching(asked, whole=True)
        if len(found) == 1:
            return found[0]
        if not found:
            unread = self._unread(asked)
            missing = f"{self._place} holds no image" if asked is None else f"{not_found(asked.shown)}"
            why = "" if not unread else f"{' that can be read:' if asked is None else ';'} {why_unread(unread)}"
            raise ImageNotFound(missing + why)
        if asked is None:
            named = ", ".join(sorted(str(reference.familiar) for image in found for reference in image.references))
            msg = f"{self._place} holds {len(found)} images; name one of them" + (f": {named}" if named else "")
            raise AmbiguousID(msg)
        if asked.digits and all(image.id.hex.startswith(asked.digits) for image in found):
            msg = f"several images of {self._place} have IDs that begin with {asked.text}; give more digits"
        else:
            msg = f"several images of {self._place} are called {asked.shown}; give the ID of one"
        raise AmbiguousID(msg)

    def _unread(self, name: ImageName | None) -> str:
        """Return the type of a layer that makes an artifact of what is called so; empty if there is none."""
        del name
        return ""

    def _matching(self, name: ImageName, *, whole: bool = False) -> list[I]:
        """Return the images that a name stands for: a full ID first, then references, then the first digits of IDs.

        With ``whole`` a bare name means its tag ``latest``, without all tags of the repository.
        """
        images = list(self._by_id.values())
        asked = name.tagged if whole else name.asked
        if isinstance(asked, Digest):
            image = self._by_id.get(ImageID.wrap(asked))
            return [] if image is None else [image]
        found = [image for image in images if any(_is_asked(one, asked) for one in self._named[image.id])]
        if not found and asked.digest is not None:
            named = (image for image in images if any(one.name == asked.name for one in self._named[image.id]))
            found = [image for image in named if asked.digest in image.manifests][:1]
        digits = name.digits
        return found or [image for image in images if digits and image.id.hex.startswith(digits)]

    def _names_of(self, image: I) -> tuple[Reference, ...]:
        """Return an image's names under all of its manifests, sorted."""
        return tuple(sorted(dict.fromkeys(self._named[image.id]), key=str))


def _is_asked(reference: Reference, asked: Reference) -> bool:
    if reference.name != asked.name:
        return False
    return asked.is_name_only or (
        reference.tag == asked.tag if asked.tag is not None else reference.digest == asked.digest
    )
