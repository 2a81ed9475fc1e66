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
    from collections.abc import Collection, Iterable, Iterator

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
_NAME_WEIGHT: Final = 4
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
    document = gojson.loads(members.document("oci-layout", what="the document"), keys=gojson.Keys.FOLDED)
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if version != _VERSION:
        msg = f"the archive's oci-layout has the version {version!r}; orlop reads version {_VERSION}"
        raise InvalidArchive(msg)


class _Claim(NamedTuple):
    """An image to which a name may point: by its own manifest, under the descriptor that carries the name."""

    manifest: Digest
    platform: Platform
    top: Digest


class _Claims:
    """All claims to one name, in order."""

    def __init__(self, name: Reference) -> None:
        self._name = name
        self._by_manifest: dict[Digest, _Claim] = {}
        self._by_platform: dict[Platform, tuple[set[Digest], set[Digest]]] = {}

    def add(self, claim: _Claim) -> None:
        """Note a claim. Raises `InvalidArchive` where two descriptors give the name to two images of one platform."""
        self._by_manifest.setdefault(claim.manifest, claim)
        tops, manifests = self._by_platform.setdefault(claim.platform, (set(), set()))
        tops.add(claim.top)
        manifests.add(claim.manifest)
        if len(tops) > 1 and len(manifests) > 1:
            one, other = sorted(map(str, manifests))[:2]
            msg = f"the archive gives the name {self._name.familiar} to two images, {one} and {other}; it is refused"
            raise InvalidArchive(msg)

    def settled(self, choice: PlatformChoice) -> Iterator[tuple[Digest, tuple[Reference, ...], Reference]]:
        """Give for each image, by its manifest, the tags and the name by digest that it gets."""
        name, claims = self._name, list(self._by_manifest.values())
        chosen = choice.first([claim.platform for claim in claims])
        for number, claim in enumerate(claims):
            digest = Reference(name.domain, name.path, None, claim.top if number == chosen else claim.manifest)
            yield claim.manifest, (name,) if number == chosen and name.tag is not None else (), digest


def read_images(reader: ManifestReader, tops: Iterable[Descriptor], choice: PlatformChoice) -> ArchiveContent:
    """Give the wanted images under descriptors, their names and manifests.

    A name of several platforms points to the host's image, else to the first, and its digest with it; the others are
    named by the digest of their own manifest.
    """
    images: dict[Digest, ArchiveImage] = {}
    claims: dict[Reference, _Claims] = {}
    nodes: list[Node] = []
    passed: dict[Platform, None] = {}
    for top in tops:
        node = reader.node(top)
        if node is None:
            continue
        nodes.append(node)
        names = names_of(top)
        leaves = reader.images(node)
        # Each name of each image is kept.
        reader.count(len(leaves) * (1 + _NAME_WEIGHT * len(names)))
        for leaf in leaves:
            if (said := leaf.platform) is not None and not choice.keeps(said):
                passed[said] = None
                continue
            image = images.get(leaf.digest) or reader.image(leaf)
            if not choice.keeps(image.platform):
                passed[image.platform] = None
                continue
            images.setdefault(leaf.digest, image)
            for name in names:
                claims.setdefault(name, _Claims(name)).add(_Claim(leaf.digest, image.platform, top.digest))
    if not images:
        raise choice.nothing(passed) if passed else reader.no_image()
    kept = {digest: entry.image.id for digest, entry in images.items()}
    manifests = kept_manifests(reader, nodes, kept)
    return ArchiveContent(tuple(_named(images, claims, choice)), manifests)


def _named(
    images: dict[Digest, ArchiveImage], claims: dict[Reference, _Claims], choice: PlatformChoice
) -> Iterator[ArchiveImage]:
    """Give the images with the names that they get."""
    tags: dict[Digest, list[Reference]] = {}
    digests: dict[Digest, dict[Reference, None]] = {}
    for claimed in claims.values():
        for manifest, named, by_digest in claimed.settled(choice):
            tags.setdefault(manifest, []).extend(named)
            digests.setdefault(manifest, {})[by_digest] = None
    for manifest, entry in images.items():
        yield replace(entry, references=tuple(tags.get(manifest, ())), digests=tuple(digests.get(manifest, ())))


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


def kept_manifests(
    reader: ManifestReader, nodes: Iterable[Node], kept: dict[Digest, ImageID]
) -> tuple[ArchiveManifest, ...]:
    """Give every manifest and index that belongs to a kept image, by the digest of its manifest.

    An attestation belongs to the image that it speaks of; another artifact to all images of its index.
    """
    owned = _Owned(reader, kept)
    for node in nodes:
        owned.collect(node)
    return tuple(ArchiveManifest(row, owners) for row, owners in owned.found.values() if owners)


