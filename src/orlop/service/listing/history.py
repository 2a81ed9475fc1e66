"""``history``: how an image came to be, newest step first."""

from __future__ import annotations

from orlop.errors import InvalidImage
from orlop.model.digest import chain_ids
from orlop.model.values import dataclass, replace
from orlop.service.listing.lookup import check_platform, find_image, platform_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import ChainID, ImageID
    from orlop.model.image import Image
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.model.timestamp import Timestamp
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step: ``id`` is the image that it made, if that is in the store; ``size`` the bytes of its layer's files."""

    id: ImageID | None
    created: Timestamp | None
    created_by: str
    comment: str
    size: int
    references: tuple[Reference, ...]


def history(store: Store, name: ImageName, *, platform: Platform | str | None = None) -> list[HistoryEntry]:
    """See `orlop.service.ImageService.history`."""
    wanted = platform_of(platform)
    with store.metadata.read() as rows:
        image_id = find_image(store, name)
        check_platform(store, name, image_id, wanted)
        image = store.images.get(image_id)
        sizes = (_diff_size(rows, chain) for chain in chain_ids(image.rootfs.diff_ids))
        return steps(image, sizes, _lineage(store, rows, image.id))


def steps(
    image: Image, sizes: Iterator[int], lineage: Iterator[tuple[ImageID, tuple[Reference, ...]]]
) -> list[HistoryEntry]:
    """Return the steps of an image, newest first, wherever it is kept.

    Args:
        image: the image.
        sizes: the bytes of the files in each of its layers, bottom first.
        lineage: the image and its parents with their tags, as far as they are known.

    Raises:
        InvalidImage: the history names more layers than there are.
    """
    entries: list[HistoryEntry] = []
    for step in image.history:
        size = 0 if step.empty_layer else next(sizes, None)
        if size is None:
            msg = f"the history of {image.id} names more layers than it has; it is damaged"
            raise InvalidImage(msg)
        entries.append(HistoryEntry(None, step.created, step.created_by, step.comment, size, ()))
    entries.reverse()
    # The newest steps belong to the image and its parents.
    for number, (made, references) in zip(range(len(entries)), lineage, strict=False):
        entries[number] = replace(entries[number], id=made, references=references)
    return entries


def _lineage(store: Store, rows: Rows, image_id: ImageID) -> Iterator[tuple[ImageID, tuple[Reference, ...]]]:
    row = rows.image_row(image_id)
    while row is not None:
        yield row.id, tuple(name for name in store.references.of_image(row.id) if name.tag is not None)
        row = None if row.parent is None else rows.image_row(row.parent)


def _diff_size(rows: Rows, chain: ChainID) -> int:
    row = rows.chain(chain)
    diff = None if row is None else rows.diff(row.diff_id)
    return 0 if diff is None else diff.content_size
