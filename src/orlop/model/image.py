"""Image configs: what an image is made of and how it runs (OCI image spec, "Image Configuration"; Docker's fields).

The ID of an image is the digest of its exact config bytes. So an `Image` keeps the bytes that it was read from, and a
config that was read is never serialised again to be stored. `Image.to_json` is for new images, and for v1 IDs, which
engines compute from fields that are serialised again.
"""

from __future__ import annotations

from orlop.errors import InvalidImage, InvalidJSON
from orlop.model.container import CONTAINER, QUOTES, ContainerConfig
from orlop.model.dialect import Dialect, check_dialect
from orlop.model.digest import DiffID, ImageID, chain_id
from orlop.model.generic import cast
from orlop.model.given import check_bytes
from orlop.model.gostruct import (
    BOOL,
    INT,
    TEXT,
    TIME,
    Field,
    Pointer,
    Slice,
    Struct,
    Text,
    decode,
    write_members,
)
from orlop.model.platform import Platform
from orlop.model.timestamp import ZERO
from orlop.model.values import dataclass, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

    from orlop.model.digest import ChainID
    from orlop.model.gostruct import (
        Codec,
    )
    from orlop.model.timestamp import Timestamp


__all__ = ["TYPE_LAYERS", "Dialect", "History", "Image", "RootFS", "V1Image", "check_history"]

TYPE_LAYERS: Final = "layers"
"""The type of a root file system that consists of layers."""


@dataclass(frozen=True, slots=True)
class History:
    """One step of an image's build. ``created`` is None if no time was given."""

    created: Timestamp | None = None
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False

    def to_json(self, dialect: Dialect = Dialect.REFERENCE) -> bytes:
        """Write the entry as the engine of that dialect does."""
        check_dialect(dialect)
        return HISTORY[dialect].write(self, QUOTES[dialect]).encode()


@dataclass(frozen=True, slots=True)
class RootFS:
    """An image's layers: their diff IDs, bottom first."""

    type: str = TYPE_LAYERS
    diff_ids: tuple[DiffID, ...] = ()

    def append(self, diff_id: DiffID) -> RootFS:
        """Return a copy with one more layer on top."""
        return replace(self, diff_ids=(*self.diff_ids, diff_id))

    def chain_id(self) -> ChainID | None:
        """Return the chain ID of all layers, or None if there is no layer."""
        return chain_id(self.diff_ids)

    def to_json(self, dialect: Dialect = Dialect.REFERENCE) -> bytes:
        """Write the root file system as the engine of that dialect does."""
        check_dialect(dialect)
        return ROOTFS.write(self, QUOTES[dialect]).encode()


@dataclass(frozen=True, slots=True)
class V1Image:
    """The fields that images had before they were named by their content, and still have.

    ``id`` and ``parent`` are hex digits without a prefix. ``created`` is None if no time was given; ``size`` is in
    bytes.
    """

    id: str = ""
    parent: str = ""
    comment: str = ""
    created: Timestamp | None = None
    container: str = ""
    container_config: ContainerConfig = field(default_factory=ContainerConfig)
    docker_version: str = ""
    author: str = ""
    config: ContainerConfig | None = None
    architecture: str = ""
    variant: str = ""
    os: str = ""
    size: int = 0

    @classmethod
    def from_json(cls, raw: bytes, *, dialect: Dialect = Dialect.REFERENCE, once: bool = False) -> V1Image:
        """Read a v1 config as the engine of that dialect does.

        Raises `InvalidImage`; with ``once`` also if a field has two values.
        """
        check_dialect(dialect)
        check_bytes(raw, "a config")
        try:
            return decode(V1[dialect], raw, once=once)
        except InvalidJSON as error:
            raise InvalidImage(f"invalid v1 image config: {error}") from error

    def to_json(self, dialect: Dialect = Dialect.REFERENCE) -> bytes:
        """Write the v1 config as the engine of that dialect does, in struct order."""
        check_dialect(dialect)
        return V1[dialect].write(self, QUOTES[dialect]).encode()


