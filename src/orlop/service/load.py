"""``load``: an archive's images into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.detect import exporter_of, open_members
from orlop.intake.commit import commit, layer_taker
from orlop.intake.platforms import chosen

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from orlop.intake.report import LoadReport
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.store.root import Store


def load(
    store: Store,
    source: BinaryIO | str | os.PathLike[str],
    *,
    platform: Platform | str | None = None,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> LoadReport:
    """See `orlop.service.ImageService.load`."""
    store.require_writable()
    choice = chosen(platform)
    store.blobs.sweep_ingests()
    with open_members(
        source, layer_taker(store), limits=limits or store.limits, progress=progress, scratch=store.blobs.new
    ) as members:
        exporter = exporter_of(members)
        if not only:
            return exporter(store).load(members, choice)
        from orlop.intake.selection import selected  # noqa: PLC0415 - most loads take all

        content = selected(exporter.read(members, choice), only)
        return commit(store, members, content, form=content.form or exporter.form)
