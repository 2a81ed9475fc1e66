"""Manifests as they come from a registry: raw bytes, the digest that they have, and the type that they are of."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from orlop.errors import DigestMismatch, InvalidAnswer, InvalidManifest, RegistryUnsupported
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    parse_manifest,
)
from orlop.model.values import dataclass, field
from orlop.registry.conditions import unchanged
from orlop.registry.limits import number

if TYPE_CHECKING:
    from orlop.model.manifest import Manifest
    from orlop.registry.conditions import Condition
    from orlop.registry.messages import Answer

ACCEPTED: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""Every type is named: registries convert, or find nothing, where one is missing."""
KNOWN: Final = INDEX_TYPES | MANIFEST_TYPES
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"
_VAGUE: Final = frozenset({"", "application/json", "text/plain", "application/octet-stream", "binary/octet-stream"})
"""Types that say nothing: what the document says of itself counts then."""


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest or an index: its type, the digest of its bytes, these, and the ``ETag`` that came with them."""

    media_type: str
    digest: Digest
    raw: bytes = field(repr=False)
    etag: str = ""

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of it."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def condition(self) -> Condition:
        """The condition that it is still what its tag leads to."""
        return unchanged(self.etag, self.digest)

    def parsed(self) -> Manifest | Index:
        """Return what it says. Raises `InvalidManifest`."""
        return parse_manifest(self.raw)


def fetched(answer: Answer, wanted: Digest | None, *, limit: int, what: str, is_list: bool = False) -> FetchedManifest:
    """Read the answer to a request for a manifest.

    The digest is that of the bytes themselves; what the registry says it is counts for nothing. A document that is both
    a manifest and an index, or another than it is sent as, is refused: two programs would see two images
    (CVE-2021-41190).

    Args:
        answer: it is closed.
        wanted: the digest that was asked for, if it was one.
        limit: the most bytes that are read.
        what: what was asked for, for errors.
        is_list: it is a list that others write, whose entries may have digests by algorithms that are not known.

    Raises:
        DigestMismatch, InvalidAnswer, InvalidManifest, RegistryUnsupported.
    """
    raw = answer.document(limit, what=what)
    sent = type_of(answer)
    # First, as the digest of such a manifest is that of its payload without the signatures.
    if sent.startswith(_SCHEMA_1) or _is_schema_1(raw):
        raise RegistryUnsupported(
            f"{what} is of schema version 1, which no engine reads any more; push it again with a newer one"
        )
    digest = digest_of(raw, wanted.algorithm if wanted is not None else "sha256")
    if wanted is not None and digest != Digest.wrap(wanted):
        raise DigestMismatch(f"{what} was asked for by its digest {wanted}, but what came has the digest {digest}")
    try:
        document = Index.of_layout(raw, may_be_strange=True) if is_list else parse_manifest(raw)
    except InvalidManifest as error:
        raise InvalidManifest(
            f"{what} cannot be read: {error}; if all manifests there are like this, it is not a registry that answers"
        ) from error
    kind = INDEX_TYPES if isinstance(document, Index) else MANIFEST_TYPES
    shape = OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST
    own = document.media_type or (sent if sent in kind else shape)
    if sent in KNOWN and (sent not in kind or sent != own):
        raise InvalidManifest(f"{what} was sent as {sent}, but is a document of {own}")
    if sent not in KNOWN and sent not in _VAGUE and sent != own:
        raise InvalidAnswer(f"{what} was sent as {sent[:80]!r}, which is not the type of a manifest")
    return FetchedManifest(own, digest, raw, answer.headers.get("ETag") or "")


def looked_at(answer: Answer, wanted: Digest | None) -> Descriptor | None:
    """Return what an answer to HEAD says of a manifest, or None where it does not say enough."""
    length, said = number(answer.headers.get("Content-Length") or ""), answer.headers.get("Docker-Content-Digest")
    kind = type_of(answer)
    digest = Digest.unchecked(said or "")
    if length is None or kind not in KNOWN or answer.is_encoded:
        return None
    if wanted is not None:
        return Descriptor(kind, Digest.wrap(wanted), length)
    return Descriptor(kind, digest, length) if digest.is_valid else None


def type_of(answer: Answer) -> str:
    """Return the media type of an answer without its parameters."""
    return (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def digest_of(raw: bytes, algorithm: str = "sha256") -> Digest:
    """Return the digest of some bytes by an algorithm that digests may have."""
    return Digest(algorithm, hashlib.new(algorithm, raw).hexdigest())


def _is_schema_1(raw: bytes) -> bool:
    if b'"schemaVersion"' not in raw or b'"fsLayers"' not in raw:
        return False
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 1
