"""Copies between stores of any kinds, through the seams alone: what one holds at a moment comes into an empty one.

Theory of operation. Both stores are open, and others may use the source meanwhile.

1. A lease on everything begins in the source: what its rows name stays.
2. Blobs come one by one, several at once, each verified against its digest. With each come its layer's row and its
   table of contents, in one write, and a lease that lasts a day whatever becomes of this process. So a copy that was
   interrupted goes on where it was, and what a copy brought that is never finished goes with the next collection.
3. When all blobs are there, one view of the source is read and written to the target in one transaction: images, their
   metadata, layers in their places, manifests, names. Nothing has a name in the target before. If the source has got
   blobs since, they are brought first, and this is tried again.

The target of a backup may hold an earlier one: the same transaction then takes away what the source has no more.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreDamaged, StoreInUse, TargetExists
from orlop.store.backends.sqlite import SQLiteStoreBackend
from orlop.store.blobs.progress import BlobProgress
from orlop.store.graph.garbage import unneeded
from orlop.store.images import METADATA_KEYS
from orlop.store.leases import EVERYTHING
from orlop.store.place.tables import is_whole
from orlop.store.rows.values import damaged
from orlop.streams.files import CHUNK
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.model.progress import Progress
    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, DiffRow, Rows, WritableRows

KEPT: Final = 86_400
"""Seconds for which a copy that was interrupted can go on."""
_FOR: Final = "copy"
_WORKERS: Final = 4
_TRIES: Final = 10


class Transfer:
    """One copy under way; ``added`` is the number of bytes of blobs that were not there before.

    Args:
        source: what is copied; its rows are sound.
        target: where to.
        refresh: the target is an earlier copy, from which goes what the source has no more.
        progress: called with events, by threads of the copy; its layers are blobs.
    """

    def __init__(
        self, source: Store, target: Store, *, refresh: bool = False, progress: Progress | None = None
    ) -> None:
        self._source = source
        self._target = target
        self._refresh = refresh
        self._progress = progress
        self.added = 0

    def run(self) -> str:
        """Copy, and return the `fingerprint` of the rows that were copied.

        Raises:
            TargetExists: the target holds something already. DatabaseDamaged, IntegrityError, ContentNotFound: the
            source is damaged. StoreInUse: it changes faster than it can be copied. StorageError: something cannot be
            read or written. What was copied so far stays for a day, and is not copied again.
        """
        self._target.require_writable()
        if not self._refresh:
            self._require_empty()
        everything = () if self._source.read_only else [EVERYTHING]
        with self._source.with_reserve(partial(self._source.leases.hold, everything)):
            for _ in range(_TRIES):
                self._bring(self._lacking())
                found = self._commit()
                if found is not None:
                    return found
        msg = f"the store at {self._source.root} got new images each time it was almost copied; run the command again"
        raise StoreInUse(msg)

    def _require_empty(self) -> None:
        with self._target.metadata.read() as rows:
            counts = rows.counts()
        if counts["images"] or counts["names"] or counts["manifests"]:
            raise TargetExists(f"the store at {self._target.root} holds images already; name one that is empty")

    # Blobs.

    def _lacking(self) -> list[BlobRow]:
        """Return the blobs that the target lacks, the largest first."""
        with self._source.metadata.read() as rows:
            wanted = rows.blobs()
        with self._target.metadata.read() as rows:
            known = {row.digest for row in rows.blobs()}
        lacking = [row for row in wanted if row.digest not in known or not self._target.blobs.has(row)]
        return sorted(lacking, key=lambda row: (-row.size, row.digest))

    def _bring(self, blobs: Iterable[BlobRow]) -> None:
        tasks = [partial(self._brought, blob) for blob in blobs]
        self.added += sum(in_parallel(tasks, workers=min(_WORKERS, len(os.sched_getaffinity(0)))))

    def _brought(self, blob: BlobRow, check: Callable[[], None]) -> int:
        """Copy one blob with what is known of its layers, and return its size."""
        tell = BlobProgress(blob, self._progress, check)
        with self._source.metadata.read() as rows:
            found = [rows.diff(diff_id) for diff_id in rows.diffs_of(blob.digest)]
        diffs = [diff for diff in found if diff is not None]
        with ExitStack() as stack:
            tables = [(diff, table) for diff in diffs if (table := self._table(diff, stack)) is not None]
            ingest = stack.enter_context(self._target.blobs.begin(blob.digest.algorithm))
            with self._source.blobs.open(blob) as reader:
                for chunk in reader.chunks(CHUNK):
                    ingest.write(chunk)
                    tell(len(chunk))
            for one in (ingest, *(table for _, table in tables)):
                one.finish()
                one.sync()
            with self._target.metadata.write() as rows:
                ingest.commit(rows, blob)
                for diff in diffs:
                    rows.put_diff(diff, blob)
                if not diffs:
                    rows.put_blob(blob)
                for diff, table in tables:
                    table.commit_toc(rows, diff.diff_id)
                kept = [blob.digest, *(diff.diff_id for diff in diffs)]
                self._target.leases.keep(rows, _FOR, kept, KEPT)
        tell.done()
        return blob.size

    def _table(self, diff: DiffRow, stack: ExitStack) -> Ingest | None:
        """Return a layer's table of contents, written for the stack to end, where the source has one that is right."""
        if self._target.blobs.toc_size_of(diff.diff_id).size or not self._fits(diff):
            return None
        file = self._source.blobs.open_toc(diff.diff_id)
        if file is None:
            return None
        with file:
            ingest = stack.enter_context(self._target.blobs.begin())
            while chunk := file.read(CHUNK):
                ingest.write(chunk)
        return ingest

    def _fits(self, diff: DiffRow) -> bool:
        """Return whether a layer has a table of contents that is whole; one that is not can be made again.

        Raises:
            DatabaseDamaged: it contradicts the layer's row, so that the row is wrong.
        """
        file = self._source.blobs.open_toc(diff.diff_id)
        if file is None:
            return False
        with file:
            return is_whole(file, diff, partial(damaged, self._source.root))

    # Rows.

    def _commit(self) -> str | None:
        """Write all rows of one moment, and return their fingerprint; nothing where blobs have come since."""
        with self._source.metadata.read() as view, self._target.metadata.write() as rows:
            if any(rows.blob(row.digest) is None for row in view.blobs()):
                return None
            if self._refresh:
                self._forget(view, rows)
            backend = SQLiteStoreBackend(self._target.metadata)
            self._put_layers(view, rows)
            for image in view.image_ids():
                config = view.config(image)
                if config is None or str(backend.set(config)) != str(image):
                    raise StoreDamaged(f"the config of {image} is damaged; run `orlop fsck` on {self._source.root}")
            for key in METADATA_KEYS:
                for image, value in view.metadata_of_all(key).items():
                    rows.set_metadata(image, key, value)
            for digest in view.manifest_digests():
                row = view.manifest(digest)
                if row is not None:
                    rows.put_manifest(row, view.images_of(digest))
            for name in view.references():
                rows.put_reference(name)
            for top in view.tops():
                rows.put_top(top)
            self._target.leases.keep_nothing(rows, _FOR)
            return fingerprint(view)

    def _put_layers(self, view: Rows, rows: WritableRows) -> None:
        for diff_id, form in view.contents():
            diff = view.diff(diff_id)
            if diff is not None and form is not None:
                rows.put_diff(diff, form)
        for chain in sorted(view.chains(), key=lambda one: one.depth):
            rows.put_chain(chain)

    def _forget(self, view: Rows, rows: WritableRows) -> None:
        """Take from the target what the source has no more; content goes with the next collection."""
        names = {(one.name, one.suffix) for one in view.references()}
        tops = {(one.name, one.suffix) for one in view.tops()}
        rows.delete_tops({(top.name, top.suffix) for top in rows.tops()} - tops)
        rows.delete_references({(name.name, name.suffix) for name in rows.references()} - names)
        kept = set(view.image_ids())
        for image in list(rows.image_ids()):
            if image not in kept:
                rows.delete_image(image)
        for key in METADATA_KEYS:
            there = view.metadata_of_all(key)
            for image in rows.metadata_of_all(key):
                if image not in there:
                    rows.delete_metadata(image, key)


