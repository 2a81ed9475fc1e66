"""Whether a store is whole: its rows among each other, its files, and every byte that they hold.

Others may work meanwhile: nothing is locked while files are read. What then seems wrong is looked at again under the
write lock, so that what somebody just brings, or takes away, is not a problem.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreDamaged
from orlop.store.graph.garbage import unneeded
from orlop.store.upkeep.fsck_files import FilesLook
from orlop.store.upkeep.lost_rows import ADVICE, has_lost_rows
from orlop.store.upkeep.problem import DAMAGE, NOTE, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.model.digest import Digest
    from orlop.model.progress import Progress
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows
    from orlop.store.upkeep.fsck_blobs import BlobsLook
    from orlop.store.upkeep.fsck_content import Exam
    from orlop.store.upkeep.objects_look import ObjectsRead


_OF_DATABASE: Final = frozenset(("log-cut", "schema", "value-invalid"))


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look found: the ``problems``, and what each blob holds that was read.

    ``readable`` says whether the rows could be read; where they cannot, nothing is known of the files.
    """

    problems: tuple[Problem, ...]
    exams: dict[Digest, Exam]
    readable: bool = True

    @property
    def can_be_trusted(self) -> bool:
        """Whether the rows are a base for repairs: not where the database itself is damaged."""
        return self.readable and not any(
            one.kind in _OF_DATABASE or (one.kind == "database" and one.subject == "metadata.db")
            for one in self.problems
        )


def look(store: Store, *, quick: bool = False, settled: bool = False, progress: Progress | None = None) -> Findings:
    """Look through a store and say what is wrong. Nothing is changed.

    Args:
        store: an open store.
        quick: compare rows and the sizes of files only, and read no content.
        settled: nobody else works in the store, so that nothing need be looked at twice.
        progress: called with events, by threads of the look; its layers are blobs.

    Raises:
        StoreTooNew, StoreMoved, PermissionDenied, StorageError: the store cannot be read.
        StoreNotFound, StoreInUse: its content is looked for where another store is, or none.
    """
    return _Look(store, settled=settled, progress=progress).run(quick=quick)


class _Look:
    """One look under way."""

    def __init__(self, store: Store, *, settled: bool, progress: Progress | None) -> None:
        self._store = store
        self._settled = settled or store.read_only
        self._progress = progress

    def run(self, *, quick: bool) -> Findings:
        problems = list(self._place())
        fault = self._store.files.rows.log_fault() if self._store.is_local else None
        if fault is not None:
            # As soon as SQLite reads it, what is behind the bad place is lost.
            problems.append(Problem(DAMAGE, "log-cut", "metadata.db-wal", f"{fault}; repair it before anything else"))
            return Findings(tuple(problems), {}, readable=False)
        try:
            rows = self._store.metadata.problems(verify=not quick)
        except StoreDamaged as error:
            # Rows that cannot be read say nothing about files.
            problems.append(Problem(DAMAGE, "database", "metadata.db", str(error)))
            return Findings(tuple(problems), {}, readable=False)
        problems += [Problem(NOTE if one.harmless else DAMAGE, one.kind, one.subject, one.message) for one in rows]
        if not Findings(tuple(problems), {}).can_be_trusted:
            return Findings(tuple(dict.fromkeys(problems)), {}, readable=False)
        problems += self._unneeded()
        files = self.sure(self._suspects())
        exams: dict[Digest, Exam] = {}
        if not quick:
            content = self._content()
            read = content.problems()
            exams = content.exams
            # Whether the bytes or the row is wrong, the bytes say.
            known = {str(digest) for digest in exams}
            files = [one for one in files if one.kind != "blob-size" or one.subject not in known] + read
        problems += files
        # One thing may have been met in two ways.
        return Findings(tuple({(one.kind, one.subject): one for one in problems}.values()), exams)

    def _unneeded(self) -> Iterator[Problem]:
        """Yield what nothing needs, which is not damage: the next collection, or the removal of an image, takes it."""
        with self._store.metadata.read() as rows:
            if has_lost_rows(rows):
                message = f"a repair could not read all rows, so content that no row needs is held; {ADVICE}"
                yield Problem(NOTE, "held", self._store.root, message)
            found = unneeded(rows)
        for kind, digests, sentence in (
            ("chain-unneeded", found.chains, "nothing needs the layer {} any more"),
            ("layer-unneeded", found.contents, "the layer {} is in no image"),
            ("blob-unneeded", found.blobs, "no layer and no manifest needs the blob {}"),
            ("manifest-unneeded", found.manifests, "nothing needs the manifest {}"),
        ):
            for digest in digests:
                # What there is to say of a row without a digest is said.
                if digest.is_valid:
                    yield Problem(NOTE, kind, str(digest), sentence.format(digest))

    def _suspects(self) -> Iterator[Callable[[Rows], Iterable[Problem]]]:
        if self._store.is_local:
            return FilesLook(self._store).suspects()
        from orlop.store.upkeep.objects_look import ObjectsLook  # noqa: PLC0415 - most stores are directories

        return ObjectsLook(self._store).suspects()

    def _content(self) -> BlobsLook | ObjectsRead:
        """Return what reads every blob."""
        if self._store.is_local:
            from orlop.store.upkeep.fsck_blobs import BlobsLook  # noqa: PLC0415 - a quick look reads none

            return BlobsLook(self._store, self, self._progress)
        from orlop.store.upkeep.objects_look import ObjectsRead  # noqa: PLC0415 - as above

        return ObjectsRead(self._store, self, self._progress)

    def _place(self) -> Iterator[Problem]:
        store = self._store
        if store.read_only:
            yield Problem(NOTE, "read-only", store.root, store.why_read_only())
        if not store.is_local:
            # A misspelt place would have everything missing.
            store.blobs.require_own()
            return
        state = store.files.directory.at("metadata.db-wal").state()
        if store.read_only and state is not None and state.st_size:
            log = os.path.join(store.root, "metadata.db-wal")
            yield Problem(
                NOTE, "log", log, f"{log} holds changes that cannot be merged here: each command reads a private copy"
            )

    def sure(self, suspects: Iterable[Callable[[Rows], Iterable[Problem]]]) -> list[Problem]:
        """Look once more at what seems wrong, while nobody else changes anything."""
        looks = list(suspects)
        if not looks:
            return []
        with self.at_rest() as rows:
            return [problem for look in looks for problem in look(rows)]

    @contextmanager
    def at_rest(self) -> Iterator[Rows]:
        """Return rows that nobody else changes, if anybody could."""
        metadata = self._store.metadata
        # A write would need room on the disk.
        with nullcontext() if self._settled else metadata.lock(), metadata.read() as rows:
            yield rows
