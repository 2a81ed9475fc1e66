"""What a source holds beside images: artifacts, indexes without an image that is there, and the blobs below them.

An image that is offered has its config and its layers; all else that manifests name is offered as blobs, as far as the
source carries it. Of an image that the source carries in part, that part is offered so. What belongs to a platform that
is not wanted is left out, with its blobs, and the index that names it stays whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orlop.errors import SizeMismatch
from orlop.intake.offer import OfferedBlob, OfferedManifest
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.intake.manifests import ManifestReader, Node
    from orlop.intake.platforms import PlatformChoice
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest, ImageID
    from orlop.model.reference import Reference


class Top(NamedTuple):
    """A manifest or an index that a source names: the references, and a text that is none, if there is one.

    An empty ``address`` says that it stands there without a name. What is ``about`` others that are offered is wanted
    with them, whatever platform is.
    """

    node: Node
    names: Sequence[Reference] = ()
    address: str | None = None
    about: bool = False


def with_artifacts(
    reader: ManifestReader,
    tops: Iterable[Top],
    owned: Sequence[OfferedManifest],
    kept: Mapping[Digest, ImageID],
    choice: PlatformChoice,
) -> tuple[tuple[OfferedManifest, ...], tuple[OfferedBlob, ...]]:
    """Return all manifests that are offered, those of images among them, and the blobs that are.

    Args:
        reader: of the source's manifests.
        tops: what the source names.
        owned: the manifests that belong to images that are offered.
        kept: those images by their own manifests.
        choice: what is wanted. Where it is one platform, only what belongs to its images is offered.

    Raises:
        SizeMismatch: a blob has another size than a manifest says. LimitExceeded: manifests name too much.
    """
    found = _Content(reader, owned, kept, whole=choice.asked is None)
    for top in tops:
        found.add_top(top)
    return tuple(found.offered()), tuple(found.blobs.values())


class _Content:
    """What is offered, under way."""

    def __init__(
        self,
        reader: ManifestReader,
        owned: Sequence[OfferedManifest],
        kept: Mapping[Digest, ImageID],
        *,
        whole: bool,
    ) -> None:
        self._reader = reader
        self._kept = kept
        self._whole = whole
        self._seen: set[tuple[Digest, bool]] = set()
        self._manifests = {one.row.digest: one for one in owned}
        # Very many may name the same one.
        self._names: dict[Digest, dict[Reference, None]] = {}
        self._addresses: dict[Digest, dict[str, None]] = {}
        self.blobs: dict[Digest, OfferedBlob] = {}

    def add_top(self, top: Top) -> None:
        """Add what a source names, and all below it."""
        node = top.node
        self._add(node, whole=self._whole or top.about)
        if node.digest not in self._manifests:
            return
        if top.names and not any(leaf.digest in self._kept for leaf in self._reader.images(node)):
            self._names.setdefault(node.digest, {}).update(dict.fromkeys(top.names))
        if top.address is not None:
            self._addresses.setdefault(node.digest, {})[top.address] = None

    def offered(self) -> Iterator[OfferedManifest]:
        """Yield all manifests, with the names and addresses of each."""
        for digest, one in self._manifests.items():
            names = dict.fromkeys(one.names) | self._names.get(digest, {})
            addresses = dict.fromkeys(one.addresses) | self._addresses.get(digest, {})
            yield replace(one, names=tuple(names), addresses=tuple(addresses))

    def _add(self, node: Node, *, whole: bool) -> None:
        if (node.digest, whole) in self._seen:
            return
        self._seen.add((node.digest, whole))
        if node.digest in self._kept:
            return
        if node.digest not in self._manifests:
            if not whole:
                self._below(node, whole=whole)
                return
            self._manifests[node.digest] = OfferedManifest(node.row, ())
        self._reader.count(len(node.others))
        for descriptor in node.others:
            self._add_blob(descriptor)
        self._below(node, whole=whole)

    def _below(self, node: Node, *, whole: bool) -> None:
        for child in node.children:
            self._add(child, whole=whole)

    def _add_blob(self, descriptor: Descriptor) -> None:
        if descriptor.digest in self.blobs:
            return
        name = self._reader.carries(descriptor)
        if name is None:
            return
        size = self._reader.size(name)
        if size != descriptor.size:
            words = self._reader.words.name
            msg = f"the blob {name!r} has {size} bytes, but its manifest says {descriptor.size}; {words} is damaged"
            raise SizeMismatch(msg)
        self.blobs[descriptor.digest] = OfferedBlob(name, descriptor.digest, descriptor.size)
