"""Whether a store is whole: its rows among each other, its files, and every byte that they hold.

Others may work meanwhile: nothing is locked while files are read. What then seems wrong is looked at again under the
write lock, so that what somebody just brings, or takes away, is no problem.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import StorageError, StoreDamaged
from orlop.model.progress import LayerDone, LayerProgress
from orlop.store.fsck_content import examine, place_of, toc_fits
from orlop.store.fsck_files import FilesLook
from orlop.store.problem import DAMAGE, NOTE, Problem
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from orlop.model.digest import DiffID, Digest
    from orlop.model.progress import Progress
    from orlop.store.fsck_content import Exam
    from orlop.store.metadata import BlobRow, DiffRow, Rows
    from orlop.store.root import Store

_WORKERS: Final = 4
_AGAIN: Final = 5
"""How often a file is read that changes each time: nobody replaces a blob that often."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look found: the ``problems``, and what each blob holds that was read.

    ``readable`` says whether the rows could be read; where they cannot, nothing is known of the files.
    """

    problems: tuple[Problem, ...]
    exams: dict[Digest, Exam]
    readable: bool = True


def look(store: Store, *, quick: bool = False, settled: bool = False, progress: Progress | None = None) -> Findings:
    """Look through a store and say what is wrong. Nothing is changed.

    Args:
        store: an open store.
        quick: compare rows and the sizes of files only, and read no content.
        settled: nobody else works in the store, so that nothing need be looked at twice.
        progress: called with events, by threads of the look; its layers are blobs.

    Raises:
        StoreTooNew, StoreMoved, PermissionDenied, StorageError: the store cannot be read.
    """
    return _Look(store, settled=settled, progress=progress).run(quick=quick)


class _Look:
    """One look under way."""

    def __init__(self, store: Store, *, settled: bool, progress: Progress | None) -> None:
        self._store = store
        self._settled = settled or store.read_only
        self._progress = progress
        self._exams: dict[Digest, Exam] = {}

    def run(self, *, quick: bool) -> Findings:
        problems = list(self._place())
        try:
            rows = self._store.metadata.problems(verify=not quick)
        except StoreDamaged as error:
            # Rows that cannot be read say nothing about files.
            problems.append(Problem(DAMAGE, "database", "metadata.db", str(error)))
            return Findings(tuple(problems), {}, readable=False)
        problems += [Problem(NOTE if one.harmless else DAMAGE, one.kind, one.subject, one.message) for one in rows]
        files = self._sure(FilesLook(self._store).suspects())
        if not quick:
            content = self._content()
            # Whether the bytes or the row is wrong, the bytes say.
            files = [one for one in files if one.kind != "blob-size" or one.subject not in self._read()]
            files += content
        problems += files
        # One thing may have been met in two ways.
        return Findings(tuple({(one.kind, one.subject): one for one in problems}.values()), self._exams)

    def _read(self) -> set[str]:
        return {str(digest) for digest in self._exams}

    def _place(self) -> Iterator[Problem]:
        store = self._store
        if store.read_only:
            yield Problem(NOTE, "read-only", store.root, store.why_read_only())
        log = os.path.join(store.root, "metadata.db-wal")
        if store.read_only and os.path.exists(log) and os.path.getsize(log):
            yield Problem(
                NOTE, "log", log, f"{log} holds changes that cannot be merged here: each command reads a private copy"
            )

    def _sure(self, suspects: Iterable[Callable[[Rows], Iterable[Problem]]]) -> list[Problem]:
        """Look once more at what seems wrong, while nobody else changes anything."""
        looks = list(suspects)
        if not looks:
            return []
        with self._at_rest() as rows:
            return [problem for look in looks for problem in look(rows)]

    def _at_rest(self) -> AbstractContextManager[Rows]:
        metadata = self._store.metadata
        return metadata.read() if self._settled else metadata.write()

    # Content.

    def _content(self) -> list[Problem]:
        """Read every blob, several at once, then the tables of contents that no blob was there to compare with."""
        with self._store.metadata.read() as rows:
            blobs = rows.blobs()
        tasks = [partial(self._examine, blob) for blob in _longest_first(blobs)]
        workers = min(_WORKERS, len(os.sched_getaffinity(0)))
        found = [problem for some in in_parallel(tasks, workers=workers) for problem in some]
        return sorted([*found, *self._sure(self._lonely_tocs())])

    def _examine(self, blob: BlobRow, check: Callable[[], None]) -> list[Problem]:
        """Read one blob. What is not as it should be is looked at again, and read again if the file is another."""
        store, digest = self._store, blob.digest
        path = store.blobs.path(digest)
        tell = _Teller(blob, self._progress, check)
        for _ in range(_AGAIN):
            with store.metadata.read() as rows:
                toc = next(map(store.blobs.toc_path, rows.diffs_of(digest)), None)
            toc_place = None if toc is None else place_of(toc)
            try:
                exam = examine(path, toc=toc, progress=tell)
            except StorageError as error:
                unreadable = Problem(DAMAGE, "blob-unreadable", str(digest), str(error))
                return self._sure([partial(_if_kept, digest, unreadable)])
            if exam is None:
                return []  # it went, or the look at files tells of it
            with store.metadata.read() as rows:
                found = list(_compared(exam, digest, path, rows))
            if found:
                with self._at_rest() as rows:
                    if place_of(path) != exam.place or (toc is not None and place_of(toc) != toc_place):
                        tell.again()
                        continue
                    found = list(_compared(exam, digest, path, rows))
            self._exams[digest] = exam
            tell.done()
            return found
        message = f"the blob {path} changed each time it was read; see who writes to it"
        return [Problem(DAMAGE, "blob-unreadable", str(digest), message)]

    def _lonely_tocs(self) -> Iterator[Callable[[Rows], Iterable[Problem]]]:
        compared = {
            exam.diff.diff_id for exam in self._exams.values() if exam.diff is not None and exam.toc_right is not None
        }
        with self._store.metadata.read() as rows:
            diffs = [rows.diff(diff_id) for diff_id in rows.diff_ids() if diff_id not in compared]
        for diff in diffs:
            path = "" if diff is None else self._store.blobs.toc_path(diff.diff_id)
            if diff is not None and not toc_fits(path, diff):
                yield partial(_toc_again, path, diff)


def _toc_again(path: str, diff: DiffRow, rows: Rows) -> list[Problem]:
    return [] if rows.diff(diff.diff_id) is None or toc_fits(path, diff) else [_toc_damaged(diff.diff_id)]


def _if_kept(digest: Digest, problem: Problem, rows: Rows) -> list[Problem]:
    return [] if rows.blob(digest) is None else [problem]


def _compared(exam: Exam, digest: Digest, path: str, rows: Rows) -> Iterator[Problem]:
    """Compare what was read with what is recorded of a blob; what is recorded no more is no problem."""
    row, subject = rows.blob(digest), str(digest)
    if row is None:
        return
    if exam.blob.digest != digest:
        if exam.blob.size != row.size:
            message = f"the blob {path} has {exam.blob.size} bytes instead of {row.size}; load its image again"
            yield Problem(DAMAGE, "blob-size", subject, message)
        else:
            message = f"the blob {path} is not what its digest says; load its image again"
            yield Problem(DAMAGE, "blob-damaged", subject, message)
    elif exam.diff is None:
        message = f"the blob {path} is what its digest says, but no layer: {exam.reason}"
        yield Problem(DAMAGE, "blob-no-layer", subject, message)
    else:
        if exam.blob != row:
            message = f"the size or the compression that is recorded of the blob {digest} is not that of {path}"
            yield Problem(DAMAGE, "blob-wrong", subject, message)
        yield from _compared_layer(exam, exam.diff, digest, rows)


def _compared_layer(exam: Exam, diff: DiffRow, digest: Digest, rows: Rows) -> Iterator[Problem]:
    for number, diff_id in enumerate(rows.diffs_of(digest)):
        recorded = rows.diff(diff_id)
        if diff_id != diff.diff_id:
            message = f"the blob {digest} is recorded as the layer {diff_id}, but holds the layer {diff.diff_id}"
            yield Problem(DAMAGE, "form-wrong", str(digest), message)
        elif recorded is not None:
            if not same_facts(recorded, diff):
                message = f"what is recorded of the layer {diff_id} is not what its blob {digest} holds"
                yield Problem(DAMAGE, "layer-wrong", str(diff_id), message)
            if exam.toc_right is False and number == 0:
                yield _toc_damaged(diff_id)


def _toc_damaged(diff_id: DiffID) -> Problem:
    message = f"the table of contents of the layer {diff_id} is damaged; it can be made again from the layer"
    return Problem(DAMAGE, "toc-damaged", str(diff_id), message)


def same_facts(one: DiffRow, other: DiffRow) -> bool:
    """Say whether two rows of a layer agree; the clause that says why a table is partial is worded for people."""
    return replace(one, partial=None) == replace(other, partial=None) and (one.partial is None) == (
        other.partial is None
    )


class _Teller:
    """Tells how far a blob is, and ends the work where it is in vain."""

    def __init__(self, blob: BlobRow, progress: Progress | None, check: Callable[[], None]) -> None:
        self._blob = blob
        self._progress = progress
        self._check = check
        self._current = 0

    def __call__(self, size: int) -> None:
        self._check()
        self._current += size
        if self._progress is not None:
            self._progress(LayerProgress(self._blob.digest.short, self._current, self._blob.size))

    def again(self) -> None:
        """Begin anew."""
        self._current = 0

    def done(self) -> None:
        """Tell that the blob was read."""
        if self._progress is not None:
            self._progress(LayerDone(self._blob.digest.short))


def _longest_first(blobs: list[BlobRow]) -> list[BlobRow]:
    """Begin with what takes longest, so that no thread is left alone with it at the end."""
    return sorted(blobs, key=lambda blob: (-blob.size, blob.digest))
