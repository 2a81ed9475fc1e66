"""OCI image layouts, in a directory or a tar: ``index.json`` decides what is in them (OCI image spec, "Image Layout").

Annotations give the names: ``io.containerd.image.name``, else ``org.opencontainers.image.ref.name`` where that is more
than a tag.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.archive.content import ArchiveContent, ArchiveManifest
from orlop.archive.exporter import Exporter
from orlop.archive.manifests import ManifestReader
from orlop.errors import InvalidArchive, InvalidReference
from orlop.model import gojson
from orlop.model.digest import ImageID
from orlop.model.manifest import Index, Manifest
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.archive.content import ArchiveImage
    from orlop.archive.manifests import Node
    from orlop.archive.members import L, Members
    from orlop.archive.platforms import PlatformChoice
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.platform import Platform
    from orlop.store.metadata import ManifestRow

_IMAGE_NAME: Final = "io.containerd.image.name"
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_SUBJECT: Final = "vnd.docker.reference.digest"
_VERSION: Final = "1.0.0"
_TAG: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}")


class OCIExporter(Exporter):
    """OCI image layouts over a store."""

    form = "oci"

    @classmethod
    def read(cls, members: Members[L], choice: PlatformChoice) -> ArchiveContent:
        """Follow ``index.json`` to the images, through indexes of several platforms; see `Exporter.read`.

        A manifest that a nested index names may be absent, as an archive of one platform keeps the index of all;
        what ``index.json`` itself names must be there.
        """
        _check_version(members)
        index = Index.from_json(members.document("index.json", what="the document"))
        return read_images(ManifestReader(members, blob_name), index.manifests, choice)


def blob_name(digest: Digest, *, manifest: bool) -> str:
    """Give the name of a member in an OCI layout."""
    del manifest
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _check_version(members: Members[L]) -> None:
    if not members.has("oci-layout"):
        return
    document = gojson.loads(members.document("oci-layout", what="the document"))
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if version != _VERSION:
        msg = f"the archive's oci-layout has the version {version!r}; orlop reads version {_VERSION}"
        raise InvalidArchive(msg)


class _Claim(NamedTuple):
    """An image to which a name may point: by its own manifest, under the descriptor that carries the name."""

    manifest: Digest
    platform: Platform
    top: Digest


def read_images(reader: ManifestReader, tops: Iterable[Descriptor], choice: PlatformChoice) -> ArchiveContent:
    """Give the wanted images under descriptors, their names and manifests.

    A name of several platforms points to the host's image, else to the first, and its digest with it; the others are
    named by the digest of their own manifest.
    """
    images: dict[Digest, ArchiveImage] = {}
    claims: dict[Reference, dict[Digest, _Claim]] = {}
    nodes: list[Node] = []
    passed: list[Platform] = []
    for top in tops:
        node = reader.node(top)
        if node is None:
            continue
        nodes.append(node)
        names = names_of(top)
        for leaf in node.images():
            if (said := leaf.platform) is not None and not choice.keeps(said):
                passed.append(said)
                continue
            image = reader.image(leaf)
            if not choice.keeps(image.platform):
                passed.append(image.platform)
                continue
            images.setdefault(leaf.digest, image)
            for name in names:
                claim = _Claim(leaf.digest, image.platform, top.digest)
                _check_claim(name, claim, claims.setdefault(name, {}))
    if not images:
        raise choice.nothing(passed) if passed else reader.no_image()
    for name, claimed in claims.items():
        _give_name(images, name, list(claimed.values()), choice)
    kept = {digest: entry.image.id for digest, entry in images.items()}
    return ArchiveContent(tuple(images.values()), kept_manifests(nodes, kept))


def _check_claim(name: Reference, claim: _Claim, others: dict[Digest, _Claim]) -> None:
    """Note a claim. Raises `InvalidArchive` where two descriptors give one name to two images of one platform."""
    for other in others.values():
        if other.top != claim.top and other.manifest != claim.manifest and other.platform == claim.platform:
            msg = (
                f"the archive gives the name {name.familiar} to two images, {other.manifest} and {claim.manifest};"
                " it is refused"
            )
            raise InvalidArchive(msg)
    others.setdefault(claim.manifest, claim)


def _give_name(
    images: dict[Digest, ArchiveImage], name: Reference, claims: Sequence[_Claim], choice: PlatformChoice
) -> None:
    chosen = choice.first([claim.platform for claim in claims])
    for number, claim in enumerate(claims):
        entry = images[claim.manifest]
        digest = Reference(name.domain, name.path, None, claim.top if number == chosen else claim.manifest)
        tags = (name,) if number == chosen and name.tag is not None else ()
        images[claim.manifest] = replace(
            entry,
            references=(*entry.references, *tags),
            digests=tuple(dict.fromkeys((*entry.digests, digest))),
        )


def names_of(descriptor: Descriptor) -> tuple[Reference, ...]:
    """Give the name in a descriptor's annotations, with the tag ``latest`` where it has neither tag nor digest.

    What could be a tag alone is no name: none is invented for it. A name by digest is that of the descriptor, or
    refused.

    Raises:
        InvalidReference: containerd's annotation is no reference. InvalidArchive: a name has another digest.
    """
    annotations = descriptor.annotations
    text = annotations.get(_IMAGE_NAME, "")
    if text:
        reference = Reference.parse(text)
    else:
        text = annotations.get(_REF_NAME, "")
        if not text or _TAG.fullmatch(text):
            return ()
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            # The specification allows any text here, so that it need not be a name.
            return ()
    if reference.digest is not None and reference.digest != descriptor.digest:
        msg = f"the archive names {descriptor.digest} as {text!r}; it is refused"
        raise InvalidArchive(msg)
    if reference.tag is not None:
        reference = replace(reference, digest=None)
    return (reference.with_default_tag(),)


def kept_manifests(nodes: Iterable[Node], kept: dict[Digest, ImageID]) -> tuple[ArchiveManifest, ...]:
    """Give every manifest and index that belongs to a kept image, by the digest of its manifest.

    An attestation belongs to the image that it speaks of; another artifact to all images of its index.
    """
    found: dict[Digest, tuple[ManifestRow, tuple[ImageID, ...]]] = {}
    for node in nodes:
        _collect(node, kept, found)
    return tuple(ArchiveManifest(row, owners) for row, owners in found.values() if owners)


def _collect(
    node: Node, kept: dict[Digest, ImageID], found: dict[Digest, tuple[ManifestRow, tuple[ImageID, ...]]]
) -> tuple[ImageID, ...]:
    if node.digest in found:
        return found[node.digest][1]
    owners: tuple[ImageID, ...] = ()
    if node.is_image:
        owners = (kept[node.digest],) if node.digest in kept else ()
    elif node.children:
        below = [_collect(child, kept, found) for child in node.children if child.is_image or child.children]
        owners = tuple(dict.fromkeys(owner for each in below for owner in each))
        for child in node.children:
            if not child.is_image and not child.children:
                subject = child.descriptor.annotations.get(_SUBJECT)
                about = tuple(image for digest, image in kept.items() if str(digest) == subject)
                before = found[child.digest][1] if child.digest in found else ()
                found[child.digest] = (child.row, tuple(dict.fromkeys((*before, *(about if subject else owners)))))
    found[node.digest] = (node.row, owners)
    return owners


def attached_manifests(
    members: Members[L], images: Iterable[ArchiveImage]
) -> tuple[tuple[ArchiveManifest, ...], dict[ImageID, tuple[Reference, ...]]]:
    """Give the manifests of the OCI layout beside a ``manifest.json`` that belong to its images; their names by digest.

    What a descriptor names and the archive does not hold is passed over. A manifest whose layers are the plain tars,
    by their diff IDs, was made up when the archive was written: no registry knows it, and it gives no name.

    Raises:
        InvalidManifest: a document is no manifest. DigestMismatch, SizeMismatch: it is not what its descriptor says.
    """
    index = Index.from_json(members.document("index.json", what="the document"))
    reader = ManifestReader(members, blob_name, may_lack=True)
    by_id = {entry.image.id: entry for entry in images}
    kept: dict[Digest, ImageID] = {}
    digests: dict[ImageID, dict[Reference, None]] = {}
    nodes: list[Node] = []
    for top in index.manifests:
        node = reader.node(top)
        if node is None:
            continue
        nodes.append(node)
        for leaf in node.images():
            entry = by_id.get(ImageID.wrap(leaf.config.digest))
            if entry is None:
                continue
            kept[leaf.digest] = entry.image.id
            names = [] if _is_made_up(node, entry) else names_of(top)
            for name in names:
                if name in entry.references:
                    by_digest = Reference(name.domain, name.path, None, top.digest)
                    digests.setdefault(entry.image.id, {})[by_digest] = None
    return kept_manifests(nodes, kept), {image: tuple(names) for image, names in digests.items()}


def _is_made_up(node: Node, entry: ArchiveImage) -> bool:
    document = node.document
    return isinstance(document, Manifest) and [str(layer.digest) for layer in document.layers] == [
        str(diff_id) for diff_id in entry.image.rootfs.diff_ids
    ]
