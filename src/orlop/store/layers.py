"""Layers: stacks of content, got and released, that stay exactly as long as something needs them."""

from __future__ import annotations

from contextlib import suppress

from orlop.errors import (
    DatabaseDamaged,
    DigestMismatch,
    InvalidInput,
    LayerLimitExceeded,
    LayerNotFound,
    ReadOnlyStore,
    SizeMismatch,
    WrongType,
)
from orlop.model.digest import ChainID, DiffID, chain_id, check_digest
from orlop.model.generic import Protocol
from orlop.model.given import Single, shown
from orlop.model.limits import DEFAULT_LIMITS, NO_LIMITS, limits_or, option_of
from orlop.model.tuples import NamedTuple
from orlop.store.rows.metadata import MAX_SIZE, ChainRow, only_leased
from orlop.streams.files import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.store.blobs.ingest import Readable
    from orlop.store.blobs.store import BlobStore
    from orlop.store.leases import Hold, Leases
    from orlop.store.rows.metadata import BlobRow, DiffRow, Metadata, Rows, WritableRows
    from orlop.streams.compression import Compression


class LayerMetadata(NamedTuple):
    """What is known of a layer: ``size`` counts the whole chain, ``diff_size`` the layer alone, in bytes of files."""

    chain_id: ChainID
    diff_id: DiffID
    size: int
    diff_size: int


class Layer(Protocol):
    """A layer in its place, protected until it is released."""

    @property
    def chain_id(self) -> ChainID:
        """The chain that ends with this layer."""

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar."""

    @property
    def parent(self) -> ChainID | None:
        """The chain below it."""

    @property
    def size(self) -> int:
        """Bytes of the files in the whole chain."""

    @property
    def diff_size(self) -> int:
        """Bytes of the files in this layer."""

    @property
    def metadata(self) -> LayerMetadata:
        """What is known of the layer."""

    @property
    def descriptor(self) -> Descriptor | None:
        """Where else its content lives, if it was registered with that."""

    def tar_chunks(self) -> Iterator[bytes]:
        """Yield exactly the bytes of the layer's tar, verified."""

    def tar_chunks_from(self, lower: ChainID | None) -> Iterator[bytes]:
        """Yield one tar that does to a lower chain, or to nothing, what all layers above it do."""


class LayerGetReleaser(Protocol):
    """What an image store needs of a layer store."""

    def get(self, chain_id: ChainID, /) -> Layer:
        """Return a layer and protect it. Raises `LayerNotFound`."""

    def release(self, layer: Layer, /) -> tuple[LayerMetadata, ...]:
        """Return a layer back and get the layers that went away with it, top first."""


class StoredLayer(Single):
    """A layer of a `LayerStore`, protected until it is released."""

    __slots__ = ("_hold", "_row", "_store", "diff")

    def __init__(self, store: LayerStore, row: ChainRow, diff: DiffRow, hold: Hold) -> None:
        self._store = store
        self._row = row
        self._hold = hold
        self.diff = diff

    @property
    def chain_id(self) -> ChainID:
        """The chain that ends with this layer."""
        return self._row.chain_id

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar."""
        return self._row.diff_id

    @property
    def parent(self) -> ChainID | None:
        """The chain below it."""
        return self._row.parent

    @property
    def size(self) -> int:
        """Bytes of the files in the whole chain."""
        return self._row.size

    @property
    def diff_size(self) -> int:
        """Bytes of the files in this layer."""
        return self.diff.content_size

    @property
    def metadata(self) -> LayerMetadata:
        """What is known of the layer."""
        return LayerMetadata(self.chain_id, self.diff_id, self.size, self.diff_size)

    @property
    def descriptor(self) -> Descriptor | None:
        """Where else its content lives, if it was registered with that."""
        if self._row.descriptor is None:
            return None
        from orlop.model.manifest import parse_descriptor  # noqa: PLC0415 - few layers have one

        return parse_descriptor(self._row.descriptor)

    def tar_chunks(self) -> Iterator[bytes]:
        """Yield exactly the bytes of the layer's tar, verified, see `LayerStore.tar_chunks`."""
        return self._store.tar_chunks(self.diff_id)

    def tar_chunks_from(self, lower: ChainID | None) -> Iterator[bytes]:
        """Yield one tar of all layers above a lower chain, see `LayerStore.tar_chunks_from`."""
        return self._store.tar_chunks_from(self.chain_id, lower)

    def let_go(self) -> None:
        """Stop protecting the layer. It stays where it is; `LayerStore.release` also takes what nothing needs."""
        self._hold.release()


