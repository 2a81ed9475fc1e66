"""From descriptors to manifests, configs and layers inside a source: everything that is followed is verified."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from orlop.errors import DigestMismatch, IntegrityError, InvalidJSON, InvalidManifest, LimitExceeded, SizeMismatch
from orlop.intake.documents import reading
from orlop.intake.offer import OfferedImage, OfferedLayer, check_layers, platform_of, read_config
from orlop.intake.platforms import names_platform, plain
from orlop.model import gojson
from orlop.model.manifest import (
    DEFAULT_CONFIGS,
    DOCKER_FOREIGN_LAYER,
    IMAGE_CONFIGS,
    INDEX_TYPES,
    LAYER_TYPES,
    OCI_FOREIGN_LAYER,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    kind_of,
    parse_manifest,
    withdrawn_blobs,
)
from orlop.model.values import dataclass
from orlop.store.loose import is_loose, loose_row, names_blobs
from orlop.store.rows.metadata import ManifestRow

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from orlop.errors import InvalidInput
    from orlop.intake.documents import Documents, Placing
    from orlop.intake.words import Words
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.image import Image
    from orlop.model.platform import Platform

MAX_NESTING: Final = 64
"""How deep indexes can be nested."""

_LAYER_PREFIXES: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_ENCRYPTED: Final = "+encrypted"
_CONFIG_BYTES: Final = 32 << 20
"""Bytes of configs that are kept between the first look at them and the second."""


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest or index where it stands: under the descriptor that names it, with what it names itself.

    ``height`` is how deep indexes lie in it; ``is_image`` says that it is the manifest of an image, see
    `ManifestReader`; ``others`` is what it names that is not a manifest: the config and the layers, and of an index
    whatever it names besides.
    """

    descriptor: Descriptor
    document: Manifest | Index
    row: ManifestRow
    children: tuple[Node, ...] = ()
    height: int = 0
    is_image: bool = False
    others: tuple[Descriptor, ...] = ()

    @property
    def digest(self) -> Digest:
        """The digest of the document."""
        return self.row.digest

    @property
    def config(self) -> Descriptor:
        """The config of a manifest."""
        if isinstance(self.document, Index):
            msg = "an index has no config"
            raise TypeError(msg)
        return self.document.config

    @property
    def platform(self) -> Platform | None:
        """The platform that the descriptor names, if it names one."""
        return self.descriptor.platform if names_platform(self.descriptor) else None


class _Read(NamedTuple):
    """A document with what it names, whatever descriptor leads to it."""

    document: Manifest | Index
    children: tuple[Node, ...]
    others: tuple[Descriptor, ...]
    is_image: bool


