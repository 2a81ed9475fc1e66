"""``save`` in the form in which an engine with containerd saves.

It is for images that came in such an archive, and for several platforms of an image, which no other form of docker's
can hold.
"""

from __future__ import annotations

from orlop.archive.containerd_form import Listing
from orlop.archive.containerd_save import ContainerdLayout, containerd_chunks
from orlop.archive.oci_named import MeantManifests
from orlop.archive.oci_platforms import Platforms
from orlop.archive.save_report import OmittedManifests, SaveReport
from orlop.errors import InvalidManifest
from orlop.service.save_oci import asked_content, held_content
from orlop.service.saving import note_saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from orlop.archive.docker_append import Added
    from orlop.archive.oci_layout import Asked, LayoutContent
    from orlop.model.digest import ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.names import ImageName
    from orlop.model.progress import Progress
    from orlop.service.saving import AskedPlatforms
    from orlop.store.root import Store


def containerd_tar(
    store: Store,
    names: Sequence[ImageName],
    *,
    platform: AskedPlatforms,
    had: Holdings | None = None,
    progress: Progress | None,
) -> Generator[bytes, None, SaveReport | None]:
    """Yield the bytes of an archive as an engine with containerd writes it, and return what there is to tell of it.

    Yields and returns nothing where the form of graph drivers does: all that is wanted fits in it, and an image came
    otherwise, or the store has its layers in other forms than its manifest names.
    """
    asked = list(asked_content(store, names))
    platforms = Platforms.of(platform)
    is_needed = platforms.are_several or _has_no_other_form(store, asked)
    listings = {one.image: _listing(store, one.image) for one in asked if one.image is not None}
    if not is_needed and (had is not None or None in listings.values()):
        return None
    with held_content(store, asked, platforms, None, had=had) as (content, hold):
        if content.remade and not is_needed:
            return None
        yield from containerd_chunks(content, _known(store, content), progress)
        note_saved(store, content.images, hold)
    return _report(content)


def containerd_append(
    store: Store,
    names: Sequence[ImageName],
    add: Callable[[Added], None],
    *,
    platform: AskedPlatforms,
    had: Holdings | None,
) -> SaveReport | None:
    """Add images as an engine with containerd lists them; do and return nothing where that of graph drivers has all."""
    asked = list(asked_content(store, names))
    platforms = Platforms.of(platform)
    if not (platforms.are_several or _has_no_other_form(store, asked, one_platform=platforms.is_one)):
        return None
    with held_content(store, asked, platforms, None, had=had) as (content, hold):
        add(ContainerdLayout(content, _known(store, content)))
        note_saved(store, content.images, hold)
    return _report(content)


def _known(store: Store, content: LayoutContent) -> dict[ImageID, Listing]:
    """Return how the archives that images came in listed them."""
    return {image.id: listing for image in content.images if (listing := _listing(store, image.id)) is not None}


def _report(content: LayoutContent) -> SaveReport:
    omitted = tuple(OmittedManifests(digest, lacking) for digest, lacking in content.omitted.items())
    return SaveReport(omitted, remade=content.remade, left_out=content.left_out)


def _has_no_other_form(store: Store, asked: Sequence[Asked], *, one_platform: bool = False) -> bool:
    """Return whether a name means an artifact, or an index of several images here: one would lose the others."""
    if any(one.image is None for one in asked):
        return True
    if one_platform:
        return False
    with store.metadata.read() as rows:
        manifests = MeantManifests(rows)
        meant = {manifests.digest(one, one.image) for one in asked if one.image is not None} - {None}
        return any(digest is not None and len(rows.images_of(digest)) > 1 for digest in meant)


def _listing(store: Store, image_id: ImageID) -> Listing | None:
    """Return how the archive that an image came in listed it; nothing where that is not known, or not readable."""
    raw = store.images.get_listing(image_id)
    try:
        return None if raw is None else Listing.from_json(raw)
    except InvalidManifest:
        return None
