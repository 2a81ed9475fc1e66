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

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import OrlopError, RootDamaged
from orlop.foreign.content import CONTENT, BlobLayer, Content
from orlop.foreign.database import DATABASE, NamedTarget, children, named, sizes
from orlop.foreign.held import ForeignImage, Held
from orlop.foreign.locks import is_locked
from orlop.foreign.names import references
from orlop.foreign.remains import Lost, Remains, Remnant, described, manifest_of
from orlop.foreign.snapshots import Snapshots
from orlop.intake.offering import offer_of
from orlop.intake.platforms import chosen
from orlop.model.digest import chain_id
from orlop.model.manifest import Index, Manifest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from orlop.foreign.disk import Folder
    from orlop.intake.manifests import Node
    from orlop.intake.offer import Offer, OfferedImage
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest, ImageID
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference

# Names that mean that an image has none.
_NAMELESS: Final = ("moby-dangling@", "sha256:")


def is_containerd_root(root: Folder) -> bool:
    """Return whether a directory has a content store, or should have one."""
    return root.is_directory(CONTENT) or root.is_directory(DATABASE[0])


def read_containerd_root(root: Folder, limits: Limits) -> Iterator[Held]:
    """Yield what each namespace holds; what is damaged is noted, not raised. Nothing is yielded where no image is."""
    content = Content(root, limits)
    images, damage = named(root, limits)
    notes = [problem for problem in (damage, content.damage) if problem]
    if is_locked(root, DATABASE):
        notes.append("a daemon is using this root: meta.db is locked; what it changes meanwhile may be missed")
    notes += content.unfinished
    snapshots = Snapshots(root, limits)
    containers = snapshots.containers(is_damaged=bool(damage))
    remains = Remains(content, lambda: children(root, limits), lambda: sizes(root, limits))
    reader = _NamespaceReader(content, snapshots, remains)
    spaces: dict[str, list[NamedTarget]] = {space: [] for space in containers}
    for image in images:
        spaces.setdefault(image.namespace, []).append(image)
    for space, entries in sorted(spaces.items()):
        held = Held(f"containerd {space}", containers=containers.get(space, []), notes=notes)
        reader.read(entries, held)
        yield held
        notes = []
    if damage:
        held = Held("containerd without names", notes=notes, is_damaged=not content.is_listed)
        reader.read(_unnamed(content, reader.reached | remains.reached), held)
        yield held


def _unnamed(content: Content, reached: set[str]) -> list[NamedTarget]:
    """Return every manifest and index that no image led to, those of an index only with it."""
    found: dict[str, NamedTarget] = {}
    below: set[str] = set()
    for name in content.digests():
        manifest = None if name in reached else manifest_of(content, name)
        if manifest is None:
            continue
        if isinstance(manifest, Index):
            below.update(str(child.digest) for child in manifest.manifests)
        found[name] = NamedTarget("", "", described(manifest, name))
    return [image for name, image in found.items() if name not in below]


class _Led(NamedTuple):
    """What a target leads to: itself and its images, as far as it can be read, and the manifests that cannot."""

    node: Node | None
    images: tuple[Remnant, ...]
    lost: dict[str, Lost]


