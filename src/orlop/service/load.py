"""``load``: an archive's images into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.detect import open_members
from orlop.archive.docker import DockerExporter
from orlop.errors import ReadOnlyStore

if TYPE_CHECKING:
    import os

    from orlop.archive.exporter import LoadReport
    from orlop.model.progress import Progress
    from orlop.store.root import Store


def load(store: Store, source: BinaryIO | str | os.PathLike[str], *, progress: Progress | None = None) -> LoadReport:
    """See `orlop.service.ImageService.load`."""
    if store.read_only:
        msg = f"cannot load into the store at {store.root}: it is read-only; use a root that can be written"
        raise ReadOnlyStore(msg)
    store.blobs.sweep_ingests()
    with open_members(source, store.blobs, progress=progress) as members:
        return DockerExporter(store).load(members)
