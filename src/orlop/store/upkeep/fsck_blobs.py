"""What is wrong with blobs and tables of contents, found out by reading them, several at once."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from orlop.store.blobs.progress import BlobProgress
from orlop.store.upkeep.fsck_content import Unreadable, examine, examine_opaque, place_of, toc_fits
from orlop.store.upkeep.problem import DAMAGE, DEVICE_FAILED, Problem
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from orlop.model.digest import DiffID, Digest
    from orlop.model.progress import Progress
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow, DiffRow, Rows
    from orlop.store.upkeep.fsck_content import Exam
    from orlop.streams.directory import Entry

_WORKERS: Final = 4
_AGAIN: Final = 5
"""How often a file is read that changes each time: nobody replaces a blob that often."""


class Sure(Protocol):
    """Who looks again at what seems wrong, while nobody else changes anything."""

    def sure(self, suspects: Iterable[Callable[[Rows], Iterable[Problem]]]) -> list[Problem]:
        """Return what each of the looks finds at rest."""

    def at_rest(self) -> AbstractContextManager[Rows]:
        """Return rows that nobody else changes, if anybody could."""


class BlobsLook:
    """One look at the content of a store; ``exams`` is what each blob holds that was read.

    Args:
        store: the store.
        look: the whole look that this is a part of.
        progress: called with events, by threads of the look; its layers are blobs.
    """

    def __init__(self, store: Store, look: Sure, progress: Progress | None) -> None:
        self._store = store
        self._blobs = store.files.blobs
        self._look = look
        self._progress = progress
        self.exams: dict[Digest, Exam] = {}

    def problems(self) -> list[Problem]:
        """Read every blob, several at once, then the tables of contents that no blob was there to compare with."""
        with self._store.metadata.read() as rows:
            blobs = [row for row in rows.blobs() if row.digest.is_valid]
        tasks = [partial(self._examine, blob) for blob in _longest_first(blobs)]
        workers = min(_WORKERS, len(os.sched_getaffinity(0)))
        found = [problem for some in in_parallel(tasks, workers=workers) for problem in some]
        return sorted([*found, *self._look.sure(self._lonely_tocs())])

    def _examine(self, blob: BlobRow, check: Callable[[], None]) -> list[Problem]:
        """Read one blob. What is not as it should be is looked at again, and read again if the file is another."""
        store, digest = self._store, blob.digest
        file = self._blobs.file(digest)
        path = file.path
        tell = BlobProgress(blob, self._progress, check)
        for _ in range(_AGAIN):
            with store.metadata.read() as rows:
                layers = rows.diffs_of(digest)
                toc = next((self._blobs.toc_file(one) for one in layers if one.is_valid), None)
                opaque = not layers and bool(rows.edges_to(digest))
            toc_place = None if toc is None else place_of(toc)
            try:
                exam = (
                    examine_opaque(file, algorithm=digest.algorithm, progress=tell)
                    if opaque
                    else examine(file, toc=toc, algorithm=digest.algorithm, progress=tell)
                )
            except Unreadable as error:
                return self._look.sure([partial(_if_kept, digest, _unreadable(digest, error))])
            if exam is None:
                return []  # it went, or the look at files tells of it
            with store.metadata.read() as rows:
                found = list(compared(exam, digest, path, rows))
            if found:
                with self._look.at_rest() as rows:
                    if place_of(file) != exam.place or (toc is not None and place_of(toc) != toc_place):
                        tell.again()
                        continue
                    found = list(compared(exam, digest, path, rows))
            if not opaque:
                # A repair looks whether it is the layer of a link that is lost.
                self.exams[digest] = exam
            tell.done()
            return found
        message = f"the blob {path} changed each time it was read; find out what writes to it"
        return [Problem(DAMAGE, "blob-unreadable", str(digest), message)]

    def _lonely_tocs(self) -> Iterator[Callable[[Rows], Iterable[Problem]]]:
        compared = {
            exam.diff.diff_id for exam in self.exams.values() if exam.diff is not None and exam.toc_right is not None
        }
        with self._store.metadata.read() as rows:
            diffs = [rows.diff(diff_id) for diff_id in rows.diff_ids() if diff_id.is_valid and diff_id not in compared]
        for diff in diffs:
            if diff is not None:
                toc = self._blobs.toc_file(diff.diff_id)
                if _toc_problems(toc, diff):
                    yield partial(_toc_again, toc, diff)


def _toc_again(toc: Entry, diff: DiffRow, rows: Rows) -> list[Problem]:
    return [] if rows.diff(diff.diff_id) is None else _toc_problems(toc, diff)


def _toc_problems(toc: Entry, diff: DiffRow) -> list[Problem]:
    try:
        return [] if toc_fits(toc, diff) else [toc_damaged(diff.diff_id)]
    except Unreadable as error:
        return [toc_unread(diff.diff_id, error)]


def _unreadable(digest: Digest, error: Unreadable) -> Problem:
    if not error.by_device:
        return Problem(DAMAGE, "blob-unreadable", str(digest), str(error))
    message = f"{error}; check the device, and run this again: the blob may be whole, and stays where it is"
    return Problem(DAMAGE, DEVICE_FAILED, str(digest), message)


def _if_kept(digest: Digest, problem: Problem, rows: Rows) -> list[Problem]:
    return [] if rows.blob(digest) is None else [problem]


def compared(exam: Exam, digest: Digest, path: str, rows: Rows) -> Iterator[Problem]:
    """Compare what was read with what is recorded of a blob; what is recorded no more is not a problem."""
    row, subject = rows.blob(digest), str(digest)
    if row is None:
        return
    if exam.blob.digest != digest:
        if exam.blob.size != row.size:
            message = f"the blob {path} has {exam.blob.size} bytes instead of {row.size}; load its image again"
            yield Problem(DAMAGE, "blob-size", subject, message)
        else:
            message = f"the blob {path} does not match its digest; load its image again"
            yield Problem(DAMAGE, "blob-damaged", subject, message)
    elif not rows.diffs_of(digest):
        # Of what is not a layer only the size is recorded, and how it begins.
        if exam.blob != row:
            message = f"the size or the compression that is recorded of the blob {digest} is not that of {path}"
            yield Problem(DAMAGE, "blob-wrong", subject, message)
    elif exam.diff is None:
        message = f"the blob {path} matches its digest, but is not a layer: {exam.reason}"
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
                yield toc_damaged(diff_id)


def toc_damaged(diff_id: DiffID) -> Problem:
    """Return that a table of contents is damaged."""
    message = f"the table of contents of the layer {diff_id} is damaged; it can be made again from the layer"
    return Problem(DAMAGE, "toc-damaged", str(diff_id), message)


def toc_unread(diff_id: DiffID, error: Exception) -> Problem:
    """Return that a table of contents cannot be read, as the error says."""
    message = f"{error}; check the device, and run this again, or remove the file: a repair makes it from its layer"
    return Problem(DAMAGE, DEVICE_FAILED, str(diff_id), message)


def same_facts(one: DiffRow, other: DiffRow) -> bool:
    """Return whether two rows of a layer agree; the clause that says why a table is partial is worded for people."""
    return one._replace(partial=None) == other._replace(partial=None) and (one.partial is None) == (
        other.partial is None
    )


def _longest_first(blobs: list[BlobRow]) -> list[BlobRow]:
    """Begin with what takes longest, so that no thread is left alone with it at the end."""
    return sorted(blobs, key=lambda blob: (-blob.size, blob.digest))
