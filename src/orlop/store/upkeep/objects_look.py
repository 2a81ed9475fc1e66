"""What is wrong with the content of a store that has no files here: what is missing, of another size, bad, or nobody's.

Nothing in such a store changes under its name, so that what was read is what is there, or is gone. It has no modes and
no directories, and nothing is told of them.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import ContentNotFound, InvalidInput, OrlopError, StorageError, TocDamaged
from orlop.model.digest import DiffID
from orlop.model.limits import NO_LIMITS
from orlop.store.blobs.ingest import measure_layer
from orlop.store.blobs.progress import BlobProgress
from orlop.store.leases import EVERYTHING, LEFT
from orlop.store.upkeep.fsck_blobs import compared, toc_damaged
from orlop.store.upkeep.fsck_content import Exam, Place, blob_in
from orlop.store.upkeep.problem import DAMAGE, DEVICE_FAILED, NOTE, Problem
from orlop.streams.meter import Meter
from orlop.streams.pipeline import in_parallel
from orlop.streams.seek_index import read_seek_index
from orlop.streams.toc import read_toc
from orlop.streams.toc_compare import TocComparer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from orlop.model.digest import Digest
    from orlop.model.progress import Progress
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, DiffRow, Rows
    from orlop.store.upkeep.fsck_blobs import Sure

    Look = Callable[[Rows], Iterable[Problem]]

_WORKERS: Final = 4


class ObjectsLook:
    """One look at what the rows name, by its size."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def suspects(self) -> Iterator[Look]:
        """Yield what looks again at each thing that seems wrong, as others may just have been at work on it."""
        store = self._store
        with store.metadata.read() as rows:
            # What is not a digest is told of the rows.
            blobs = {row.digest: row.size for row in rows.blobs() if row.digest.is_valid}
            tables = dict.fromkeys(diff_id for diff_id in rows.diff_ids() if diff_id.is_valid)
        # What is as it should be is forgotten at once.
        for digest, size in store.blobs.all_sizes():
            if isinstance(digest, DiffID):
                if size:
                    tables.pop(digest, None)
            elif blobs.get(digest) == size:
                del blobs[digest]
        yield from (partial(self._blob, digest) for digest in blobs)
        if misrecorded := list(store.blobs.misrecorded()):
            yield partial(self._misrecorded, misrecorded)
        yield from (partial(self._toc, diff_id) for diff_id in tables)
        if not store.read_only:
            with store.metadata.read() as rows:
                left = any(self._leftovers(rows))
            if left:
                yield self._leftovers
        yield self._strays

    def _blob(self, digest: Digest, rows: Rows) -> Iterator[Problem]:
        row = rows.blob(digest)
        if row is None or self._store.blobs.has(row):
            return
        size = self._store.blobs.size_of(digest).size
        if not size:
            yield Problem(DAMAGE, "blob-missing", str(digest), f"the blob {digest} is missing; load its image again")
        else:
            message = f"the blob {digest} has {size} bytes instead of {row.size}; load its image again"
            yield Problem(DAMAGE, "blob-size", str(digest), message)

    @staticmethod
    def _misrecorded(digests: list[Digest], rows: Rows) -> Iterator[Problem]:
        for digest in digests:
            if rows.blob(digest) is not None:
                message = f"the size that is recorded of the object which holds {digest} is not the one that it has"
                yield Problem(DAMAGE, "blob-wrong", str(digest), f"{message}; a repair records that")

    def _toc(self, diff_id: DiffID, rows: Rows) -> Iterator[Problem]:
        if rows.diff(diff_id) is not None and not self._store.blobs.toc_size_of(diff_id).size:
            message = f"the table of contents of the layer {diff_id} is missing; it can be made again from the layer"
            yield Problem(NOTE, "toc-missing", str(diff_id), message)

    def _strays(self, rows: Rows) -> Iterator[Problem]:
        # Who holds everything may bring content before its rows, as a copy does.
        if any(EVERYTHING in rows.lease_digests(name) for name in rows.leases()):
            return
        for one in self._store.blobs.strays(rows):
            yield Problem(NOTE, "stray", one.subject, f"{one.subject} belongs to nothing; it may be removed")

    def _leftovers(self, rows: Rows) -> Iterator[Problem]:
        # What is there is listed before the owners: an owner that begins now is not taken for a dead one.
        unfinished, leases = list(self._store.blobs.unfinished()), rows.leases()
        try:
            alive = self._store.leases.alive(sweep=False)
        except OrlopError:
            return
        for one in unfinished:
            if one.owner not in alive:
                message = f"{one.subject} was left by a process that died; orlop gc removes it"
                yield Problem(NOTE, "unfinished", one.subject, message)
        for name in leases:
            if name != LEFT and not self._store.leases.is_alive(name, alive):
                message = f"the lease {name} was left by a process that died; orlop gc removes it"
                yield Problem(NOTE, "lease-dead", name, message)


