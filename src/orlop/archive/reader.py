"""Archives without a store: what is in a file or directory, read on the spot. Nothing is written anywhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.source import opened
from orlop.intake.commit import verified_layer
from orlop.intake.offer import digests_by_image
from orlop.intake.platforms import chosen
from orlop.intake.taking import measuring
from orlop.model.closing import Closing
from orlop.model.image import Configured
from orlop.model.limits import DEFAULT_LIMITS, limits_or
from orlop.model.manifest import Manifest, unread_layer
from orlop.store.content import node_of
from orlop.store.loose import loose_blob
from orlop.streams.compression import Compression, decompressed
from orlop.streams.verify import VerifyingReader

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from orlop.archive.source import ArchiveSource
    from orlop.intake.offer import OfferedImage, OfferedLayer, OfferedManifest
    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.model.image import Image
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.store.blobs.ingest import MeasuredLayer, Readable


@dataclass(frozen=True, slots=True)
class ArchivedLayer:
    """A layer in an archive. Its size and bytes are read, and verified, when they are asked for.

    ``name`` is its member in the archive, ``diff_id`` the digest of its uncompressed tar by the image's config.
    """

    name: str
    diff_id: DiffID
    _source: ArchiveSource[MeasuredLayer] = field(repr=False, compare=False)
    _layer: OfferedLayer = field(repr=False, compare=False)

    @property
    def compressed_size(self) -> int:
        """Its bytes as they stand in the archive."""
        return self._source.members.size_of(self.name, what="the layer")

    @property
    def known_size(self) -> int | None:
        """`compressed_size`, or the size that the archive promises of a layer that it lacks, if it does."""
        return self.compressed_size if self._source.members.has(self.name) else self._layer.size

    @property
    def digest(self) -> Digest:
        """The digest of its bytes as they stand in the archive; the layer is read for it. Raises as `chunks`."""
        return self._measured.blob.digest

    @property
    def compression(self) -> Compression:
        """How it is compressed; the layer is read for it. Raises as `chunks`."""
        return Compression[self._measured.blob.compression.upper()]

    @property
    def tar_size(self) -> int:
        """The bytes of its uncompressed tar; the layer is read for it. Raises as `chunks`."""
        return self._measured.diff.size

    @property
    def size(self) -> int:
        """The bytes of the files in it, as `orlop.ImageSummary` counts them; the layer is read for it."""
        return self._measured.diff.content_size

    @property
    def _measured(self) -> MeasuredLayer:
        return verified_layer(self._source, self._layer)

    def verify(self) -> None:
        """Read the layer, if it has not been read, and check that it is what the archive says. Raises as `chunks`."""
        verified_layer(self._source, self._layer)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of its uncompressed tar; fails before the last of them where they are not its diff ID's.

        Raises:
            DigestMismatch, SizeMismatch: the layer is damaged. InvalidCompression: so is its compressed stream.
            ReadFailed: the archive cannot be read, or came through a pipe.
        """
        compression = self.compression
        with self._source.members.reading(self.name, what="the layer") as source, ExitStack() as stack:
            plain: Readable = source
            if compression is not Compression.NONE:
                plain = stack.enter_context(decompressed(source, compression, limits=self._source.members.limits))
            yield from VerifyingReader(plain, digest=self.diff_id, size=self.tar_size).chunks()

    def raw_chunks(self) -> Iterator[bytes]:
        """Yield its bytes as they stand in the archive, verified like those of `chunks`."""
        digest, size = self.digest, self.compressed_size
        with self._source.members.reading(self.name, what="the layer") as source:
            yield from VerifyingReader(source, digest=digest, size=size).chunks()