def fingerprint(rows: Rows) -> str:
    """Return a text that differs where rows name other images, names, manifests or blobs."""
    found = hashlib.sha256()
    for line in _lines(rows):
        found.update(f"{line}\n".encode())
    return found.hexdigest()


def _lines(rows: Rows) -> Iterator[object]:
    yield from sorted(map(str, rows.image_ids()))
    yield from sorted(rows.references())
    yield from sorted(rows.tops())
    yield from rows.manifest_digests()
    yield from sorted(rows.blobs())
    for key in METADATA_KEYS:
        yield from sorted(rows.metadata_of_all(key).items())


def empty(store: Store, expected: str) -> None:
    """Remove every name, image and manifest of a store in one write, if it still is what was copied.

    Raises:
        StoreInUse: another program is at work in it, or it is another one by now. Nothing was removed.
    """
    with store.metadata.write() as rows:
        if store.leases.others() or fingerprint(rows) != expected:
            msg = f"the store at {store.root} is in use by another program; it was copied, and stays as it is"
            raise StoreInUse(msg)
        rows.delete_tops((top.name, top.suffix) for top in rows.tops())
        rows.delete_references((name.name, name.suffix) for name in rows.references())
        for image in list(rows.image_ids()):
            rows.delete_image(image)
        rows.forget_manifests(unneeded(rows).manifests)
