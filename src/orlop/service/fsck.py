"""``fsck``: what is wrong in a store, and what can be put right."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from orlop.errors import IntegrityError, InvalidInput, NotFound, NotSupported, ReadFailed, StoreDamaged
from orlop.model.given import given_list
from orlop.model.limits import DEFAULT_LIMITS, limits_or
from orlop.store.opening import open_store, url_of
from orlop.store.upkeep.fsck import look
from orlop.store.upkeep.problem import DAMAGE, NOTE, FsckReport, Problem
from orlop.store.upkeep.quarantine import Quarantine
from orlop.streams.files import explaining
from orlop.streams.given import check_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.opening import Root
    from orlop.store.root import Store
    from orlop.store.upkeep.fsck import Findings
    from orlop.store.upkeep.problem import Repair
    from orlop.store.upkeep.repair import Repairer

    Source = BinaryIO | str | os.PathLike[str]

# What is wrong with an archive keeps no other archive, and nothing in the store, from being of use.
_FAULTS: Final = (InvalidInput, IntegrityError, NotFound, ReadFailed)


def fsck(
    root: Root,
    *,
    quick: bool = False,
    repair: bool = False,
    sources: Sequence[Source] = (),
    empty_quarantine: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> FsckReport:
    """See `orlop.stores.fsck`."""
    if sources and not repair:
        raise InvalidInput("archives to take content from are of use in a repair only; ask for one, or name none")
    sources = given_list(sources, "archives to repair from")
    for source in sources:
        check_file(source, "an archive to repair from")
        if isinstance(source, (str, os.PathLike)):
            with explaining("read", source):
                os.stat(source)
                if not os.access(source, os.R_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    try:
        store = open_store(
            root,
            create=False,
            allow_network=allow_network,
            allow_foreign=allow_foreign,
            limits=limits_or(limits, DEFAULT_LIMITS),
            mending=True,
        )
    except StoreDamaged as error:
        if url_of(root) is not None or not os.path.isdir(path := os.fspath(root)):  # type: ignore[arg-type]  # a path
            raise
        problem = Problem(DAMAGE, "database", "metadata.db", str(error))
        return FsckReport(os.path.abspath(path), quick, (problem,), (), (problem,))
    with store, explaining("check or repair", store.root):
        if repair or empty_quarantine:
            store.require_writable()
        if empty_quarantine and not store.is_local:
            raise NotSupported(f"the store {store.root} has no quarantine: its repairs set nothing aside")
        return _Fsck(store, quick=quick, progress=progress).run(
            sources, repair=repair, empty_quarantine=empty_quarantine
        )


class _Fsck:
    """One look, or repair, under way."""

    def __init__(self, store: Store, *, quick: bool, progress: Progress | None) -> None:
        self._store = store
        self._quick = quick
        self._progress = progress

    def run(self, sources: Sequence[Source], *, repair: bool, empty_quarantine: bool) -> FsckReport:
        before = self._quarantined()
        first = last = self._look()
        repairs: list[Repair] = []
        notes: list[Problem] = []
        if repair:
            if not first.can_be_trusted:
                self._repair_database(repairs, notes)
                last = self._look()
            last = self._repair_all(last, sources, repairs, notes)
        problems = (*last.problems, *notes)
        if empty_quarantine and last.can_be_trusted:
            # What this repair has set aside stays: nobody has seen it yet.
            Quarantine(self._store.files).remove(before)
            paths = {os.path.join(self._store.root, "quarantine", name) for name in before}
            problems = tuple(one for one in problems if one.kind != "quarantined" or one.subject not in paths)
        return FsckReport(self._store.root, self._quick, first.problems, tuple(repairs), problems)

    def _repair_database(self, repairs: list[Repair], notes: list[Problem]) -> None:
        from orlop.store.upkeep.repair_database import repair_database  # noqa: PLC0415 - most databases are whole

        done, lost = repair_database(self._store)
        repairs += done
        notes += lost

    def _repair_all(
        self, findings: Findings, sources: Sequence[Source], repairs: list[Repair], notes: list[Problem]
    ) -> Findings:
        """Repair, look again, and repair what only then has come to light: of a damaged config nothing can be told."""
        seen: set[tuple[str, str]] = set()
        while findings.can_be_trusted and not _told(findings) <= seen:
            seen |= _told(findings)
            done, more = self._repair(findings, sources)
            notes += more
            if not done:
                break
            repairs += done
            findings = self._look()
            # A stream has been read to its end.
            sources = [source for source in sources if isinstance(source, (str, os.PathLike))]
        return findings

    def _look(self) -> Findings:
        return look(self._store, quick=self._quick, progress=self._progress)

    def _quarantined(self) -> list[str]:
        return Quarantine(self._store.files).names() if self._store.is_local else []

    def _repair(self, found: Findings, sources: Iterable[Source]) -> tuple[list[Repair], list[Problem]]:
        from orlop.store.upkeep.repair import Repairer  # noqa: PLC0415 - most looks repair nothing

        repairer = Repairer(self._store, found, self._progress)
        repairer.mend()
        notes = [note for source in sources for note in self._take(repairer, source)]
        repairer.finish()
        return repairer.repairs, notes

    def _take(self, repairer: Repairer, source: Source) -> Iterator[Problem]:
        """Take from an archive what is still wanted."""
        from orlop.archive.source import opened  # noqa: PLC0415 - few repairs have archives
        from orlop.intake.salvage import salvage  # noqa: PLC0415 - as above
        from orlop.intake.taking import storing  # noqa: PLC0415 - as above

        wanted = repairer.wanted()
        if not wanted:
            return
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the input"
        try:
            with (
                storing(self._store, progress=self._progress) as taking,
                opened(source, taking, scratch=self._store.blobs.spool) as archive,
            ):
                taken = salvage(self._store, archive, wanted)
        except _FAULTS as error:
            yield Problem(NOTE, "source", name, f"nothing can be taken from {name}: {error}")
            return
        repairer.repairs += taken.repairs
        for failure in taken.failures:
            yield Problem(NOTE, "source", name, f"a layer cannot be taken from {name}: {failure}")


def _told(findings: Findings) -> set[tuple[str, str]]:
    """Return what a repair may do something about; whatever is wrong with a blob, it is one thing."""
    return {
        (one.kind.partition("-")[0] if one.kind.startswith("blob-") else one.kind, one.subject)
        for one in findings.problems
    }
