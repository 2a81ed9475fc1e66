"""What an OCI layout is to hold: from the names of a save to the entries of ``index.json`` and the blobs below them.

A name leads to an image, and the rows keep the manifests and indexes that came with it. Which of them goes out:

- for a tag, the manifest or index by whose digest its repository names the image, the latest first; then one of another
  repository. For a name with a digest, that one. So a layout has the digest that the registry has.
- for an ID, or an image that no digest names, a manifest that came with it; of several the one that carries least.
- where nothing came with it, or the store lacks the layers in the form that the manifest names, a manifest that is
  made: the same for equal images, with each layer in the form that the store keeps.

A manifest is *whole* where its config is an image of the store, and each of its layers is a kept form of the layer in
that place of the config, whose bytes are there. Of an index, what is whole is written, and the index itself in its
exact bytes, so that its digest survives. The manifests that are not whole are left out with their content, and
reported: a manifest without what it names would be taken for damage. A layout may lack what it names (OCI image spec,
"Image Layout"), but not every program reads one that does; a single platform is therefore written as its own manifest,
without the index. So is the image that a name stands for, where an index could only be written without it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from itertools import islice

from orlop.archive.nesting import Nesting, require_shallow
from orlop.archive.oci_blobs import Document, PlainLayer, StoredLayer
from orlop.archive.oci_layout import LayoutContent, TopEntry, told_apart
from orlop.archive.oci_named import MeantManifests
from orlop.archive.oci_parts import Part, Parts, entry_of, platform_named, subject_of
from orlop.errors import ContentNotFound, ImageNotFound, InvalidInput, LayerNotFound, LimitExceeded
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Index,
    Manifest,
    parse_manifest,
)
from orlop.model.tuples import NamedTuple
from orlop.model.values import replace
from orlop.store.layers import compression_of
from orlop.store.loose import loose_blob, loose_keepers, loose_parts
from orlop.store.rows.content import CHILD
from orlop.store.rows.metadata import ManifestRow
from orlop.streams.compression import Compression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_layout import Asked
    from orlop.archive.oci_platforms import Platforms
    from orlop.model.digest import DiffID
    from orlop.model.image import Image
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_LAYER_TYPES: Final = {
    Compression.NONE: OCI_LAYER,
    Compression.GZIP: OCI_LAYER_GZIP,
    Compression.ZSTD: OCI_LAYER_ZSTD,
}


def layout_content(store: Store, asked: Iterable[Asked], platforms: Platforms) -> LayoutContent:
    """Return what a layout of some images has to hold, as the rows say at this moment.

    Raises:
        ImageNotFound: an image is not there. PlatformNotFound: it is not for the platforms that are wanted.
        LayerNotFound: a layer is missing. DigestMismatch: a config or manifest is damaged.
        InvalidInput: two names give one reference to two digests, which other programs would read as two images.
        LimitExceeded: the indexes refer to others too often.
    """
    with store.metadata.read() as rows:
        gathered = _Gathered(store, rows, platforms)
        entries = [entry for one in asked for entry in gathered.entries(one)]
        return gathered.content([*entries, *gathered.referrers()])


class _Leaf(NamedTuple):
    """An image that is whole: its manifest, its config, and its layers in the forms that the manifest names."""

    row: ManifestRow
    manifest: Manifest
    image: Image
    layers: list[Blob]


class _Gathered:
    """The content of one layout under way."""

    def __init__(self, store: Store, rows: Rows, platforms: Platforms) -> None:
        self._store = store
        self._rows = rows
        self._platforms = platforms
        self._blobs: dict[Digest, Blob] = {}
        self._images: dict[ImageID, Image] = {}
        self._carried: dict[ImageID, Image] = {}
        self._omitted: dict[Digest, dict[Digest, Descriptor]] = {}
        self._remade: dict[ImageID, None] = {}
        self._below: set[Digest] = set()
        self._references = 0
        self._kept: dict[Digest, Descriptor] = {}
        self._kept_indexes: dict[Digest, bool] = {}
        self._nesting = Nesting()
        self._meant: dict[Reference, tuple[Digest, str]] = {}
        self._meant_manifests = MeantManifests(rows)
        self._image_descriptors: dict[tuple[ImageID, Digest | None], Descriptor] = {}
        self._children: dict[Digest, _Leaf | Part | tuple[ManifestRow, Index] | None] = {}
        self._parts = Parts(store, rows)
        self._documents: dict[Digest, None] = {}
        self._homes: dict[Digest, dict[str, None]] = {}

    def content(self, entries: Sequence[TopEntry]) -> LayoutContent:
        """Return all that was gathered. What an index names needs no entry, and one digest no second one."""
        named = {entry.descriptor.digest for entry in entries if entry.reference is not None or entry.address}
        hidden = named | self._below
        kept = told_apart(
            self._referring(entry)
            for entry in entries
            if entry.reference is not None or entry.address or entry.descriptor.digest not in hidden
        )
        omitted = {index: tuple(lacking.values()) for index, lacking in self._omitted.items()}
        return LayoutContent(
            kept,
            tuple(self._blobs.values()),
            tuple(self._carried.values()),
            omitted,
            tuple(self._remade),
        )

    def _referring(self, entry: TopEntry) -> TopEntry:
        """Return an entry that was asked for, which says of what else in the layout it speaks, if it has no name."""
        row = self._rows.manifest(entry.descriptor.digest)
        if row is None or entry.reference is not None or entry.address or entry.subject is not None:
            return entry
        subject = parse_manifest(row.raw).subject
        if subject is None or subject.digest not in self._documents:
            return entry
        return replace(entry, descriptor=entry_of(row, subject.digest))

    def entries(self, asked: Asked) -> Iterator[TopEntry]:
        """Gather what a name stands for, and yield its entries: one, or one for each address.

        A blob that stands for itself has those in which it came.
        """
        for entry in self._entries(asked):
            if asked.reference is not None:
                self._at_home(entry.descriptor.digest, asked.reference.name)
            yield entry

    def _at_home(self, digest: Digest, repository: str) -> None:
        """Note the repository of what was asked for there, and of all below it."""
        homes = self._homes.setdefault(digest, {})
        if repository not in homes and digest in self._documents:
            homes[repository] = None
            for edge in self._rows.edges(digest):
                if edge.role == CHILD:
                    self._at_home(edge.child, repository)

    def _entries(self, asked: Asked) -> Iterator[TopEntry]:
        if asked.image is not None:
            entry = self._image_entry(asked, self._image(asked.image))
            yield from self._addressed(asked, entry, entry.descriptor.digest)
            return
        row = self._content_row(asked)
        blob = loose_blob(row)
        for one in (row,) if blob is None else loose_keepers(self._rows, blob.digest):
            yield from self._addressed(asked, self._content_entry(asked, one), one.digest)

    def _addressed(self, asked: Asked, entry: TopEntry, kept: Digest) -> Iterator[TopEntry]:
        found = () if asked.reference is not None else self._store.content.addresses(kept)
        for address in found:
            yield replace(entry, address=address)
        if not found:
            yield entry

    def _content_row(self, asked: Asked) -> ManifestRow:
        row = None if asked.digest is None else self._rows.manifest(asked.digest)
        if row is None:
            msg = f"there is no content {asked.name} in the store; load it first"
            raise ContentNotFound(msg)
        return row

    def _content_entry(self, asked: Asked, row: ManifestRow) -> TopEntry:
        """Gather a manifest or an index that is asked for as what it is, and return its entry."""
        if (loose := loose_blob(row)) is not None:
            return self._loose_entry(loose, loose_parts(row))
        document = parse_manifest(row.raw)
        descriptor = entry_of(row, document=document)
        if isinstance(document, Index):
            self._keep_index(row, document, always=True)
        else:
            child = self._child(Descriptor(row.media_type, row.digest, len(row.raw)))
            if isinstance(child, _Leaf):
                descriptor = self._keep(child)
            elif isinstance(child, Part):
                self._keep_part(child)
        self._require_one_meaning(asked, row.digest)
        return TopEntry(descriptor, asked.reference)

    def _loose_entry(self, descriptor: Descriptor, parts: Iterable[Descriptor]) -> TopEntry:
        """Gather a blob that stands for itself, with what it names, and return the entry that it came in."""
        blob = self._parts.blob(descriptor)
        if blob is None:
            msg = f"the blob {descriptor.digest} is missing; load it again"
            raise ContentNotFound(msg)
        for one in (*map(self._parts.blob, parts), blob):
            if one is not None:
                self._blobs.setdefault(one.digest, one)
        return TopEntry(descriptor)

    def referrers(self) -> Iterator[TopEntry]:
        """Gather what refers to all that was gathered, and to that and what is below it in turn, and yield entries."""
        waiting, found = deque(self._documents), set[Digest]()
        while waiting:
            subject = waiting.popleft()
            for row, tag in self._about(subject):
                if row.digest in self._documents:
                    if tag and row.digest in found:
                        # cosign attaches one SBOM to several images, and what has a subject may have a tag, too.
                        yield TopEntry(entry_of(row, subject), address=tag, subject=subject)
                    continue
                before = len(self._documents)
                document = parse_manifest(row.raw)
                if isinstance(document, Index):
                    self._keep_index(row, document, always=True)
                elif (part := self._parts.part(row, document)) is not None:
                    self._keep_part(part)
                else:
                    continue
                # The newest come first: what an index names is gathered before it.
                waiting.extend(islice(reversed(self._documents), len(self._documents) - before))
                found.add(row.digest)
                for name in self._homes.get(subject, ()):
                    self._at_home(row.digest, name)
                yield TopEntry(entry_of(row, subject, document), address=tag, subject=subject)

    def _about(self, subject: Digest) -> Iterator[tuple[ManifestRow, str]]:
        """Yield what refers to a manifest or index, and what a tag attaches to it, with that tag.

        Tags are looked up where it was asked for, and then wherever it has a name. What else was asked for may be of
        somebody else, and so may the tags there.
        """
        for row in self._parts.referrers(subject):
            yield row, ""
        names = [top.name for top in self._rows.tops(subject)]
        for image in self._rows.images_of(subject):
            names += [row.name for row in self._rows.references(image=ImageID.wrap(image))]
        yield from self._parts.attached(subject, dict.fromkeys([*self._homes.get(subject, ()), *names]))

    def _keep_part(self, part: Part) -> None:
        """Keep a manifest with what is here of what it names."""
        for blob in (*part.blobs, Document.of(part.row.raw, part.row.media_type, part.row.digest)):
            self._blobs.setdefault(blob.digest, blob)
        self._documents[part.row.digest] = None

    def _image_entry(self, asked: Asked, image: Image) -> TopEntry:
        """Gather an image that a name stands for, and return its entry."""
        meant = self._meant_manifests.digest(asked, image.id)
        # One image may have very many names.
        descriptor = self._image_descriptors.get((image.id, meant))
        if descriptor is None:
            descriptor = self._image_descriptor(asked, image, meant)
            self._image_descriptors[image.id, meant] = descriptor
        self._require_one_meaning(asked, descriptor.digest)
        return TopEntry(descriptor, asked.reference)

    def _image_descriptor(self, asked: Asked, image: Image, meant: Digest | None) -> Descriptor:
        """Gather an image under the manifest or index that is meant, if one is, and return the descriptor of that."""
        row = None if meant is None else self._rows.manifest(meant)
        if row is None and self._platforms.are_several:
            row = self._index_of(image)
        document = None if row is None else parse_manifest(row.raw)
        if row is not None and isinstance(document, Index):
            return self._index(asked, image, row, document)
        self._platforms.require(asked.name, [image.platform])
        return self._own(image, row)

    def _require_one_meaning(self, asked: Asked, digest: Digest) -> None:
        """Raise `InvalidInput` where a reference stood for another digest before: no program could tell them apart."""
        if asked.reference is None:
            return
        before, name = self._meant.setdefault(asked.reference, (digest, asked.name))
        if before != digest:
            msg = (
                f"{name} and {asked.name} give the name {asked.reference.familiar} to {before} and to {digest};"
                " save them apart"
            )
            raise InvalidInput(msg)

    def _image(self, image_id: ImageID) -> Image:
        if image_id not in self._images:
            self._images[image_id] = self._store.images.get(image_id)
        return self._images[image_id]

    def _index_of(self, image: Image) -> ManifestRow | None:
        """Return an index that came with an image, of several one that no other names."""
        found = {row.digest: (row, parse_manifest(row.raw)) for row in self._rows.manifests(image.id)}
        indexes = {digest: (row, document) for digest, (row, document) in found.items() if isinstance(document, Index)}
        below = {child.digest for _, document in indexes.values() for child in document.manifests}
        return next((row for digest, (row, _) in sorted(indexes.items()) if digest not in below), None)

    def _own(self, image: Image, row: ManifestRow | None) -> Descriptor:
        """Gather an image under a manifest of its own: this one, another that came with it, or one that is made."""
        found: list[_Leaf] = []
        for each in self._rows.manifests(image.id):
            manifest = parse_manifest(each.raw)
            layers = self._whole(manifest, image) if isinstance(manifest, Manifest) else None
            if isinstance(manifest, Manifest) and layers is not None:
                found.append(_Leaf(each, manifest, image, layers))
        found.sort(key=lambda leaf: _weight(leaf.manifest, leaf.row.digest))
        wanted = [leaf for leaf in found if row is not None and leaf.row.digest == row.digest]
        if row is not None and not wanted:
            self._remade[image.id] = None
        return self._keep(next(iter((*wanted, *found)), None) or self._made(image))

    def _index(self, asked: Asked, image: Image, row: ManifestRow, index: Index) -> Descriptor:
        """Gather what is wanted of an index and return its descriptor, or that of the manifest of one platform."""
        here, absent = self._below_index(index)
        is_here = any(leaf.image.id == image.id for leaf in here)
        platforms = [leaf.image.platform for leaf in here]
        if self._platforms.is_one:
            leaf = next((leaf for leaf in here if self._platforms.keeps(leaf.image.platform)), None)
            self._platforms.require(asked.name, platforms if is_here else [*platforms, image.platform])
            return self._own(image, row) if leaf is None else self._keep(leaf)
        self._platforms.require(asked.name, platforms, absent)
        if not here or not (is_here or self._platforms.are_several):
            # An index without the image that the name stands for would mean another one.
            return self._own(image, row)
        self._keep_index(row, index)
        return Descriptor(row.media_type, row.digest, len(row.raw))

    def _below_index(self, index: Index) -> tuple[list[_Leaf], list[str]]:
        """Return the whole images at or below an index, and the platforms for which nothing is here, each once."""
        leaves: dict[Digest, _Leaf] = {}
        absent: dict[str, None] = {}
        for descriptor in self._followed(index, set(), 0):
            child = self._child(descriptor)
            if isinstance(child, _Leaf):
                leaves.setdefault(descriptor.digest, child)
            elif not isinstance(child, Part) and (name := platform_named(descriptor)):
                absent.setdefault(name)
        return list(leaves.values()), list(absent)

    def _followed(self, index: Index, seen: set[Digest], depth: int) -> Iterator[Descriptor]:
        """Yield what indexes name that is not an index of the store, and enter each index once."""
        require_shallow(depth)
        self._count(len(index.manifests))
        for descriptor in index.manifests:
            child = self._child(descriptor)
            if child is None or isinstance(child, (_Leaf, Part)):
                yield descriptor
            elif descriptor.digest not in seen:
                seen.add(descriptor.digest)
                yield from self._followed(child[1], seen, depth + 1)

    def _count(self, references: int) -> None:
        """Note references that are followed, for all names together. Raises `LimitExceeded`."""
        self._references += references
        most = self._store.limits.json_values_total
        if self._references > most:
            msg = (
                f"the indexes of what is saved refer {self._references} times to others, but the limit is {most}; save"
                " fewer images at once, or raise it in Python with Limits(json_values_total=NUMBER)"
            )
            raise LimitExceeded(msg)

    def _child(self, descriptor: Descriptor) -> _Leaf | Part | tuple[ManifestRow, Index] | None:
        """Return what an index names: a whole image, an artifact or what else came, an index, or nothing."""
        if descriptor.digest not in self._children:
            row = self._rows.manifest(descriptor.digest)
            document = None if row is None else parse_manifest(row.raw)
            found: _Leaf | Part | tuple[ManifestRow, Index] | None = None
            if row is not None and isinstance(document, Index):
                found = row, document
            elif row is not None and isinstance(document, Manifest):
                image = self._image_of(row, document.config)
                layers = None if image is None else self._whole(document, image)
                found = self._parts.part(row, document)
                if found is None and image is not None and layers is not None:
                    found = _Leaf(row, document, image, layers)
            self._children[descriptor.digest] = found
        return self._children[descriptor.digest]

    def _image_of(self, row: ManifestRow, config: Descriptor) -> Image | None:
        """Return the image of the store that the config of a manifest is."""
        if config.digest.algorithm != "sha256":
            found = self._parts.image_of(row, config.digest)
            return None if found is None else self._image(found)
        image_id = ImageID.wrap(config.digest)
        try:
            return None if self._rows.image_row(image_id) is None else self._image(image_id)
        except ImageNotFound:
            return None

    def _keep_index(self, row: ManifestRow, index: Index, *, always: bool = False) -> bool:
        """Keep an index with what is wanted below it, if that is anything; what is not is noted as left out."""
        if row.digest not in self._kept_indexes:
            self._count(len(index.manifests))
            children = {descriptor.digest: descriptor for descriptor in index.manifests}
            # What speaks of a platform comes after it.
            order = sorted(children.values(), key=lambda child: isinstance(self._child(child), Part))
            with self._nesting.inside(row.digest, children.keys()):
                omitted = {child.digest: child for child in order if not self._keep_child(child)}
            # One that came empty is whole as it is; where nothing was selected, so is one of which nothing else came.
            is_kept = always or not self._platforms.asked or not children or len(omitted) < len(children)
            if omitted and is_kept:
                self._omitted[row.digest] = omitted
            self._below |= children.keys() - omitted.keys()
            self._kept_indexes[row.digest] = is_kept
            if is_kept:
                self._documents[row.digest] = None
                self._blobs.setdefault(row.digest, Document.of(row.raw, row.media_type, row.digest))
        return self._kept_indexes[row.digest]

    def _keep_child(self, descriptor: Descriptor) -> bool:
        """Keep what an index names, if that is wanted and there."""
        child = self._child(descriptor)
        if child is None:
            return self._keep_other(descriptor)
        if isinstance(child, Part):
            subject = subject_of(descriptor, child.manifest)
            if self._platforms.asked and subject and subject not in map(str, self._documents):
                return False
            self._keep_part(child)
            return True
        if not isinstance(child, _Leaf):
            return self._keep_index(*child)
        if not self._platforms.keeps(child.image.platform):
            return False
        self._keep(child)
        return True

    def _keep_other(self, descriptor: Descriptor) -> bool:
        """Keep what an index names that is not a manifest, if it is there."""
        blob = self._parts.blob(descriptor)
        if blob is None or self._rows.manifest(descriptor.digest) is not None:
            return False
        self._blobs.setdefault(blob.digest, blob)
        return True

    def _whole(self, manifest: Manifest, image: Image) -> list[Blob] | None:
        """Return the layers that a manifest names, if the store has just these for an image; else nothing."""
        config, diff_ids = manifest.config, image.rootfs.diff_ids
        if len(manifest.layers) != len(diff_ids) or config.size != len(image.raw_json):
            return None
        if not _is_named(image.raw_json, config.digest):
            return None
        found: list[Blob] = []
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
            kept = self._rows.blobs_of(diff_id)
            same = next((row for row in kept if (row.digest, row.size) == (layer.digest, layer.size)), None)
            # After a repair the bytes may be there in another form only; where they are in none, that is damage.
            if same is None or (not self._store.blobs.has(same) and any(map(self._store.blobs.has, kept))):
                return None
            found.append(StoredLayer(self._store.blobs, same, diff_id))
        return found

    def _keep(self, leaf: _Leaf) -> Descriptor:
        """Gather an image under its manifest, and return the manifest's descriptor."""
        if leaf.row.digest in self._kept:
            return self._kept[leaf.row.digest]
        self._carried[leaf.image.id] = leaf.image
        config = Document.of(leaf.image.raw_json, leaf.manifest.config.media_type, leaf.manifest.config.digest)
        manifest = Document.of(leaf.row.raw, leaf.row.media_type, leaf.row.digest)
        for blob in (*leaf.layers, config, manifest):
            self._blobs.setdefault(blob.digest, blob)
        self._documents[leaf.row.digest] = None
        platform = leaf.image.platform
        has_platform = bool(platform.os and platform.architecture)
        self._kept[leaf.row.digest] = Descriptor(
            leaf.row.media_type, manifest.digest, manifest.size, platform=platform if has_platform else None
        )
        return self._kept[leaf.row.digest]

    def _made(self, image: Image) -> _Leaf:
        """Make the manifest of an image: the same for equal images whose layers the store keeps in the same forms."""
        layers = [self._kept_form(diff_id) for diff_id in image.rootfs.diff_ids]
        manifest = Manifest(
            media_type=OCI_MANIFEST,
            config=Descriptor(OCI_CONFIG, Digest.wrap(image.id), len(image.raw_json)),
            layers=tuple(Descriptor(media_type, blob.digest, blob.size) for media_type, blob in layers),
        )
        raw = manifest.to_json()
        row = ManifestRow(Digest.of(raw), OCI_MANIFEST, raw)
        return _Leaf(row, manifest, image, [blob for _, blob in layers])

    def _kept_form(self, diff_id: DiffID) -> tuple[str, Blob]:
        """Return the form in which a layer goes out under a manifest that is made: the smallest that can be named."""
        diff = self._rows.diff(diff_id)
        if diff is None:
            msg = f"the layer {diff_id} is missing; load its image again"
            raise LayerNotFound(msg)
        kept = [row for row in self._rows.blobs_of(diff_id) if compression_of(row) in _LAYER_TYPES]
        here = [row for row in kept if self._store.blobs.has(row)] or kept
        if not here:
            return OCI_LAYER, PlainLayer(self._store.layers, diff_id, diff.size)
        best = min(here, key=lambda row: (row.size, str(row.digest)))
        return _LAYER_TYPES[compression_of(best)], StoredLayer(self._store.blobs, best, diff_id)


def _weight(manifest: Manifest, digest: Digest) -> tuple[int, str]:
    return sum(layer.size for layer in manifest.layers), str(digest)


def _is_named(data: bytes, digest: Digest) -> bool:
    return hashlib.new(digest.algorithm, data).hexdigest() == digest.hex
