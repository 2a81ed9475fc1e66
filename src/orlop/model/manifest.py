"""Manifests and indexes: which config and layers make an image, and which images a name stands for.

They are those of the OCI image spec ("Image Manifest", "Image Index") and of Docker (image manifest version 2, schema
2), which have the same shape and other media types.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from orlop.errors import InvalidDigest, InvalidJSON, InvalidManifest
from orlop.model import gojson
from orlop.model.descriptor import Descriptor
from orlop.model.digest import ALGORITHMS, Digest
from orlop.model.platform import Platform
from orlop.model.regex import regex
from orlop.model.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Final, Self

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = f"{OCI_LAYER}+gzip"
OCI_LAYER_ZSTD: Final = f"{OCI_LAYER}+zstd"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = f"{DOCKER_LAYER}.gzip"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP: Final = f"{DOCKER_FOREIGN_LAYER}.gzip"

MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
"""The media types of manifests."""
INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
"""The media types of indexes."""
_SCHEMA_VERSION: Final = 2
MAX_DEPTH: Final = 900
"""How deep a document may be nested: what rows say of it is found with SQLite, which reads no more than 1000 levels."""
_LEADING: Final = frozenset({"manifests", "config", "layers", "blobs", "subject"})
"""The members of which rows are kept, in lower case."""
# Digests as the specification has them, by whatever algorithm, and of a length that can be shown.
_ANY_DIGEST: Final = regex(r"(?=.{,512}\Z)([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+")
# Go reads base64 over line breaks.
_LINE_BREAKS: Final = {ord("\r"): None, ord("\n"): None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document(ABC):
    """What manifests and indexes share.

    ``media_type`` and ``artifact_type`` are empty if the document does not name them. ``raw`` has the bytes that were
    read, and is empty for a document that was not read. Immutable; do not change the annotations.
    """

    schema_version: int = _SCHEMA_VERSION
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = field(default=b"", repr=False)

    def to_json(self) -> bytes:
        """Write the document compactly, in the order of the specification, without empty members except the list."""
        document: dict[str, object] = {"schemaVersion": self.schema_version}
        if self.media_type:
            document["mediaType"] = self.media_type
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        document |= self._content()
        if self.subject is not None:
            document["subject"] = self.subject.to_dict()
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        return gojson.dumps(document)

    @abstractmethod
    def _content(self) -> dict[str, object]:
        """Return the members that only one of the two has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(_Document):
    """One image, or another artifact: its config and its layers, bottom first."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a manifest; raises `InvalidManifest` for anything else, even an index."""
        document = _read(raw)
        if _is_index(document):
            raise InvalidManifest("invalid manifest: it is an index")
        return cls._of(document, raw)

    @classmethod
    def _of(cls, document: _Members, raw: bytes) -> Self:
        return cls(
            config=document.descriptor("config"), layers=document.descriptors("layers"), raw=raw, **_shared(document)
        )

    def _content(self) -> dict[str, object]:
        return {"config": self.config.to_dict(), "layers": [layer.to_dict() for layer in self.layers]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(_Document):
    """Several manifests, or further indexes, under one name: one for each platform, or the content of a layout.

    ``strange`` are the digests of entries that were passed over, see `of_layout`.
    """

    manifests: tuple[Descriptor, ...] = ()
    strange: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read an index; raises `InvalidManifest` for anything else, even a manifest."""
        document = _read(raw)
        if not _is_index(document):
            raise InvalidManifest("invalid index: it is a manifest")
        return cls._of(document, raw)

    @classmethod
    def _of(cls, document: _Members, raw: bytes) -> Self:
        return cls(manifests=document.descriptors("manifests"), raw=raw, **_shared(document))

    @classmethod
    def of_layout(cls, raw: bytes, *, may_be_strange: bool = False) -> Self:
        """Read the ``index.json`` of a layout; raises `InvalidManifest`.

        Entries by algorithms that are not known are passed over, if there are others: nobody could verify them. No
        digest depends on the document.

        Args:
            raw: its bytes.
            may_be_strange: all of its entries may be passed over.
        """
        document = _read(raw)
        entries = document.array("manifests") if _is_index(document) else []
        strange = {number: text for number, entry in enumerate(entries) if (text := _strange(entry))}
        if not strange or (len(strange) == len(entries) and not may_be_strange):
            return cls.from_json(raw)
        known = {number: entry for number, entry in enumerate(entries) if number not in strange}
        manifests = tuple(_descriptor(entry, f"manifests[{number}]") for number, entry in known.items())
        return cls(manifests=manifests, strange=tuple(strange.values()), raw=raw, **_shared(document))

    def _content(self) -> dict[str, object]:
        return {"manifests": [manifest.to_dict() for manifest in self.manifests]}


def parse_manifest(raw: bytes) -> Manifest | Index:
    """Read a document that may be a manifest or an index.

    A document that is both (CVE-2021-41190: two readers would see two images) or neither is refused with
    `InvalidManifest`.
    """
    document = _read(raw)
    # Both are of this module.
    return Index._of(document, raw) if _is_index(document) else Manifest._of(document, raw)  # noqa: SLF001


def withdrawn_blobs(raw: bytes) -> tuple[Descriptor, ...]:
    """Return the blobs that an artifact's manifest names, of the type that OCI withdrew. Raises `InvalidManifest`."""
    return _read(raw).descriptors("blobs")


IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
"""What the config of an image is called."""
DEFAULT_CONFIGS: Final = frozenset({"", "application/octet-stream", "application/json", "text/html"})
"""What registries and clients have called a config that they did not know; engines take it for an image's."""
OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
LAYER_TYPES: Final = frozenset(
    f"{kind}{suffix}"
    for kind in (OCI_LAYER, OCI_FOREIGN_LAYER, DOCKER_LAYER, DOCKER_FOREIGN_LAYER)
    for suffix in ("", "+gzip", "+zstd", ".gzip", ".zstd")
)
"""What the layers of an image are called that can be unpacked as they are."""


def kind_of(document: Manifest | Index) -> str:
    """Return what a document is, by the types in it: ``index``, ``image`` or ``artifact``.

    An image has an image's config, and layers that can be unpacked as they are: none that is encrypted, or of another
    type. One whose config's type says nothing is an image by its layers. Without layers it is an image unless it has an
    artifact type; beside layers that makes no difference, since programs repeat the type of the config there.
    """
    if isinstance(document, Index):
        return "index"
    is_known = document.config.media_type in IMAGE_CONFIGS
    if not document.layers:
        return "image" if is_known and not document.artifact_type else "artifact"
    may_be = is_known or document.config.media_type in DEFAULT_CONFIGS
    has_layers = all(layer.media_type in LAYER_TYPES for layer in document.layers)
    return "image" if may_be and has_layers else "artifact"


def unread_layer(document: Manifest | Index) -> str:
    """Return the type of the first layer that makes an artifact of what has an image's config; empty if none does."""
    if isinstance(document, Index) or document.config.media_type not in IMAGE_CONFIGS:
        return ""
    return next((layer.media_type for layer in document.layers if layer.media_type not in LAYER_TYPES), "")


def parse_descriptor(raw: bytes) -> Descriptor:
    """Read a descriptor that stands alone; raises `InvalidManifest`."""
    try:
        return _descriptor(gojson.loads(raw), "the descriptor")
    except InvalidJSON as error:
        raise InvalidManifest(f"invalid descriptor: {error}") from error


class _Members:
    """The members of an object; keys match with case folded, as in Go. Every getter raises `InvalidManifest`."""

    def __init__(self, value: object, where: str) -> None:
        """Take a plain value, which must be an object, and its place in the document."""
        if not isinstance(value, dict):
            raise InvalidManifest(f"invalid manifest: {where} is not an object")
        self._members = gojson.folded(value)
        self._where = where

    def get(self, name: str) -> object:
        """Return any member; None if it is absent or null."""
        return self._members.get(gojson.fold(name))

    def has(self, name: str) -> bool:
        """Return whether there is such a member, even null."""
        return gojson.fold(name) in self._members

    def text(self, name: str) -> str:
        """Return a string, empty if it is absent."""
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._error(name, "no string")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings, empty if it is absent."""
        values = self.array(name)
        if not all(isinstance(value, str) for value in values):
            raise self._error(name, "no array of strings")
        return tuple(map(str, values))

    def mapping(self, name: str) -> dict[str, str]:
        """Return an object of strings, empty if it is absent."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(member, str) for member in value.values()):
            raise self._error(name, "no object of strings")
        return value

    def array(self, name: str) -> list[object]:
        """Return an array, empty if it is absent."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._error(name, "no array")
        return value

    def size(self, name: str) -> int:
        """Return a size in bytes."""
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error(name, "no size")
        return value

    def digest(self, name: str) -> Digest:
        """Return a valid digest."""
        try:
            return Digest.parse(self.text(name))
        except InvalidDigest as error:
            raise self._error(name, str(error)) from error

    def descriptor(self, name: str) -> Descriptor:
        """Return a descriptor."""
        return _descriptor(self.get(name), name)

    def descriptors(self, name: str) -> tuple[Descriptor, ...]:
        """Return an array of descriptors, empty if it is absent."""
        return tuple(_descriptor(value, f"{name}[{index}]") for index, value in enumerate(self.array(name)))

    def check_data(self) -> None:
        """Check that content inside a descriptor matches its digest: some programs read it instead of the blob."""
        text = self.text("data")
        if not text:
            return
        import base64  # noqa: PLC0415 - few descriptors have content in them

        try:
            content = base64.b64decode(text.translate(_LINE_BREAKS), validate=True)
        except ValueError as error:
            raise self._error("data", "no base64") from error
        digest = self.digest("digest")
        if len(content) != self.size("size") or hashlib.new(digest.algorithm, content).hexdigest() != digest.hex:
            raise self._error("data", f"it is not the content of {digest}, which others read in its place")

    def _error(self, name: str, what: str) -> InvalidManifest:
        return InvalidManifest(f"invalid manifest: {name} of {self._where}: {what}")


def _strange(entry: object) -> str:
    """Return the digest of a descriptor that is by an algorithm that is not known; nothing where it is not."""
    text = gojson.folded(entry).get("digest") if isinstance(entry, dict) else None
    found = _ANY_DIGEST.fullmatch(text) if isinstance(text, str) else None
    return "" if found is None or found[1] in ALGORITHMS else found[0]


def _read(raw: bytes) -> _Members:
    """Read an object of schema version 2."""
    try:
        value = gojson.loads(raw, keys=gojson.Keys.FOLDED, max_depth=MAX_DEPTH)
    except InvalidJSON as error:
        raise InvalidManifest(f"invalid manifest: {error}") from error
    document = _Members(value, "the document")
    if isinstance(value, dict) and not (raw.isascii() and b"\\u" not in raw):
        _check_edges(value)
    version = document.get("schemaVersion")
    # Programs that write Go's own structures may omit it or write zero; readers then go by the shape.
    if version is not None and (type(version) is not int or version not in {0, _SCHEMA_VERSION}):
        raise InvalidManifest(f"invalid manifest: expected schemaVersion {_SCHEMA_VERSION}")
    return document


def _check_edges(document: Mapping[str, object]) -> None:
    """Refuse what databases, and releases of one, read differently in the members that say where a document leads.

    A database has no text that is not UTF-8, which JSON can write as half of a pair of escapes, and SQLite before 3.45
    ended a text at a NUL. Rows of such members would be lost, or never be read again.
    """
    for name, value in document.items():
        items = [value] if isinstance(value, dict) else value if isinstance(value, list) else ()
        leads = gojson.fold(name) in _LEADING
        texts = [name, *(text for item in items if leads and isinstance(item, dict) for text in _texts(item))]
        if any("\0" in text or "\ufffd" in text for text in texts):
            raise InvalidManifest(f"invalid manifest: {name!r} holds a NUL, or something that is not UTF-8")


def _texts(item: Mapping[str, object]) -> Iterator[str]:
    for name, value in item.items():
        yield name
        if isinstance(value, str) and gojson.fold(name) in {"digest", "mediatype"}:
            yield value


def _is_index(document: _Members) -> bool:
    """Return whether a document is an index; raise `InvalidManifest` if it is both, neither, or not what it claims."""
    is_manifest = any(document.get(name) is not None for name in ("config", "layers", "fsLayers"))
    # Go writes an empty list as null.
    is_index = document.get("manifests") is not None or (not is_manifest and document.has("manifests"))
    if is_index == is_manifest:
        what = "a manifest and an index at once" if is_index else "neither a manifest nor an index"
        raise InvalidManifest(f"invalid manifest: it is {what}")
    media_type = document.text("mediaType")
    if media_type in (MANIFEST_TYPES if is_index else INDEX_TYPES):
        raise InvalidManifest(f"invalid manifest: its content is not what its media type {media_type} says")
    return is_index


def _shared(document: _Members) -> dict[str, Any]:
    """Return the fields that manifests and indexes share."""
    return {
        "media_type": document.text("mediaType"),
        "artifact_type": document.text("artifactType"),
        "subject": None if document.get("subject") is None else document.descriptor("subject"),
        "annotations": document.mapping("annotations"),
    }


def _descriptor(value: object, where: str) -> Descriptor:
    members = _Members(value, where)
    platform = members.get("platform")
    members.check_data()
    return Descriptor(
        media_type=members.text("mediaType"),
        digest=members.digest("digest"),
        size=members.size("size"),
        annotations=members.mapping("annotations"),
        platform=None if platform is None else _platform(_Members(platform, f"the platform of {where}")),
        urls=members.texts("urls"),
        artifact_type=members.text("artifactType"),
    )


def _platform(members: _Members) -> Platform:
    return Platform(
        os=members.text("os"),
        architecture=members.text("architecture"),
        variant=members.text("variant"),
        os_version=members.text("os.version"),
        os_features=members.texts("os.features"),
    )
