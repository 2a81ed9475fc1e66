"""The images of a data root, for reading: the counterpart of `orlop.archive.reader` for archives."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.errors import DigestMismatch
from orlop.foreign.names import words_of
from orlop.intake.offer import digests_by_image
from orlop.intake.taking import measuring
from orlop.model.image import Configured
from orlop.streams.compression import Compression, decompressed
from orlop.streams.meter import Meter
from orlop.streams.verify import VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from orlop.foreign.held import ForeignImage, LayerCopy
    from orlop.foreign.root import ForeignRoot
    from orlop.intake.offer import OfferedImage, OfferedLayer
    from orlop.intake.platforms import PlatformChoice
    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.model.image import Image
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.store.blobs.ingest import MeasuredLayer, Readable


class RootLayer:
    """A layer of a data root. Its size and bytes are read, and verified, when they are asked for.

    Args:
        root: where it is.
        layer: which one.
        progress: called with events when it is read to find out where it is whole.
    """

    def __init__(self, root: ForeignRoot, layer: OfferedLayer, progress: Progress | None) -> None:
        self._root = root
        self._layer = layer
        self._progress = progress
        self._found: tuple[MeasuredLayer, LayerCopy, int] | None = None

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar, by the image's config."""
        return self._layer.diff_id

    @property
    def size(self) -> int:
        """The bytes of the files in it; the layer is read for it. Raises as `chunks`."""
        return self._taken()[0].diff.content_size

    def chunks(self) -> Generator[bytes]:
        """Yield the bytes of its uncompressed tar; fails before the last of them where they are not its diff ID's.

        The layer is read once before, to know which of the places where it may be had has it.

        Raises:
            DigestMismatch: it cannot be had, and why. LimitExceeded, StorageError.
        """
        measured, copy, number = self._taken()
        with closing(copy.attempts(Meter(self._root.limits))) as attempts, ExitStack() as stack:
            for _ in range(number):
                next(attempts)
            plain: Readable = next(attempts)
            compression = Compression[measured.blob.compression.upper()]
            if compression is not Compression.NONE:
                plain = stack.enter_context(decompressed(plain, compression, limits=self._root.limits))
            yield from VerifyingReader(plain, digest=self.diff_id, size=measured.diff.size).chunks()

    def _taken(self) -> tuple[MeasuredLayer, LayerCopy, int]:
        if self._found is None:
            with measuring(self._root.limits, self._progress) as taking:
                self._found = self._root.taken(self._layer, taking)
        return self._found


@dataclass(frozen=True, slots=True)
class RootImage(Configured):
    """An image of a data root whose config is whole.

    ``config`` has the parent that the engine knew, if that is in the root; ``layers`` stand bottom first.
    ``manifests`` are the digests of the manifests and indexes that belong to it.
    """

    config: Image
    platform: Platform
    references: tuple[Reference, ...]
    digests: tuple[Reference, ...]
    layers: tuple[RootLayer, ...]
    manifests: tuple[Digest, ...]
    said: int | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Its bytes as its engine listed them; where the engine did not say, those of the layers that can be read."""
        return sum(map(_readable_size, self.layers)) if self.said is None else self.said


def _readable_size(layer: RootLayer) -> int:
    try:
        return layer.size
    except DigestMismatch:
        return 0


def images_of(root: ForeignRoot, choice: PlatformChoice, progress: Progress | None = None) -> list[RootImage]:
    """Return the images of a data root whose configs are whole.

    Args:
        root: where they are.
        choice: of which platforms.
        progress: called with events about layers, whenever one is read for an image.

    Raises:
        PlatformNotFound: a platform was asked for, and there is no image of it.
    """
    offered = [(one, one.offered) for one in root.images if one.offered is not None]
    ids = {entry.image.id for _, entry in offered}
    manifests = digests_by_image(root.manifests)
    layers = _Layers(root, progress)
    images = [
        _image(found, entry, layers.of(entry.layers), ids, manifests.get(entry.image.id, ()))
        for found, entry in offered
        if choice.keeps(entry.platform)
    ]
    if not images and choice.asked is not None:
        raise choice.nothing((entry.platform for _, entry in offered), words_of(f"the root {root.path}", "layer"))
    return images


class _Layers:
    """The layers of a root, one object for each however many images have it: it is read only once."""

    def __init__(self, root: ForeignRoot, progress: Progress | None) -> None:
        self._root = root
        self._progress = progress
        self._made: dict[OfferedLayer, RootLayer] = {}

    def of(self, layers: Sequence[OfferedLayer]) -> tuple[RootLayer, ...]:
        return tuple(self._made.setdefault(one, RootLayer(self._root, one, self._progress)) for one in layers)


def _image(
    found: ForeignImage,
    entry: OfferedImage,
    layers: tuple[RootLayer, ...],
    ids: set[ImageID],
    manifests: tuple[Digest, ...],
) -> RootImage:
    config = entry.image.with_parent(entry.parent if entry.parent in ids else None)
    return RootImage(config, entry.platform, entry.references, entry.digests, layers, manifests, found.size)
