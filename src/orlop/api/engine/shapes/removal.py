"""What went: ``DELETE /images/{name}`` and ``POST /images/prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.service.space.prune import PruneReport
    from orlop.service.space.remove import RemoveReport


def removed(report: RemoveReport) -> list[Document]:
    """Return the names and the content that a removal took away, in order."""
    return [{kind: text} for kind, text in report.lines]


def pruned(report: PruneReport) -> Document:
    """Return what a prune took away (null where that is nothing), and the bytes that it freed."""
    return {"ImagesDeleted": removed(report) or None, "SpaceReclaimed": report.reclaimed}
