"""What an OCI image layout says of an archive's images: manifests and indexes, verified and kept as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import DigestMismatch
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import Index, Manifest, parse_manifest
from orlop.store.metadata import ManifestRow

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from orlop.archive.members import Members
    from orlop.model.descriptor import Descriptor

_MAX_NESTING = 8


def attached_manifests(members: Members, images: Container[ImageID]) -> list[tuple[ManifestRow, tuple[ImageID, ...]]]:
    """Give the manifests and indexes that belong to an archive's images, each with those images.

    Follows ``index.json``. What a descriptor names and the archive does not hold is passed over, as an archive of one
    platform keeps the index of all; so is what belongs to no image (attestations).

    Raises:
        InvalidManifest: a document is no manifest. DigestMismatch: it is not what its descriptor says.
    """
    if not members.has("index.json"):
        return []
    index = Index.from_json(members.document("index.json", what="the document"))
    found: dict[Digest, tuple[ManifestRow, tuple[ImageID, ...]]] = {}
    _collect(members, index.manifests, images, found, 0)
    return list(found.values())


def _collect(
    members: Members,
    descriptors: Iterable[Descriptor],
    images: Container[ImageID],
    found: dict[Digest, tuple[ManifestRow, tuple[ImageID, ...]]],
    depth: int,
) -> tuple[ImageID, ...]:
    owners: list[ImageID] = []
    for descriptor in descriptors:
        name = f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"
        if depth > _MAX_NESTING or not members.has(name):
            continue
        if descriptor.digest in found:
            owners += found[descriptor.digest][1]
            continue
        raw = members.document(name, what="the manifest")
        if len(raw) != descriptor.size or Digest.of(raw) != Digest.parse(str(descriptor.digest)):
            msg = f"the archive's manifest {name!r} is not what its descriptor says; the archive is damaged"
            raise DigestMismatch(msg)
        document = parse_manifest(raw)
        if isinstance(document, Manifest):
            image_id = ImageID.wrap(document.config.digest)
            mine: tuple[ImageID, ...] = (image_id,) if image_id in images else ()
        else:
            mine = _collect(members, document.manifests, images, found, depth + 1)
        if mine:
            media_type = document.media_type or descriptor.media_type
            found[descriptor.digest] = (ManifestRow(descriptor.digest, media_type, raw), mine)
            owners += mine
    return tuple(dict.fromkeys(owners))