class LayerStore:
    """The layers of a store. Safe to share between threads and processes."""

    def __init__(
        self, metadata: Metadata, blobs: BlobStore, leases: Leases, *, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        self.metadata = metadata
        """The rows: an image that is one of them retains its layers, and nobody need hold a handle for it."""
        self._blobs = blobs
        self._leases = leases

    def register(
        self,
        source: Readable,
        parent: ChainID | None = None,
        *,
        descriptor: Descriptor | None = None,
        limits: Limits | None = None,
    ) -> StoredLayer:
        """Keep a layer tar (plain or compressed) on top of a chain, and return it protected. Atomic and idempotent.

        Args:
            source: the bytes as they came.
            parent: the chain below; none for the lowest layer.
            descriptor: where the content lives elsewhere, with ``urls``. It is kept with a layer that is new; that of a
                layer that is there already stays.
            limits: what the layer may ask for, instead of the limits of the store.

        Raises:
            LayerNotFound: the parent is not there. InvalidTar, InvalidCompression: this is not a layer. LimitExceeded:
                it asks for too much. LayerLimitExceeded: the chain would be too long.
        """
        from orlop.model.descriptor import Descriptor  # noqa: PLC0415 - listing images reads no layer
        from orlop.store.blobs.ingest import ingest_layer  # noqa: PLC0415 - as above
        from orlop.streams.meter import Meter  # noqa: PLC0415 - as above

        if not callable(getattr(source, "read", None)):
            raise WrongType(f"the source of a layer is a binary file, not {shown(source)}")
        if parent is not None:
            _check_chain(parent)
        if not isinstance(descriptor, Descriptor | None):
            raise WrongType(f"the descriptor of a layer is a Descriptor, not {shown(descriptor)}")
        limits = limits_or(limits, self._limits)
        meter = Meter(limits)
        layer = ingest_layer(meter.counted(source), self._blobs, meter=meter)
        try:
            layer.sync()
            with self._leases.handing_over() as holds, self.metadata.write() as rows:
                layer.publish(rows)
                row = add_chain(rows, parent, layer.diff, descriptor, limits=limits)
                holds.append(self._leases.hold([row.chain_id]))
        finally:
            layer.discard()
        return StoredLayer(self, row, layer.diff, holds[0])

    def get(self, chain_id: ChainID, /) -> StoredLayer:
        """Return a layer and protect it until it is released.

        Raises:
            LayerNotFound: no layer has that chain ID.
        """
        _check_chain(chain_id)
        # Inside the caller's write this costs no lock; else the hold and the look are one short write.
        with self._leases.handing_over() as holds, self.metadata.write() as rows:
            row, diff = required(rows, chain_id)
            holds.append(self._leases.hold([chain_id]))
        return StoredLayer(self, row, diff, holds[0])

    def release(self, layer: Layer, /) -> tuple[LayerMetadata, ...]:
        """Return a layer back; what nothing needs any more goes, with its parents, and is returned, top first."""
        if not isinstance(getattr(layer, "chain_id", None), ChainID):
            raise WrongType(f"what is released is a layer of a store, not {shown(layer)}")
        with self.metadata.write() as rows:
            if isinstance(layer, StoredLayer):
                layer.let_go()
            return self.prune(rows, layer.chain_id)

    def prune(self, rows: WritableRows, chain_id: ChainID) -> tuple[LayerMetadata, ...]:
        """Drop a chain inside a write, from its top, as far as nothing refers to it, and what `prune_dead` drops."""
        return (*self.prune_dead(rows), *self._prune(rows, chain_id))

    def prune_dead(self, rows: WritableRows) -> tuple[LayerMetadata, ...]:
        """Drop, inside a write, what only leases of ended processes and holds that were released have kept."""
        return self._remove_unneeded(rows, self._leases.drop_dead(rows))

    def _prune(self, rows: WritableRows, chain_id: ChainID) -> tuple[LayerMetadata, ...]:
        gone, blobs, diffs = rows.prune_chain(chain_id)
        self._blobs.remove(rows, blobs)
        self._blobs.remove_tocs(rows, diffs)
        if not gone:
            return ()
        rest = gone[-1].parent
        base = None if rest is None else rows.chain(rest)
        return tuple(_described(row, below) for row, below in zip(gone, [*gone[1:], base], strict=True))

    def _remove_unneeded(self, rows: WritableRows, dropped: Iterable[Digest]) -> tuple[LayerMetadata, ...]:
        """Remove, inside a write, what only a lease has kept until now, and return the layers that went."""
        gone: list[LayerMetadata] = []
        for digest in only_leased(rows, dropped):
            gone += self._prune(rows, ChainID.wrap(digest))
            diff_id = DiffID.wrap(digest)
            freed = rows.prune_diff(diff_id)
            if freed is not None:
                self._blobs.remove(rows, freed)
                self._blobs.remove_tocs(rows, [diff_id])
        return tuple(gone)

    def map(self) -> Mapping[ChainID, LayerMetadata]:
        """Return what is known of every layer."""
        with self.metadata.read() as rows:
            found = {row.chain_id: row for row in rows.chains()}
        return {
            chain: _described(row, None if row.parent is None else found[row.parent]) for chain, row in found.items()
        }

    def tar_chunks_from(self, chain: ChainID, lower: ChainID | None) -> Iterator[bytes]:
        """Yield one tar that does to a lower chain what all layers of ``chain`` above it do.

        Where only one layer lies between it is exactly that layer's tar; else each member that is seen in the end, as
        it stands in its layer, with the whiteouts that may hide something of the lower chain. The last bytes come only
        after all layers were verified. The caller protects the chain meanwhile.

        Args:
            chain: the upper end.
            lower: a chain below it; if it is nothing the tar holds the whole file system.

        Raises:
            LayerNotFound: no layer has the chain ID. InvalidInput: the lower chain does not lie below the upper one.
            InvalidTar: a layer is too odd to be made one with others. Beside it, what `tar_chunks` raises.
        """
        _check_chain(chain)
        if lower is not None:
            _check_chain(lower)
        from orlop.store.blobs.layer_merge import merged_chunks  # noqa: PLC0415 - as in `register`

        with self.metadata.read() as rows:
            diff_ids = [row.diff_id for row in _chain_above(rows, chain, lower)]
        if len(diff_ids) == 1:
            return self.tar_chunks(diff_ids[0])
        return merged_chunks(diff_ids, self.tar_chunks, self._blobs.open_toc, keep_whiteouts=lower is not None)

    def tar_chunks(self, diff_id: DiffID, *, piece: int = CHUNK) -> Generator[bytes]:
        """Yield exactly the bytes of a layer's uncompressed tar, from whichever form is stored.

        The last chunk is held back until the digest of all is right. The caller protects the layer meanwhile.

        Args:
            diff_id: the layer.
            piece: the most bytes of a chunk, of which about six are in memory; choose less to read many layers at once.

        Raises:
            LayerNotFound: no layer has that diff ID. ContentNotFound: its bytes are missing.
            DigestMismatch, SizeMismatch, InvalidCompression: they are damaged.
        """
        from orlop.streams.compression import Compression, decompressed  # noqa: PLC0415 - as in `register`

        diff, blob = self._kept(diff_id)
        with self._blobs.open_unverified(blob) as file:
            compression = compression_of(blob)
            plain = file if compression is Compression.NONE else decompressed(file, compression, limits=NO_LIMITS)
            yield from _verified(plain, diff, piece)

    def blob_of(self, diff_id: DiffID) -> BlobRow:
        """Return the blob that a layer is best read from. The caller protects the layer, and verifies what it reads.

        Raises:
            LayerNotFound: no layer has that diff ID.
        """
        return self._kept(diff_id)[1]

    def _kept(self, diff_id: DiffID) -> tuple[DiffRow, BlobRow]:
        check_digest(diff_id, "the content of a layer is named by a DiffID")
        with self.metadata.read() as rows:
            diff = rows.diff(diff_id)
            stored = rows.blobs_of(diff_id)
        if diff is None or not stored:
            msg = f"no layer has the diff ID {diff_id}; load its image again"
            raise LayerNotFound(msg)
        # A plain form is nearer; a missing one is not an error where another is there.
        return diff, next((row for row in stored if self._blobs.has(row)), None) or self._recovered(stored)

    def _recovered(self, stored: Sequence[BlobRow]) -> BlobRow:
        """Look where a process that died while it removed layers may have left their bytes."""
        if self._blobs.needs_recovery():
            with suppress(ReadOnlyStore), self.metadata.write() as rows:
                self._blobs.put_back(rows)
        return next((row for row in stored if self._blobs.has(row)), stored[0])


def compression_of(blob: BlobRow) -> Compression:
    """Return how a blob is compressed. Raises `DatabaseDamaged` where its row says what nothing is."""
    from orlop.streams.compression import Compression  # noqa: PLC0415 - as in `register`

    compression = Compression.__members__.get(blob.compression.upper())
    if compression is None:
        msg = f"the blob {blob.digest} is said to be {blob.compression!r}, which nothing is; run `orlop fsck --repair`"
        raise DatabaseDamaged(msg)
    return compression


def _chain_above(rows: Rows, chain: ChainID, lower: ChainID | None) -> list[ChainRow]:
    """Return the layers of a chain, bottom first, down to a lower chain that is not among them."""
    row, _ = required(rows, chain)
    found = [row]
    while row.parent is not None and row.parent != lower:
        row, _ = required(rows, row.parent)
        found.append(row)
    if row.parent != lower:
        raise InvalidInput(f"the chain {lower} does not lie below {chain}; name a chain that does")
    found.reverse()
    return found


def add_chain(
    rows: WritableRows,
    parent: ChainID | None,
    diff: DiffRow,
    descriptor: Descriptor | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> ChainRow:
    """Put a layer on top of a chain, inside a write; one that is there already stays.

    Raises:
        LayerNotFound: the parent is not there. LayerLimitExceeded: the chain would be too long.
    """
    elsewhere = None if descriptor is None else descriptor.to_json()
    if parent is None:
        row = ChainRow(ChainID.wrap(diff.diff_id), None, diff.diff_id, diff.content_size, 1, elsewhere)
    else:
        below, _ = required(rows, parent)
        top = chain_id((DiffID.wrap(parent), diff.diff_id))
        if top is None:  # pragma: no cover - two layers always have a chain ID
            raise AssertionError
        row = ChainRow(top, parent, diff.diff_id, below.size + diff.content_size, below.depth + 1, elsewhere)
    if row.depth > limits.layers:
        msg = f"the chain would have {row.depth} layers, but the limit {option_of('layers')} is {limits.layers}"
        raise LayerLimitExceeded(msg)
    if row.size > MAX_SIZE:
        msg = f"the layers up to {row.chain_id} add up to more bytes than any disk holds; they are refused"
        raise LayerLimitExceeded(msg)
    rows.put_chain(row)
    return rows.chain(row.chain_id) or row


def _described(row: ChainRow, below: ChainRow | None) -> LayerMetadata:
    # What a layer adds to its chain is what the chain below does not have.
    return LayerMetadata(row.chain_id, row.diff_id, row.size, row.size - (0 if below is None else below.size))


def _check_chain(chain_id: object) -> None:
    check_digest(chain_id, "a layer in a store is named by a ChainID")


def required(rows: Rows, chain_id: ChainID) -> tuple[ChainRow, DiffRow]:
    """Return a layer in its place with its content. Raises `LayerNotFound`."""
    row = rows.chain(chain_id)
    diff = None if row is None else rows.diff(row.diff_id)
    if row is None or diff is None:
        msg = f"no layer has the chain ID {chain_id}"
        raise LayerNotFound(msg)
    return row, diff


def _verified(plain: Readable, diff: DiffRow, piece: int) -> Iterator[bytes]:
    """Hash in a thread beside the reader; hold the last chunk back until everything fits."""
    import hashlib  # noqa: PLC0415 - as in `register`

    from orlop.streams.pipeline import Fanout  # noqa: PLC0415 - as in `register`

    digest = hashlib.sha256()
    size = 0
    with Fanout(digest.update) as beside:
        held = b""
        while chunk := plain.read(piece):
            beside.put(chunk)
            size += len(chunk)
            if size > diff.size:
                break
            if held:
                yield held
            held = chunk
        beside.close()
    if size != diff.size:
        msg = f"the layer {diff.diff_id} does not have the {diff.size} bytes that it should have; load its image again"
        raise SizeMismatch(msg)
    if digest.hexdigest() != diff.diff_id.hex:
        msg = f"the layer {diff.diff_id} is damaged: its digest is sha256:{digest.hexdigest()}; load its image again"
        raise DigestMismatch(msg)
    if held:
        yield held
