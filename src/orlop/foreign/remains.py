"""What is left of an image of containerd whose manifest or index is lost: the database still has what that led to.

Theory of operation. A manifest below an index that is whole may be lost, too. If the database has an entry for it, or
the content store a file, it was there, and it is not just the image of another platform that nobody pulled. It is left
out of what is read of the index, so that it harms none of its neighbours, and whatever can be had of it is told apart.

Of what is lost the database has the digests below it. Manifests that are whole are read as they are. A config with its
layers makes an image by itself, to which no manifest belongs then.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import OrlopError, RootDamaged
from orlop.intake.manifests import MAX_NESTING, ManifestReader
from orlop.intake.offer import OfferedImage, OfferedLayer, platform_of, read_config
from orlop.intake.offering import offer_of
from orlop.intake.platforms import chosen
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse_manifest
from orlop.store.loose import is_loose

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from orlop.foreign.content import Content
    from orlop.foreign.database import Children
    from orlop.intake.manifests import Node
    from orlop.intake.offer import OfferedManifest

_ATTESTATION: Final = "vnd.docker.reference.type"
_UNKNOWN: Final = "unknown"


class Lost(NamedTuple):
    """Why a manifest cannot be read, in a sentence, and whether it is an image's, or only speaks of one."""

    why: str
    is_image: bool


class Remnant(NamedTuple):
    """What is left of an image: what can be offered of it, or nothing, and what is wrong."""

    digest: str
    offered: OfferedImage | None
    problem: str


