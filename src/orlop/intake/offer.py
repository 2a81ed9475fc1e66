"""What a source holds, read and checked, before anything of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.digest import DiffID
from orlop.model.image import Image, check_history
from orlop.model.platform import Platform
from orlop.model.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.words import Words
    from orlop.model.digest import Digest, ImageID
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference
    from orlop.store.rows.metadata import ManifestRow


@dataclass(frozen=True, slots=True)
class OfferedLayer:
    """A layer that a source promises: what it has under ``name`` becomes ``diff_id``.

    ``digest`` and ``size`` are what the source says of the bytes as they are, where it does; ``urls`` are other places
    to have them from. The source may lack them: that matters only where the store lacks the layer, too. With
    ``any_form`` the store need not have it in the form that the digest names.
    """

    name: str
    diff_id: DiffID
    digest: Digest | None = None
    size: int | None = None
    urls: tuple[str, ...] = ()
    any_form: bool = False

    def label(self, *, remote: bool) -> str:
        """Return what reports call it: that by which a ``remote`` source knows it, as docker does, or its diff ID."""
        return (self.digest or self.diff_id).short if remote else self.diff_id.short


@dataclass(frozen=True, slots=True)
class OfferedImage:
    """One image of a source, its layers bottom first.

    ``references`` are its tags, in order; ``digests`` its names by the digest of a manifest or an index; ``parent`` is
    another image of the same source; ``manifest`` is the digest of its own manifest, where the source has one. ``tops``
    are the tags that lead to it by a manifest or an index, with that one's digest. ``listing`` is how an archive lists
    it, to be kept beside it as it is; empty where that can be derived.
    """

    image: Image
    layers: tuple[OfferedLayer, ...]
    platform: Platform
    references: tuple[Reference, ...] = ()
    digests: tuple[Reference, ...] = ()
    parent: ImageID | None = None
    manifest: Digest | None = None
    tops: tuple[tuple[Reference, Digest], ...] = ()
    listing: bytes = b""


@dataclass(frozen=True, slots=True)
class OfferedManifest:
    """A manifest or index that came along, with the images that it belongs to, of which there may be none.

    ``names`` are the tags that mean it and that no image gets: of an artifact, or of an index without an image that is
    offered. ``addresses`` are texts by which its source names it, and that are not references; an empty one says that
    it stands for itself without any. ``homes`` are the repositories that keep it by its digest. What has none of these,
    and belongs to no image, stays for what leads to it.
    """

    row: ManifestRow
    images: tuple[ImageID, ...]
    names: tuple[Reference, ...] = ()
    addresses: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferedBlob:
    """Bytes that a source has under ``name`` and that are kept as they are, unread: no layer of an offered image.

    ``digest`` and ``size`` are what the manifest says that names them.
    """

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Offer:
    """All that a source holds of what is wanted, in its order; ``form`` is the form that it has there.

    Manifests and blobs are content of any kind beside images: an artifact is a manifest with its blobs. A source that
    offers blobs is a `orlop.intake.source.BlobSource`.

    The form of an archive is one of `orlop.intake.report.FORMATS`. ``strange`` are digests by algorithms that are not
    known, of what it holds and does not offer.
    """

    images: tuple[OfferedImage, ...]
    manifests: tuple[OfferedManifest, ...] = ()
    form: str = ""
    blobs: tuple[OfferedBlob, ...] = ()
    strange: tuple[str, ...] = ()

    def only(self, choice: PlatformChoice, words: Words) -> Offer:
        """Return the offer without the images of platforms that were not asked for. Raises `PlatformNotFound`."""
        images = tuple(entry for entry in self.images if choice.keeps(entry.platform))
        if not images:
            raise choice.nothing((entry.platform for entry in self.images), words)
        if choice.asked is None:
            return self
        return self.of_images({entry.image.id for entry in images})

    def of_images(self, ids: Container[ImageID], tops: Iterable[Digest] = ()) -> Offer:
        """Return the part of the offer that belongs to some images, and to some manifests or indexes beside them."""
        images = tuple(entry for entry in self.images if entry.image.id in ids)
        owned = [
            replace(manifest, images=tuple(owner for owner in manifest.images if owner in ids))
            for manifest in self.manifests
        ]
        found = _reached(owned, {one.row.digest for one in owned if one.images} | set(tops))
        manifests = tuple(one for one in owned if one.row.digest in found)
        blobs = tuple(blob for blob in self.blobs if blob.digest in found)
        return Offer(images, manifests, self.form, blobs, self.strange)


def digests_by_image(manifests: Iterable[OfferedManifest]) -> dict[ImageID, tuple[Digest, ...]]:
    """Return the digests of the manifests and indexes that belong to each image."""
    found: dict[ImageID, list[Digest]] = {}
    for manifest in manifests:
        for owner in manifest.images:
            found.setdefault(owner, []).append(manifest.row.digest)
    return {image: tuple(digests) for image, digests in found.items()}


def _reached(manifests: Sequence[OfferedManifest], roots: set[Digest]) -> set[Digest]:
    """Return what some manifests name that belong to no images that are left out, and what is about them."""
    from orlop.model.attached import attached_to  # noqa: PLC0415 - most offers are taken whole
    from orlop.model.manifest import Index, parse_manifest  # noqa: PLC0415 - as above

    rows = {one.row.digest: parse_manifest(one.row.raw) for one in manifests}
    about: dict[Digest, list[Digest]] = {}
    for digest, document in rows.items():
        if document.subject is not None:
            about.setdefault(document.subject.digest, []).append(digest)
    for one in manifests:
        for tag in (*(name.tag or "" for name in one.names), *one.addresses):
            if (subject := attached_to(tag)) is not None:
                about.setdefault(subject, []).append(one.row.digest)
    found: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in found:
            continue
        found.add(digest)
        waiting += about.get(digest, ())
        named = rows.get(digest)
        if isinstance(named, Index):
            waiting += (child.digest for child in named.manifests)
        elif named is not None:
            found.update(one.digest for one in (named.config, *named.layers))
    return found


def read_config(raw: bytes, limits: Limits) -> Image:
    """Read an image config and check what a source must not get wrong in it.

    Args:
        raw: its exact bytes.
        limits: how many layers it may have.

    Raises:
        InvalidImage, InvalidDigest: it cannot be read. LimitExceeded: it has too many layers.
    """
    image = Image.from_json(raw, once=True)
    check_history(image)
    diff_ids = image.rootfs.diff_ids
    check_depth(image.id, len(diff_ids), limits)
    for diff_id in diff_ids:
        DiffID.parse(str(diff_id))
    return image


def check_layers(image: Image, layers: int, words: Words) -> None:
    """Check that a source gives an image as many layers as its config has. Raises the error of its words."""
    if layers != len(image.rootfs.diff_ids):
        msg = (
            f"{words.name} gives the image {image.id} {layers} layers, but its config has"
            f" {len(image.rootfs.diff_ids)} diff IDs"
        )
        raise words.error(msg)


def check_depth(image: object, layers: int, limits: Limits) -> None:
    """Check that an image has not too many layers. Raises `LimitExceeded`."""
    if layers > limits.layers:
        raise limits.exceeded("layers", f"the image {image} has {layers} layers or more")


def platform_of(image: Image) -> Platform:
    """Return the platform that a config names."""
    return Platform(image.os, image.architecture, image.variant, image.os_version, image.os_features)
