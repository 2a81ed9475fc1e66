"""Archives as targets: a file is written anew as a whole, so that what stays in it is carried over from the old one.

What stays is what a layout in a directory would keep: every other name, what has no name, and what refers to either.
What refers only to an image that goes, or is replaced, goes with it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orlop.archive.reader import Archive
from orlop.errors import IntegrityError, InvalidManifest, NotFound
from orlop.model.attached import staying_beside
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.directory import Directory
from orlop.streams.files import explaining
from orlop.streams.part_directory import DirectoryLock
from orlop.transfer.graph import Gathering, subjects
from orlop.transfer.members_source import opened_layout
from orlop.transfer.places import Kind, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference
    from orlop.service.copy import Copy
    from orlop.transfer.source import Root, Source


def names_in(place: Place, limits: Limits = DEFAULT_LIMITS) -> list[Reference]:
    """Return the names of images in an archive, of which there are none where it is not there, or holds no names.

    Raises:
        InvalidInput: the file is not an archive, or is compressed. StorageError: it cannot be read.
    """
    if place.kind is Kind.DIRECTORY or not os.path.lexists(place.path):
        return []
    if place.kind is Kind.LAYOUT_ARCHIVE:
        with opened_layout(place.path, limits) as layout:
            return [root.name for root in layout.tops() if root.name is not None]
    with Archive(place.path, limits=limits) as archive:
        return [name for image in archive.images for name in image.references]


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keep others of orlop that add to archives from an archive, for a block that reads it and writes it anew.

    They wait for each other by a lock on the folder, as `orlop.service.save_append` does.

    Raises:
        StorageError: its folder cannot be read.
    """
    if place.kind is Kind.DIRECTORY:
        yield
        return
    folder = os.path.dirname(os.path.realpath(place.path))
    with explaining("write", place.path):
        above = Directory(folder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    with above, DirectoryLock(above):
        yield


def opened_file(copy: Copy, place: Place) -> tuple[Source, Sequence[Root]] | None:
    """Open a file for as long as a copy, with what stays in it unless it is replaced; return None if it is not there.

    A directory of skopeo's holds one image, of which nothing stays but what the next one has, too.

    Raises:
        InvalidInput: the file is not what it should be, or is compressed. StorageError: it cannot be read.
    """
    if not os.path.lexists(place.path):
        return None
    source, roots = copy.opened(Place(place.kind, place.path, ""))
    return source, [] if place.kind is Kind.DIRECTORY else roots


def staying(source: Source, there: Sequence[Root], other: Collection[Reference], new: Sequence[Root]) -> list[Root]:
    """Return what stays of an archive.

    Args:
        source: where its content is, and that of what comes.
        there: what is in it.
        other: names that go from it, or that lead elsewhere in the next one.
        new: what comes into the next one.
    """
    named = [root for root in there if root.name is not None and root.name not in other]
    unnamed = [(root, root.descriptor.digest, subjects(source, root)) for root in there if root.name is None]
    stay = [*named, *(root for root, _, about in unnamed if not about)]
    held = _reached(source, [*stay, *new])
    # One thing may have several tags that attach it; without such a tag it needs no entry where something leads to it.
    beside = [one for one in unnamed if one[2] and (one[0].address or one[1] not in held)]
    lost = [root for root in there if root.name in other]
    gone = {root.descriptor.digest for root in lost}
    # What is damaged there leads to nothing that goes with it.
    with suppress(IntegrityError, InvalidManifest, NotFound):
        gone |= _reached(source, lost)
    return [*stay, *staying_beside(beside, held, gone)]


def _reached(source: Source, roots: Sequence[Root]) -> set[Digest]:
    gathering = Gathering(source)
    gathering.add(roots)
    return {node.descriptor.digest for node in gathering.graph().nodes}