class Remains:
    """What is left in one content store. ``reached`` has the digests of the manifests that led to an image.

    Args:
        content: the content store.
        children_of_all: returns what each blob leads to, as the database has it; asked once, and only when needed.
        sizes_of_all: returns the sizes of blobs likewise.
    """

    def __init__(
        self,
        content: Content,
        children_of_all: Callable[[], dict[str, Children]],
        sizes_of_all: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._content = content
        self._children = cache(children_of_all)
        self._sizes = cache(sizes_of_all)
        # Whatever is lost may lead to the same digests, of which there may be very many.
        self._left = content.limits.json_values_total
        self.reached: set[str] = set()

    def reader(self, lost: Container[str]) -> ManifestReader:
        """Return a reader of manifests to which those that are lost are not there."""
        return ManifestReader(self._content, partial(_placed, self._content, lost))

    def missing(self, node: Node) -> dict[str, Lost]:
        """Return which of the manifests below an index that was read were there, or their configs, and are not now."""
        found: dict[str, Lost] = {}
        for child in _absent(node, self._content):
            if any(str(one.digest) in self._sizes() and not self._content.has(str(one.digest)) for one in child):
                found[str(child[0].digest)] = self._lost(child[0])
        return found

    def damaged(self, digest: str) -> dict[str, Lost]:
        """Return which manifests below an index cannot be read; none for an index that is lost itself."""
        found: dict[str, Lost] = {}
        self._note_damaged(digest, found, {digest}, 0)
        return found

    def _note_damaged(self, digest: str, found: dict[str, Lost], seen: set[str], depth: int) -> None:
        document = manifest_of(self._content, digest)
        if not isinstance(document, Index) or depth > MAX_NESTING:
            return
        for child in document.manifests:
            name = str(child.digest)
            was_there = self._content.has(name) or name in self._sizes()
            if name in seen or is_loose(child) or not was_there:
                continue
            seen.add(name)
            lost = self._lost(child)
            if lost.why:
                found[name] = lost
            else:
                self._note_damaged(name, found, seen, depth + 1)

    def _lost(self, child: Descriptor) -> Lost:
        return Lost(self._why(str(child.digest)), not _is_attestation(child))

    def _why(self, digest: str) -> str:
        """Return why a manifest, or its config, cannot be read; nothing where it can."""
        try:
            raw = self._content.document(digest, what="its manifest")
            if str(Digest.of(raw)) != digest:
                raise RootDamaged(f"its manifest {digest} is damaged: it has another digest")
            reader = self.reader(())
            node = reader.node(described(parse_manifest(raw), digest))
            if node is not None and node.is_image:
                reader.image(node)
        except OrlopError as error:
            return str(error)
        return ""

    def of(self, digest: str, why: str, manifests: list[OfferedManifest]) -> Iterator[Remnant]:
        """Yield what is left of the images that a manifest or an index led to, which is lost; nothing if nothing is.

        Args:
            digest: of what is lost.
            why: the sentence that says so.
            manifests: where those are added that are whole and belong to an image.
        """
        yield from self._of(digest, why, manifests, set(), 0)

    def _of(
        self, digest: str, why: str, manifests: list[OfferedManifest], seen: set[str], depth: int
    ) -> Iterator[Remnant]:
        children = self._children().get(digest)
        if children is None or digest in seen or depth > MAX_NESTING or len(children.manifests) > self._left:
            return
        seen.add(digest)
        self._left -= len(children.manifests)
        is_found = False
        for below in children.manifests:
            document = None if below in seen else manifest_of(self._content, below)
            if document is not None:
                found = self._whole(below, document, why, manifests)
            elif below in self._children():
                found = self._of(below, self._why(below), manifests, seen, depth + 1)
            else:
                # Where the database does not tell them apart, it is a config or a layer.
                continue
            for remnant in found:
                is_found = True
                yield remnant
        try:
            made = self._made(children)
        except OrlopError as error:
            # Of the first one the caller says that it is lost.
            if depth and not is_found:
                yield Remnant(digest, None, f"{why}; {error}")
            return
        if made.platform.os != _UNKNOWN:
            yield Remnant(digest, made, f"{why}; it was made of its config and its layers without that")

    def _whole(
        self, digest: str, document: Manifest | Index, why: str, manifests: list[OfferedManifest]
    ) -> Iterator[Remnant]:
        """Yield the images of a manifest that is whole, and which something led to that is not."""
        reader = self.reader(())
        try:
            node = reader.node(described(document, digest))
            if node is None or (isinstance(document, Manifest) and not node.is_image):
                return
            offer = offer_of(reader, [(node, ())], chosen(None), form="a data root")
        except OrlopError as error:
            yield Remnant(digest, None, str(error))
            return
        manifests += offer.manifests
        self.reached.add(digest)
        for offered in offer.images:
            yield Remnant(digest, offered, f"{why}; only the database still led to this image")

    def _made(self, children: Children) -> OfferedImage:
        """Return the image of a config and its layers. Raises `OrlopError`."""
        raw = self._content.document(children.config, what="the config", limit="config_size")
        if str(Digest.of(raw)) != children.config:
            raise RootDamaged(f"the config {children.config} is damaged")
        image = read_config(raw, self._content.limits)
        diff_ids = image.rootfs.diff_ids
        if len(diff_ids) != len(children.layers):
            raise RootDamaged(f"the config {children.config} is not that of {len(children.layers)} layers")
        offered = tuple(
            OfferedLayer(layer, diff_id, Digest.parse(layer), self._sizes().get(layer))
            for layer, diff_id in zip(children.layers, diff_ids, strict=True)
        )
        return OfferedImage(image, offered, platform_of(image))


def manifest_of(content: Content, name: str) -> Manifest | Index | None:
    """Return the manifest or the index that a blob is, or nothing where it is something else."""
    try:
        if content.size_of(name, what="the blob") > content.limits.manifest_size:
            return None
        raw = content.document(name, what="the blob")
        return parse_manifest(raw) if raw[:1] == b"{" and str(Digest.of(raw)) == name else None
    except OrlopError:
        return None


def _is_attestation(descriptor: Descriptor) -> bool:
    """Return whether an index says that a manifest is not an image's, but speaks of one."""
    platform = descriptor.platform
    return bool(descriptor.annotations.get(_ATTESTATION)) or (platform is not None and platform.os == _UNKNOWN)


def described(document: Manifest | Index, digest: str) -> Descriptor:
    """Return a descriptor of a manifest or an index."""
    media_type = document.media_type or (OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST)
    return Descriptor(media_type, Digest.parse(digest), len(document.raw))


def _absent(node: Node, content: Content) -> Iterator[tuple[Descriptor, ...]]:
    """Yield the manifests below an index that are not there; with their configs those that are, whose configs are not.

    What an index names may never have been pulled.
    """
    waiting, seen = [node], {node.digest}
    while waiting:
        here = waiting.pop()
        if isinstance(here.document, Index):
            waiting += (child for child in here.children if child.digest not in seen)
            seen.update(child.digest for child in here.children)
            yield from ((child,) for child in here.others if not is_loose(child))
        elif here.is_image and not content.has(str(here.config.digest)):
            yield here.descriptor, here.config


def _placed(content: Content, lost: Container[str], digest: Digest, *, manifest: bool) -> str:
    """Return the name of a blob; of a manifest that is lost none."""
    name = content.place(digest, manifest=manifest)
    return "" if manifest and name in lost else name
