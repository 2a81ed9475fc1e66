"""The verbs that only look, over an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.reader import Archive, ArchivedImage
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.outside import OutsideService

if TYPE_CHECKING:
    import os

    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress


class ArchiveService(OutsideService[ArchivedImage]):
    """The verbs of `orlop.ImageService` that only look, over an archive; a context manager that closes it.

    Nothing is written anywhere. Sizes are those that a store would give after a load: layers are read for them, once.
    Names are as in a store; ``None`` in place of one stands for the only image of the archive.
    """

    def __init__(
        self,
        source: BinaryIO | str | os.PathLike[str],
        *,
        platform: Platform | str | None = None,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Open an archive, see `orlop.Archive`."""
        self.archive = Archive(source, platform=platform, progress=progress, limits=limits)
        super().__init__(self.archive.images, "the archive")

    def close(self) -> None:
        """Release the archive."""
        self.archive.close()
