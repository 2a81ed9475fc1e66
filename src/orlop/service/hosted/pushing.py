"""Manifests and indexes on their way into a repository.

All that a manifest names has come before, as blobs of the repository, and is in the store; so what is left is to make
an image of it, in one transaction with its names. What is not an image to the store, though its types may say so, is
content as it is: a registry keeps what it is given.

Of an image every blob has to be there, but for layers that are said to be elsewhere. An index may name manifests that
are not there: whoever pushes some platforms of an image need not change the digest of the index.
"""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final

from orlop.archive.members import begins_like_layer
from orlop.errors import (
    ContentNotFound,
    DigestMismatch,
    IntegrityError,
    InvalidInput,
    InvalidManifest,
    ManifestIncomplete,
    SizeMismatch,
)
from orlop.intake.beside_images import Top
from orlop.intake.commit import commit
from orlop.intake.manifests import MAX_NESTING, ManifestReader
from orlop.intake.offer import Offer, OfferedBlob, OfferedManifest
from orlop.intake.offering import offer_of
from orlop.intake.platforms import chosen
from orlop.intake.source import Found
from orlop.intake.taking import storing
from orlop.intake.words import Words
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.gojson import MAX_VALUES, values_at_most
from orlop.model.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    parse_manifest,
)
from orlop.service.hosted.damage import Damage
from orlop.service.hosted.repository import holds_blob, holds_manifest
from orlop.store.content import sound_config, sound_manifest, verified
from orlop.store.rows.content import CHILD, CONFIG, ELSEWHERE, LAYER, LISTED
from orlop.store.rows.edges import edges_of
from orlop.store.rows.metadata import ManifestRow
from orlop.streams.tar_entry import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.intake.offer import OfferedLayer
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.model.manifest import Manifest
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.service.hosted.repository import Repository
    from orlop.store.blobs.ingest import IngestedLayer, Readable, TakenBlob
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_VAGUE: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
_TRIES: Final = 3
_MOST_NAMED: Final = 5000
"""How many blobs and manifests a manifest may name: each is looked for."""
_MOST_VALUES: Final = 100_000
"""Values of one manifest: each takes up to 300 bytes of memory, and several are pushed at once."""
_MOST_TOLD: Final = 200
"""How many of those that are missing are told."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """A manifest or an index that a repository has now; ``subject`` is what it refers to, if it refers to something."""

    digest: Digest
    media_type: str
    size: int
    subject: Digest | None = None


def put_manifest(
    store: Store,
    repository: Repository,
    raw: bytes,
    digest: Digest,
    *,
    media_type: str = "",
    tags: Sequence[str] = (),
    damage: Damage | None = None,
    require: Callable[[Rows], object] = lambda _: None,
) -> PushedManifest:
    """Put a manifest or an index into a repository, under its digest and some tags. All or nothing; idempotent.

    Args:
        store: where to.
        repository: which.
        raw: its exact bytes.
        digest: what they must have.
        media_type: what whoever sends it calls it; parameters are ignored.
        tags: what it is called besides.
        damage: what is known of files that are damaged, which the repository lacks then.
        require: called under the lock of the write, where nobody else changes anything; raises where it must not be.

    Raises:
        DigestMismatch: it has another digest. InvalidManifest: it cannot be read, or is not what it is called.
        ManifestIncomplete: it names content that the repository lacks. SizeMismatch: or content of another size.
        InvalidReference: a tag is not valid. StorageError: it cannot be kept. Nothing has changed then.
    """
    store.require_writable()
    try:
        verified(digest, raw)
    except DigestMismatch:
        raise DigestMismatch(f"the manifest does not have the digest {digest}; send it as it is") from None
    if not values_at_most(raw, _MOST_VALUES):
        raise InvalidManifest(f"the manifest has more than {_MOST_VALUES} values of JSON")
    document = parse_manifest(raw)
    row = ManifestRow(digest, _media_type(document, media_type), raw)
    names = tuple(repository.tagged(tag) for tag in dict.fromkeys(tags))
    subject = None if document.subject is None else document.subject.digest
    for left in reversed(range(_TRIES)):
        with storing(store) as taking:
            source = _Pushed(store, repository, row, taking, damage or Damage(store))
            try:
                _put(store, source, document, row, names, require=require)
                break
            except ContentNotFound:
                # What it relies on went away between its look and its hold.
                if not left:
                    raise
    return PushedManifest(digest, row.media_type, len(raw), subject)


def _put(
    store: Store,
    source: _Pushed,
    document: Manifest | Index,
    row: ManifestRow,
    names: Sequence[Reference],
    *,
    require: Callable[[Rows], object],
) -> None:
    with store.metadata.read() as rows:
        source.rows = rows
        _require_complete(source, document)
        content = source.as_content(document, names)
        try:
            offer = source.as_image(names)
        except (InvalidInput, IntegrityError) as error:
            _log.info("%s is kept, and is not an image here: %s", row.digest, error)
            offer = content
    try:
        commit(store, source, offer, require=require)
    except (InvalidInput, IntegrityError) as error:
        if offer is content:
            raise
        _log.info("%s is kept, and is not an image here: %s", row.digest, error)
        commit(store, source, content, require=require)


def _media_type(document: Manifest | Index, said: str) -> str:
    """Return the type of a document. Raises `InvalidManifest` where it is not the one that is said."""
    said = said.partition(";")[0].strip().lower()
    known = INDEX_TYPES if isinstance(document, Index) else MANIFEST_TYPES
    if said in _VAGUE:
        said = document.media_type or (OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST)
    if said not in known or document.media_type not in {"", said}:
        raise InvalidManifest(
            f"the manifest is not of the type {said!r} that it is sent as; use one of {', '.join(sorted(known))}, and"
            " the same in its mediaType"
        )
    return said


def _require_complete(source: _Pushed, document: Manifest | Index) -> None:
    """Check that a repository has all blobs that a manifest names. Raises `ManifestIncomplete`, `SizeMismatch`."""
    edges = edges_of(source.digest, source.raw)
    if len(edges) > _MOST_NAMED:
        raise InvalidManifest(f"the manifest names {len(edges)} blobs and manifests, and may name {_MOST_NAMED}")
    missing: dict[Digest, None] = {}
    for one in () if isinstance(document, Index) else (document.config, *document.layers):
        size = source.size_of_blob(one.digest)
        if size is None:
            if not is_elsewhere(one):
                missing[one.digest] = None
        elif size != one.size:
            raise SizeMismatch(f"the blob {one.digest} has {size} bytes, but the manifest says {one.size}")
    # What its members name that no reader of manifests looks at would belong to the repository as well.
    for edge in edges:
        is_listed = edge.role == CHILD and edge.media_type in LISTED
        is_content = is_listed or (edge.role in {CONFIG, LAYER} and not edge.media_type.startswith(ELSEWHERE))
        is_lacking = is_content and source.size_of_blob(edge.child) is None
        if is_lacking or (edge.role == CHILD and source.would_expose(edge.child)):
            missing[edge.child] = None
    if missing:
        named = tuple(map(str, islice(missing, _MOST_TOLD)))
        more = f" and {len(missing) - len(named)} more" if len(missing) > len(named) else ""
        told = f"the repository lacks {', '.join(named)}{more}, which the manifest names"
        raise ManifestIncomplete(told, missing=named)
    if isinstance(document, Index):
        _require_shallow(source.rows, document)


def _require_shallow(rows: Rows, index: Index) -> None:
    """Check that indexes are not nested deeper than readers follow them. Raises `InvalidManifest`."""
    level = {child.digest for child in index.manifests if child.media_type not in MANIFEST_TYPES}
    for _ in range(MAX_NESTING - 1):
        level = {
            edge.child
            for digest in level
            for edge in rows.edges(digest)
            if edge.role == CHILD and edge.media_type not in MANIFEST_TYPES
        }
    if level:
        raise InvalidManifest(f"its indexes are nested more than {MAX_NESTING} deep")


def is_elsewhere(layer: Descriptor) -> bool:
    """Return whether a layer's type says that it is had elsewhere, so that no registry needs to have it."""
    return layer.media_type.startswith(ELSEWHERE)


