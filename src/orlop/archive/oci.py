"""OCI image layouts, in a directory or a tar: ``index.json`` decides what is in them (OCI image spec, "Image Layout").

Annotations give the names, see `orlop.archive.names`; that each has one meaning, `orlop.archive.meaning` checks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.archive.exporter import Exporter
from orlop.archive.meaning import IndexMeaning
from orlop.archive.names import said_of
from orlop.errors import InvalidArchive
from orlop.intake.content import ArchiveContent, ArchiveManifest
from orlop.intake.manifests import ManifestReader
from orlop.model import gojson
from orlop.model.manifest import Index
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.archive.members import Members
    from orlop.intake.content import ArchiveImage
    from orlop.intake.manifests import Node
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.source import L
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest, ImageID
    from orlop.model.platform import Platform
    from orlop.store.rows.metadata import ManifestRow

_SUBJECT: Final = "vnd.docker.reference.digest"
_VERSION: Final = "1.0.0"
_NAME_WEIGHT: Final = 4


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
    """Return the name of a member in an OCI layout."""
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
    """An image to which a name leads: its own manifest, and the descriptor that carries the name."""

    manifest: Digest
    platform: Platform
    top: Digest


def _settled(
    name: Reference, claims: Sequence[_Claim], choice: PlatformChoice
) -> Iterator[tuple[Digest, tuple[Reference, ...], Reference]]:
    """Yield for each image, by its manifest, the tags and the name by digest that it gets of one name."""
    chosen = choice.first([claim.platform for claim in claims])
    for number, claim in enumerate(claims):
        digest = Reference(name.domain, name.path, None, claim.top if number == chosen else claim.manifest)
        yield claim.manifest, (name,) if number == chosen and name.tag is not None else (), digest


def read_images(reader: ManifestReader, tops: Iterable[Descriptor], choice: PlatformChoice) -> ArchiveContent:
    """Return the wanted images under descriptors, their names and manifests.

    A name of several platforms points to the host's image, else to the first, and its digest with it; the others are
    named by the digest of their own manifest.

    Raises:
        InvalidArchive: nothing is an image, or other programs would read two images under one name.
        PlatformNotFound: none is for the platform that is wanted.
    """
    images: dict[Digest, ArchiveImage] = {}
    claims: dict[Reference, dict[Digest, _Claim]] = {}
    nodes: list[Node] = []
    passed: dict[Platform, None] = {}
    meaning = IndexMeaning(reader)
    for top in tops:
        node, said = reader.node(top), said_of(top)
        meaning.add(top, node, said)
        if node is None:
            continue
        nodes.append(node)
        names = said.name
        leaves = reader.carried(node)
        # Each name of each image is kept.
        reader.count(len(leaves) * (1 + _NAME_WEIGHT * len(names)))
        for leaf in leaves:
            if (platform := leaf.platform) is not None and not choice.keeps(platform):
                passed[platform] = None
                continue
            image = images.get(leaf.digest) or reader.image(leaf)
            if not choice.keeps(image.platform):
                passed[image.platform] = None
                continue
            images.setdefault(leaf.digest, image)
            for name in names:
                claim = _Claim(leaf.digest, image.platform, top.digest)
                claims.setdefault(name, {}).setdefault(leaf.digest, claim)
    if not images:
        raise choice.nothing(passed) if passed else reader.no_image()
    kept = {digest: entry.image.id for digest, entry in images.items()}
    manifests = kept_manifests(reader, nodes, kept)
    return ArchiveContent(tuple(_named(images, claims, choice)), manifests)


def _named(
    images: dict[Digest, ArchiveImage], claims: dict[Reference, dict[Digest, _Claim]], choice: PlatformChoice
) -> Iterator[ArchiveImage]:
    """Yield the images with the names that they get."""
    tags: dict[Digest, list[Reference]] = {}
    digests: dict[Digest, dict[Reference, None]] = {}
    for name, claimed in claims.items():
        for manifest, named, by_digest in _settled(name, tuple(claimed.values()), choice):
            tags.setdefault(manifest, []).extend(named)
            digests.setdefault(manifest, {})[by_digest] = None
    for manifest, entry in images.items():
        yield replace(entry, references=tuple(tags.get(manifest, ())), digests=tuple(digests.get(manifest, ())))


def kept_manifests(
    reader: ManifestReader, nodes: Iterable[Node], kept: dict[Digest, ImageID]
) -> tuple[ArchiveManifest, ...]:
    """Return every manifest and index that belongs to a kept image, by the digest of its manifest.

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
        """Note a node and all below it, and return the images that it belongs to."""
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
