"""An image that is in no store, as far as it takes to look at it: in an archive, or on the disk of another engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.model.image import Image
    from orlop.model.reference import Reference


class OutsideLayer(Protocol):
    """A layer of such an image; what it is asked for may make it be read, and raises what that raises."""

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar, by the image's config."""

    @property
    def size(self) -> int:
        """The bytes of the files in it."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of its uncompressed tar; fail before the last of them where they are not its diff ID's."""


class OutsideImage(Protocol):
    """An image that is in no store. Its config has the parent only where that is in the same place."""

    @property
    def id(self) -> ImageID:
        """The image ID."""

    @property
    def config(self) -> Image:
        """Its config, as read."""

    @property
    def raw_config(self) -> bytes:
        """The exact bytes of the config."""

    @property
    def size(self) -> int:
        """The bytes of the files in all layers."""

    @property
    def references(self) -> tuple[Reference, ...]:
        """Its tags."""

    @property
    def digests(self) -> tuple[Reference, ...]:
        """Its names by the digest of a manifest or an index."""

    @property
    def manifests(self) -> tuple[Digest, ...]:
        """The digests of the manifests and indexes that belong to it."""

    @property
    def layers(self) -> Sequence[OutsideLayer]:
        """Its layers, bottom first."""
