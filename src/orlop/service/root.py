"""The verbs that only look, over what another engine left on a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.foreign.images import RootImage, images_of
from orlop.foreign.root import open_root
from orlop.intake.platforms import chosen
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.outside import OutsideService

if TYPE_CHECKING:
    import os

    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress


class RootService(OutsideService[RootImage]):
    """The verbs of `orlop.ImageService` that only look, over a data root; a context manager that closes it.

    Nothing is written anywhere. Only images whose configs are whole are there. A list shows the sizes that the engine
    has noted; a history, and what is inside an image, are read from its layers, which fails for those that are damaged.
    ``root`` is the data root itself, for what its engines have beside images.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        platform: Platform | str | None = None,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Open what other engines left below a directory, see `orlop.foreign.open`.

        Args:
            path: a data root, a disk that has some in their usual places, or a directory that has some in it.
            platform: only the images of this one; else all.
            progress: called with events about layers that are read, in the calling thread.
            limits: what it may ask for.

        Raises:
            InvalidRoot: there is none. PlatformNotFound: it has no image of the platform. StorageError: the directory
                cannot be read.
        """
        self.root = open_root(path, limits=limits)
        try:
            images = images_of(self.root, chosen(platform), progress)
        except BaseException:
            self.root.close()
            raise
        super().__init__(images, f"the root {self.root.path}")

    @property
    def is_whole(self) -> bool:
        """Whether all images of the root are there: no config is lost, nor a list of all images."""
        held = self.root.held
        return not any(one.is_damaged or any(image.offered is None for image in one.images) for one in held)

    def close(self) -> None:
        """Close all directories of the root."""
        self.root.close()
