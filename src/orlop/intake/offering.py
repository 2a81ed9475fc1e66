"""From manifests and the names that they go by to an offer: which image has which name, and which manifests.

A name may lead to images for several platforms, by an index or by several manifests. Each of them is offered; the name
itself goes to one. Manifests and indexes are offered with the images that they belong to, exactly as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.intake.beside_images import Top, with_artifacts
from orlop.intake.offer import Offer, OfferedManifest
from orlop.model.reference import Reference
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.intake.manifests import ManifestReader, Node
    from orlop.intake.offer import OfferedBlob, OfferedImage
    from orlop.intake.platforms import PlatformChoice
    from orlop.model.digest import Digest, ImageID
    from orlop.model.platform import Platform
    from orlop.store.rows.metadata import ManifestRow

_SUBJECT: Final = "vnd.docker.reference.digest"
_NAME_WEIGHT: Final = 4


class _Claim(NamedTuple):
    """An image to which a name leads: its own manifest, and the descriptor that carries the name."""

    manifest: Digest
    platform: Platform
    top: Digest


def _settled(
    name: Reference, claims: Sequence[_Claim], choice: PlatformChoice
) -> Iterator[tuple[Digest, Digest | None, Reference]]:
    """Yield for each image, by its manifest, what its tag means if it gets the tag, and its name by digest."""
    chosen = choice.first([claim.platform for claim in claims])
    for number, claim in enumerate(claims):
        digest = claim.top if number == chosen else claim.manifest
        top = claim.top if number == chosen and name.tag is not None else None
        yield claim.manifest, top, Reference(name.domain, name.path, None, digest)


def offer_of(
    reader: ManifestReader,
    tops: Iterable[tuple[Node, Sequence[Reference]] | Top],
    choice: PlatformChoice,
    *,
    form: str,
    blobs: bool = False,
) -> Offer:
    """Return the wanted images under manifests and indexes, their names and manifests.

    A name of several platforms points to the host's image, else to the first, and its digest with it; the others are
    named by the digest of their own manifest.

    Args:
        reader: of the source's manifests.
        tops: what is named in the source, each with its names.
        choice: what is wanted.
        form: what the source calls its form.
        blobs: offer what the source holds beside images, too, see `orlop.intake.beside_images`.

    Raises:
        InvalidInput: nothing is an image, or an artifact that is wanted, or a manifest or a config is refused.
        PlatformNotFound: none is for the platform that is wanted.
    """
    images: dict[Digest, OfferedImage] = {}
    claims: dict[Reference, dict[Digest, _Claim]] = {}
    found: list[Top] = []
    passed: dict[Platform, None] = {}
    for top in tops:
        found.append(top if isinstance(top, Top) else Top(*top))
        node, names = found[-1].node, found[-1].names
        leaves = reader.carried(node, layers=blobs)
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
                claim = _Claim(leaf.digest, image.platform, node.digest)
                claims.setdefault(name, {}).setdefault(leaf.digest, claim)
    if not images and (passed or choice.asked is not None or not (blobs and found)):
        raise choice.nothing(passed, reader.words) if passed else reader.no_image()
    kept = {digest: entry.image.id for digest, entry in images.items()}
    manifests = kept_manifests(reader, [top.node for top in found], kept)
    others: tuple[OfferedBlob, ...] = ()
    if blobs:
        manifests, others = with_artifacts(reader, found, manifests, kept, choice)
    return Offer(tuple(_named(images, claims, choice)), manifests, form, others)


def _named(
    images: dict[Digest, OfferedImage], claims: dict[Reference, dict[Digest, _Claim]], choice: PlatformChoice
) -> Iterator[OfferedImage]:
    """Yield the images with the names that they get."""
    tags: dict[Digest, list[tuple[Reference, Digest]]] = {}
    digests: dict[Digest, dict[Reference, None]] = {}
    for name, claimed in claims.items():
        for manifest, top, by_digest in _settled(name, tuple(claimed.values()), choice):
            if top is not None:
                tags.setdefault(manifest, []).append((name, top))
            digests.setdefault(manifest, {})[by_digest] = None
    for manifest, entry in images.items():
        tops = tuple(tags.get(manifest, ()))
        others = tuple(digests.get(manifest, ()))
        yield replace(entry, references=tuple(name for name, _ in tops), digests=others, tops=tops)


def kept_manifests(
    reader: ManifestReader, nodes: Iterable[Node], kept: dict[Digest, ImageID]
) -> tuple[OfferedManifest, ...]:
    """Return every manifest and index that belongs to a kept image, by the digest of its manifest.

    An attestation belongs to the image that it speaks of; another artifact to all images of its index.
    """
    owned = _Owned(reader, kept)
    for node in nodes:
        owned.collect(node)
    return tuple(OfferedManifest(row, owners) for row, owners in owned.found.values() if owners)


class _Owned:
    """The manifests of a source, with the images that each belongs to."""

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