@dataclass(frozen=True, slots=True)
class ArchivedImage(Configured):
    """An image in an archive.

    ``config`` is its config, as read, with the parent that the archive names, if that is in it; ``references`` are its
    tags and ``digests`` its names by the digest of a manifest or index; ``layers`` stand bottom first; ``manifests``
    are the digests of the manifests and indexes that belong to it; ``tops`` are the tags that lead to it by one of
    them, with the digest of that one.
    """

    config: Image
    platform: Platform
    references: tuple[Reference, ...]
    digests: tuple[Reference, ...]
    layers: tuple[ArchivedLayer, ...]
    manifests: tuple[Digest, ...]
    tops: tuple[tuple[Reference, Digest], ...] = ()

    @property
    def size(self) -> int:
        """The bytes of the files in all layers; they are read for it."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True)
class ArchivedArtifact:
    """What an archive holds that is not an image: an artifact, an attestation, or an index without an image.

    ``type`` is its artifact type, or else the type of its config; for an index, its media type. ``names`` are its tags,
    and the texts by which the archive names it that are not references; there may be none. ``subject`` is what it
    refers to. ``blobs`` is the number of its layers, and ``size`` the bytes of the manifest and of everything that it
    names, as it states them. ``unread`` is the type of a layer that cannot be unpacked, such as an encrypted one, where
    it would be an image otherwise, or an index of such.
    """

    digest: Digest
    type: str
    names: tuple[str, ...]
    subject: Digest | None
    blobs: int
    size: int
    unread: str = ""


class Archive(Closing):
    """An image archive, read without a store; a context manager, which closes the file.

    Every format that `orlop.ImageService.load` takes is read. Opening one locates its members and reads the documents
    that say what is in it; of a plain file or a directory, layers are read when something of them is asked for. An
    archive that is compressed as a whole, or comes through a pipe, is read through once at the start; the bytes of
    layers from a pipe cannot be read afterwards. Not to be shared between threads.

        >>> import orlop
        >>> orlop.Archive("images.tar")  # doctest: +SKIP
    """

    def __init__(
        self,
        source: BinaryIO | str | os.PathLike[str],
        *,
        platform: Platform | str | None = None,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Open an archive.

        Args:
            source: a path, or a binary file or stream, which is not closed.
            platform: only the images of this one, such as ``linux/arm64``; else all that the archive holds.
            progress: called with events about layers that are read, in the calling thread.
            limits: what the archive may ask for.

        Raises:
            InvalidInput: this is not an archive, or incomplete, contradictory or beyond a limit. IntegrityError: a
                document does not match its digest. PlatformNotFound: it holds no image for the platform. NotFound,
                StorageError: it cannot be read.
        """
        choice = chosen(platform)
        limits = limits_or(limits, DEFAULT_LIMITS)
        with ExitStack() as stack:
            taking = stack.enter_context(measuring(limits, progress))
            archive = stack.enter_context(opened(source, taking))
            offer = archive.offer(choice)
            self._stack = stack.pop_all()
        self.format = offer.form
        """One of ``docker``, ``docker-v1``, ``oci`` and ``dir``."""
        manifests = digests_by_image(offer.manifests)
        ids = {entry.image.id for entry in offer.images}
        self.images = tuple(_archived(archive, entry, ids, manifests.get(entry.image.id, ())) for entry in offer.images)
        """The images, in the order of the archive."""
        self.artifacts = tuple(_artifacts(offer.manifests))
        """What is not an image, in the order of the archive."""

    def verify(self) -> None:
        """Read every layer, and check that it is what the archive says.

        Raises:
            DigestMismatch, SizeMismatch, InvalidTar, InvalidCompression, InvalidArchive: one is not, or not there.
        """
        for image in self.images:
            for layer in image.layers:
                layer.verify()

    def close(self) -> None:
        """Release the file; layers cannot be read any more."""
        self._stack.close()


def _artifacts(manifests: Iterable[OfferedManifest]) -> Iterator[ArchivedArtifact]:
    nodes = [(offered, node_of(offered.row)) for offered in manifests]
    documents = {node.digest: node.document for _, node in nodes}
    for offered, node in nodes:
        # An attestation belongs to the images that it is about.
        if offered.images and node.kind != "artifact":
            continue
        names = (*(name.familiar for name in offered.names), *filter(None, offered.addresses))
        if (blob := loose_blob(offered.row)) is not None:
            yield ArchivedArtifact(blob.digest, blob.media_type, names, None, 0, blob.size)
            continue
        if isinstance(node.document, Manifest):
            parts = (node.document.config, *node.document.layers)
            unread = unread_layer(node.document)
            size, blobs = node.size + sum(part.size for part in parts), len(node.document.layers)
            yield ArchivedArtifact(node.digest, node.artifact_type, names, node.subject, blobs, size, unread)
        elif names or offered.addresses:
            below = (documents.get(child.digest) for child in node.document.manifests)
            unread = next(filter(None, (unread_layer(one) for one in below if one is not None)), "")
            yield ArchivedArtifact(node.digest, node.media_type, names, node.subject, 0, node.size, unread)


def _archived(
    archive: ArchiveSource[MeasuredLayer], entry: OfferedImage, ids: set[ImageID], manifests: tuple[Digest, ...]
) -> ArchivedImage:
    parent = entry.parent if entry.parent in ids else None
    return ArchivedImage(
        entry.image.with_parent(parent),
        entry.platform,
        entry.references,
        entry.digests,
        tuple(ArchivedLayer(layer.name, layer.diff_id, archive, layer) for layer in entry.layers),
        manifests,
        entry.tops,
    )