class ManifestReader:
    """Reads the manifests of one source, each once.

    A manifest is an image's where its config is, and a layer is one of an image: by its type, or by its bytes, since
    podman unpacks layers of any type. Attestations and signatures are not tars, and so no images. Neither is what has a
    layer that nobody can unpack as it stands (it is encrypted, or neither its type nor its bytes are those of a layer),
    or a config that names no layers. What else is said of it, such as an artifact type, an annotation or the platform
    ``unknown/unknown``, makes no difference to others.

    Args:
        documents: the source's.
        place: how they are named.
        may_lack: whether everything that is named may be absent, or only what indexes below the first name.
        left_out: layers that the source lacks since its reader has them.
    """

    def __init__(
        self, documents: Documents, place: Placing, *, may_lack: bool = False, left_out: Container[Digest] = ()
    ) -> None:
        self._documents = documents
        self._place = place
        self._may_lack = may_lack
        self._left_out = left_out
        self._read: dict[tuple[Digest, int], _Read] = {}
        self._passed: set[str] = set()
        self._lacks_children = False
        self._strange: Descriptor | None = None
        self._configs: dict[tuple[Digest, int], bytes] = {}
        self._config_bytes = 0
        self._images: dict[tuple[Digest, int], Image] = {}
        self._below: dict[Digest, tuple[Node, ...]] = {}
        self._disguised: dict[Digest, Descriptor | None] = {}
        self._manifests: dict[tuple[Digest, int], bool] = {}

    def node(self, descriptor: Descriptor) -> Node | None:
        """Return what a descriptor names, or nothing where its type is not known or it may be absent and is.

        Raises:
            InvalidInput: it is absent, or indexes are nested too deep. InvalidManifest: it is not a manifest,
                or not of the kind that the descriptor says. DigestMismatch, SizeMismatch: it is not what that says.
        """
        return self._node(descriptor, 0)

    def loose(self, descriptor: Descriptor) -> Node | None:
        """Return what stands for a blob that is named where manifests are; nothing where there is not one."""
        if not is_loose(descriptor) or self.carries(descriptor) is None:
            return None
        row = loose_row(descriptor, self._named_by(descriptor))
        index = Index.from_json(row.raw)
        return Node(descriptor, index, row, others=index.manifests)

    def _named_by(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """Return what a blob names that is a manifest of a withdrawn type; nothing where it cannot be read."""
        name = self.carries(descriptor)
        if not names_blobs(descriptor) or name is None:
            return ()
        raw = self._document(descriptor, name, "the manifest", "manifest_size")
        try:
            return withdrawn_blobs(raw)
        except InvalidManifest:
            return ()

    def _node(self, descriptor: Descriptor, depth: int) -> Node | None:
        # The specification asks readers of an index to pass over types that they do not know. Where there is no type,
        # some go by the content.
        if is_loose(descriptor):
            self._passed.add(descriptor.media_type)
            return None
        name = self._place(descriptor.digest, manifest=True)
        if (depth or self._may_lack) and not self._documents.has(name):
            self._lacks_children = True
            return None
        self._check_depth(depth)
        key = (descriptor.digest, descriptor.size)
        if key not in self._read:
            document = _parsed(self._document(descriptor, name, "the manifest", "manifest_size"), descriptor)
            children: list[Node] = []
            others: list[Descriptor] = []
            if isinstance(document, Index):
                for child in document.manifests:
                    found = self._node(child, depth + 1)
                    if found is not None:
                        children.append(found)
                    else:
                        others.append(child)
            else:
                others += (document.config, *document.layers)
            self._read[key] = _Read(document, tuple(children), tuple(others), self._is_image(document))
        document, below, rest, of_image = self._read[key]
        height = max((child.height + 1 for child in below), default=0)
        # An index that was read before may lie deeper here.
        self._check_depth(depth + height)
        if descriptor.media_type and (descriptor.media_type in INDEX_TYPES) != isinstance(document, Index):
            msg = f"invalid manifest: {descriptor.digest} is not the {descriptor.media_type} that its descriptor says"
            raise InvalidManifest(msg)
        implied = OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST
        row = ManifestRow(descriptor.digest, document.media_type or descriptor.media_type or implied, document.raw)
        node = Node(descriptor, document, row, below, height, of_image, rest)
        if isinstance(document, Manifest) and not node.is_image:
            self._pass(document)
        return node

    def _is_image(self, document: Manifest | Index) -> bool:
        if isinstance(document, Index) or not is_image(document, self._could_be_layer):
            return False
        if not document.layers or self.carries(document.config) is None:
            return True
        try:
            raw = self._raw_config(document.config)
        except (IntegrityError, LimitExceeded):
            # What is not what the manifest names says nothing. Whoever wants the image is told so.
            return True
        found = names_layers(raw, unread=True)
        if not found:
            self._drop_config(document.config)
        return found

    def _could_be_layer(self, layer: Descriptor) -> bool:
        return self._documents.could_be_layer(self._place(layer.digest, manifest=False))

    def _pass(self, document: Manifest) -> None:
        """Note what is not an image, for the error where nothing is."""
        if document.config.media_type in IMAGE_CONFIGS and self._strange is None:
            self._strange = next((one for one in document.layers if one.media_type not in LAYER_TYPES), None)
        self._passed.add(document.artifact_type or document.config.media_type)

    def images(self, node: Node) -> tuple[Node, ...]:
        """Return every image manifest at or below a node, once. Raises `LimitExceeded`.

        They stand in the order in which programs look for their platform: those whose descriptor names one first.
        """
        if not node.children:
            return (node,) if node.is_image else ()
        if node.digest not in self._below:
            found: dict[Digest, Node] = {}
            for child in sorted(node.children, key=lambda child: child.platform is None):
                below = self.images(child)
                self.count(len(below))
                for leaf in below:
                    found.setdefault(leaf.digest, leaf)
            self._below[node.digest] = tuple(found.values())
        return self._below[node.digest]

    def disguised(self, node: Node) -> Descriptor | None:
        """Return what an index leads to under another type though it is a manifest or an index, if the source has it.

        skopeo and podman look for the platform alone in an index, and then go by the content. containerd passes over
        types that it does not know.

        Raises:
            DigestMismatch, SizeMismatch: content of another type is not what its descriptor says.
        """
        if node.digest not in self._disguised:
            own = node.others if isinstance(node.document, Index) else ()
            found = next((one for one in own if self._is_disguised(one)), None)
            below = filter(None, map(self.disguised, node.children))
            self._disguised[node.digest] = found or next(below, None)
        return self._disguised[node.digest]

    def _is_disguised(self, descriptor: Descriptor) -> bool:
        if not is_loose(descriptor):
            return False
        key = (descriptor.digest, descriptor.size)
        # One blob may stand in an index very often.
        if key not in self._manifests:
            is_short = descriptor.size <= self._documents.limits.manifest_size
            name = self.carries(descriptor) if is_short else None
            raw = b"" if name is None else self._document(descriptor, name, "the blob", "manifest_size")
            self._manifests[key] = reads_as_manifest(raw, self._could_be_layer)
        return self._manifests[key]

    def carried(self, node: Node, *, layers: bool = False) -> tuple[Node, ...]:
        """Return the `images` of a node that the source carries: of an index it may have some without their config.

        With ``layers`` the source names the layers that it has, and one that is at a place of its own may be absent. An
        image outside of an index is a part then only if that layer is of a type that is not distributed. One that has a
        layer of a type that is not known is a part, whatever its bytes are.
        """
        leaves = self.images(node)
        found = tuple(leaf for leaf in leaves if not self._is_part(leaf, layers=layers, below=bool(node.children)))
        self._lacks_children |= len(found) < len(leaves)
        return found

    def _is_part(self, leaf: Node, *, layers: bool, below: bool) -> bool:
        if kind_of(leaf.document) != "image":
            # Others may unpack it, so that it counts where names must have one meaning.
            document = cast("Manifest", leaf.document)
            for layer in document.layers:
                if not layer.media_type.isprintable():
                    of = leaf.descriptor.digest
                    raise InvalidManifest(f"invalid manifest {of}: the type {layer.media_type!r} is not plain text")
            self._pass(document)
            return True
        elsewhere = [layer for layer in leaf.others[1:] if layers and layer.urls and layer.digest not in self._left_out]
        needed = (leaf.config, *elsewhere) if below else [one for one in elsewhere if _is_foreign(one)]
        return any(self.carries(one) is None for one in needed)

    def carries(self, descriptor: Descriptor) -> str | None:
        """Return the name under which the source has what a descriptor names, if it has that."""
        name = self._place(descriptor.digest, manifest=False)
        return name if self._documents.has(name) else None

    def size(self, name: str) -> int:
        """Return how many bytes a name leads to. Raises `InvalidInput`."""
        return self._documents.size_of(name, what="the blob")

    @property
    def words(self) -> Words:
        """How messages speak of the source."""
        return self._documents.words

    def count(self, references: int) -> None:
        """Note how often documents refer to images: a few may do it a great many times. Raises `LimitExceeded`."""
        self._documents.count_values(references)

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_NESTING:
            raise self.words.error(
                f"{self.words.name}'s indexes are nested more than {MAX_NESTING} deep; it is refused"
            )

    def image(self, node: Node) -> OfferedImage:
        """Return the image of a manifest, without names.

        Raises:
            InvalidInput: it is incomplete, contradictory, or of a type that is not
                known. DigestMismatch, SizeMismatch: its config is not what the manifest says.
        """
        document = node.document
        if isinstance(document, Index):
            msg = "an index is not an image"
            raise TypeError(msg)
        image = self._config(document.config)
        check_layers(image, len(document.layers), self.words)
        layers = tuple(
            self._layer(descriptor, OfferedLayer("", diff_id))
            for descriptor, diff_id in zip(document.layers, image.rootfs.diff_ids, strict=True)
        )
        return OfferedImage(image, layers, node.platform or platform_of(image), manifest=node.digest)

    def machine(self, node: Node | None) -> tuple[str, str] | None:
        """Return the operating system and the processor that an image is for, as its config says them.

        Nothing where this is not an image, where its config is not there or does not say it, and where the descriptor
        says something else. Raises what `image` raises of configs.
        """
        if (
            node is None
            or not node.is_image
            or not self._documents.has(self._place(node.config.digest, manifest=False))
        ):
            return None
        own, said = plain(platform_of(self._config(node.config))), node.descriptor.platform
        machine = own.os, own.architecture
        if said is not None and (plain(said).os, plain(said).architecture) != machine:
            return None
        return machine if all(machine) else None

    def _config(self, descriptor: Descriptor) -> Image:
        key = (descriptor.digest, descriptor.size)
        if key not in self._images:
            raw = self._raw_config(descriptor)
            with reading(f"the config {descriptor.digest}"):
                self._images[key] = read_config(raw, self._documents.limits)
            self._drop_config(descriptor)
        return self._images[key]

    def _raw_config(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a config, verified; some of them are kept until their image is read."""
        key = (descriptor.digest, descriptor.size)
        if key in self._images:
            return self._images[key].raw_json
        if key in self._configs:
            return self._configs[key]
        name = self._place(descriptor.digest, manifest=False)
        raw = self._document(descriptor, name, "the config", "config_size")
        if self._config_bytes + len(raw) <= _CONFIG_BYTES:
            self._config_bytes += len(raw)
            self._configs[key] = raw
        return raw

    def _drop_config(self, descriptor: Descriptor) -> None:
        self._config_bytes -= len(self._configs.pop((descriptor.digest, descriptor.size), b""))

    def _layer(self, descriptor: Descriptor, layer: OfferedLayer) -> OfferedLayer:
        if descriptor.media_type not in LAYER_TYPES:
            raise _unknown_layer(descriptor)
        name = self._place(descriptor.digest, manifest=False)
        return OfferedLayer(name, layer.diff_id, descriptor.digest, descriptor.size, descriptor.urls)

    def no_image(self) -> InvalidInput:
        """Return the error for a source in which nothing is an image."""
        if self._strange is not None:
            return _unknown_layer(self._strange)
        types = ", ".join(sorted(repr(kind) for kind in self._passed))
        held = f", only content of the type {types}" if types else ""
        if self._lacks_children:
            held += ", only an index of images that are elsewhere" if not held else " and an index of images elsewhere"
        return self.words.error(f"{self.words.name} holds no image{held}; there is nothing to {self.words.verb}")

    def _document(self, descriptor: Descriptor, name: str, what: str, limit: str) -> bytes:
        source = self.words.name
        size = self._documents.size_of(name, what=what)
        if size != descriptor.size:
            msg = f"{what} {name!r} has {size} bytes, but its descriptor says {descriptor.size}; {source} is damaged"
            raise SizeMismatch(msg)
        raw = self._documents.document(name, what=what, limit=limit)
        found = hashlib.new(descriptor.digest.algorithm, raw).hexdigest()
        if found != descriptor.digest.hex:
            msg = (
                f"{what} {name!r} has the digest {descriptor.digest.algorithm}:{found}, not that of its descriptor;"
                f" {source} is damaged"
            )
            raise DigestMismatch(msg)
        return raw


def is_image(document: Manifest | Index, could_be_layer: Callable[[Descriptor], bool] = lambda _: False) -> bool:
    """Return whether a document is the manifest of an image, see `ManifestReader`.

    Args:
        document: a manifest or an index.
        could_be_layer: looks at the bytes of a layer whose type says nothing, where the source can do so.
    """
    if isinstance(document, Index):
        return False
    if not document.layers or kind_of(document) == "image":
        return kind_of(document) == "image"
    known = document.config.media_type in IMAGE_CONFIGS
    if any(layer.media_type.endswith(_ENCRYPTED) for layer in document.layers):
        return False
    if any(layer.media_type.startswith(_LAYER_PREFIXES) for layer in document.layers):
        odd = [layer for layer in document.layers if layer.media_type not in LAYER_TYPES]
        return (known or document.config.media_type in DEFAULT_CONFIGS) and all(map(could_be_layer, odd))
    return known and any(could_be_layer(layer) for layer in document.layers)


def reads_as_manifest(raw: bytes, could_be_layer: Callable[[Descriptor], bool]) -> bool:
    """Return whether programs that go by content alone take a document for an index, or for the manifest of an image.

    What orlop refuses, as a key occurs twice, others may read.
    """
    if not raw.lstrip(b" \t\r\n").startswith(b"{"):
        return False
    try:
        document = parse_manifest(raw)
    except InvalidManifest:
        return _has_members(raw)
    return isinstance(document, Index) or is_image(document, could_be_layer)


def _has_members(raw: bytes) -> bool:
    try:
        document = gojson.loads(raw, allow_trailing=True)
    except InvalidJSON:
        return False
    keys = set(map(gojson.fold, document)) if isinstance(document, dict) else set()
    return "manifests" in keys or keys >= {"config", "layers"}


def names_layers(config: bytes, *, unread: bool) -> bool:
    """Return whether an engine would look for layers in a config; ``unread`` where it is not a JSON object."""
    try:
        document = gojson.loads(config)
    except InvalidJSON:
        return unread
    return any(gojson.fold(key) == "rootfs" for key in document) if isinstance(document, dict) else unread


def _parsed(raw: bytes, descriptor: Descriptor) -> Manifest | Index:
    try:
        return parse_manifest(raw)
    except InvalidManifest as error:
        raise InvalidManifest(f"{descriptor.digest} is refused: {error}") from error


def _is_foreign(layer: Descriptor) -> bool:
    """Return whether a layer is of a type that archives do not carry: they are whole without it."""
    return layer.media_type.startswith((OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER))


def _unknown_layer(layer: Descriptor) -> InvalidManifest:
    if layer.media_type.endswith(_ENCRYPTED):
        return InvalidManifest(
            f"the layer {layer.digest} is encrypted, so there is no image to unpack; with all platforms it is kept as"
            " it came"
        )
    return InvalidManifest(f"the layer {layer.digest} is of the type {layer.media_type!r}, which orlop does not know")
