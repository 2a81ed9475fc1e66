"""Content put right in a store that has no files here: what is bad goes, what can be made again is made again.

It is the part of a repair that `repair_files` is for a directory, and has its steps. There is no quarantine: what goes
is what does not have the digest that it is named by, so that nobody could ever have read it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import ContentNotFound, IntegrityError, InvalidInput, StorageError
from orlop.model.digest import DiffID, Digest
from orlop.model.limits import NO_LIMITS
from orlop.store.rows.metadata import BlobRow
from orlop.store.upkeep.fsck_content import blob_in
from orlop.store.upkeep.objects_look import examined
from orlop.store.upkeep.problem import Repair
from orlop.store.upkeep.repair_part import RepairPart
from orlop.streams.compression import Compression, decompressed
from orlop.streams.files import CHUNK
from orlop.streams.seek_index import packed
from orlop.streams.toc import TocWriter
from orlop.streams.verify import VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from orlop.store.blobs.store import Ingest
    from orlop.store.upkeep.fsck_content import Exam

_BAD: Final = ("blob-damaged", "blob-size")


class ObjectsRepair(RepairPart):
    """The part of a repair that is about content."""

    def put_directories_right(self) -> None:
        """Do nothing: there are none."""

    def keep_log(self) -> None:
        """Do nothing: the rows are in no file."""

    def go_on_from_earlier(self) -> None:
        """Do nothing: the rows are in no file."""

    def put_modes_right(self) -> None:
        """Do nothing: there are none."""

    def _exam(self, digest: Digest) -> Exam | None:
        exam = self._exams.get(digest)
        if exam is None:
            with self._store.metadata.read() as rows:
                row = rows.blob(digest)
            if row is None:
                return None
            with suppress(ContentNotFound, StorageError):
                exam = self._exams[digest] = examined(self._store, row, progress=self._progress)
        return exam

    def is_right(self, digest: Digest) -> bool:
        """Return whether a blob was read and is what its name says."""
        exam = self._exam(digest)
        return exam is not None and exam.blob.digest == digest

    def sweep(self) -> None:
        """Remove what lies in the bucket and no row knows, but for blobs that are missing: these are brought back."""
        self._find_missing()
        for subject in self._subjects("bucket-strays"):
            swept = self._store.blobs.sweep_bucket()
            what = f"{swept.objects} objects and {swept.uploads} unfinished uploads that belonged to nothing"
            self._done(Repair("bucket-strays", subject, f"{what} were removed"))

    def _find_missing(self) -> None:
        """Look for missing blobs in objects that nothing needs: the row that says which holds which may be wrong."""
        asked = {Digest.parse(subject) for subject in self._subjects("blob-missing")}
        with self._store.metadata.read() as rows:
            missing = {digest: row for digest in asked if (row := rows.blob(digest)) is not None}
        algorithms = {digest.algorithm for digest in missing}
        for size, opened in self._unneeded() if missing else ():
            for algorithm in algorithms:
                with suppress(ContentNotFound), opened() as content:
                    row = missing.get(blob_in(content, algorithm, self._progress).digest)
                    if row is not None and self._kept_again(row, opened, size):
                        message = f"the blob {row.digest} was found under another name in the bucket, and kept again"
                        self._done(Repair("blob-missing", str(row.digest), message))

    def _unneeded(self) -> Iterator[tuple[int, Callable[[], BinaryIO]]]:
        """Yield the size of each object that no row needs, and what opens it."""
        yield from self._store.blobs.unknown()
        sizes = dict(self._store.blobs.sizes())
        for digest in self.unrecorded():
            size = sizes.get(digest, 0)
            yield size, partial(self._store.blobs.open_unverified, BlobRow(digest, size, "none"))

    def _kept_again(self, row: BlobRow, opened: Callable[[], BinaryIO], size: int) -> bool:
        """Keep the bytes of an object under a new key: a request to delete the object may still be on its way."""
        blobs = self._store.blobs
        with blobs.begin(row.digest.algorithm) as ingest:
            with opened() as content:
                for chunk in VerifyingReader(content, digest=row.digest, size=size).chunks(CHUNK):
                    ingest.write(chunk)
            return self._committed(ingest, row._replace(size=size))

    def _committed(self, ingest: Ingest, row: BlobRow) -> bool:
        ingest.finish()
        ingest.sync()
        with self._store.metadata.write() as rows:
            if rows.blob(row.digest) is None or self._store.blobs.has(row):
                return False
            ingest.commit(rows, row)
        return True

    def set_bad_blobs_aside(self) -> None:
        """Remove what is not the blob that its name says; a load then brings the blob back."""
        self._record_sizes()
        for subject in self._subjects(*_BAD):
            digest = Digest.parse(subject)
            exam = self._exam(digest)
            if exam is None or exam.blob.digest == digest:
                continue
            with self._store.metadata.write() as rows:
                if rows.blob(digest) is None:
                    continue
                self._store.blobs.remove(rows, [digest])
            self._exams.pop(digest)
            self._done(
                Repair(self._kind(subject), subject, f"what was kept as {digest}, and was not that, was removed")
            )

    def _record_sizes(self) -> None:
        """Record how large objects are whose rows say something else, before anybody reads them by that."""
        for subject in self._subjects("blob-wrong"):
            with self._store.metadata.write() as rows:
                changed = self._store.blobs.record_size(rows, Digest.parse(subject))
            if changed:
                message = f"the size of the object which holds {subject} was recorded again, as the bucket has it"
                self._done(Repair("blob-wrong", subject, message))

    def bring_missing_blobs_back(self) -> None:
        """Make missing plain blobs again from compressed ones."""
        with self._store.metadata.read() as rows:
            known = rows.blobs()
        for row in known:
            if row.digest.is_valid and not self._store.blobs.has(row):
                self._unpack(row)

    def _unpack(self, row: BlobRow) -> None:
        with self._store.metadata.read() as rows:
            forms = [form for form in rows.blobs_of(DiffID.wrap(row.digest)) if form.digest != row.digest]
        for form in forms:
            compression = Compression.__members__.get(form.compression.upper())
            if compression is not None and form.digest.is_valid and self._made_from(row, form, compression):
                message = f"the blob {row.digest} was made again from {form.digest}, which holds the same layer"
                self._done(Repair("blob-missing", str(row.digest), message))
                return

    def _made_from(self, row: BlobRow, form: BlobRow, compression: Compression) -> bool:
        blobs = self._store.blobs
        with blobs.begin(row.digest.algorithm) as ingest:
            try:
                with (
                    blobs.open_unverified(form) as source,
                    decompressed(source, compression, limits=NO_LIMITS) as content,
                ):
                    for chunk in VerifyingReader(content, digest=row.digest, size=row.size).chunks(CHUNK):
                        ingest.write(chunk)
            except (ContentNotFound, IntegrityError, InvalidInput):
                return False
            return self._committed(ingest, row)

    def make_tables(self) -> None:
        """Make tables of contents anew, from blobs that are right."""
        for subject in self._subjects("toc-missing", "toc-damaged"):
            diff_id = DiffID.parse(subject)
            with self._store.metadata.read() as rows:
                forms = [form for form in rows.blobs_of(diff_id) if form.digest.is_valid]
            if any(self._made_table(diff_id, form) for form in forms):
                message = f"the table of contents of the layer {diff_id} was made again"
                self._done(Repair(self._kind(subject), subject, message))

    def _made_table(self, diff_id: DiffID, form: BlobRow) -> bool:
        with self._store.blobs.begin() as ingest:
            table = TocWriter(ingest)
            try:
                exam = examined(self._store, form, headers=table.add, progress=self._progress)
            except (ContentNotFound, StorageError):
                return False
            table.close()
            if exam.diff is None or exam.diff.diff_id != diff_id:
                return False
            if exam.index is not None:
                ingest.write(packed(exam.index))
            ingest.finish()
            ingest.sync()
            with self._store.metadata.write() as rows:
                if rows.diff(diff_id) is None:
                    return False
                ingest.commit_toc(rows, diff_id)
        return True

    def unrecorded(self) -> Iterator[Digest]:
        """Yield the digests of blobs that have no row."""
        with self._store.metadata.read() as rows:
            known = {row.digest for row in rows.blobs()}
        yield from (digest for digest in self._store.blobs.digests() if digest not in known)

    def right_exams(self, digests: Iterable[Digest]) -> Iterator[Exam]:
        """Read blobs, and what is kept without a row; yield what is right of them."""
        sizes: dict[Digest, int] | None = None
        for digest in dict.fromkeys((*digests, *self.unrecorded())):
            exam = self._exams.get(digest) or self._exam(digest)
            if exam is None:
                sizes = dict(self._store.blobs.sizes()) if sizes is None else sizes
                exam = self._unrecorded_exam(digest, sizes.get(digest, 0))
            if exam is not None and exam.blob.digest == digest:
                yield exam

    def _unrecorded_exam(self, digest: Digest, size: int) -> Exam | None:
        with suppress(ContentNotFound, StorageError):
            return examined(self._store, BlobRow(digest, size, "none"), progress=self._progress)
        return None
