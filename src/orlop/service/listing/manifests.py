"""The manifests and indexes that came with an image, and which of what they name is here."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from orlop.model.descriptor import Descriptor
from orlop.model.digest import ImageID
from orlop.model.image import Image
from orlop.model.manifest import Index, Manifest, parse_manifest
from orlop.model.values import dataclass
from orlop.service.listing.lookup import find_image
from orlop.store.references import reference_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import Digest
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ManifestRow, Rows

_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
_REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
_UNKNOWN: Final = "unknown"


class ManifestKind(Enum):
    """What a manifest is of; the values are docker's words."""

    IMAGE = "image"
    ATTESTATION = "attestation"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """A manifest of an image.

    ``available`` says that its image is in the store. ``content_size`` is the bytes of the manifest, its config and its
    layers as they were compressed, and ``unpacked_size`` those of the files in the layers: both 0 where it is not here.
    ``platform`` is that of the descriptor, or else of the image.
    ``subject`` is the digest of what an attestation speaks of.
    """

    descriptor: Descriptor
    kind: ManifestKind
    available: bool = False
    content_size: int = 0
    unpacked_size: int = 0
    platform: Platform | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class ImageManifests:
    """What an image's digest names: ``target`` describes it, ``raw`` is it, and ``manifests`` are those that it has."""

    target: Descriptor
    raw: bytes
    manifests: tuple[ManifestSummary, ...]


def image_manifests(store: Store, name: ImageName) -> ImageManifests | None:
    """See `orlop.service.ImageService.manifests`."""
    with store.metadata.read() as rows:
        image_id = find_image(store, name)
        names = [reference_of(row) for row in rows.references(image=image_id)]
        row = target(rows, image_id, names)
        return None if row is None else with_summaries(rows, row)


def target(rows: Rows, image: ImageID, names: Sequence[Reference]) -> ManifestRow | None:
    """Return the manifest or index after which an image is named, if it is."""
    digests = {name.digest: None for name in names if name.digest is not None}
    if not digests:
        return None
    kept = {*rows.manifest_digests(image)}
    found = next((digest for digest in digests if digest in kept), None)
    return None if found is None else rows.manifest(found)


def descriptor_of(row: ManifestRow) -> Descriptor:
    """Describe a manifest or index that is kept."""
    return Descriptor(row.media_type, row.digest, len(row.raw))


def with_summaries(rows: Rows, row: ManifestRow) -> ImageManifests:
    """Look at all manifests that a manifest or index has: itself, or those that it names."""
    document = parse_manifest(row.raw)
    named = document.manifests if isinstance(document, Index) else (descriptor_of(row),)
    return ImageManifests(descriptor_of(row), row.raw, tuple(_summary(rows, each) for each in named))


def _summary(rows: Rows, descriptor: Descriptor) -> ManifestSummary:
    if _REFERENCE_TYPE in descriptor.annotations:
        subject = descriptor.annotations.get(_REFERENCE_DIGEST, "")
        size = _content_size(rows, descriptor.digest)
        return ManifestSummary(
            descriptor, ManifestKind.ATTESTATION, available=bool(size), content_size=size, subject=subject
        )
    platform = descriptor.platform
    if platform is not None and platform.os == platform.architecture == _UNKNOWN:
        return ManifestSummary(descriptor, ManifestKind.UNKNOWN)
    manifest = _manifest(rows, descriptor.digest)
    image = None if manifest is None else rows.image_row(ImageID.wrap(manifest.config.digest))
    if manifest is None or image is None:
        return ManifestSummary(descriptor, ManifestKind.IMAGE, platform=platform)
    return ManifestSummary(
        descriptor,
        ManifestKind.IMAGE,
        available=True,
        content_size=_size(manifest),
        unpacked_size=image.size,
        platform=platform or _platform(rows, image.id),
    )


def _platform(rows: Rows, image: ImageID) -> Platform | None:
    """Return what a config says, for a manifest of which nothing else tells it."""
    config = rows.config(image)
    return None if config is None else Image.from_json(config).platform


def _manifest(rows: Rows, digest: Digest) -> Manifest | None:
    row = rows.manifest(digest)
    document = None if row is None else parse_manifest(row.raw)
    return document if isinstance(document, Manifest) else None


def _content_size(rows: Rows, digest: Digest) -> int:
    manifest = _manifest(rows, digest)
    return 0 if manifest is None else len(manifest.raw)


def _size(manifest: Manifest) -> int:
    return len(manifest.raw) + manifest.config.size + sum(layer.size for layer in manifest.layers)
