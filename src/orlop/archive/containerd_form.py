"""Archives of engines that keep images in containerd: how one lists its images, kept beside these for the way out.

Such an archive is an OCI layout in a tar, with a ``manifest.json`` beside its ``index.json``. Its blobs are content of
the store, so that a layout gives them back. The two documents are not: the order in ``manifest.json`` is that of a Go
map and differs from save to save, and an entry of ``index.json`` may have annotations and a platform of the descriptor
that the engine once resolved. Both are remembered with the images, in a small `Listing` each:

- what could not be derived again, and nothing else: the position, and entries that say more than a name;
- only where both documents are, to the byte, what this module writes for their content. So an archive that another
  program wrote in a form of its own is not taken for one of these;
- an entry that several images lie below stays with the first of them. On the way out it counts only if the name still
  means the same digest.

An engine with graph drivers writes other archives, of plain layers, with ``LayerSources`` in ``manifest.json``: the
last archive that an image came in decides in which form it goes out.
"""

from __future__ import annotations

from orlop.archive.names import IMAGE_NAME, OMITTED, REF_NAME, SUBJECT_NAME
from orlop.errors import InvalidManifest
from orlop.model import gojson
from orlop.model.manifest import OCI_INDEX, Index
from orlop.model.regex import regex
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Final, Self

    from orlop.archive.members import Members
    from orlop.intake.offer import Offer
    from orlop.intake.taking import L
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest, ImageID

_POSITION: Final = "dev.orlop.position"
_CONFIG: Final = regex(r"blobs/sha256/([0-9a-f]{64})\Z")
_DERIVED: Final = frozenset({IMAGE_NAME, REF_NAME})


@dataclass(frozen=True, slots=True)
class Listing:
    """How an archive listed an image: its position in ``manifest.json``, and entries that say more than a name."""

    position: int
    entries: tuple[Descriptor, ...] = ()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a listing. Raises `InvalidManifest` where it is not one."""
        index = Index.from_json(raw)
        position = index.annotations.get(_POSITION, "")
        if not position.isdecimal():
            msg = "invalid listing: it has no position"
            raise InvalidManifest(msg)
        return cls(int(position), index.manifests)

    def to_json(self) -> bytes:
        """Write it as an index with an annotation."""
        return Index(
            media_type=OCI_INDEX, manifests=self.entries, annotations={_POSITION: str(self.position)}
        ).to_json()


def index_document(entries: Iterable[Descriptor], left_out: Iterable[Digest] = ()) -> bytes:
    """Return the ``index.json`` of such an archive, which names layers that are left out of it."""
    manifests = [entry.to_dict() for entry in entries]
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    if lacking := " ".join(sorted(set(map(str, left_out)))):
        document["annotations"] = {OMITTED: lacking}
    return gojson.dumps(document)


def manifest_document(listed: Iterable[tuple[str, Sequence[str], Sequence[str]]]) -> bytes:
    """Return its ``manifest.json``, of each image's config, names and layers."""
    return gojson.dumps(
        [{"Config": config, "RepoTags": list(tags) or None, "Layers": list(layers)} for config, tags, layers in listed]
    )


def with_listings(members: Members[L], offer: Offer) -> Offer:
    """Return an offer whose images know how the archive lists them, if an engine with containerd wrote it."""
    configs = listed_configs(members)
    if configs is None:
        return offer
    entries = Index.from_json(members.document("index.json", what="the document")).manifests
    owners = {one.row.digest: one.images for one in offer.manifests}
    told = _told(entries, owners, configs)
    images = tuple(
        replace(entry, listing=Listing(configs[hex_], tuple(told.get(hex_, ()))).to_json())
        if (hex_ := entry.image.id.hex) in configs
        else entry
        for entry in offer.images
    )
    return replace(offer, images=images)


def listed_configs(members: Members[L]) -> dict[str, int] | None:
    """Return the positions of configs in ``manifest.json``; nothing if no engine with containerd wrote the two."""
    raw = members.document("index.json", what="the document")
    if index_document(Index.from_json(raw).manifests) != raw:
        return None
    raw = members.document("manifest.json", what="the document")
    documents: Any = gojson.loads(raw, allow_trailing=True)
    try:
        written = manifest_document((one["Config"], one["RepoTags"] or (), one["Layers"]) for one in documents)
    except (KeyError, TypeError):
        return None
    if written != raw:
        return None
    found = [_CONFIG.match(str(one["Config"])) for one in documents]
    return {match[1]: number for number, match in enumerate(found) if match is not None}


def _told(
    entries: Iterable[Descriptor], owners: dict[Digest, tuple[ImageID, ...]], configs: dict[str, int]
) -> dict[str, list[Descriptor]]:
    """Return the entries that say more than a name, by the first listed image that each leads to."""
    told: dict[str, list[Descriptor]] = {}
    for entry in entries:
        is_plain = entry.annotations.keys() <= _DERIVED and entry.platform is None
        owner = next((one.hex for one in owners.get(entry.digest, ()) if one.hex in configs), None)
        if owner is not None and not is_plain and SUBJECT_NAME not in entry.annotations:
            told.setdefault(owner, []).append(entry)
    return told
