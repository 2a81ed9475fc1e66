"""Layers as they are taken from a source: counted, told of, hashed and scanned, and kept where there is a store."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from orlop.errors import LimitExceeded, NotSupported
from orlop.model.closing import Closing
from orlop.model.limits import limits_or
from orlop.model.progress import LayerDone, LayerProgress
from orlop.store.blobs.ingest import IngestedBlob, IngestedLayer, ingest_blob, ingest_layer, measure_layer
from orlop.streams.meter import Meter
from orlop.streams.pipeline import one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.errors import InvalidInput
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import MeasuredLayer, Readable, TakenBlob
    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, DiffRow, Rows

_SHOWN = 120


class TakenLayer(Protocol):
    """A layer that was read to its end. What else it is, depends on what took it."""

    @property
    def diff(self) -> DiffRow:
        """What is known of its content."""

    @property
    def blob(self) -> BlobRow:
        """What is known of its bytes as they came."""

    def discard(self) -> None:
        """Leave nothing behind of it."""


L = TypeVar("L", bound=TakenLayer)
L_co = TypeVar("L_co", bound=TakenLayer, covariant=True)
BlobListener: TypeAlias = "Callable[[TakenBlob], object]"
LayerTaker: TypeAlias = (
    "Callable[[Readable, Callable[[int], object] | None, Meter, Ingest | None, str, BlobListener | None], L]"
)
"""What makes a layer of bytes; the second argument is to be called with the number of bytes read, and the fourth one is
where they are kept, if that is settled; then come the algorithm by which they are named, and what hears of bytes that
are not a layer."""


class Keeping(Protocol[L_co]):
    """What a store does for layers that come from far away, so that none is fetched twice."""

    def resume(self, digest: Digest, check: Callable[[], None] | None) -> Ingest:
        """Begin to write a layer, or go on where it was left, see `orlop.store.blobs.store.BlobStore.resume`."""

    def known(self, digest: Digest) -> L_co | None:
        """Return a layer that is kept under a digest, or nothing where there is none."""

    def known_blob(self, digest: Digest) -> TakenBlob | None:
        """Return a blob that is kept under a digest, or nothing where there is none."""


BlobTaker: TypeAlias = "Callable[[Readable, Callable[[int], object] | None, Meter, Ingest | None, str], TakenBlob]"
"""What keeps bytes as they are; its arguments are those of a `LayerTaker`."""


class Taking(Closing, Generic[L]):
    """Takes the layers of one source. Leaving the block discards every layer that was not published.

    ``limits`` are those of the source, ``meter`` counts what it gives; ``progress`` is told one event at a time.
    Threads may share it.
    """

    def __init__(
        self,
        take: LayerTaker[L],
        limits: Limits,
        progress: Progress | None = None,
        *,
        keep: BlobTaker | None = None,
        keeping: Keeping[L] | None = None,
    ) -> None:
        self.limits = limits
        self.meter = Meter(limits)
        self.progress = None if progress is None else one_at_a_time(progress)
        self._take = take
        self._keep = keep
        self._keeping = keeping
        self._taken: list[L | TakenBlob] = []

    def resume(self, digest: Digest, check: Callable[[], None] | None = None) -> Ingest | None:
        """Return where a layer is to be written, with what was left of it; nothing where there is no store.

        Waits while another one writes the same layer. See `orlop.store.blobs.store.BlobStore.resume`.
        """
        return None if self._keeping is None else self._keeping.resume(digest, check)

    def known(self, digest: Digest) -> L | None:
        """Return a layer that is kept by now, or nothing where there is none, or no store."""
        return None if self._keeping is None else self._keeping.known(digest)

    def known_blob(self, digest: Digest) -> TakenBlob | None:
        """Return a blob that is kept by now, or nothing where there is none, or no store."""
        return None if self._keeping is None else self._keeping.known_blob(digest)

    def layer(
        self,
        source: Readable,
        *,
        label: str,
        total: int | None = None,
        check: Callable[[], None] | None = None,
        content: Ingest | None = None,
        algorithm: str = "sha256",
        other: Callable[[TakenBlob], object] | None = None,
    ) -> L:
        """Return the layer that some bytes are, read to their end.

        Args:
            source: the bytes, as they stand in the source.
            label: how progress calls the layer.
            total: how many they are, where that is known.
            check: called now and then; what it raises ends the work.
            content: where they are kept, as `resume` returned it.
            algorithm: by which the source names them, where they are not kept there.
            other: called with the bytes as they are where they are not a layer, before the error is raised, if there is
                a place for such.

        Raises:
            InvalidTar, InvalidCompression: they are not a layer. LimitExceeded: they ask for too much.
            StorageError: they cannot be read, or kept. Nothing is left behind.
        """

        def keep(blob: TakenBlob) -> None:
            self._taken.append(blob)
            if other is not None:
                other(blob)

        kept = None if other is None else keep
        taken = self._take(source, self._watcher(label, total, check), self.meter, content, algorithm, kept)
        self._taken.append(taken)
        if self.progress is not None:
            self.progress(LayerDone(label))
        return taken

    @property
    def keeps_blobs(self) -> bool:
        """Whether there is a place for what is not a layer."""
        return self._keep is not None

    def blob(
        self,
        source: Readable,
        *,
        label: str,
        total: int | None = None,
        check: Callable[[], None] | None = None,
        content: Ingest | None = None,
        algorithm: str = "sha256",
    ) -> TakenBlob:
        """Return some bytes as they are, read to their end and not looked into. Takes and raises what `layer` does."""
        if self._keep is None:
            msg = "blobs that are not layers are only taken into a store"
            raise NotSupported(msg)
        taken = self._keep(source, self._watcher(label, total, check), self.meter, content, algorithm)
        self._taken.append(taken)
        if self.progress is not None:
            self.progress(LayerDone(label))
        return taken

    def close(self) -> None:
        """Discard every layer and blob that was not published, the others too where one of them raises."""
        with ExitStack() as stack:
            while self._taken:
                stack.callback(self._taken.pop().discard)

    def _watcher(
        self, label: str, total: int | None, check: Callable[[], None] | None
    ) -> Callable[[int], object] | None:
        progress = self.progress
        if progress is None:
            return None if check is None else lambda _: check()
        done = 0

        def watch(count: int) -> None:
            nonlocal done
            if check is not None:
                check()
            done += count
            progress(LayerProgress(label, done, total))

        return watch


def storing(store: Store, *, limits: Limits | None = None, progress: Progress | None = None) -> Taking[IngestedLayer]:
    """Return what writes layers into a store, where they cannot be seen until they are published.

    Args:
        store: where to.
        limits: what the source may ask for, instead of the limits of the store.
        progress: called with events about layers.
    """
    return Taking(
        partial(_ingest, store),
        limits_or(limits, store.limits),
        progress,
        keep=partial(_ingest_blob, store),
        keeping=_StoreKeeping(store),
    )


def measuring(limits: Limits, progress: Progress | None = None) -> Taking[MeasuredLayer]:
    """Return what reads layers and keeps nothing. Takes what `storing` takes."""
    return Taking(_measure, limits, progress)


class _StoreKeeping:
    """The `Keeping` of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def resume(self, digest: Digest, check: Callable[[], None] | None) -> Ingest:
        return self._store.blobs.resume(digest, check=check, metadata=self._store.metadata)

    def known(self, digest: Digest) -> IngestedLayer | None:
        if self._store.blobs.is_missing(digest):
            return None
        with self._settled() as rows:
            blob = rows.blob(digest)
            found = [] if blob is None else [rows.diff(diff_id) for diff_id in rows.diffs_of(digest)]
        diff = next((one for one in found if one is not None), None)
        if blob is None or diff is None or not self._store.blobs.has(blob):
            return None
        return IngestedLayer(diff, blob)

    def known_blob(self, digest: Digest) -> TakenBlob | None:
        if self._store.blobs.is_missing(digest):
            return None
        with self._settled() as rows:
            blob = rows.blob(digest)
        return IngestedBlob(blob) if blob is not None and self._store.blobs.has(blob) else None

    @contextmanager
    def _settled(self) -> Iterator[Rows]:
        """Return rows that name what a write has published for which `resume` has waited.

        Without need no lock is taken: behind a pooler the rows may come over a connection that its waiters have.
        """
        early = self._store.blobs.named_early
        with self._store.metadata.lock() if early else nullcontext(), self._store.metadata.read() as rows:
            yield rows