class ObjectsRead:
    """One look at the content itself; ``exams`` is what each blob holds that was read.

    Args:
        store: the store.
        look: the whole look that this is a part of.
        progress: called with events, by threads of the look; its layers are blobs.
    """

    def __init__(self, store: Store, look: Sure, progress: Progress | None) -> None:
        self._store = store
        self._look = look
        self._progress = progress
        self.exams: dict[Digest, Exam] = {}

    def problems(self) -> list[Problem]:
        """Read every blob, several at once, then the tables of contents that no blob was there to compare with."""
        with self._store.metadata.read() as rows:
            blobs = sorted((row for row in rows.blobs() if row.digest.is_valid), key=lambda row: -row.size)
        tasks = [partial(self._read, blob) for blob in blobs]
        workers = min(_WORKERS, len(os.sched_getaffinity(0)))
        found = [problem for some in in_parallel(tasks, workers=workers) for problem in some]
        return sorted([*found, *self._look.sure(self._lonely_tocs()), *self._unknown()])

    def _unknown(self) -> Iterator[Problem]:
        """Yield what lies in the bucket and no row knows: what a request has made that arrived too late."""
        swept = self._store.blobs.sweep_bucket(dry_run=True)
        if swept.objects or swept.uploads:
            what = f"{swept.objects} objects of {swept.size} bytes and {swept.uploads} unfinished uploads in the bucket"
            advice = "run `orlop fsck --repair`, which keeps what is missing and removes the rest"
            message = f"{what} are known to no row; {advice}"
            yield Problem(NOTE, "bucket-strays", self._store.root, message)

    def _read(self, blob: BlobRow, check: Callable[[], None]) -> list[Problem]:
        tell = BlobProgress(blob, self._progress, check)
        with self._store.metadata.read() as rows:
            layers = rows.diffs_of(blob.digest)
            is_opaque = not layers and bool(rows.edges_to(blob.digest))
        toc = next((one for one in layers if one.is_valid), None)
        try:
            exam = examined(self._store, blob, toc=toc, opaque=is_opaque, progress=tell)
        except ContentNotFound:
            return []  # it went, or the look at sizes tells of it
        except StorageError as error:
            unreadable = Problem(DAMAGE, DEVICE_FAILED, str(blob.digest), str(error))
            return self._look.sure([lambda rows: [] if rows.blob(blob.digest) is None else [unreadable]])
        if not is_opaque:
            self.exams[blob.digest] = exam
        tell.done()
        return self._look.sure([lambda rows: compared(exam, blob.digest, str(blob.digest), rows)])

    def _lonely_tocs(self) -> Iterator[Look]:
        read = {
            exam.diff.diff_id for exam in self.exams.values() if exam.diff is not None and exam.toc_right is not None
        }
        with self._store.metadata.read() as rows:
            diffs = [rows.diff(diff_id) for diff_id in rows.diff_ids() if diff_id.is_valid and diff_id not in read]
        for diff in diffs:
            if diff is not None and self._toc_problems(diff):
                yield partial(self._toc_again, diff)

    def _toc_again(self, diff: DiffRow, rows: Rows) -> list[Problem]:
        return [] if rows.diff(diff.diff_id) is None else self._toc_problems(diff)

    def _toc_problems(self, diff: DiffRow) -> list[Problem]:
        try:
            return [] if self._toc_fits(diff) else [toc_damaged(diff.diff_id)]
        except StorageError as error:
            return [Problem(DAMAGE, DEVICE_FAILED, str(diff.diff_id), str(error))]

    def _toc_fits(self, diff: DiffRow) -> bool:
        file = self._store.blobs.open_toc(diff.diff_id)
        if file is None:
            return True
        try:
            with file:
                reader = read_toc(file)
                for _ in reader:
                    pass
        except (InvalidInput, TocDamaged):
            return False
        found = reader.summary
        facts = None if found is None else (found.entries, found.content_size, found.tar_size)
        return facts == (diff.entries, diff.content_size, diff.size) and index_fits(self._store, diff.diff_id)


