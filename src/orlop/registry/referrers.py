"""Referrers: what refers to an image, as signatures and SBOMs do (OCI distribution 1.1, "Listing Referrers").

Registries that have no such list keep one by a tag, ``sha256-HEX``, which each client that pushes a referrer updates:
it reads the index there, adds its descriptor, and writes it back. Where two do so at once, one entry may be lost; a
registry that gives an ``ETag`` can notice that.

A list counts as one only where it has the status, the type and the shape of one: some registries answer 200 with a page
of HTML to everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orlop.errors import (
    InvalidManifest,
    NotInRegistry,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
)
from orlop.model.descriptor import Descriptor
from orlop.model.manifest import OCI_INDEX, Index, Manifest, parse_manifest
from orlop.model.reference import MAX_TAG
from orlop.registry.access import to_pull
from orlop.registry.fetched import digest_of, type_of
from orlop.registry.links import Turning, next_page

if TYPE_CHECKING:
    from orlop.model.digest import Digest
    from orlop.registry.client import RegistryClient

_LIMIT: Final = 16 << 20
_TRIES: Final = 5
_PRECONDITION: Final = 412
_ALGORITHM, _HEX = 32, 64
_BY_TAG: Final = (".sig", ".att", ".sbom")
"""What cosign appends to the tag of a digest, for what it keeps without a subject."""


def fallback_tag(digest: Digest) -> str:
    """Return the tag under which the referrers of a manifest are kept where a registry has no list of them."""
    hexadecimal = "".join(one if one.isalnum() or one in "_.-" else "-" for one in digest.hex)
    return f"{digest.algorithm[:_ALGORITHM]}-{hexadecimal[:_HEX]}"


def listed(
    client: RegistryClient, repository: str, subject: Digest, artifact_type: str = ""
) -> tuple[Descriptor, ...] | None:
    """Return what a registry itself lists, or None where it has no such list. Raises `RegistryError`."""
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    where: str | None = f"/v2/{repository}/referrers/{subject}{query}"
    found: list[Descriptor] = []
    turning = Turning(client.host, f"list what refers to {subject}")
    while where is not None:
        turning.ask(where)
        try:
            answer = client.exchange.ask(
                "GET",
                where,
                to_pull(repository),
                what=f"list what refers to {subject}",
                expect={200},
                headers=(("Accept", OCI_INDEX),),
            )
        except (RegistryUnreachable, RegistryBusy, RegistryDenied):
            raise
        except (RegistryError, NotInRegistry):
            return None
        with answer:
            if type_of(answer) != OCI_INDEX:
                return None
            try:
                # As in `RegistryClient`: another answer may have come for it, of which all is to be believed.
                raw = answer.document(_LIMIT, what="the referrers")
                if type_of(answer) != OCI_INDEX:
                    return None
                where = next_page(answer.url, answer.headers.all("Link"))
                index = Index.from_json(raw)
            except InvalidManifest:
                return None
        turning.came(len(raw), len(index.manifests))
        found += index.manifests
    return _of_type(found, artifact_type)


def tagged(client: RegistryClient, repository: str, subject: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
    """Return what is kept by the fallback tag."""
    index = _tagged_index(client, repository, subject)
    return () if index is None else _of_type(list(index[0].manifests), artifact_type)


def referring(client: RegistryClient, repository: str, subject: Digest) -> tuple[tuple[Descriptor, str | None], ...]:
    """Return what refers to a manifest: by the registry's list or its fallback, and by the tags of cosign.

    The latter come with their tags, since nothing else leads to them. Raises `RegistryError`.
    """
    found: list[tuple[Descriptor, str | None]] = [(one, None) for one in client.referrers(repository, subject)]
    for suffix in _BY_TAG:
        tag = f"{subject.algorithm}-{subject.hex}{suffix}"
        if len(tag) > MAX_TAG:
            # Nobody can have put anything under it.
            continue
        try:
            found.append((client.head_manifest(repository, tag), tag))
        except NotInRegistry:
            continue
    return tuple(found)


def put(client: RegistryClient, repository: str, raw: bytes, media_type: str) -> Descriptor:
    """Push a manifest or index under its digest, and have what it refers to know of it, by whatever the registry has.

    Returns what a list of referrers says of it. Raises `RegistryError`, and `InvalidManifest` where it is none.
    """
    document, found = parse_manifest(raw), described(raw, media_type)
    pushed = client.put_manifest(repository, found.digest, raw, media_type)
    if document.subject is not None and not pushed.lists_referrers:
        add(client, repository, document.subject.digest, found)
    return found


def described(raw: bytes, media_type: str) -> Descriptor:
    """Return what a list of referrers says of a manifest or an index. Raises `InvalidManifest` where it is none."""
    document = parse_manifest(raw)
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    annotations = document.annotations
    return Descriptor(media_type, digest_of(raw), len(raw), annotations=annotations, artifact_type=artifact_type)


def add(client: RegistryClient, repository: str, subject: Digest, referrer: Descriptor) -> None:
    """Add a referrer to those that are kept by the fallback tag, unless it is there.

    Raises:
        RegistryError: the registry refuses, or others write again and again.
    """
    _change(client, repository, subject, referrer.digest, referrer)


def remove(client: RegistryClient, repository: str, subject: Digest, referrer: Digest) -> None:
    """Remove a referrer from those that are kept by the fallback tag. Raises `RegistryError`."""
    _change(client, repository, subject, referrer, None)


def _change(
    client: RegistryClient, repository: str, subject: Digest, digest: Digest, referrer: Descriptor | None
) -> None:
    for tried in range(1, _TRIES + 1):
        found = _tagged_index(client, repository, subject)
        old, etag = (Index(media_type=OCI_INDEX), "") if found is None else found
        is_there = any(one.digest == digest for one in old.manifests)
        if is_there == (referrer is not None):
            return
        others = tuple(one for one in old.manifests if one.digest != digest)
        new = Index(
            media_type=OCI_INDEX,
            annotations=old.annotations,
            manifests=others if referrer is None else (*others, referrer),
        )
        try:
            client.put_manifest(repository, fallback_tag(subject), new.to_json(), OCI_INDEX, if_match=etag)
        except RegistryError as error:
            if error.answered != _PRECONDITION or tried == _TRIES:
                raise
            client.waiting.pause(client.waiting.patience.before(tried, client.waiting.clock))
        else:
            return


def _tagged_index(client: RegistryClient, repository: str, subject: Digest) -> tuple[Index, str] | None:
    try:
        found = client.get_manifest(repository, fallback_tag(subject))
        document = found.parsed()
    except (NotInRegistry, InvalidManifest):
        return None
    # Some registries take the tag for the digest that it is made of.
    return (document, found.etag) if isinstance(document, Index) and found.digest != subject else None


def _of_type(found: list[Descriptor], artifact_type: str) -> tuple[Descriptor, ...]:
    by_digest = {one.digest: one for one in found if not artifact_type or one.artifact_type == artifact_type}
    return tuple(by_digest.values())
