"""``save`` in the form of an OCI layout."""

from __future__ import annotations

import os
from contextlib import contextmanager

from orlop.archive.oci_content import layout_content
from orlop.archive.oci_layout import Asked
from orlop.archive.oci_platforms import Platforms
from orlop.archive.save_report import OmittedManifests, SaveReport
from orlop.errors import Conflict, ImageNotFound, InvalidInput, ReferenceNotFound
from orlop.model.digest import Digest
from orlop.service.holding import held
from orlop.service.listing.content import find_content
from orlop.service.saving import DIRECTORY, named, note_saved, require_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO, Final

    from orlop.archive.oci_index import WrittenIndex
    from orlop.archive.oci_layout import LayoutContent
    from orlop.model.holdings import Holdings
    from orlop.model.names import ImageName
    from orlop.model.progress import Progress
    from orlop.service.saving import AskedPlatforms
    from orlop.store.leases import Hold
    from orlop.store.root import Store
    from orlop.streams.compressing import Recipe

_LOOKS: Final = 20


def layout_tar(
    store: Store,
    names: Sequence[ImageName],
    *,
    platform: AskedPlatforms,
    compress: str | None,
    had: Holdings | None = None,
    progress: Progress | None,
) -> Generator[bytes, None, SaveReport]:
    """Yield the bytes of a tar that is a layout of some images, and return what there is to tell of it."""
    from orlop.archive.oci_index import index_json  # noqa: PLC0415 - a push writes no layout
    from orlop.archive.oci_tar import layout_chunks  # noqa: PLC0415 - as above

    with _content(store, names, platform, compress, had=had, progress=progress) as content:
        index = index_json(content.entries, content.lacking)
        yield from layout_chunks(content, index.raw, progress)
    return _report(content, index)


def save_directory(
    store: Store,
    names: Sequence[ImageName],
    target: BinaryIO | str | os.PathLike[str],
    *,
    platform: AskedPlatforms,
    compress: str | None,
    had: Holdings | None = None,
    progress: Progress | None,
) -> SaveReport:
    """Write a layout of some images into a directory, or add them to the one that is there."""
    from orlop.archive.oci_directory import write_layout  # noqa: PLC0415 - as above

    if not isinstance(target, (str, os.PathLike)):
        msg = f"the format {DIRECTORY!r} is a directory, not a stream of bytes; name a directory to save to"
        raise InvalidInput(msg)
    near = os.fspath(target)
    with _content(store, names, platform, compress, had=had, progress=progress, near=near) as content:
        written = write_layout(target, content, progress, limits=store.limits)
    return _report(content, written)


def append_tar(
    store: Store,
    names: Sequence[ImageName],
    target: str | os.PathLike[str],
    *,
    platform: AskedPlatforms,
    compress: str | None,
    had: Holdings | None = None,
    progress: Progress | None,
) -> SaveReport:
    """Add some images to a tar that is a layout."""
    from orlop.service.save_append import append_layout  # noqa: PLC0415 - most saves make a new archive

    with _content(store, names, platform, compress, had=had, progress=progress) as content:
        written = append_layout(store, target, content, progress)
    return _report(content, written)


@contextmanager
def _content(
    store: Store,
    names: Sequence[ImageName],
    platform: AskedPlatforms,
    compress: str | None,
    *,
    had: Holdings | None,
    progress: Progress | None,
    near: str | None = None,
) -> Iterator[LayoutContent]:
    """Return, for a block that writes it, what a layout has to hold, and note at its end that it was saved."""
    require_names(names)
    platforms = Platforms.of(platform)
    recipe = None if compress is None else _recipe(compress)
    asked = list(asked_content(store, names))
    with held_content(store, asked, platforms, recipe, progress, had=had, near=near) as (content, hold):
        yield content
        note_saved(store, content.images, hold)


def _recipe(text: str) -> Recipe:
    from orlop.streams.compressing import Recipe  # noqa: PLC0415 - most saves compress nothing

    return Recipe.parse(text)


@contextmanager
def held_content(
    store: Store,
    asked: Sequence[Asked],
    platforms: Platforms,
    recipe: Recipe | None,
    progress: Progress | None = None,
    *,
    had: Holdings | None = None,
    near: str | None = None,
) -> Iterator[tuple[LayoutContent, Hold | None]]:
    """Return, for a block, what a layout of some images has to hold, compressed as wanted, and what protects it.

    What is left out is named in the form in which it is had, and so is never compressed. ``near`` is the directory that
    is to have it, if it is one.
    """
    with _held_content(store, asked, platforms) as (found, hold):
        content = found if had is None else found.without(had)
        if recipe is None:
            yield content, hold
        else:
            from orlop.archive.oci_recompress import recompressed  # noqa: PLC0415 - most saves compress nothing

            with recompressed(store, content, recipe, progress, near=near) as other:
                yield other, hold


@contextmanager
def _held_content(
    store: Store, asked: Sequence[Asked], platforms: Platforms
) -> Iterator[tuple[LayoutContent, Hold | None]]:
    """Return, for a block, what a layout has to hold, with a hold on all images in it.

    Only what was held before it is looked at again may be relied on. Where an index got more of its images between two
    looks, those of the second one are held and looked at in turn.
    """
    content = layout_content(store, asked, platforms)
    for _ in range(_LOOKS):
        with held(store, content.images, content.others) as hold:
            before, content = content, layout_content(store, asked, platforms)
            is_same = {image.id for image in content.images} <= {image.id for image in before.images}
            if is_same and set(content.others) <= set(before.others):
                yield content, hold
                return
    msg = "the images to save change again and again while they are looked at; wait for the other program"
    raise Conflict(msg)


def asked_content(store: Store, names: Sequence[ImageName]) -> Iterator[Asked]:
    """Yield what names stand for, in their order."""
    for name in names:
        digest = None if isinstance(name.asked, Digest) else name.asked.digest
        try:
            found = named(store, name)
        except (ImageNotFound, ReferenceNotFound):
            meant = find_content(store, name)
            if meant is None:
                raise
            yield Asked(name.text, None, meant[1], meant[0])
            continue
        for image_id, reference in found:
            yield Asked(name.text, image_id, reference, digest)


def _report(content: LayoutContent, index: WrittenIndex) -> SaveReport:
    omitted = tuple(OmittedManifests(digest, lacking) for digest, lacking in content.omitted.items())
    return SaveReport(omitted, index.in_full, content.remade, content.left_out, content.outdated)