class _NamespaceReader:
    """Reads the images of namespaces, each by itself, so that what is damaged harms no other.

    ``reached`` has the digests of all manifests that led to an image.
    """

    def __init__(self, content: Content, snapshots: Snapshots, remains: Remains) -> None:
        self._content = content
        self._snapshots = snapshots
        self._remains = remains
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
        target, namespace = entries[0].target, entries[0].namespace
        shown = tuple(entry.name for entry in entries if entry.name and not entry.name.startswith(_NAMELESS))
        tags, digests, problems = references(shown)
        shown = tuple(name.familiar for name in (*tags, *digests)) or shown
        led = self._led(target, (*tags, *digests), held)
        # Of what has no name nothing was known but its own bytes.
        left = [*self._left(led.lost, held)] if namespace else []
        found = _named_anew([*led.images, *left], tags) if left else [*led.images]
        self._note_layers([one.offered for one in found if one.offered is not None], held)
        for digest, offered, problem in found:
            wrong = (*((problem,) if problem else ()), *problems)
            if offered is None:
                yield ForeignImage(digest, held.place, shown, problems=wrong)
                continue
            top = chain_id(offered.image.rootfs.diff_ids)
            size = None if led.lost or led.node is None else self._size(led.node, namespace, top)
            yield ForeignImage(str(offered.image.id), held.place, shown, offered, size, wrong)

    def _led(self, target: Descriptor, names: Sequence[Reference], held: Held) -> _Led:
        """Return what a target leads to; manifests below it that are lost are left out."""
        lost: dict[str, Lost] = {}
        try:
            node, offer = self._offer(target, names, lost, held)
        except OrlopError as error:
            lost = self._remains.damaged(str(target.digest))
            try:
                node, offer = self._offer(target, names, lost, held)
            except OrlopError:
                if not any(one.is_image for one in lost.values()):
                    lost[str(target.digest)] = Lost(str(error), is_image=True)
                return _Led(None, (), lost)
        held.manifests += offer.manifests
        self.reached.update(str(manifest.row.digest) for manifest in offer.manifests)
        images = tuple(Remnant(str(one.manifest), one, "") for one in offer.images)
        return _Led(node, images, self._remains.missing(node) | lost)

    def _offer(
        self, target: Descriptor, names: Sequence[Reference], lost: Container[str], held: Held
    ) -> tuple[Node, Offer]:
        """Return what a target names, and its images. Raises `OrlopError`."""
        reader = self._remains.reader(lost)
        node = reader.node(target)
        if node is None:
            raise RootDamaged(f"it is of the type {target.media_type!r}, which is not an image's")
        return node, offer_of(reader, [(node, names)], chosen(None), form=held.place)

    def _left(self, lost: dict[str, Lost], held: Held) -> Iterator[Remnant]:
        """Yield what is left of the images of manifests that are lost."""
        for digest, (why, is_image) in lost.items():
            if is_image:
                yield from [*self._remains.of(digest, why, held.manifests)] or [Remnant(digest, None, why)]
            else:
                held.notes.append(f"{why}; it is an attestation, and its image is whole without that")

    def _note_layers(self, images: Iterable[OfferedImage], held: Held) -> None:
        for offered in images:
            for layer in offered.layers:
                known = held.copies.get(layer.diff_id, ())
                if layer.digest is not None and all(copy.digest != layer.digest for copy in known):
                    held.offer(layer.diff_id, [BlobLayer(self._content, layer.digest, layer.size)])

    def _size(self, node: Node, namespace: str, top: Digest | None) -> int | None:
        """Return what Engine says of an image: all its blobs that are there, and its snapshots."""
        unpacked = 0 if top is None else self._snapshots.total(namespace, str(top))
        if unpacked is None:
            return None
        return unpacked + sum(self._content.known_size(name) for name in _reachable(node))


def _named_anew(found: list[Remnant], tags: tuple[Reference, ...]) -> list[Remnant]:
    """Return images of which one gets the tags, as everywhere: the host's, or else the first."""
    platforms = {number: one.offered.platform for number, one in enumerate(found) if one.offered is not None}
    best = [*platforms][chosen(None).first([*platforms.values()])] if platforms else None
    return [
        one if one.offered is None else one._replace(offered=_with_tags(one.offered, tags if number == best else ()))
        for number, one in enumerate(found)
    ]


def _with_tags(image: OfferedImage, tags: tuple[Reference, ...]) -> OfferedImage:
    """Return an image with these tags alone."""
    return replace(image, references=tags, tops=image.tops if tags else ())


def _reachable(node: Node) -> set[str]:
    """Return the digests of a manifest or an index and of all that it leads to."""
    found = {str(node.digest)}
    if isinstance(node.document, Manifest):
        found.update(str(one.digest) for one in (node.document.config, *node.document.layers))
    for child in node.children:
        found |= _reachable(child)
    return found
