"""containerd's content store and its database: of Engine 29, of Kubernetes and k3s, of nerdctl, or of its own.

Theory of operation. Layers are blobs as they were pulled, so that nothing has to be rebuilt. ``meta.db`` has the images
of each namespace: a name, and the descriptor of a manifest or an index. From there on everything is reached by digest,
and read as from any other source of manifests.

Where a manifest or an index is lost, the database still has what it led to: images are made of their configs and
layers, which are as they were. Only the manifest is another one then.

Where ``meta.db`` is lost or damaged, the images that it does not give are found by their manifests: every blob that is
small enough is tried. Their names are lost then.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError, RootDamaged
from orlop.foreign.content import CONTENT, BlobLayer, Content
from orlop.foreign.database import DATABASE, NamedTarget, SnapshotSizes, children, named
from orlop.foreign.held import ForeignImage, Held
from orlop.foreign.locks import is_locked
from orlop.foreign.names import references
from orlop.intake.manifests import MAX_NESTING, ManifestReader
from orlop.intake.offer import OfferedImage, OfferedLayer, platform_of, read_config
from orlop.intake.offering import offer_of
from orlop.intake.platforms import chosen
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest, chain_id
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orlop.foreign.database import Children
    from orlop.foreign.disk import Folder
    from orlop.intake.manifests import Node
    from orlop.model.digest import ImageID
    from orlop.model.limits import Limits

# Names that mean that an image has none.
_NAMELESS: Final = ("moby-dangling@", "sha256:")


def is_containerd_root(root: Folder) -> bool:
    """Return whether a directory has a content store, or should have one."""
    return root.is_directory(CONTENT) or root.is_directory(DATABASE[0])


def read_containerd_root(root: Folder, limits: Limits) -> Iterator[Held]:
    """Yield what each namespace holds; what is damaged is noted, not raised. Nothing is yielded where no image is."""
    content = Content(root, limits)
    images, damage = named(root, limits)
    notes = [damage] if damage else []
    if is_locked(root, DATABASE):
        notes.append("a daemon is using this root: meta.db is locked; what it changes meanwhile may be missed")
    notes += content.unfinished
    reader = _NamespaceReader(content, SnapshotSizes(root, limits), lambda: children(root, limits))
    spaces: dict[str, list[NamedTarget]] = {}
    for image in images:
        spaces.setdefault(image.namespace, []).append(image)
    for space, entries in sorted(spaces.items()):
        held = Held(f"containerd {space}", notes=notes)
        reader.read(entries, held)
        yield held
        notes = []
    if damage:
        held = Held("containerd without names", notes=notes)
        reader.read(_unnamed(content, limits, reader.reached), held)
        yield held


def _unnamed(content: Content, limits: Limits, reached: set[str]) -> list[NamedTarget]:
    """Return every manifest and index that no image led to, those of an index only with it."""
    found: dict[str, NamedTarget] = {}
    below: set[str] = set()
    for name in content.digests():
        manifest = None if name in reached else _manifest(content, name, limits)
        if manifest is None:
            continue
        if isinstance(manifest, Index):
            below.update(str(child.digest) for child in manifest.manifests)
        found[name] = NamedTarget("", "", _target(manifest, name))
    return [image for name, image in found.items() if name not in below]


def _target(manifest: Manifest | Index, digest: str) -> Descriptor:
    """Return a descriptor of a manifest or an index."""
    media_type = manifest.media_type or (OCI_INDEX if isinstance(manifest, Index) else OCI_MANIFEST)
    return Descriptor(media_type, Digest.parse(digest), len(manifest.raw))


def _manifest(content: Content, name: str, limits: Limits) -> Manifest | Index | None:
    """Return the manifest or the index that a blob is, or nothing where it is something else."""
    try:
        if content.size_of(name, what="the blob") > limits.manifest_size:
            return None
        raw = content.document(name, what="the blob")
        return parse_manifest(raw) if raw[:1] == b"{" and str(Digest.of(raw)) == name else None
    except OrlopError:
        return None


class _NamespaceReader:
    """Reads the images of namespaces, each by itself, so that what is damaged harms no other.

    ``reached`` has the digests of all manifests that led to an image.
    """

    def __init__(
        self, content: Content, sizes: SnapshotSizes, children_of_all: Callable[[], dict[str, Children]]
    ) -> None:
        self._content = content
        self._sizes = sizes
        self._children = cache(children_of_all)
        self.reached: set[str] = set()

    def read(self, entries: list[NamedTarget], held: Held) -> None:
        """Read the images of one namespace."""
        names: dict[tuple[str, int], list[NamedTarget]] = {}
        for entry in entries:
            names.setdefault((str(entry.target.digest), entry.target.size), []).append(entry)
        images: dict[str, ImageID] = {}
        for same in names.values():
            for image in self._images(same, held):
                held.images.append(image)
                if image.offered is not None:
                    images.setdefault(str(same[0].target.digest), image.offered.image.id)
        parents = {str(entry.target.digest): entry.parent for entry in entries if entry.parent in images}
        linked = {images[child]: images[parent] for child, parent in parents.items() if child in images}
        held.images[:] = [
            image
            if image.offered is None or image.offered.image.id not in linked
            else replace(image, offered=replace(image.offered, parent=linked[image.offered.image.id]))
            for image in held.images
        ]

    def _images(self, entries: list[NamedTarget], held: Held) -> Iterator[ForeignImage]:
        """Yield the images of one target, under all of its names."""
        target = entries[0].target
        shown = tuple(entry.name for entry in entries if entry.name and not entry.name.startswith(_NAMELESS))
        tags, digests, problems = references(shown)
        shown = tuple(name.familiar for name in (*tags, *digests)) or shown
        reader = ManifestReader(self._content, self._content.place)
        try:
            node = reader.node(target)
            if node is None:
                raise RootDamaged(f"it is of the type {target.media_type!r}, which is not an image's")
            offer = offer_of(reader, [(node, (*tags, *digests))], chosen(None), form=held.place)
        except OrlopError as error:
            if entries[0].namespace:
                problem = f"{error}; it was made of its config and its layers without that"
                found = [replace(one, references=tags) for one in self._without(str(target.digest), held, set())]
                self._note_layers(found, held)
                for offered in found:
                    yield ForeignImage(str(offered.image.id), held.place, shown, offered, problems=(problem, *problems))
                if not found:
                    yield ForeignImage(str(target.digest), held.place, shown, problems=(str(error),))
            return
        held.manifests += offer.manifests
        self.reached.update(str(manifest.row.digest) for manifest in offer.manifests)
        self._note_layers(offer.images, held)
        for offered in offer.images:
            size = self._size(node, entries[0].namespace, chain_id(offered.image.rootfs.diff_ids))
            yield ForeignImage(str(offered.image.id), held.place, shown, offered, size, tuple(problems))

    def _without(self, digest: str, held: Held, seen: set[str], depth: int = 0) -> Iterator[OfferedImage]:
        """Yield the images that a manifest or an index that is lost led to, by what the database has of it."""
        children = self._children().get(digest)
        if children is None or digest in seen or depth > MAX_NESTING:
            return
        seen.add(digest)
        for below in children.manifests:
            manifest = _manifest(self._content, below, self._content.limits)
            if manifest is None:
                yield from self._without(below, held, seen, depth + 1)
                continue
            with suppress(OrlopError):
                reader = ManifestReader(self._content, self._content.place)
                node = reader.node(_target(manifest, below))
                offer = offer_of(reader, [] if node is None else [(node, ())], chosen(None), form=held.place)
                held.manifests += offer.manifests
                self.reached.add(below)
                yield from offer.images
        with suppress(OrlopError):
            yield self._made(children.config, children.layers)

    def _made(self, config: str, layers: Sequence[str]) -> OfferedImage:
        """Return the image of a config and its layers. Raises `OrlopError`."""
        image = read_config(self._verified(config, "the config", "config_size"), self._content.limits)
        diff_ids = image.rootfs.diff_ids
        if len(diff_ids) != len(layers):
            raise RootDamaged(f"the config {config} is not that of {len(layers)} layers")
        pairs = zip(layers, diff_ids, strict=True)
        offered = tuple(OfferedLayer(layer, diff_id, Digest.parse(layer)) for layer, diff_id in pairs)
        return OfferedImage(image, offered, platform_of(image))

    def _verified(self, digest: str, what: str, limit: str) -> bytes:
        """Return a document whose digest is right. Raises `OrlopError`."""
        raw = self._content.document(digest, what=what, limit=limit)
        if str(Digest.of(raw)) != digest:
            raise RootDamaged(f"{what} {digest} is damaged")
        return raw

    def _note_layers(self, images: Iterable[OfferedImage], held: Held) -> None:
        for offered in images:
            for layer in offered.layers:
                copies = held.copies.setdefault(layer.diff_id, [])
                if layer.digest is not None and all(copy.digest != layer.digest for copy in copies):
                    copies.append(BlobLayer(self._content, layer.digest, layer.size))

    def _size(self, node: Node, namespace: str, top: Digest | None) -> int | None:
        """Return what Engine says of an image: all its blobs that are there, and its snapshots."""
        unpacked = 0 if top is None else self._sizes.total(namespace, str(top))
        if unpacked is None:
            return None
        return unpacked + sum(self._content.known_size(name) for name in _reachable(node))


def _reachable(node: Node) -> set[str]:
    """Return the digests of a manifest or an index and of all that it leads to."""
    found = {str(node.digest)}
    if isinstance(node.document, Manifest):
        found.update(str(one.digest) for one in (node.document.config, *node.document.layers))
    for child in node.children:
        found |= _reachable(child)
    return found
