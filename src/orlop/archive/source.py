"""An archive as a source of images: its members, and the format that says what they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Generic

from orlop.archive.detect import open_members
from orlop.archive.formats import reader_of
from orlop.intake.source import Found
from orlop.intake.taking import L

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from orlop.archive.members import Members
    from orlop.errors import InvalidArchive
    from orlop.intake.offer import Offer, OfferedBlob, OfferedLayer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import Taking
    from orlop.intake.words import Words
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import TakenBlob
    from orlop.store.blobs.store import Spool

_LAYER = "the layer"


class ArchiveSource(Generic[L]):
    """An open archive, an `orlop.intake.source.ImageSource`. Its members stay open, for their owner to close.

    Of an archive that comes through a pipe, layers have been taken before anything names them.
    """

    remote: ClassVar[bool] = False

    def __init__(self, members: Members[L]) -> None:
        self.members = members

    @property
    def words(self) -> Words:
        """How messages speak of it."""
        return self.members.words

    @property
    def parallel(self) -> bool:
        """Whether several threads may take layers at once."""
        return self.members.parallel

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self.members.limits

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes."""
        return self.members.taking.progress

    def offer(self, choice: PlatformChoice) -> Offer:
        """Return what it holds of what is wanted, see `orlop.archive.formats.Reader`."""
        return reader_of(self.members)(self.members, choice)

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return the member that a layer is, with all links followed."""
        if not self.members.has(layer.name):
            return None
        return Found(self.members.key_of(layer.name, what=_LAYER), self.members.size_of(layer.name, what=_LAYER))

    def missing(self, layer: OfferedLayer) -> InvalidArchive:
        """Return the error for a layer whose member is not there."""
        return self.members.missing(layer.name, what=_LAYER)

    def blob(self, blob: OfferedBlob, *, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a blob as it is, taken and hashed; the same member gives the same one."""
        return self.members.blob(blob.name, label=blob.digest.short, check=check)

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
        """Return a layer, taken, hashed and scanned; the same member gives the same one."""
        return self.members.layer(layer.name, label=layer.diff_id.short, check=check)


@contextmanager
def opened(
    source: BinaryIO | str | os.PathLike[str], taking: Taking[L], *, scratch: Callable[[], Spool] | None = None
) -> Iterator[ArchiveSource[L]]:
    """Open an archive as a source. Takes and raises what `orlop.archive.detect.open_members` does."""
    with open_members(source, taking, scratch=scratch) as members:
        yield ArchiveSource(members)
