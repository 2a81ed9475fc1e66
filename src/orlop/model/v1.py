"""Version 1 of image configs: IDs that are computed from a layer's config, and the configs themselves.

Engines still compute both when they save an image, and read them from old archives (Docker Image Specification v1.0 and
v1.1).
"""

from __future__ import annotations

from orlop.errors import InvalidDigest, InvalidImage, InvalidJSON
from orlop.model import gojson
from orlop.model.container import QUOTES
from orlop.model.dialect import Dialect
from orlop.model.digest import Digest, chain_ids
from orlop.model.gostruct import TEXT, Field, Struct, decode, write_members
from orlop.model.image import V1, History, Image, V1Image
from orlop.model.regex import regex
from orlop.model.timestamp import EPOCH
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from orlop.model.digest import ChainID, DiffID
    from orlop.model.image import RootFS

_ID: Final = regex(r"[0-9a-f]{64}")
_NUMBER: Final = regex(r"[+-]?[0-9]+")
_NOT_IN_CONFIG: Final = frozenset({"id", "parent", "Size", "parent_id", "layer_id", "throwaway"})
_NOT_IN_V1: Final = frozenset({"rootfs", "history", "os.version", "os.features"})
_FIRST_EXACT_VERSION: Final = (1, 8, 3)
_MAX_INT: Final = 2**63 - 1
_VERSION: Final[Struct[dict[str, Any]]] = Struct(dict, (Field("docker_version", "docker_version", TEXT),))


@dataclass(frozen=True, slots=True)
class V1Layer:
    """What an archive of version 1 says about one layer.

    ``id`` is 64 hex digits: the v1 ID for 20.10 and older, the SHA-256 of ``json`` for 29. ``json`` is the exact bytes
    of the layer's ``json`` file.
    """

    id: str
    json: bytes
    chain_id: ChainID
    diff_id: DiffID


def create_id(
    image: V1Image | Image, layer_id: ChainID | None, parent: Digest | None, *, dialect: Dialect = Dialect.REFERENCE
) -> Digest:
    """Return the v1 ID of a layer: the digest of its v1 fields with the layer's chain ID and the parent's v1 ID.

    Takes the fields to hash (``id`` is ignored), the chain ID of the layer with all below it (None if there is no
    layer) and the v1 ID of the layer below (None for the lowest).
    """
    quote = QUOTES[dialect]
    v1 = image.v1 if isinstance(image, Image) else image
    members = V1[dialect].members(replace(v1, id=""), quote)
    members["layer_id"] = quote("" if layer_id is None else str(layer_id))
    if parent is not None:
        members["parent"] = quote(str(parent))
    return Digest.of(write_members(dict(sorted(members.items())), quote).encode())


def validate_id(text: str) -> None:
    """Check that a text is a v1 ID, 64 lower-case hex digits; raises `InvalidDigest`."""
    if not _ID.fullmatch(text):
        raise InvalidDigest(f"invalid v1 image ID {text!r}: expected 64 lower-case hex digits")


def history_from_config(raw: bytes, empty_layer: bool, *, dialect: Dialect = Dialect.REFERENCE) -> History:  # noqa: FBT001
    """Make a history entry from the bytes of a v1 config; raises `InvalidImage`.

    The command is the container config's ``Cmd``, joined with spaces.
    """
    v1 = V1Image.from_json(raw, dialect=dialect)
    return History(
        created=v1.created,
        author=v1.author,
        created_by=" ".join(v1.container_config.cmd or ()),
        comment=v1.comment,
        empty_layer=empty_layer,
    )


def make_config_from_v1_config(
    raw: bytes, rootfs: RootFS, history: Sequence[History], *, dialect: Dialect = Dialect.REFERENCE
) -> bytes:
    """Make an image config from the bytes of a v1 config, with these layers and this history.

    Values are copied unchanged. Only if the engine that wrote the config is older than 1.8.3, or not named, they pass
    through the typed fields, since that engine's own configs were not exact. Raises `InvalidImage`.
    """
    try:
        if _is_older(decode(_VERSION, raw)["docker_version"], _FIRST_EXACT_VERSION):
            raw = V1Image.from_json(raw, dialect=dialect).to_json(dialect)
        members = gojson.raw_members(raw)
    except InvalidJSON as error:
        raise InvalidImage(f"invalid v1 image config: {error}") from error
    members = {name: value for name, value in members.items() if name not in _NOT_IN_CONFIG}
    members["rootfs"] = rootfs.to_json(dialect)
    members["history"] = b"[" + b",".join(entry.to_json(dialect) for entry in history) + b"]"
    return gojson.object_of(members, QUOTES[dialect])


def make_v1_config_from_config(
    image: Image,
    v1_id: str,
    parent_v1_id: str,
    throwaway: bool,  # noqa: FBT001
    *,
    dialect: Dialect = Dialect.REFERENCE,
) -> bytes:
    """Make a v1 config from an image that was read, with this ID, this parent (``""`` for none), perhaps ``throwaway``.

    Values are copied unchanged from the image's raw bytes. Raises `InvalidImage` for an image that was not read.
    """
    try:
        members = gojson.raw_members(image.raw_json)
    except InvalidJSON as error:
        raise InvalidImage(f"invalid image config: {error}") from error
    members = {name: value for name, value in members.items() if name not in _NOT_IN_V1}
    members["id"] = gojson.dumps(v1_id)
    if parent_v1_id:
        members["parent"] = gojson.dumps(parent_v1_id)
    if throwaway:
        members["throwaway"] = b"true"
    return gojson.object_of(members, QUOTES[dialect])


def v1_layers(image: Image, dialect: Dialect = Dialect.REFERENCE) -> tuple[V1Layer, ...]:
    """Return the v1 side of every layer, bottom first, as ``docker save`` of that engine writes it.

    The top layer has the image's own fields, the others only the time 1970-01-01. IDs are computed before the operating
    system of the image is added to the lower ones.
    """
    layers: list[V1Layer] = []
    parent: Digest | None = None
    chain = chain_ids(image.rootfs.diff_ids)
    for position, (link, diff_id) in enumerate(zip(chain, image.rootfs.diff_ids, strict=True), start=1):
        v1 = image.v1 if position == len(chain) else V1Image(created=EPOCH)
        v1_id = create_id(v1, link, parent, dialect=dialect)
        below = v1.parent if parent is None else parent.hex
        raw = replace(v1, id=v1_id.hex, parent=below, os=image.os).to_json(dialect)
        name = Digest.of(raw).hex if dialect is Dialect.ENGINE_29 else v1_id.hex
        layers.append(V1Layer(name, raw, link, diff_id))
        parent = v1_id
    return tuple(layers)


def _is_older(version: str, than: tuple[int, ...]) -> bool:
    """Compare versions part by part as an engine does: a part that is missing or not an integer counts as 0."""
    parts = tuple(map(_integer, version.split(".")))
    length = max(len(parts), len(than))
    return parts + (0,) * (length - len(parts)) < than + (0,) * (length - len(than))


def _integer(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        return 0
    digits = text.lstrip("+-").lstrip("0") or "0"
    value = _MAX_INT if len(digits) > len(str(_MAX_INT)) else min(int(digits), _MAX_INT)
    return -value if text.startswith("-") else value
