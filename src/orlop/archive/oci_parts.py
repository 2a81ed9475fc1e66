"""What a layout holds beside images that are whole: artifacts, images that came in part, and what refers to others."""

from __future__ import annotations

import hashlib

from orlop.archive.names import SUBJECT_NAME
from orlop.archive.oci_blobs import Document, StoredBlob
from orlop.model.attached import attached_tags
from orlop.model.descriptor import Descriptor
from orlop.model.digest import ImageID
from orlop.model.manifest import Index, parse_manifest
from orlop.model.tuples import NamedTuple
from orlop.store.content import ADDRESS, node_of
from orlop.store.rows.content import CHILD, SUBJECT
from orlop.store.rows.speaking import SPOKEN_OF, said_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.archive.oci_blobs import Blob
    from orlop.model.digest import Digest
    from orlop.model.manifest import Manifest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ManifestRow, Rows, TopRow

_REFERENCES: Final = ("vnd.docker.reference.type", SPOKEN_OF)
_UNKNOWN: Final = "unknown"


class Part(NamedTuple):
    """A manifest that is not that of a whole image, and what the store has of what it names."""

    row: ManifestRow
    manifest: Manifest
    blobs: tuple[Blob, ...]


class Parts:
    """Reads such manifests from the rows of one moment."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self._store = store
        self._rows = rows
        self._spoken_of: dict[Digest, dict[Digest, list[Digest]]] = {}
        self._addresses: dict[str, TopRow] | None = None

    def part(self, row: ManifestRow, manifest: Manifest) -> Part | None:
        """Return a manifest with all blobs that are here; nothing for that of an image of the store.

        Raises:
            DigestMismatch: a config is damaged.
        """
        config = manifest.config.digest
        if self.image_of(row, config) is not None:
            return None
        blobs = (self.blob(one) for one in (*manifest.layers, manifest.config))
        return Part(row, manifest, tuple(blob for blob in blobs if blob is not None))

    def image_of(self, row: ManifestRow, config: Digest) -> ImageID | None:
        """Return the image of the store that a manifest's config is, by whatever algorithm that is named."""
        owners = self._rows.images_of(row.digest)
        if config.algorithm == "sha256":
            image_id = ImageID.wrap(config)
            return image_id if owners and self._rows.image_row(image_id) is not None else None
        for owner in owners:
            raw = self._rows.config(owner)
            if raw is not None and hashlib.new(config.algorithm, raw).hexdigest() == config.hex:
                return ImageID.wrap(owner)
        return None

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Return what a descriptor names that is not a manifest, if the store has it."""
        row = self._rows.blob(descriptor.digest)
        if row is not None and self._store.blobs.has(row):
            return StoredBlob(self._store.blobs, row)
        config = self._rows.config(ImageID.wrap(descriptor.digest))
        return None if config is None else Document.of(config, descriptor.media_type, descriptor.digest)

    def referrers(self, digest: Digest) -> Iterator[ManifestRow]:
        """Yield what refers to a manifest or index: by its subject, or as an index says that names both."""
        edges = self._rows.edges_to(digest)
        found = [edge.parent for edge in edges if edge.role == SUBJECT]
        for index in sorted({edge.parent for edge in edges if edge.role == CHILD}):
            found += self._speaking(index).get(digest, ())
        for one in dict.fromkeys(found):
            row = self._rows.manifest(one)
            if row is not None:
                yield row

    def attached(self, digest: Digest, repositories: Iterable[str]) -> Iterator[tuple[ManifestRow, str]]:
        """Yield what is attached to a manifest or index by a tag, with the tag.

        It is what the tag means in the first of some repositories that has it, else in the layout that came last.
        """
        names = list(repositories)
        for tag in attached_tags(digest):
            meant = next((top for name in names if (top := self._rows.top(name, f":{tag}")) is not None), None)
            meant = self._addressed(tag) if meant is None else meant
            row = None if meant is None else self._rows.manifest(meant.digest)
            if row is not None:
                yield row, tag

    def _addressed(self, text: str) -> TopRow | None:
        """Return what a layout called so, of several the one that came last."""
        if not self._rows.has_names(ADDRESS.name(text)):
            return None
        if self._addresses is None:
            tops = sorted(self._rows.tops(), key=lambda top: (top.updated, str(top.digest)))
            self._addresses = {address: top for top in tops if (address := ADDRESS.text(top))}
        return self._addresses.get(text)

    def _speaking(self, index: Digest) -> dict[Digest, list[Digest]]:
        """Return what an index says to speak of others of its children, by those."""
        if index not in self._spoken_of:
            row = self._rows.manifest(index)
            document = None if row is None else parse_manifest(row.raw)
            found: dict[Digest, list[Digest]] = {}
            for child, subjects in said_by(document if isinstance(document, Index) else None).items():
                for subject in subjects:
                    found.setdefault(subject, []).append(child)
            self._spoken_of[index] = found
        return self._spoken_of[index]


def entry_of(row: ManifestRow, subject: Digest | None = None, document: Manifest | Index | None = None) -> Descriptor:
    """Return the descriptor by which ``index.json`` names what is not a whole image, and what it refers to.

    The document is that of the row, if it was read already.
    """
    node = node_of(row, document)
    annotations = {} if subject is None else {**node.document.annotations, SUBJECT_NAME: str(subject)}
    return Descriptor(
        row.media_type, row.digest, len(row.raw), annotations=annotations, artifact_type=node.artifact_type
    )


def subject_of(descriptor: Descriptor, manifest: Manifest) -> str:
    """Return the digest of what a child of an index speaks of, as it or the index says; empty where neither does."""
    said = descriptor.annotations.get(SPOKEN_OF, "")
    return said if manifest.subject is None else str(manifest.subject.digest)


def platform_named(descriptor: Descriptor) -> str:
    """Return the platform for which an index names an image; nothing for an attestation or another artifact."""
    if any(key in descriptor.annotations for key in _REFERENCES):
        return ""
    platform = descriptor.platform
    if platform is None:
        return str(descriptor.digest)
    return "" if _UNKNOWN in {platform.os, platform.architecture} else str(platform)