def _ingest(  # noqa: PLR0917 - called as a `LayerTaker`
    store: Store,
    source: Readable,
    progress: Callable[[int], object] | None,
    meter: Meter,
    content: Ingest | None,
    algorithm: str,
    other: BlobListener | None,
) -> IngestedLayer:
    return ingest_layer(
        source, store.blobs, meter=meter, progress=progress, content=content, algorithm=algorithm, other=other
    )


def _ingest_blob(  # noqa: PLR0917 - as above
    store: Store,
    source: Readable,
    progress: Callable[[int], object] | None,
    meter: Meter,
    content: Ingest | None,
    algorithm: str,
) -> TakenBlob:
    return ingest_blob(source, store.blobs, meter=meter, progress=progress, content=content, algorithm=algorithm)


def _measure(  # noqa: PLR0917 - as above
    source: Readable,
    progress: Callable[[int], object] | None,
    meter: Meter,
    content: Ingest | None,
    algorithm: str,
    other: BlobListener | None,
) -> MeasuredLayer:
    del other
    return measure_layer(source, meter=meter, progress=progress, ingest=content, algorithm=algorithm)


def refused(error: InvalidInput, what: str, name: str) -> InvalidInput:
    """Return the error for what was to be a layer, made of the one that says why it is not one."""
    # Very many may have to be kept.
    what = f"{what} {name if len(name) < _SHOWN else name[:_SHOWN] + '…'!r}"
    if isinstance(error, LimitExceeded):
        return LimitExceeded(f"{what} asks for too much: {error}")
    return type(error)(f"{what} is not a layer tar: {error}")
