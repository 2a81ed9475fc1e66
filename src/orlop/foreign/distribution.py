"""Manifests in the directory of a registry as a source of images and of other content."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, Generic

from orlop.errors import InvalidInput, InvalidRoot, RootDamaged
from orlop.foreign.content import has_layer_magic
from orlop.foreign.disk import FileReader, close, reading
from orlop.intake.beside_images import Top
from orlop.intake.manifests import ManifestReader
from orlop.intake.offering import offer_of
from orlop.intake.source import Found
from orlop.intake.taking import L, refused
from orlop.intake.words import Words
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import INDEX_TYPES, MANIFEST_TYPES
from orlop.model.reference import Reference
from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.foreign.distribution_root import DistributionRoot
    from orlop.intake.manifests import Node
    from orlop.intake.offer import Offer, OfferedBlob, OfferedLayer
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import Readable, TakenBlob
    from orlop.store.blobs.store import Ingest

_BLOCK: Final = 512
_MANIFESTS: Final = INDEX_TYPES | MANIFEST_TYPES


@dataclass(frozen=True, slots=True)
class Wanted:
    """A manifest that is to be taken with all below it.

    ``names`` are what it is called, all of one repository. Without any, it is named by its digest in ``repository``.
    What is ``about`` another one that is wanted stays for that.
    """

    digest: Digest
    names: tuple[Reference, ...] = ()
    repository: Reference | None = None
    about: bool = False


class DistributionSource(Generic[L]):
    """Some manifests of one registry, an `orlop.intake.source.ImageSource`.

    ``problems`` say, once `offer` has returned, what is missing without which the rest can be had.

    Args:
        root: the registry's directory.
        taking: takes what is in it.
        wanted: what is to be taken.
        sharing: returns content that shares the bytes of an open file, or nothing where they are to be copied.
    """

    parallel: ClassVar[bool] = True
    remote: ClassVar[bool] = False

    def __init__(
        self,
        root: DistributionRoot,
        taking: Taking[L],
        wanted: Sequence[Wanted],
        *,
        sharing: Callable[[int], Ingest | None] = lambda _: None,
    ) -> None:
        self.words = Words(
            name=f"the registry in {root.path}",
            part="blob",
            verb="import",
            meanwhile="while the registry was imported",
            advice="pull the image from where that is",
            error=InvalidRoot,
        )
        self.problems: list[str] = []
        self._root = root
        self._taking = taking
        self._wanted = wanted
        self._sharing = sharing
        self._documents = _Documents(root, self.words, taking.limits)

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self._taking.limits

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes."""
        return self._taking.progress

    def offer(self, choice: PlatformChoice) -> Offer:
        """Return what is wanted, with all that it names and that is there.

        Raises:
            RootDamaged, DigestMismatch, SizeMismatch: a document is missing, or damaged. InvalidInput: it is refused.
        """
        reader = ManifestReader(self._documents, _name_of)
        tops: list[Top] = []
        for one in self._wanted:
            size = self._documents.size_of(str(one.digest), what="the manifest")
            node = reader.node(Descriptor("", one.digest, size))
            if node is not None:
                self.problems += dict.fromkeys(self._missing(node))
                tops.append(_top(reader, one, node))
        offer = offer_of(reader, tops, choice, form="registry", blobs=True)
        # An artifact without a tag is kept by its repository; an image has a name by its digest there.
        homes = {one.digest: (one.repository.name,) for one in self._wanted if one.repository is not None}
        found = (replace(one, homes=() if one.images else homes.get(one.row.digest, ())) for one in offer.manifests)
        return replace(offer, manifests=tuple(found))

    def _missing(self, node: Node) -> Iterator[str]:
        """Yield what is missing of what a manifest names."""
        for other in node.others:
            if not self._documents.has(str(other.digest)) and not other.urls:
                kind = "manifest" if other.media_type in _MANIFESTS else "blob"
                yield f"the {kind} {other.digest}, which {node.digest} names, is missing"
        for child in node.children:
            yield from self._missing(child)

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return the blob that a layer is, if it is there."""
        if not self._documents.has(layer.name):
            return None
        return Found(layer.name, self._documents.size_of(layer.name, what="the layer"))

    def missing(self, layer: OfferedLayer) -> RootDamaged:
        """Return the error for a layer that is not there."""
        return RootDamaged(f"{self.words.name} lacks the layer {layer.name}")

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
        """Return a layer, taken, hashed and scanned. Raises `RootDamaged` where it cannot be read."""
        with self._reading(layer.name) as (reader, content):
            try:
                return self._taking.layer(
                    reader, label=layer.diff_id.short, total=layer.size, check=check, content=content
                )
            except InvalidInput as error:
                raise refused(error, "the layer", layer.name) from error

    def blob(self, blob: OfferedBlob, *, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a blob as it is, taken and hashed. Raises `RootDamaged` where it cannot be read."""
        with self._reading(blob.name) as (reader, content):
            return self._taking.blob(reader, label=blob.digest.short, total=blob.size, check=check, content=content)

    @contextmanager
    def _reading(self, name: str) -> Iterator[tuple[Readable, Ingest | None]]:
        """Return, for a block, what reads a blob, and where its bytes are to be kept, if that is settled."""
        descriptor, _ = self._root.open(Digest.parse(name))
        try:
            content = self._sharing(descriptor) if self._taking.keeps_blobs else None
            source = FileReader(descriptor, name) if content is None else _Shared(content)
            yield self._taking.meter.counted(source), content
        finally:
            close(descriptor)


