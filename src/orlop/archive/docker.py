"""Docker's archives: what ``docker save`` of any Engine since 1.10 writes, loaded all or nothing.

``manifest.json`` decides what is in the archive. Manifests of an OCI layout beside it are verified and kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.archive.exporter import Exporter, LoadedImage, LoadReport, MovedReference
from orlop.archive.oci import attached_manifests
from orlop.errors import ContentNotFound, DigestMismatch, InvalidArchive, InvalidDigest, InvalidReference
from orlop.model import gojson
from orlop.model.digest import DiffID, Digest, ImageID
from orlop.model.image import Image, check_history
from orlop.model.progress import LayerExists
from orlop.model.reference import Reference
from orlop.store.layers import MAX_DEPTH, add_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.archive.docker_save import Layout
    from orlop.archive.exporter import SaveItem
    from orlop.archive.members import Members
    from orlop.model.digest import ChainID
    from orlop.model.progress import Progress
    from orlop.store.ingest import IngestedLayer
    from orlop.store.metadata import DiffRow, ManifestRow, WritableRows
    from orlop.store.root import Store

_HEX_NAME = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?\Z", re.DOTALL)
_BLOB_NAME = re.compile(r"blobs/sha256/([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """One entry of ``manifest.json``, read: ``layers`` names a member per diff ID."""

    image: Image
    references: tuple[Reference, ...]
    layers: tuple[str, ...]
    parent: ImageID | None


class DockerExporter(Exporter):
    """Docker's archives over a store."""

    def __init__(self, store: Store, layout: type[Layout] | None = None) -> None:
        self._store = store
        self._layout = layout

    def load(self, members: Members) -> LoadReport:
        """Keep every image, name, parent link and manifest of an archive, in one transaction.

        Raises:
            InvalidArchive, InvalidImage, InvalidReference, DigestMismatch, InvalidTar, …: the archive is refused.
            NoSpace, ReadOnlyStore, …: it cannot be kept. The store is then as it was.
        """
        images = read_manifest(members)
        parents = _parents(images)
        store = self._store
        known = self._known(images)
        with store.leases.hold(known):
            # Only what was held before it is looked at again may be relied on.
            layers = {
                name: self._layer(members, name, diff, held=diff in known) for name, diff in _needed(images).items()
            }
            manifests = attached_manifests(members, {entry.image.id: entry.image for entry in images})
            for layer in layers.values():
                if layer is not None:
                    layer.sync()
            with store.metadata.write() as rows:
                report = self._commit(rows, images, layers, manifests)
                for child, parent in parents:
                    store.images.set_parent(child, parent)
                return report

    def _known(self, images: list[ArchiveImage]) -> set[DiffID]:
        """Give the layers that are there already."""
        with self._store.metadata.read() as rows:
            wanted = {diff_id for entry in images for diff_id in entry.image.rootfs.diff_ids}
            return {diff_id for diff_id in wanted if rows.diff(diff_id) is not None}

    def _layer(self, members: Members, name: str, diff_id: DiffID, *, held: bool) -> IngestedLayer | None:
        """Give a member as a layer, or nothing where the store has it already and it is held."""
        key = members.key_of(name, what="the layer")
        if held and self._is_kept(key, diff_id):
            if members.progress is not None:
                members.progress(LayerExists(diff_id.short))
            return None
        layer = members.layer(name, label=diff_id.short)
        named = _BLOB_NAME.match(key)
        if named is not None and layer.blob.digest.hex != named[1]:
            msg = f"the archive's member {key!r} has the digest {layer.blob.digest}; the archive is damaged"
            raise DigestMismatch(msg)
        if layer.diff.diff_id != diff_id:
            msg = f"the layer {name!r} has the diff ID {layer.diff.diff_id}, but its image's config says {diff_id}"
            raise DigestMismatch(msg)
        return layer

    def _is_kept(self, key: str, diff_id: DiffID) -> bool:
        named = _BLOB_NAME.match(key)
        with self._store.metadata.read() as rows:
            kept = rows.blobs_of(diff_id)
        # A name that is a digest asks for just that form, since a manifest may name it.
        wanted = kept if named is None else [blob for blob in kept if blob.digest.hex == named[1]]
        return any(self._store.blobs.has(blob) for blob in wanted)

    def _commit(
        self,
        rows: WritableRows,
        images: list[ArchiveImage],
        layers: dict[str, IngestedLayer | None],
        manifests: list[tuple[ManifestRow, tuple[ImageID, ...]]],
    ) -> LoadReport:
        store = self._store
        published: dict[int, IngestedLayer] = {}
        loaded: list[LoadedImage] = []
        moved: list[MovedReference] = []
        for entry in images:
            parent: ChainID | None = None
            for name, diff_id in zip(entry.layers, entry.image.rootfs.diff_ids, strict=True):
                layer = layers[name]
                if layer is not None and id(layer) not in published:
                    layer.publish(rows)
                    published[id(layer)] = layer
                parent = add_chain(rows, parent, self._kept(rows, diff_id)).chain_id
            created = rows.image_row(entry.image.id) is None
            image_id = store.images.create(entry.image.raw_json)
            for reference in entry.references:
                old = store.references.set(reference, image_id)
                if old is not None:
                    moved.append(MovedReference(reference, old))
            loaded.append(LoadedImage(image_id, entry.references, created))
        for row, owners in manifests:
            rows.put_manifest(row, owners)
        return LoadReport(tuple(loaded), tuple(moved))

    def _kept(self, rows: WritableRows, diff_id: DiffID) -> DiffRow:
        """Look again, under the lock, at what is relied on."""
        diff = rows.diff(diff_id)
        if diff is None or not any(self._store.blobs.has(blob) for blob in rows.blobs_of(diff_id)):
            msg = f"the layer {diff_id} went away while the archive was loaded; load it again"
            raise ContentNotFound(msg)
        return diff

    def save(self, items: Sequence[SaveItem], *, progress: Progress | None = None) -> Iterator[bytes]:
        """Give the bytes of an archive in this exporter's layout, see `Exporter.save`."""
        if self._layout is None:
            msg = "this exporter only loads"
            raise TypeError(msg)
        return self._layout(self._store, items).chunks(progress)


