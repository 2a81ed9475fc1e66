"""``save`` in the form of an OCI layout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.archive.oci_content import Asked, layout_content
from orlop.archive.oci_directory import write_layout
from orlop.archive.oci_index import index_json
from orlop.archive.oci_platforms import Platforms
from orlop.archive.oci_tar import layout_chunks
from orlop.archive.save_report import OmittedManifests, SaveReport
from orlop.errors import InvalidInput
from orlop.model.digest import Digest
from orlop.service.save import DIRECTORY, held, named, note_saved, require_names

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO

    from orlop.archive.oci_content import LayoutContent
    from orlop.archive.oci_index import WrittenIndex
    from orlop.model.names import ImageName
    from orlop.model.progress import Progress
    from orlop.service.save import AskedPlatforms
    from orlop.store.root import Store


def layout_tar(
    store: Store, names: Sequence[ImageName], *, platform: AskedPlatforms, progress: Progress | None
) -> Generator[bytes, None, SaveReport]:
    """Yield the bytes of a tar that is a layout of some images, and return what there is to tell of it."""
    asked, platforms = list(_asked(store, names)), Platforms.of(platform)
    with held(store, layout_content(store, asked, platforms).images) as hold:
        # Only what was held before it is looked at again may be relied on.
        content = layout_content(store, asked, platforms)
        index = index_json(content.entries, _omitted(content))
        yield from layout_chunks(store, content, index.raw, progress)
        note_saved(store, content.images, hold)
    return _report(content, index)


def save_directory(
    store: Store,
    names: Sequence[ImageName],
    target: BinaryIO | str | os.PathLike[str],
    *,
    platform: AskedPlatforms,
    progress: Progress | None,
) -> SaveReport:
    """Write a layout of some images into a directory, or add them to the one that is there."""
    require_names(names)
    if not isinstance(target, (str, os.PathLike)):
        msg = f"the format {DIRECTORY!r} is a directory, not a stream of bytes; name a directory to save to"
        raise InvalidInput(msg)
    asked, platforms = list(_asked(store, names)), Platforms.of(platform)
    with held(store, layout_content(store, asked, platforms).images) as hold:
        content = layout_content(store, asked, platforms)
        written = write_layout(store, target, content, progress)
        note_saved(store, content.images, hold)
    return _report(content, written)


def _asked(store: Store, names: Sequence[ImageName]) -> Iterator[Asked]:
    """Yield what names stand for, in their order."""
    for name in names:
        digest = None if isinstance(name.asked, Digest) else name.asked.digest
        for image_id, reference in named(store, name):
            yield Asked(name.text, image_id, reference, digest)


def _omitted(content: LayoutContent) -> list[Digest]:
    return [child.digest for omitted in content.omitted.values() for child in omitted]


def _report(content: LayoutContent, index: WrittenIndex) -> SaveReport:
    omitted = tuple(OmittedManifests(digest, lacking) for digest, lacking in content.omitted.items())
    return SaveReport(omitted, index.in_full, content.remade)
