"""``history``: how an image came to be, newest step first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orlop.errors import InvalidImage
from orlop.model.digest import chain_ids
from orlop.service.lookup import find_image

if TYPE_CHECKING:
    from orlop.model.digest import ChainID, ImageID
    from orlop.model.reference import Reference
    from orlop.model.timestamp import Timestamp
    from orlop.store.metadata import Rows
    from orlop.store.root import Store


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step: ``id`` is the image that it made, if that is in the store; ``size`` the bytes of its layer's files."""

    id: ImageID | None
    created: Timestamp | None
    created_by: str
    comment: str
    size: int
    references: tuple[Reference, ...]


def history(store: Store, name: str) -> list[HistoryEntry]:
    """See `orlop.service.ImageService.history`."""
    with store.metadata.read() as rows:
        image = store.images.get(find_image(store, name))
        chains = iter(chain_ids(image.rootfs.diff_ids))
        entries: list[HistoryEntry] = []
        for step in image.history:
            size = 0
            if not step.empty_layer:
                chain = next(chains, None)
                if chain is None:
                    msg = f"the history of {image.id} names more layers than it has; it is damaged"
                    raise InvalidImage(msg)
                size = _diff_size(rows, chain)
            entries.append(HistoryEntry(None, step.created, step.created_by, step.comment, size, ()))
        entries.reverse()
        # The newest steps belong to the image and its parents, as far as these are in the store.
        current = rows.image_row(image.id)
        for number, entry in enumerate(entries):
            if current is None:
                break
            names = tuple(name for name in store.references.of_image(current.id) if name.tag is not None)
            entries[number] = replace(entry, id=current.id, references=names)
            current = None if current.parent is None else rows.image_row(current.parent)
        return entries


def _diff_size(rows: Rows, chain: ChainID) -> int:
    row = rows.chain(chain)
    diff = None if row is None else rows.diff(row.diff_id)
    return 0 if diff is None else diff.content_size