@dataclass(frozen=True, slots=True)
class Image:
    """An image config, read or about to be written. Immutable; equal to another if all fields and raw bytes are equal.

    ``parent`` is what the config itself says, which no daemon trusts: an image store returns a copy with the parent
    that it has recorded (`with_parent`). ``raw_json`` is empty for an image that was not read.
    """

    v1: V1Image = field(default_factory=V1Image)
    parent: ImageID | None = None
    rootfs: RootFS = field(default_factory=RootFS)
    history: tuple[History, ...] = ()
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    raw_json: bytes = field(default=b"", repr=False)
    _id: ImageID | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: bytes, *, dialect: Dialect = Dialect.REFERENCE, once: bool = False) -> Self:
        """Read a config as the engine of that dialect does.

        Keys match with case folded, unknown ones are ignored, repeated ones are merged. Fields that only another
        dialect knows are read too. Raises `InvalidImage` for a config that the engine refuses, such as one without
        ``rootfs``; with ``once`` also if a field has two values, since other readers may take another one.
        """
        check_dialect(dialect)
        check_bytes(raw, "a config")
        try:
            fields = decode(_IMAGE[dialect], raw, once=once)
        except InvalidJSON as error:
            raise InvalidImage(f"invalid image config: {error}") from error
        if fields["rootfs"] is None:
            raise InvalidImage("invalid image config: it has no rootfs")
        return cls(raw_json=raw, **fields)

    def to_json(self, dialect: Dialect = Dialect.REFERENCE) -> bytes:
        """Write the config as the engine of that dialect does, keys sorted."""
        check_dialect(dialect)
        quote = QUOTES[dialect]
        return write_members(dict(sorted(_IMAGE[dialect].members(self, quote).items())), quote).encode()

    def with_parent(self, parent: ImageID | None) -> Self:
        """Return a copy with this parent; the raw bytes, and so the ID, stay."""
        return replace(self, parent=parent)

    @property
    def id(self) -> ImageID:
        """The digest of the exact bytes that the image was read from (no bytes, for an image that was not read)."""
        if self._id is None:
            # It is used again and again, and a config may be large.
            object.__setattr__(self, "_id", ImageID.of(self.raw_json))
        return cast("ImageID", self._id)

    @property
    def image_id(self) -> str:
        """The ID as text."""
        return str(self.id)

    @property
    def created(self) -> Timestamp:
        """When the image was made; Go's zero time if that is not known."""
        return self.v1.created or ZERO

    @property
    def config(self) -> ContainerConfig | None:
        """How containers of the image are set up."""
        return self.v1.config

    @property
    def run_config(self) -> ContainerConfig | None:
        """The same as `config`, under its name in the image package."""
        return self.v1.config

    @property
    def container_config(self) -> ContainerConfig:
        """How the container from which the image was committed was set up."""
        return self.v1.container_config

    @property
    def author(self) -> str:
        """Who made the image."""
        return self.v1.author

    @property
    def comment(self) -> str:
        """The message of its commit."""
        return self.v1.comment

    @property
    def architecture(self) -> str:
        """The processor architecture, as Go names it."""
        return self.v1.architecture

    @property
    def variant(self) -> str:
        """The variant of the architecture."""
        return self.v1.variant

    @property
    def os(self) -> str:
        """The operating system, as Go names it."""
        return self.v1.os

    @property
    def platform(self) -> Platform:
        """What the image runs on; parts that its config does not have are empty."""
        return Platform(self.os, self.architecture, self.variant, self.os_version, self.os_features)

    @property
    def docker_version(self) -> str:
        """The version of the engine that made the image."""
        return self.v1.docker_version

    @property
    def container(self) -> str:
        """The ID of the container from which the image was committed."""
        return self.v1.container

    @property
    def size(self) -> int:
        """The size in bytes that the config claims."""
        return self.v1.size


