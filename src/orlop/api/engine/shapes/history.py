"""``GET /images/{name}/history``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.timestamp import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.engine.shapes.encoding import Document
    from orlop.service.history import HistoryEntry


def history(entries: Iterable[HistoryEntry]) -> list[Document]:
    """Give the steps that made an image, newest first; the same in every version."""
    return [_step(entry) for entry in entries]


def _step(entry: HistoryEntry) -> Document:
    return {
        "Comment": entry.comment,
        "Created": (entry.created or ZERO).unix,
        "CreatedBy": entry.created_by,
        "Id": "<missing>" if entry.id is None else str(entry.id),
        "Size": entry.size,
        "Tags": [name.familiar for name in entry.references] or None,
    }
