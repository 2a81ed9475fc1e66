"""Where images come from: what an archive, a registry, a foreign disk, a build and a repair have in common.

Theory of operation. A source is asked four questions, in this order:

1. `ImageSource.offer`: what do you hold of what is wanted? The answer is a value, read and checked, but for layers
   nothing has to be read yet: an `OfferedLayer` is what the source promises of one (digest, size, diff ID).
2. `ImageSource.find`: is that layer there, and which bytes is it? Two layers that are the same bytes are read once.
   Only layers that the store lacks are asked for, so that a source may offer layers that it does not carry.
3. `ImageSource.missing`: why not? A source knows best what to say of a layer that is not there.
4. `ImageSource.layer`: read it. The source hands the bytes to the `orlop.intake.taking.Taking` that it was made with,
   which hashes and scans them, writes them where there is a store, counts them against the limits, and tells the
   progress; so that a source only has to open something with a method ``read``.

A source that holds content of other kinds offers manifests and blobs, too, and is a `BlobSource`: blobs are taken like
layers, but nothing looks into them.

Nothing that a source says is believed. `orlop.intake.commit` compares what was read with what was promised, under a
lease, before anything of it can be seen; names and rows of all images then appear in one transaction, or none do. A
source never writes to the store, and never sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from orlop.intake.taking import L_co

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.errors import OrlopError
    from orlop.intake.offer import Offer, OfferedBlob, OfferedLayer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.words import Words
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import TakenBlob


class Found(NamedTuple):
    """Where a layer is in its source: ``key`` is the same for the same bytes; ``size``, where known, is their number.

    The size is that of the bytes as they stand there, perhaps compressed.
    """

    key: str
    size: int | None = None


class BlobSource(Protocol):
    """What a source is besides where it offers blobs, see `orlop.intake.offer.OfferedBlob`."""

    def blob(self, blob: OfferedBlob, *, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a blob, read to its end and neither decompressed nor scanned.

        Args:
            blob: what was offered.
            check: called now and then; what it raises ends the work.

        Raises:
            LimitExceeded: it asks for too much. StorageError, DownloadFailed: it cannot be read, or kept.
            InvalidInput: the source does not carry it.
        """


class ImageSource(Protocol[L_co]):
    """What holds images. See the theory of operation above; errors are those of `orlop.errors`."""

    @property
    def words(self) -> Words:
        """How messages speak of it."""

    @property
    def parallel(self) -> bool:
        """Whether several threads may ask for layers at once."""

    @property
    def remote(self) -> bool:
        """Whether its layers come from far away: each is kept as soon as it is there, and several are waited for."""

    @property
    def limits(self) -> Limits:
        """What it may ask for."""

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes, one event at a time."""

    def offer(self, choice: PlatformChoice) -> Offer:
        """Return what it holds of what is wanted.

        Raises:
            InvalidInput: it is refused. IntegrityError: a document does not match its digest.
            PlatformNotFound: it holds no image for the platform that is wanted. StorageError: it cannot be read.
        """

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return where a layer is, or nothing where the source does not carry it. Asked often: to be quick."""

    def missing(self, layer: OfferedLayer) -> OrlopError:
        """Return the error for a layer that is needed and that it does not carry."""

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L_co:
        """Return a layer, read to its end; the same bytes may give the same one.

        Args:
            layer: what was offered.
            check: called now and then; what it raises ends the work.

        Raises:
            InvalidTar, InvalidCompression: it is not a layer. LimitExceeded: it asks for too much. StorageError,
                DownloadFailed: it cannot be read, or kept.
        """
