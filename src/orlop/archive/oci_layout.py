"""What an OCI layout is to hold, as values: what was asked for, the entries of ``index.json``, and all blobs."""

from __future__ import annotations

from orlop.archive.oci_blobs import PlainLayer, StoredBlob, StoredLayer
from orlop.model.descriptor import Descriptor
from orlop.model.manifest import OCI_LAYER
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.archive.oci_blobs import Blob
    from orlop.model.digest import Digest, ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.image import Image
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Asked:
    """What a name of a save stands for: an image, with the tag that it gets and the digest that was asked for, if any.

    ``name`` is what the user wrote. Where there is no image, the digest is that of another manifest or index.
    """

    name: str
    image: ImageID | None
    reference: Reference | None = None
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class TopEntry:
    """A descriptor that goes into ``index.json``, and the name that it gets there, if it gets one.

    An ``address`` is the text by which the layout it came in named it, where that is not a reference. What nobody asked
    for is there because it refers to something else, its ``subject``.
    """

    descriptor: Descriptor
    reference: Reference | None = None
    address: str = ""
    subject: Digest | None = None

    @property
    def key(self) -> tuple[str, str, bytes]:
        """What no two entries share, and by which they are sorted: name and digest, without a name all that is said."""
        said = b"" if self.reference is not None else self.descriptor.to_json()
        return str(self.reference or self.address), str(self.descriptor.digest), said


def told_apart(entries: Iterable[TopEntry]) -> tuple[TopEntry, ...]:
    """Return the entries that differ in anything, each once."""
    return tuple({entry.key: entry for entry in entries}.values())


@dataclass(frozen=True, slots=True)
class LayoutContent:
    """All that a layout is to hold.

    ``blobs`` stand in the order in which they may be written: what names others comes after them. ``images`` are those
    that it carries; ``omitted`` are the manifests that an index names and the layout lacks, by the index; ``remade``
    are the images whose own manifests could not be written, as the store has their layers in other forms only;
    ``left_out`` are layers that the reader has; ``outdated`` is what refers to manifests that made way for others.
    """

    entries: tuple[TopEntry, ...]
    blobs: tuple[Blob, ...]
    images: tuple[Image, ...]
    omitted: dict[Digest, tuple[Descriptor, ...]]
    remade: tuple[ImageID, ...]
    left_out: tuple[Descriptor, ...] = ()
    outdated: tuple[Digest, ...] = ()

    @property
    def layers(self) -> tuple[Blob, ...]:
        """The layers of images among the blobs."""
        return tuple(blob for blob in self.blobs if isinstance(blob, (StoredLayer, PlainLayer)))

    def without(self, had: Holdings) -> LayoutContent:
        """Return the content without the layers that whoever reads it has: nothing else is ever left out."""
        left = {blob.digest: blob for blob in self.layers if blob.digest in had.blobs}
        described = tuple(Descriptor(OCI_LAYER, digest, blob.size) for digest, blob in left.items())
        kept = tuple(blob for blob in self.blobs if blob.digest not in left)
        return replace(self, blobs=kept, left_out=described)

    @property
    def others(self) -> tuple[Digest, ...]:
        """What is to be protected beside the layers of images: blobs that are none.

        The bytes of documents are here. Protected, a manifest would outlive its image, and then stay with its index.
        """
        return tuple(blob.digest for blob in self.blobs if isinstance(blob, StoredBlob))

    @property
    def lacking(self) -> tuple[Digest, ...]:
        """What is named in what is written, and the layout lacks."""
        written = {blob.digest for blob in self.blobs}
        lacking = [children for index, children in self.omitted.items() if index in written]
        manifests = [child.digest for children in lacking for child in children]
        return tuple(dict.fromkeys([*manifests, *(layer.digest for layer in self.left_out)]))
