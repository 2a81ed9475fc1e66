"""Content of every kind, as rows: manifests and indexes, where they lead, the names that mean them, and their blobs.

Theory of operation. A manifest, an index or an artifact's manifest is one row with its exact bytes. Where it leads
follows from these bytes, and is recorded as edges, so that nobody has to read all documents to know who needs what: to
a ``child`` of an index, a ``config``, a ``layer``, a ``subject``. A media type belongs to the edge: the same bytes have
several.

Something is *reached* from these roots:

- a name leads to its top (`TopRow`), and a lease to what it protects;
- an image leads to the manifests and indexes that came with it;
- an index leads to its children; a manifest to its config and its layers;
- a subject leads to what refers to it, the other way round than the edge: a signature stays as long as what it signs.

The config and the layers of an image are rows of their own kind, and stay and go with the image. A blob that is not the
content of a layer is opaque: it stays as long as an edge leads to it, and nothing of it is read. A manifest whose image
was removed goes with it, even where an index names it, as that would keep what was to go; an index may lack what it
names. What nothing reaches is garbage, and nothing else is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from orlop.model.digest import ImageID
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.model.digest import Digest

CHILD: Final = "child"
CONFIG: Final = "config"
LAYER: Final = "layer"
SUBJECT: Final = "subject"
"""The roles of edges."""
ELSEWHERE: Final = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
"""How the types of layers begin that need not be where their manifest is."""
LISTED: Final = (
    *("application/vnd.oci.image.layer.v1.tar" + form for form in ("", "+gzip", "+zstd")),
    *("application/vnd.docker.image.rootfs.diff.tar" + form for form in ("", ".gzip", ".zstd")),
    "application/vnd.buildkit.cacheconfig.v0",
)
"""The types of what an index may list that is content and not a manifest: BuildKit writes its caches so."""


class BlobRow(NamedTuple):
    """Stored bytes, of a layer or opaque: ``compression`` is the lower-case name of a `Compression`."""

    digest: Digest
    size: int
    compression: str


class ManifestRow(NamedTuple):
    """A manifest or index, as the exact bytes that its digest names."""

    digest: Digest
    media_type: str
    raw: bytes


class EdgeRow(NamedTuple):
    """A descriptor inside a manifest or an index: the ``child`` of the ``parent``, at a ``position`` of its role.

    What it leads to need not be there.
    """

    parent: Digest
    role: str
    position: int
    child: Digest
    media_type: str
    size: int


class TopRow(NamedTuple):
    """The manifest or index that a name means: of an image that came by one, or of what is not an image.

    ``suffix`` and ``updated`` are those of a `ReferenceRow`. A name that moves to another image loses it.
    """

    name: str
    suffix: str
    digest: Digest
    updated: int


class ContentRows(ABC):
    """A view of content."""

    @abstractmethod
    def manifests(self, image: Digest) -> list[ManifestRow]:
        """Return the manifests and indexes that came with an image."""

    @abstractmethod
    def manifest_digests(self, image: Digest | None = None) -> list[Digest]:
        """Return the digests of the manifests and indexes that came with an image, or of all, sorted; reads none."""

    @abstractmethod
    def manifest(self, digest: Digest) -> ManifestRow | None:
        """Return one manifest or index."""

    @abstractmethod
    def images_of(self, manifest: Digest) -> list[Digest]:
        """Return the images that a manifest or index came with, sorted."""

    @abstractmethod
    def edges(self, parent: Digest) -> list[EdgeRow]:
        """Return where a manifest or an index leads, by role and position."""

    @abstractmethod
    def edges_to(self, child: Digest) -> list[EdgeRow]:
        """Return the edges that lead to some content, sorted by parent."""

    @abstractmethod
    def referring(self, subject: Digest, *, after: str, most: int) -> list[Digest]:
        """Return the manifests and indexes with this subject, sorted: at most so many, behind the text of a digest."""

    def all_edges(self) -> Iterator[EdgeRow]:
        """Yield where all manifests and indexes lead, in no promised order; those of this moment."""
        for digest in self.manifest_digests():
            yield from self.edges(digest)

    def came(self) -> Iterator[tuple[ImageID, Digest]]:
        """Yield each image with each manifest or index that came with it, in no promised order; of this moment."""
        for digest in self.manifest_digests():
            for image in self.images_of(digest):
                yield ImageID.wrap(image), digest

    @abstractmethod
    def top(self, name: str, suffix: str) -> TopRow | None:
        """Return what a name means, where that is recorded."""

    @abstractmethod
    def tops(self, digest: Digest | None = None) -> list[TopRow]:
        """Return what all names mean, or those that mean one manifest or index, sorted by name and suffix."""

    @abstractmethod
    def repositories(self, domain: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the names of the repositories of a registry in which anything has a name, sorted.

        Args:
            domain: the registry's host.
            after: only those that sort behind this name.
            most: at most so many.
        """

    @abstractmethod
    def tags(self, name: str, *, after: str = "", most: int | None = None) -> list[str]:
        """Return the tags in a repository, of images and of other content, sorted; takes what `repositories` takes."""

    @abstractmethod
    def has_names(self, name: str) -> bool:
        """Return whether anything in a repository has a name: a tag, or a digest."""

    @abstractmethod
    def holds_manifest(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest or an index belongs to a repository: whether it can be read there by its digest.

        It does if the repository has a name for it, by tag or digest. What came without a name of its own belongs to
        the repositories of the images that it came with, of the indexes that name it, and of its subject.
        """

    @abstractmethod
    def named_manifests(self, name: str, digests: Iterable[Digest]) -> dict[Digest, bool]:
        """Return which of some manifests a repository has a name for, asked at once: they belong to it.

        Those that only others name by their digests are false, and do not. What nobody names so is left out, and may
        belong to it all the same.
        """

    @abstractmethod
    def holds_blob(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest that belongs to a repository names some content as a config or a layer.

        Not as a layer whose type says that it is elsewhere (`ELSEWHERE`): a client that sends such a manifest need not
        have it.
        """

    @abstractmethod
    def names_elsewhere(self, name: str, digest: Digest) -> bool:
        """Return whether a manifest that belongs to a repository names content that all manifests say is elsewhere."""

    @abstractmethod
    def opaque_blobs(self) -> list[BlobRow]:
        """Return the stored bytes that are not the content of a layer, sorted."""


class WritableContentRows(ContentRows):
    """Content that may be changed."""

    @abstractmethod
    def put_manifest(self, row: ManifestRow, images: Iterable[Digest]) -> None:
        """Keep a manifest or index and link it to images; one that is there already stays, unless it is damaged.

        Where no image is named, something else has to lead to it, see `put_top`.
        """

    @abstractmethod
    def put_blob(self, row: BlobRow) -> None:
        """Keep the row of opaque bytes; one that is there already stays."""

    @abstractmethod
    def put_top(self, row: TopRow) -> None:
        """Record the manifest or index that a name means."""

    @abstractmethod
    def touch_top(self, name: str, suffix: str, updated: int) -> None:
        """Record that a name still means what it does, if it means anything."""

    def delete_top(self, name: str, suffix: str) -> bool:
        """Forget what a name means, and all that nothing else reaches; return whether anything was recorded."""
        return self.delete_tops([(name, suffix)]) > 0

    @abstractmethod
    def delete_tops(self, names: Iterable[tuple[str, str]]) -> int:
        """Do what `delete_top` does for names and their suffixes, at once, and return how many meant anything."""

    @abstractmethod
    def drop_manifest(self, digest: Digest) -> bool:
        """Forget a manifest or an index that no name, index or lease needs, and return whether it went.

        Neither the images that it came with nor its subject keep it. What only it led to goes as well.
        """

    @abstractmethod
    def forget_manifests(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget those of some manifests and indexes, and of all to which they lead, that nothing reaches any more.

        Returns those that went, sorted.
        """

    @abstractmethod
    def forget_blobs(self, digests: Iterable[Digest]) -> list[Digest]:
        """Forget stored bytes, and return those that went, sorted; what a layer, an edge or a lease needs stays."""

    @abstractmethod
    def prune_freed(self) -> list[Digest]:
        """Do what `forget_blobs` does for those to which something led that went in this write."""
