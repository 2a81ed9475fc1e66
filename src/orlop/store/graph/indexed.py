"""Whether an index that has a name leads to an image, asked of the rows of the image alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.store.rows.content import CHILD

if TYPE_CHECKING:
    from orlop.model.digest import Digest
    from orlop.store.rows.metadata import Rows


def is_indexed(rows: Rows, image: Digest) -> bool:
    """Return what `Documents.indexed` tells of all images of this one, at the cost of what is above it."""
    waiting = rows.manifest_digests(image)
    seen = set(waiting)
    while waiting:
        for edge in rows.edges_to(waiting.pop()):
            if edge.role != CHILD:
                continue
            if rows.tops(edge.parent):
                return True
            if edge.parent not in seen:
                seen.add(edge.parent)
                waiting.append(edge.parent)
    return False