def examined(
    store: Store,
    blob: BlobRow,
    *,
    toc: DiffID | None = None,
    opaque: bool = False,
    headers: Callable[[bytes], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Exam:
    """Read a blob to its end and return what it holds; only what is not a layer is read a second time.

    Args:
        store: the store.
        blob: which one.
        toc: the layer whose table of contents should be that of the blob.
        opaque: do not look for a layer in it.
        headers: called with the tar headers in the layer, in the place of a comparison with a table.
        progress: called with the number of bytes read since the last call.

    Raises:
        ContentNotFound: there is no such blob. StorageError: it cannot be read.
    """
    algorithm, place = blob.digest.algorithm, Place(0, 0, blob.size, 0)
    reason = "it is not a layer"
    if not opaque:
        comparer = None if toc is None else _comparer(store, toc)
        try:
            with _raw(store, blob) as content:
                found = measure_layer(
                    content,
                    meter=Meter(NO_LIMITS),
                    headers=headers if comparer is None else comparer.add,
                    progress=progress,
                    algorithm=algorithm,
                )
        except InvalidInput as error:
            reason = str(error)
        else:
            right = None if comparer is None or toc is None else _is_right(comparer, store, toc)
            return Exam(place, found.blob, found.diff, toc_right=right, index=found.index)
    with _raw(store, blob) as content:
        return Exam(place, blob_in(content, algorithm, progress if opaque else None), None, reason)


def _raw(store: Store, blob: BlobRow) -> BinaryIO:
    # Its row may be wrong about its size: what is there is read.
    size = store.blobs.size_of(blob.digest).size
    return store.blobs.open_unverified(blob if not size else blob._replace(size=size))


def _comparer(store: Store, diff_id: DiffID) -> TocComparer | None:
    """Return what compares a layer with its table of contents; nothing where there is none, or it cannot be read."""
    with suppress(StorageError):
        file = store.blobs.open_toc(diff_id)
        if file is not None:
            with file:
                return TocComparer(io.BytesIO(file.read()))
    return None


def _is_right(comparer: TocComparer, store: Store, diff_id: DiffID) -> bool | None:
    """Return whether a table of contents is that of the layer; nothing where it cannot be read."""
    with suppress(StorageError):
        return comparer.right and index_fits(store, diff_id)
    return None


def index_fits(store: Store, diff_id: DiffID) -> bool:
    """Return whether the seek index at the end of a table of contents is whole, or there is none."""
    file = store.blobs.open_toc(diff_id)
    if file is None:
        return True
    try:
        with file:
            index = read_seek_index(io.BytesIO(file.read()))
            if index is not None:
                index.check()
    except TocDamaged:
        return False
    return True
