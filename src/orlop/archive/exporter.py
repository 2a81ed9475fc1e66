"""Images in from an archive and out to one: the counterpart of ``image.Exporter`` of the Go package ``docker/image``.

For programs that know that interface. `orlop.ImageService` has verbs that do more: `load` and `save`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.saved import SaveItem
from orlop.intake.report import LoadedImage, LoadReport, MovedReference

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.store.root import Store

__all__ = ["Exporter", "LoadReport", "LoadedImage", "MovedReference", "SaveItem"]


class Exporter:
    """Docker's archives over a store.

    Args:
        store: where images are kept.
        form: the layout that `save` writes, one of `orlop.archive.docker_save.LAYOUTS`.

    Raises:
        InvalidInput: there is no such layout.
    """

    def __init__(self, store: Store, form: str = "docker") -> None:
        from orlop.archive.docker_save import layout  # noqa: PLC0415 - whoever only names the class needs none

        self._store = store
        self._layout = layout(form)

    def load(
        self,
        source: BinaryIO | str | os.PathLike[str],
        *,
        platform: Platform | str | None = None,
        progress: Progress | None = None,
    ) -> LoadReport:
        """Keep everything that an archive holds of what is wanted, all or nothing, see `orlop.ImageService.load`."""
        from orlop.archive.source import opened  # noqa: PLC0415 - saving needs nothing of what takes layers in
        from orlop.intake.commit import commit  # noqa: PLC0415 - as above
        from orlop.intake.platforms import chosen  # noqa: PLC0415 - as above
        from orlop.intake.taking import storing  # noqa: PLC0415 - as above

        choice = chosen(platform)
        with (
            storing(self._store, progress=progress) as taking,
            opened(source, taking, scratch=self._store.blobs.spool) as archive,
        ):
            return commit(self._store, archive, archive.offer(choice))

    def save(self, items: Sequence[SaveItem], *, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the bytes of an archive; a damaged layer raises before its last byte is given.

        What is saved must be held by a lease, see `orlop.store.leases`.
        """
        return self._layout(self._store, items).chunks(progress)
