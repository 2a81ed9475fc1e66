"""The verbs that only look, over an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.reader import Archive, ArchivedImage
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.outside import OutsideService

if TYPE_CHECKING:
    import os

    from orlop.archive.reader import ArchivedArtifact
    from orlop.model.limits import Limits
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress


class ArchiveService(OutsideService[ArchivedImage]):
    """The read-only verbs of `orlop.ImageService`, over an archive; a context manager that closes it.

    Nothing is written anywhere. Sizes are the same as in a store after a load; layers are read once to compute them.
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

    def _unread(self, name: ImageName | None) -> str:
        artifacts = [one for one in self.archive.artifacts if name is None or _is_named(one, name)]
        return next((one.unread for one in artifacts if one.unread), "")

    def close(self) -> None:
        """Release the archive."""
        self.archive.close()


def _is_named(artifact: ArchivedArtifact, name: ImageName) -> bool:
    asked = name.tagged
    if isinstance(asked, Digest):
        return artifact.digest == asked
    return artifact.digest == asked.digest or not {asked.familiar, name.text}.isdisjoint(artifact.names)
