"""Images that an index needs: its tag is the name of one of them, and the others may have no tag of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.digest import ImageID
from orlop.store.content import reference_of_top
from orlop.store.rows.content import CHILD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.store.rows.metadata import Rows


def indexed_images(rows: Rows) -> dict[ImageID, set[Reference | None]]:
    """Return, for each image to which an index with a name leads, the tags of such indexes.

    None stands for names that no removal of images takes away: an address in a layout, a row of a cache, or the digest
    of an index that is not an image.
    """
    below: dict[Digest, set[ImageID]] = {}
    found: dict[ImageID, set[Reference | None]] = {}
    for row in rows.tops():
        if row.digest not in below:
            below[row.digest] = {
                ImageID.wrap(image) for digest in _below(rows, row.digest) for image in rows.images_of(digest)
            }
        name = reference_of_top(row)
        for image_id in below[row.digest]:
            found.setdefault(image_id, set()).add(name)
    return found


def _below(rows: Rows, digest: Digest) -> Iterator[Digest]:
    """Yield all to which an index leads, each once; nothing for a manifest."""
    seen = {digest}
    waiting = [digest]
    while waiting:
        for edge in rows.edges(waiting.pop()):
            if edge.role == CHILD and edge.child not in seen:
                seen.add(edge.child)
                waiting.append(edge.child)
                yield edge.child
