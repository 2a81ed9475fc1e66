"""Manifests of an image: in lists, inspections, and ``GET /distribution/{name}/json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.model.descriptor import platform_to_dict
from orlop.model.platform import Platform
from orlop.service.listing.manifests import ManifestKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.api.engine.shapes.encoding import Document
    from orlop.service.listing.manifests import ImageManifests, ManifestSummary

_NO_PLATFORM = Platform("", "")


def manifest_list(manifests: Iterable[ManifestSummary]) -> list[Document]:
    """Return the manifests of an image, in the order of its index."""
    return [_summary(manifest) for manifest in manifests]


def distribution(name: str, manifests: ImageManifests | None, platform: Platform) -> Document:
    """Return the descriptor of an image's manifest or index, and its platforms.

    Args:
        name: how the request calls the image.
        manifests: those that are kept of it.
        platform: that of the image, for a manifest, which does not say.

    Raises:
        NotFound: none is kept of it.
    """
    if manifests is None:
        raise NotFound(f"no manifest of {name} is kept: it came in an archive without one, or was made here")
    platforms = [each.platform or platform for each in manifests.manifests if each.kind is ManifestKind.IMAGE]
    return {
        "Descriptor": manifests.target.to_dict(),
        "Platforms": [platform_to_dict(each) for each in platforms],
    }


def _summary(manifest: ManifestSummary) -> Document:
    document: Document = {
        "ID": str(manifest.descriptor.digest),
        "Descriptor": manifest.descriptor.to_dict(),
        "Available": manifest.available,
        "Size": {
            "Content": manifest.content_size,
            "Total": manifest.content_size + manifest.unpacked_size,
        },
        "Kind": manifest.kind.value,
    }
    if manifest.kind is ManifestKind.IMAGE:
        document["ImageData"] = {
            "Platform": platform_to_dict(manifest.platform or _NO_PLATFORM),
            "Containers": [],
            "Size": {"Unpacked": manifest.unpacked_size},
        }
    elif manifest.kind is ManifestKind.ATTESTATION:
        document["AttestationData"] = {"For": manifest.subject}
    return document
