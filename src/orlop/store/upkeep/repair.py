"""Repairing a store: bad files are set aside, what can be made again is made again, what is missing is named.

Nothing that is what its digest says is ever touched. Each step is one write, and looks again inside it, so that others
may use the store meanwhile, and an interrupted repair can be run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.model.digest import DiffID, Digest, ImageID
from orlop.model.progress import LayerDone, LayerProgress
from orlop.store.upkeep.lost_rows import hold_for_lost_rows
from orlop.store.upkeep.objects_repair import ObjectsRepair
from orlop.store.upkeep.repair_files import FilesRepair, is_whole
from orlop.store.upkeep.repair_rows import RowsRepair

if TYPE_CHECKING:
    from orlop.model.progress import Progress
    from orlop.store.root import Store
    from orlop.store.upkeep.fsck import Findings
    from orlop.store.upkeep.problem import Repair

_LABEL: Final = "repair"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a store has not, or not right, and an archive may have.

    ``layers`` of which no form is there, ``blobs`` that are missing, ``images`` that are missing and that names or
    children lead to, ``configs`` and ``manifests`` whose bytes are damaged or missing.
    """

    layers: frozenset[DiffID]
    blobs: frozenset[Digest]
    images: frozenset[ImageID]
    configs: frozenset[ImageID]
    manifests: frozenset[Digest]

    def __bool__(self) -> bool:
        return bool(self.layers or self.blobs or self.images or self.configs or self.manifests)


class Repairer:
    """One repair under way: first `mend`, then whoever knows archives brings what is `wanted`, then `finish`.

    ``repairs`` is what was done so far, in order.

    Args:
        store: the store.
        findings: what a look at it found.
        progress: called with events.

    Raises:
        ReadOnlyStore, UnsafeFileSystem: it cannot be written.
    """

    def __init__(self, store: Store, findings: Findings, progress: Progress | None = None) -> None:
        store.require_writable()
        self._store = store
        self._problems = findings.problems
        self.repairs: list[Repair] = []
        self._tell = _Teller(progress)
        repair = FilesRepair if store.is_local else ObjectsRepair
        self._files = repair(store, findings.problems, findings.exams, self.repairs.append, self._tell)
        self._rows = RowsRepair(store, findings.problems, self.repairs.append)

    def mend(self) -> None:
        """Put right what the store's own content is enough for."""
        if self._subjects("earlier"):
            self._files.keep_log()
        self._rows.correct_documents()
        self._rows.put_keys_right()
        self._files.put_directories_right()
        self._files.put_modes_right()
        self._files.sweep()
        self._files.set_bad_blobs_aside()
        self._files.bring_missing_blobs_back()
        self._record()

    def _record(self) -> None:
        """Correct rows by what blobs hold."""
        needed = self._needed()
        blobs = [Digest.parse(subject) for subject in self._subjects("blob-wrong", "blob-size", "form-wrong")]
        with self._store.metadata.read() as rows:
            for subject in self._subjects("layer-wrong"):
                blobs += [form.digest for form in rows.blobs_of(DiffID.parse(subject))]
            if needed or self._subjects("database"):
                blobs += self._store.metadata.mender().unlinked_blobs()
            blobs += [digest for digest in self._files.unrecorded() if rows.edges_to(digest)]
        if blobs or needed:
            for exam in self._files.right_exams(blobs):
                self._rows.record(exam, needed)

    def _needed(self) -> set[DiffID]:
        """Return the layers that something needs and that no row, or no link to a blob, tells of."""
        broken = sorted(ImageID.parse(subject) for subject in self._subjects("layers-missing", "image-wrong"))
        images = self._rows.images(broken)
        with self._store.metadata.read() as rows:
            found = set(self._store.metadata.mender().bare_diffs())
            for image in images:
                found |= {diff_id for diff_id in image.rootfs.diff_ids if rows.diff(diff_id) is None}
        return found

    def wanted(self) -> Wanted:
        """Return what is still missing or damaged, and may be found in an archive."""
        store, needed = self._store, self._needed()
        with store.metadata.read() as rows:
            mender = store.metadata.mender()
            blobs = [row.digest for row in rows.blobs() if not store.blobs.has(row)]
            bare = [diff_id for diff_id in rows.diff_ids() if not is_whole(store, rows, diff_id)]
            manifests = [*map(Digest.unchecked, self._subjects("manifest-damaged")), *mender.missing_manifests()]
            return Wanted(
                frozenset((*needed, *bare)),
                frozenset(blobs),
                frozenset(mender.missing_images()),
                frozenset(map(ImageID.parse, self._subjects("config-damaged"))),
                frozenset(manifests),
            )

    def _hold_for_lost_rows(self) -> None:
        """Hold everything where rows tell of parents or manifests that are lost: these named content as well.

        A name whose image is gone does not tell of a loss: other programs leave such names.
        """
        with self._store.metadata.write() as rows:
            mender = self._store.metadata.mender()
            named = {name.image for name in rows.references()}
            if mender.missing_manifests() or not named.issuperset(mender.missing_images()):
                hold_for_lost_rows(rows)

    def _subjects(self, *kinds: str) -> list[str]:
        return [one.subject for one in self._problems if one.kind in kinds]

    def finish(self) -> None:
        """Put right what follows from all that is there now, and cut what leads to nothing."""
        self._rows.put_images_right()
        self._hold_for_lost_rows()
        self._rows.cut_parents()
        self._rows.forget_nowhere()
        self._rows.forget_loose_ends()
        self._rows.put_manifests_right()
        self._rows.record_lost_names()
        self._rows.put_sums_right()
        self._rows.forget_invalid_names()
        self._files.make_tables()
        self._rows.forget_lost_forms(self._files.is_right)
        if self._subjects("earlier"):
            self._files.go_on_from_earlier()
        self._tell.done()


class _Teller:
    """Reports how much a repair has read."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._read = 0

    def __call__(self, size: int) -> None:
        self._read += size
        if self._progress is not None:
            self._progress(LayerProgress(_LABEL, self._read, None))

    def done(self) -> None:
        """Report that nothing more will be read."""
        if self._read and self._progress is not None:
            self._progress(LayerDone(_LABEL))