class _Owned:
    """The manifests of an archive, with the images that each belongs to."""

    def __init__(self, reader: ManifestReader, kept: dict[Digest, ImageID]) -> None:
        self._reader = reader
        self._kept = kept
        self._subjects = {str(digest): image for digest, image in kept.items()}
        self.found: dict[Digest, tuple[ManifestRow, tuple[ImageID, ...]]] = {}

    def collect(self, node: Node) -> tuple[ImageID, ...]:
        """Note a node and all below it, and give the images that it belongs to."""
        if node.digest in self.found:
            return self.found[node.digest][1]
        owners: tuple[ImageID, ...] = ()
        if node.is_image:
            owners = (self._kept[node.digest],) if node.digest in self._kept else ()
        elif node.children:
            below = [self.collect(child) for child in node.children if child.is_image or child.children]
            self._reader.count(sum(map(len, below)))
            owners = tuple(dict.fromkeys(owner for each in below for owner in each))
            for child in node.children:
                if not child.is_image and not child.children:
                    self._add_artifact(child, owners)
        self.found[node.digest] = (node.row, owners)
        return owners

    def _add_artifact(self, node: Node, siblings: tuple[ImageID, ...]) -> None:
        subject = node.descriptor.annotations.get(_SUBJECT)
        if subject:
            siblings = (self._subjects[subject],) if subject in self._subjects else ()
        before = self.found[node.digest][1] if node.digest in self.found else ()
        self._reader.count(len(before) + len(siblings))
        self.found[node.digest] = (node.row, tuple(dict.fromkeys((*before, *siblings))))


def attached_manifests(
    members: Members[L], images: Iterable[ArchiveImage]
) -> tuple[tuple[ArchiveManifest, ...], dict[ImageID, tuple[Reference, ...]]]:
    """Give the manifests that lie beside a ``manifest.json`` and belong to its images, and their names by digest.

    What a descriptor names and the archive does not hold is passed over. A manifest whose layers are the plain tars,
    by their diff IDs, was made up when the archive was written: no registry knows it, and it gives no name.

    Raises:
        InvalidManifest: a document is no manifest. DigestMismatch, SizeMismatch: it is not what its descriptor says.
        InvalidArchive: ``index.json`` leads to other images, or gives a name to another one, so that it depends on the
            reader what is in the archive.
    """
    if not members.has("index.json"):
        return (), {}
    index = Index.from_json(members.document("index.json", what="the document"))
    reader = ManifestReader(members, blob_name, may_lack=True)
    listed = _Listed(images)
    kept: dict[Digest, ImageID] = {}
    digests: dict[ImageID, dict[Reference, None]] = {}
    nodes: list[Node] = []
    for top in index.manifests:
        node = reader.node(top)
        if node is None:
            continue
        nodes.append(node)
        leaves = reader.images(node)
        reader.count(len(leaves))
        found = {leaf.digest: entry for leaf in leaves if (entry := listed.of(leaf)) is not None}
        names = names_of(top)
        if leaves:
            listed.check(top, names, [entry.image.id for entry in found.values()])
        for manifest, entry in found.items():
            kept[manifest] = entry.image.id
            for name in () if _is_made_up(node, entry) else names:
                if listed.owner(name) == entry.image.id:
                    by_digest = Reference(name.domain, name.path, None, top.digest)
                    digests.setdefault(entry.image.id, {})[by_digest] = None
    return kept_manifests(reader, nodes, kept), {image: tuple(names) for image, names in digests.items()}


class _Listed:
    """What ``manifest.json`` says is in the archive, for who compares it with ``index.json``."""

    def __init__(self, images: Iterable[ArchiveImage]) -> None:
        self._by_id: dict[ImageID, ArchiveImage] = {}
        self._owners: dict[Reference, ImageID] = {}
        for entry in images:
            self._by_id[entry.image.id] = entry
            # Of a name that is given twice, the last image has it in the end.
            self._owners |= dict.fromkeys(entry.references, entry.image.id)

    def of(self, leaf: Node) -> ArchiveImage | None:
        """Give the image of a manifest."""
        return self._by_id.get(ImageID.wrap(leaf.config.digest))

    def owner(self, name: Reference) -> ImageID | None:
        """Give the image that a name points to."""
        return self._owners.get(name)

    def check(self, top: Descriptor, names: tuple[Reference, ...], images: Collection[ImageID]) -> None:
        """Check that a descriptor leads to an image of the list, and names none that has another name there.

        Raises:
            InvalidArchive: it does not.
        """
        for name in names:
            owner = self._owners.get(name)
            if owner is not None and owner not in images:
                msg = f"the archive's manifest.json names {owner} as {name.familiar}, its index.json another image"
                raise InvalidArchive(f"{msg}; it is refused")
        if not images:
            msg = f"the archive's index.json leads by {top.digest} to an image that its manifest.json does not list"
            raise InvalidArchive(f"{msg}; it is refused")


def _is_made_up(node: Node, entry: ArchiveImage) -> bool:
    document, diff_ids = node.document, entry.image.rootfs.diff_ids
    # A manifest may list very many, and any number of descriptors may name it.
    if not isinstance(document, Manifest) or len(document.layers) != len(diff_ids):
        return False
    return [str(layer.digest) for layer in document.layers] == [str(diff_id) for diff_id in diff_ids]