def _needed(images: list[ArchiveImage]) -> dict[str, DiffID]:
    """Give each layer member's diff ID; one member cannot be two layers."""
    needed: dict[str, DiffID] = {}
    for entry in images:
        for name, diff_id in zip(entry.layers, entry.image.rootfs.diff_ids, strict=True):
            if needed.setdefault(name, diff_id) != diff_id:
                msg = f"the archive's configs give the layer {name!r} two diff IDs, {needed[name]} and {diff_id}"
                raise DigestMismatch(msg)
    return needed


def _parents(images: list[ArchiveImage]) -> list[tuple[ImageID, ImageID]]:
    """Give the parent links that the archive names, as far as the parents are in it."""
    by_id = {entry.image.id: entry.image for entry in images}
    links: list[tuple[ImageID, ImageID]] = []
    for entry in images:
        parent = None if entry.parent is None else by_id.get(entry.parent)
        if parent is None:
            continue
        history, above = entry.image.history, parent.history
        if (history or above) and (not history or history[:-1] != above):
            msg = (
                f"the archive names {parent.id} as the parent of {entry.image.id}, but the history of one does not"
                " continue the other's; the archive is refused"
            )
            raise InvalidArchive(msg)
        links.append((entry.image.id, parent.id))
    return links


def read_manifest(members: Members) -> list[ArchiveImage]:
    """Read ``manifest.json`` and the configs that it names, and check that they fit together.

    Raises:
        InvalidArchive: the document is missing or no list of images, or names what is not there.
        InvalidImage: a config cannot be read. InvalidReference: a name cannot. DigestMismatch: a config has not the
            digest that its name says.
    """
    if not members.has("manifest.json"):
        msg = "this is no Docker image archive: it has no manifest.json; give one that docker save wrote"
        raise InvalidArchive(msg)
    entries = gojson.loads(members.document("manifest.json", what="the document"), allow_trailing=True)
    if not isinstance(entries, list):
        msg = "the archive's manifest.json is no list of images; the archive is refused"
        raise InvalidArchive(msg)
    if not entries:
        msg = "the archive's manifest.json names no image; there is nothing to load"
        raise InvalidArchive(msg)
    return [_read_entry(members, entry, number) for number, entry in enumerate(entries)]


def _read_entry(members: Members, entry: object, number: int) -> ArchiveImage:
    if not isinstance(entry, dict):
        msg = f"entry {number} of the archive's manifest.json is no object; the archive is refused"
        raise InvalidArchive(msg)
    fields = {str(key).lower(): value for key, value in entry.items()}
    image = _read_config(members, _text(fields.get("config"), "Config", number))
    layers = _texts(fields.get("layers"), "Layers", number)
    diff_ids = image.rootfs.diff_ids
    if len(layers) != len(diff_ids):
        msg = (
            f"the archive gives the image {image.id} {len(layers)} layers, but its config has {len(diff_ids)} diff IDs"
        )
        raise InvalidArchive(msg)
    if len(layers) > MAX_DEPTH:
        msg = f"the image {image.id} has {len(layers)} layers; at most {MAX_DEPTH} are allowed"
        raise InvalidArchive(msg)
    for diff_id in diff_ids:
        DiffID.parse(str(diff_id))
    references = tuple(dict.fromkeys(_read_tag(text) for text in _texts(fields.get("repotags"), "RepoTags", number)))
    parent = _text(fields.get("parent") or "", "Parent", number)
    try:
        # Daemons look a parent up among the archive's images and forget what they do not find.
        parent_id = ImageID.parse(parent) if parent else None
    except InvalidDigest:
        parent_id = None
    return ArchiveImage(image, references, layers, parent_id)


def _read_config(members: Members, name: str) -> Image:
    raw = members.document(name, what="the config")
    image = Image.from_json(raw)
    check_history(image)
    named = _HEX_NAME.match(members.key_of(name, what="the config"))
    if named is not None and named[1] != Digest.of(raw).hex:
        msg = f"the config {name!r} has the digest {Digest.of(raw)}; the archive is damaged"
        raise DigestMismatch(msg)
    return image


def _read_tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.tag is None:
        msg = f'invalid tag "{text}": the archive names an image without a tag; it is refused'
        raise InvalidReference(msg)
    return Reference(reference.domain, reference.path, reference.tag)


def _text(value: object, key: str, number: int) -> str:
    if not isinstance(value, str):
        msg = f"entry {number} of the archive's manifest.json has no text as its {key}; the archive is refused"
        raise InvalidArchive(msg)
    return value


def _texts(value: object, key: str, number: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        msg = f"entry {number} of the archive's manifest.json has no list as its {key}; the archive is refused"
        raise InvalidArchive(msg)
    return tuple(_text(item, key, number) for item in value)
