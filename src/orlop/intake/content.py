"""What an archive holds, read and checked, before anything of it is kept: what every format's reader gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orlop.errors import InvalidArchive
from orlop.model.digest import DiffID
from orlop.model.image import Image, check_history
from orlop.model.platform import Platform

if TYPE_CHECKING:
    from orlop.intake.platforms import PlatformChoice
    from orlop.model.digest import Digest, ImageID
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference
    from orlop.store.rows.metadata import ManifestRow


@dataclass(frozen=True, slots=True)
class ArchiveLayer:
    """A layer of an image in an archive: the member ``name`` becomes ``diff_id``.

    ``digest`` and ``size`` are what the archive says of the member's bytes as they are, where it does; ``urls`` are
    other places to have them from. The member may be absent: taking the layer then raises, unless the store has it
    already.
    """

    name: str
    diff_id: DiffID
    digest: Digest | None = None
    size: int | None = None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """One image of an archive, its layers bottom first.

    ``references`` are its tags, in order; ``digests`` its names by the digest of a manifest or an index; ``parent`` is
    another image of the same archive; ``manifest`` is the digest of its own manifest, where the archive has one.
    """

    image: Image
    layers: tuple[ArchiveLayer, ...]
    platform: Platform
    references: tuple[Reference, ...] = ()
    digests: tuple[Reference, ...] = ()
    parent: ImageID | None = None
    manifest: Digest | None = None


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """A manifest or index that came along, with the images that it belongs to."""

    row: ManifestRow
    images: tuple[ImageID, ...]


@dataclass(frozen=True, slots=True)
class ArchiveContent:
    """All that an archive holds, in its order; ``form`` is the format that decided, where it is not the reader's."""

    images: tuple[ArchiveImage, ...]
    manifests: tuple[ArchiveManifest, ...] = ()
    form: str = ""

    def only(self, choice: PlatformChoice) -> ArchiveContent:
        """Return the content without the images of platforms that were not asked for. Raises `PlatformNotFound`."""
        images = tuple(entry for entry in self.images if choice.keeps(entry.platform))
        if not images:
            raise choice.nothing(entry.platform for entry in self.images)
        ids = {entry.image.id for entry in images}
        manifests = (
            replace(manifest, images=tuple(owner for owner in manifest.images if owner in ids))
            for manifest in self.manifests
        )
        return ArchiveContent(images, tuple(manifest for manifest in manifests if manifest.images))


def read_config(raw: bytes, limits: Limits) -> Image:
    """Read an image config and check what an archive must not get wrong in it.

    Args:
        raw: its exact bytes.
        limits: how many layers it may have.

    Raises:
        InvalidImage, InvalidDigest: it cannot be read. LimitExceeded: it has too many layers.
    """
    image = Image.from_json(raw, once=True)
    check_history(image)
    diff_ids = image.rootfs.diff_ids
    check_depth(image.id, len(diff_ids), limits)
    for diff_id in diff_ids:
        DiffID.parse(str(diff_id))
    return image


def check_layers(image: Image, layers: int) -> None:
    """Check that an archive gives an image as many layers as its config has. Raises `InvalidArchive`."""
    if layers != len(image.rootfs.diff_ids):
        msg = (
            f"the archive gives the image {image.id} {layers} layers, but its config has"
            f" {len(image.rootfs.diff_ids)} diff IDs"
        )
        raise InvalidArchive(msg)


def check_depth(image: object, layers: int, limits: Limits) -> None:
    """Check that an image has not too many layers. Raises `LimitExceeded`."""
    if layers > limits.layers:
        raise limits.exceeded("layers", f"the image {image} has {layers} layers or more")


def platform_of(image: Image) -> Platform:
    """Return the platform that a config names."""
    return Platform(image.os, image.architecture, image.variant, image.os_version, image.os_features)