class _Pushed:
    """A manifest that is pushed, as a source of images: what it names is in the store, in its repository.

    ``rows`` are those of the moment at which it is asked.
    """

    parallel: ClassVar[bool] = True
    remote: ClassVar[bool] = False

    def __init__(
        self,
        store: Store,
        repository: Repository,
        row: ManifestRow,
        taking: Taking[IngestedLayer],
        damage: Damage,
    ) -> None:
        self.rows: Rows
        self._damage = damage
        self._store = store
        self._repository = repository
        self._row = row
        self._taking = taking
        self._sizes: dict[Digest, int | None] = {}
        name = repository.reference.familiar
        self.words = Words(name, "blob", "push", "while it was pushed", "push it as well", InvalidManifest)

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self._taking.limits

    @property
    def progress(self) -> Progress | None:
        """Nobody hears of it."""
        return None

    @property
    def digest(self) -> Digest:
        """Its digest."""
        return self._row.digest

    @property
    def raw(self) -> bytes:
        """Its exact bytes."""
        return self._row.raw

    # What it offers.

    def as_image(self, names: Sequence[Reference]) -> Offer:
        """Return what an image offers, or all images of an index. Raises `InvalidInput` where it is not one."""
        reader = ManifestReader(self, _place, may_lack=True)
        node = reader.node(Descriptor(self._row.media_type, self._row.digest, len(self._row.raw)))
        if node is None or not reader.carried(node, layers=True):
            raise InvalidManifest("it is not an image")
        top = Top(node, names or (self._repository.reference,))
        offer = offer_of(reader, [top], chosen(None), form="registry", blobs=True)
        others = tuple(
            one if one.images or one.row.digest != self._row.digest else replace(one, homes=(self._repository.key,))
            for one in offer.manifests
        )
        return replace(offer, manifests=others)

    def as_content(self, document: Manifest | Index, names: Sequence[Reference]) -> Offer:
        """Return what it offers as content that nothing looks into."""
        homes = (self._repository.key,)
        blobs = () if isinstance(document, Index) else (document.config, *document.layers)
        offered = {
            one.digest: OfferedBlob(str(one.digest), one.digest, one.size)
            for one in blobs
            if self.size_of_blob(one.digest) is not None
        }
        return Offer(
            (), (OfferedManifest(self._row, (), tuple(names), homes=homes),), "registry", tuple(offered.values())
        )

    # Its documents.

    def size_of_blob(self, digest: Digest) -> int | None:
        """Return the size of a blob of the repository, or nothing where it has none such."""
        if digest not in self._sizes:
            self._sizes[digest] = self._look(digest)
        return self._sizes[digest]

    def would_expose(self, digest: Digest) -> bool:
        """Return whether an index that names an artifact would show it here, which no repository names by its digest.

        It came with an index of another repository, and belongs to whatever names it.
        """
        if self.rows.manifest(digest) is None or holds_manifest(self.rows, self._repository, digest):
            return False
        is_named = any(row.suffix == f"@{digest}" for row in self.rows.tops(digest))
        return not is_named and not self.rows.images_of(digest)

    def _look(self, digest: Digest) -> int | None:
        if not holds_blob(self._store, self.rows, self._repository, digest):
            return None
        blob = self.rows.blob(digest)
        if blob is not None and self._damage.has(blob):
            return blob.size
        config = sound_config(self.rows, digest)
        return None if config is None else len(config)

    def has(self, name: str) -> bool:
        """Return whether the repository has something."""
        manifest, digest = _placed(name)
        if not manifest:
            return self.size_of_blob(digest) is not None
        if digest == self._row.digest:
            return True
        is_held = holds_manifest(self.rows, self._repository, digest)
        return is_held and sound_manifest(self.rows, digest) is not None

    def size_of(self, name: str, *, what: str) -> int:
        """Return its size."""
        manifest, digest = _placed(name)
        size = len(self.document(name, what=what)) if manifest else self.size_of_blob(digest)
        if size is None:
            raise self._lacks(what, digest)
        return size

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return the bytes of a manifest or a config."""
        manifest, digest = _placed(name)
        if manifest:
            row = self._row if digest == self._row.digest else sound_manifest(self.rows, digest)
            raw = None if row is None else row.raw
        else:
            raw = self._config(digest, limit)
        if raw is None:
            raise self._lacks(what, digest)
        if len(raw) > getattr(self.limits, limit):
            raise self.limits.exceeded(limit, f"{what} {digest} has {len(raw)} bytes")
        return raw

    def _config(self, digest: Digest, limit: str) -> bytes | None:
        config = sound_config(self.rows, digest)
        blob = self.rows.blob(digest)
        if config is not None or blob is None:
            return config
        if blob.size > getattr(self.limits, limit):
            raise self.limits.exceeded(limit, f"the config {digest} has {blob.size} bytes")
        raw = self._store.blobs.read_range(blob, 0, blob.size)
        if not values_at_most(raw, MAX_VALUES):
            raise InvalidManifest(f"the config {digest} has more than {MAX_VALUES} values of JSON")
        return raw

    def count_values(self, values: int) -> None:
        """Note references between documents: a push has one that is new, which has a limit of its own."""
        del values

    def could_be_layer(self, name: str) -> bool:
        """Return whether a blob begins like a layer."""
        _, digest = _placed(name)
        blob = self.rows.blob(digest)
        return blob is not None and begins_like_layer(self._store.blobs.read_range(blob, 0, BLOCK))

    def _lacks(self, what: str, digest: Digest) -> InvalidManifest:
        return InvalidManifest(f"the repository {self.words.name} lacks {what} {digest}")

    # Its layers, which are there, but may not have been looked through.

    def offer(self, choice: object) -> Offer:
        """Raise: what it offers is asked for by other names."""
        raise NotImplementedError

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return where a layer is."""
        size = None if layer.digest is None else self._sizes.get(layer.digest)
        return None if size is None else Found(str(layer.digest), size)

    def missing(self, layer: OfferedLayer) -> InvalidManifest:
        """Return the error for a layer that is not there."""
        return InvalidManifest(f"the repository {self.words.name} lacks the layer {layer.name}")

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> IngestedLayer:
        """Return a layer, looked through."""
        with self._opened(layer.digest) as reader:
            return self._taking.layer(reader, label=layer.diff_id.short, check=check)

    def blob(self, blob: OfferedBlob, *, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a blob, which is a copy of a config that the store keeps as an image."""
        with self._opened(blob.digest) as reader:
            return self._taking.blob(reader, label=blob.digest.short, check=check)

    @contextmanager
    def _opened(self, digest: Digest | None) -> Iterator[Readable]:
        if digest is None:
            raise InvalidManifest("a layer of the manifest has no digest")
        with self._store.metadata.read() as rows:
            blob, config = rows.blob(digest), sound_config(rows, digest)
        if blob is None and config is not None:
            yield io.BytesIO(config)
        elif blob is not None:
            with self._store.blobs.open(blob) as reader:
                yield reader
        else:
            raise ContentNotFound(f"the blob {digest} disappeared while it was pushed; push it again")


def _place(digest: Digest, *, manifest: bool) -> str:
    return f"{'manifest' if manifest else 'blob'} {digest}"


def _placed(name: str) -> tuple[bool, Digest]:
    kind, _, digest = name.partition(" ")
    return kind == "manifest", Digest.unchecked(digest)
