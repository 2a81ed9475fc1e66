"""``load``: an archive's images into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.source import opened
from orlop.intake.commit import commit
from orlop.intake.platforms import chosen
from orlop.intake.taking import storing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from orlop.intake.report import LoadReport
    from orlop.model.limits import Limits
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.store.root import Store


def load(
    store: Store,
    source: BinaryIO | str | os.PathLike[str],
    *,
    platform: Platform | str | None = None,
    only: Sequence[ImageName] = (),
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> LoadReport:
    """See `orlop.service.ImageService.load`."""
    store.require_writable()
    choice = chosen(platform)
    store.blobs.sweep_ingests()
    with (
        storing(store, limits=limits, progress=progress) as taking,
        opened(source, taking, scratch=store.blobs.spool) as archive,
    ):
        offer = archive.offer(choice)
        if only:
            from orlop.intake.selection import selected  # noqa: PLC0415 - most loads take all

            offer = selected(offer, only, archive.words)
        return commit(store, archive, offer)
