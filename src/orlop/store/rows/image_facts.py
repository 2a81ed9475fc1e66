"""What rows record beside the bytes of a config or a manifest, and which follows from those bytes alone."""

from __future__ import annotations

from functools import lru_cache

from orlop.errors import InvalidInput
from orlop.model import plain_json
from orlop.model.hashing import sha256_hex
from orlop.model.timestamp import ZERO, Timestamp
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.digest import DiffID


class ImageFacts(NamedTuple):
    """The top chain of an image, the seconds and nanoseconds of its time, and its labels."""

    chain: str | None
    created: int
    created_ns: int
    labels: dict[str, str] | None


def image_facts(config: bytes) -> ImageFacts:
    """Return what follows from a config. Raises `InvalidInput` where it is not the config of an image."""
    from orlop.model.image import Image  # noqa: PLC0415 - most configs are what is recorded of them

    image = Image.from_json(config)
    chain = image.rootfs.chain_id()
    labels = None if image.config is None else image.config.labels
    return ImageFacts(
        None if chain is None else str(chain),
        image.created.unix,
        image.created.nanosecond,
        None if labels is None else dict(labels),
    )


def diff_ids_of(config: bytes) -> tuple[DiffID, ...]:
    """Return the layers' contents that a config names. Raises `InvalidInput` where it is not an image's."""
    from orlop.model.image import Image  # noqa: PLC0415 - as above

    return Image.from_json(config).rootfs.diff_ids


def glimpsed_facts(config: bytes) -> ImageFacts | None:
    """Return the same of a config as most programs write it, a good deal faster, or nothing.

    What it gives is right for a config that says each thing once and by its usual name. Where it is what is recorded,
    nobody need read the config by all the rules; else somebody has to.
    """
    try:
        document = plain_json.loads(config)
        chain = None
        for diff_id in document["rootfs"].get("diff_ids") or ():
            chain = diff_id if chain is None else _link(chain, diff_id)
        created = Timestamp.parse(document["created"]) if document.get("created") else ZERO
        labels = (document.get("config") or {}).get("Labels")
    except (InvalidInput, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return ImageFacts(chain, created.unix, created.nanosecond, labels)


def glimpsed_type(content: bytes) -> str | None:
    """Return the media type of a manifest as most programs write it, a good deal faster, or nothing.

    It is right where the manifest says it once, and by its usual name. Nobody need then read it by all the rules.
    """
    try:
        members = plain_json.loads(content, object_pairs_hook=list)
        said = [(key, value) for key, value in members if key.lower() == "mediatype"]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return said[0][1] if len(said) == 1 and said[0][0] == "mediaType" else None


def manifest_type(content: bytes) -> str | None:
    """Return the media type that a manifest says it has, if it says one."""
    from orlop.model.manifest import parse_manifest  # noqa: PLC0415 - only where content is read

    try:
        return parse_manifest(content).media_type or None
    except InvalidInput:
        return None


@lru_cache(maxsize=1 << 14)
def _link(below: str, diff_id: str) -> str:
    """Return a chain ID. Images share their lower layers."""
    return f"sha256:{sha256_hex(f'{below} {diff_id}'.encode())}"