class Configured:
    """An image that is not in a store: what is known of it by its config alone."""

    __slots__ = ()

    config: Image

    @property
    def id(self) -> ImageID:
        """The image ID."""
        return self.config.id

    @property
    def raw_config(self) -> bytes:
        """The exact bytes of the config."""
        return self.config.raw_json


def check_history(image: Image) -> None:
    """Check that there are not more history entries with a layer than layers; fewer are fine. Raises `InvalidImage`."""
    filled = sum(not entry.empty_layer for entry in image.history)
    if filled > len(image.rootfs.diff_ids):
        raise InvalidImage(
            f"invalid image config: {filled} history entries have a layer, for {len(image.rootfs.diff_ids)} layers"
        )


def _wrap_parent(text: str) -> ImageID | None:
    return ImageID.unchecked(text) if text else None


def _unwrap_parent(parent: ImageID | None) -> str:
    return "" if parent is None else str(parent)


def _history_fields(dialect: Dialect) -> tuple[Field, ...]:
    author = Field("author", "author", TEXT, omit_empty=True)
    created_by = Field("created_by", "created_by", TEXT, omit_empty=True)
    rest = (
        Field("comment", "comment", TEXT, omit_empty=True),
        Field("empty_layer", "empty_layer", BOOL, omit_empty=True),
    )
    if dialect is Dialect.ENGINE_29:
        return (Field("created", "created", Pointer(TIME), omit_empty=True), created_by, author, *rest)
    return (Field("created", "created", TIME), author, created_by, *rest)


def _v1_fields(dialect: Dialect) -> tuple[Field, ...]:
    container = CONTAINER[dialect]
    created: Codec = Pointer(TIME) if dialect is Dialect.ENGINE_29 else TIME
    return (
        Field("id", "id", TEXT, omit_empty=True),
        Field("parent", "parent", TEXT, omit_empty=True),
        Field("comment", "comment", TEXT, omit_empty=True),
        Field("created", "created", created),
        Field("container", "container", TEXT, omit_empty=True),
        Field("container_config", "container_config", container),
        Field("docker_version", "docker_version", TEXT, omit_empty=True),
        Field("author", "author", TEXT, omit_empty=True),
        Field("config", "config", Pointer(container), omit_empty=True),
        Field("architecture", "architecture", TEXT, omit_empty=True),
        Field("variant", "variant", TEXT, omit_empty=True, written=dialect is not Dialect.REFERENCE),
        Field("os", "os", TEXT, omit_empty=True),
        Field("Size", "size", INT, omit_empty=True),
    )


def _image_fields(dialect: Dialect) -> tuple[Field, ...]:
    # The image's own `parent` hides the one of the embedded v1 fields, as in Go.
    v1 = (replace(each, inside="v1") for each in V1[dialect].fields if each.name != "parent")
    return (
        *v1,
        Field("parent", "parent", Text(_wrap_parent, _unwrap_parent), omit_empty=True),
        Field("rootfs", "rootfs", Pointer(ROOTFS), omit_empty=True),
        Field("history", "history", Slice(HISTORY[dialect], nil=()), omit_empty=True),
        Field("os.version", "os_version", TEXT, omit_empty=True),
        Field("os.features", "os_features", Slice(TEXT, nil=()), omit_empty=True),
    )


ROOTFS: Final = Struct(
    RootFS,
    (
        Field("type", "type", TEXT),
        Field("diff_ids", "diff_ids", Slice(Text(DiffID.unchecked), nil=()), omit_empty=True),
    ),
)
"""How a root file system is read and written."""
HISTORY: Final = {dialect: Struct(History, _history_fields(dialect)) for dialect in Dialect}
"""How each dialect reads and writes a history entry."""
V1: Final = {dialect: Struct(V1Image, _v1_fields(dialect)) for dialect in Dialect}
"""How each dialect reads and writes the v1 fields."""
_IMAGE: Final[dict[Dialect, Struct[dict[str, Any]]]] = {
    dialect: Struct(dict, _image_fields(dialect), embedded={"v1": V1[dialect]}) for dialect in Dialect
}
