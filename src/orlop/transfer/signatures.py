"""Lists that grow under a tag: what cosign keeps of the signatures and attestations of a manifest.

Such a list is a manifest with a layer for each entry. Whoever signs reads it, adds a layer, and writes another manifest
under the same tag. If an older copy of it replaced the newer one, it would take signatures away from everybody. Entries
are never lost here:

    all of ours are there         ──► what is there stays
    all that is there is in ours  ──► ours, as it is
    each has what the other lacks ──► a new manifest: what is there, and behind it what it lacks

The third is what cosign itself writes, and skopeo. It has a digest of its own, to which nothing but the tag leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import Conflict, InvalidJSON, InvalidManifest
from orlop.model import gojson
from orlop.model.attached import attached_to
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import IMAGE_CONFIGS, Manifest, parse_manifest
from orlop.model.values import dataclass, field, replace
from orlop.registry.fetched import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from orlop.model.descriptor import Descriptor

_GROWING: Final = (".sig", ".att")
"""Not SBOMs: `cosign attach sbom` replaces one with another."""
_HISTORY: Final = b'{"created":"0001-01-01T00:00:00Z"}'
_Key: TypeAlias = "tuple[str, str, tuple[tuple[str, str], ...]]"


@dataclass(frozen=True, slots=True)
class Joined:
    """A list that has what two lists had: its manifest and its config, which is None where it is one of theirs."""

    raw: bytes = field(repr=False)
    config: bytes | None = field(default=None, repr=False)


def grows(tag: str) -> bool:
    """Return whether there is a list under a tag to which others add."""
    return tag.endswith(_GROWING) and attached_to(tag) is not None


def joined(ours: bytes, theirs: bytes, where: str, read: Callable[[Descriptor], bytes]) -> Joined:
    """Return a list of all that two lists have: one of the two, if it has all, or a new one.

    Args:
        ours: the manifest that is to be put under a tag.
        theirs: the one that is there.
        where: how messages call the tag.
        read: returns a config that is there.

    Raises:
        Conflict: they are not lists that can be joined. What reading the config raises.
    """
    new, old = _list(ours, where), _list(theirs, where)
    had = {_key(one) for one in old.layers}
    more = [number for number, one in enumerate(new.layers) if _key(one) not in had]
    if not more:
        return Joined(theirs)
    if had <= {_key(one) for one in new.layers}:
        return Joined(ours)
    if not {old.config.media_type, new.config.media_type} <= IMAGE_CONFIGS or old.media_type != new.media_type:
        raise _conflict(where)
    members, mine = gojson.raw_members(theirs), gojson.raw_members(ours)
    # Keys match with case folded where manifests are read, and exactly where one is written.
    is_written_so = "config" in members and "layers" in mine and ("layers" in members or not old.layers)
    if not is_written_so or old.config.size > DEFAULT_LIMITS.config_size:
        raise _conflict(where)
    config = _grown_config(read(old.config), old.layers, [new.layers[number] for number in more], where)
    added = gojson.raw_elements(mine["layers"])
    layers = gojson.raw_elements(members["layers"]) if "layers" in members else []
    described = replace(old.config, digest=digest_of(config), size=len(config))
    members["config"] = described.to_json()
    members["layers"] = _array([*layers, *(added[number] for number in more)])
    return Joined(gojson.joined(members), config)


def _list(raw: bytes, where: str) -> Manifest:
    try:
        found = parse_manifest(raw)
    except InvalidManifest as error:
        raise _conflict(where) from error
    if not isinstance(found, Manifest):
        raise _conflict(where)
    return found


def _key(entry: Descriptor) -> _Key:
    """Return what tells an entry from others. Signatures of one image often have one content: they are annotations."""
    return entry.media_type, str(entry.digest), tuple(sorted(entry.annotations.items()))


def _grown_config(config: bytes, old: Sequence[Descriptor], more: Sequence[Descriptor], where: str) -> bytes:
    """Return a config that counts more layers. They are not compressed, so that a digest is a diff ID."""
    try:
        members = gojson.raw_members(gojson.bounded(config))
        rootfs = gojson.raw_members(members["rootfs"])
        diff_ids = gojson.raw_elements(rootfs["diff_ids"])
        history = gojson.raw_elements(members.get("history", b"null"))
    except (InvalidJSON, KeyError) as error:
        raise _conflict(where) from error
    if len(diff_ids) != len(old):
        raise _conflict(where)
    rootfs["diff_ids"] = _array([*diff_ids, *(gojson.dumps(str(one.digest)) for one in more)])
    members["rootfs"] = gojson.joined(rootfs)
    if history:
        members["history"] = _array([*history, *(_HISTORY for _ in more)])
    return gojson.joined(members)


def _array(elements: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def _conflict(where: str) -> Conflict:
    return Conflict(
        f"{where} has signatures that this would remove, and the two cannot be joined, as they are not both lists as"
        " cosign writes them; delete the tag there first, or leave it out"
    )