class _Shared:
    """A reader of content that is shared."""

    def __init__(self, content: Ingest) -> None:
        self._content = content
        self._position = 0

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, none at the end."""
        data = self._content.read_kept(self._position, n)
        self._position += len(data)
        return data


class _Documents:
    """The blobs of a registry, as `orlop.intake.documents.Documents` has them."""

    def __init__(self, root: DistributionRoot, words: Words, limits: Limits) -> None:
        self.words = words
        self.limits = limits
        self._root = root
        self._values = 0
        self._turn = threading.Lock()

    def has(self, name: str) -> bool:
        return self._root.has(Digest.unchecked(name))

    def size_of(self, name: str, *, what: str) -> int:
        descriptor, size = self._open(name, what)
        close(descriptor)
        return size

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        if not self.has(name):
            raise self._missing(name, what)
        raw = self._root.read(Digest.unchecked(name), getattr(self.limits, limit))
        values = 1 + sum(map(raw.count, (b",", b"[", b"{")))
        if values > self.limits.json_values:
            raise self.limits.exceeded("json_values", f"{what} {name} has up to {values} values")
        self.count_values(values)
        return raw

    def count_values(self, values: int) -> None:
        with self._turn:
            self._values += values
        if self._values > self.limits.json_values_total:
            found = f"the documents of {self.words.name} have up to {self._values} values and references"
            raise self.limits.exceeded("json_values_total", found)

    def could_be_layer(self, name: str) -> bool:
        if not self.has(name):
            return False
        descriptor, _ = self._open(name, "the layer")
        try:
            with reading(name):
                return has_layer_magic(os.pread(descriptor, _BLOCK, 0))
        finally:
            close(descriptor)

    def _open(self, name: str, what: str) -> tuple[int, int]:
        if not self.has(name):
            raise self._missing(name, what)
        return self._root.open(Digest.unchecked(name))

    def _missing(self, name: str, what: str) -> RootDamaged:
        return RootDamaged(f"{self.words.name} lacks {what} {name}")


def _name_of(digest: Digest, *, manifest: bool) -> str:
    del manifest
    return str(digest)


def _top(reader: ManifestReader, one: Wanted, node: Node) -> Top:
    if one.names or one.about or one.repository is None:
        return Top(node, one.names, about=one.about)
    if not reader.images(node):
        return Top(node)
    return Top(node, (Reference(one.repository.domain, one.repository.path, None, one.digest),))
