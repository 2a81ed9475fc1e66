"""``GET /images/{name}/history``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api.engine.versions import V1_44
from orlop.model.timestamp import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.listing.history import HistoryEntry


def history(entries: Iterable[HistoryEntry], version: ApiVersion) -> list[Document]:
    """Return the steps that made an image, newest first."""
    # Engines since 25 know a time that was not given from the year 1.
    unknown = ZERO.unix if version < V1_44 else 0
    return [_step(entry, unknown) for entry in entries]


def _step(entry: HistoryEntry, unknown: int) -> Document:
    return {
        "Comment": entry.comment,
        "Created": unknown if entry.created is None else entry.created.unix,
        "CreatedBy": entry.created_by,
        "Id": "<missing>" if entry.id is None else str(entry.id),
        "Size": entry.size,
        "Tags": [name.familiar for name in entry.references] or None,
    }
