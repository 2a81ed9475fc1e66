"""What an archive format must offer: images go in from a stream and out to one.

The counterpart of ``image.Exporter`` of the Go package ``docker/image``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from orlop.intake.report import LoadedImage, LoadReport, MovedReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.archive.members import Members
    from orlop.intake.content import ArchiveContent
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.source import L
    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.store.blobs.ingest import IngestedLayer
    from orlop.store.root import Store

__all__ = ["Exporter", "LoadReport", "LoadedImage", "MovedReference", "SaveItem"]


@dataclass(frozen=True, slots=True)
class SaveItem:
    """An image to be saved, under these names; ``parent`` is the one that the store knows."""

    image: Image
    references: tuple[Reference, ...]
    parent: ImageID | None


class Exporter(ABC):
    """One archive format over one store. A format says what images are in an archive; how they are kept is common."""

    form: ClassVar[str]
    """The name of the format, one of `orlop.intake.report.FORMATS`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    @abstractmethod
    def read(cls, members: Members[L], choice: PlatformChoice) -> ArchiveContent:
        """Return what an archive holds of what is wanted; layers are named and not read, unless the format needs it.

        Raises:
            InvalidArchive, InvalidImage, InvalidManifest, InvalidReference, …: the archive is refused.
            DigestMismatch, SizeMismatch: a document is not what its descriptor says.
            PlatformNotFound: no image is for the platform that is wanted.
        """

    @final
    def load(self, members: Members[IngestedLayer], choice: PlatformChoice) -> LoadReport:
        """Keep everything that an archive holds of what is wanted, all or nothing. The caller closes the members.

        Raises:
            InvalidInput, IntegrityError, NotFound: the archive is refused, see `read`.
            StorageError: it cannot be kept. The store is then as it was.
        """
        from orlop.intake.commit import commit  # noqa: PLC0415 - saving needs nothing of what takes layers in

        content = self.read(members, choice)
        return commit(self._store, members, content, form=content.form or self.form)

    def save(self, items: Sequence[SaveItem], *, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the bytes of an archive; a damaged layer raises before its last byte is given.

        Raises:
            TypeError: the format is one that is only read.
        """
        del items, progress
        msg = f"archives of the format {self.form} are only read"
        raise TypeError(msg)
