"""``fsck``: what is wrong in a store, and what can be put right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Final

from orlop.errors import IntegrityError, InvalidInput, NotFound, ReadFailed, StoreDamaged
from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.fsck import look
from orlop.store.problem import DAMAGE, NOTE, FsckReport, Problem
from orlop.store.quarantine import Quarantine
from orlop.store.root import Store
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.fsck import Findings
    from orlop.store.problem import Repair
    from orlop.store.repair import Repairer

    Source = BinaryIO | str | os.PathLike[str]

# What is wrong with an archive keeps no other archive, and nothing in the store, from being of use.
_FAULTS: Final = (InvalidInput, IntegrityError, NotFound, ReadFailed)


def fsck(
    root: str | os.PathLike[str],
    *,
    quick: bool = False,
    repair: bool = False,
    sources: Sequence[Source] = (),
    empty_quarantine: bool = False,
    allow_network: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> FsckReport:
    """See `orlop.stores.fsck`."""
    if sources and not repair:
        raise InvalidInput("archives to take content from are of use in a repair only; ask for one, or name none")
    for source in sources:
        if isinstance(source, (str, os.PathLike)):
            with explaining("read", source):
                os.stat(source)
    try:
        store = Store(root, create=False, allow_network=allow_network, limits=limits or DEFAULT_LIMITS)
    except StoreDamaged as error:
        if not os.path.isdir(root):
            raise
        problem = Problem(DAMAGE, "database", "metadata.db", str(error))
        return FsckReport(os.path.abspath(os.fspath(root)), quick, (problem,), (), (problem,))
    with store:
        if repair or empty_quarantine:
            store.require_writable()
        return _Fsck(store, quick=quick, progress=progress).run(
            sources, repair=repair, empty_quarantine=empty_quarantine
        )


class _Fsck:
    """One look, or repair, under way."""

    def __init__(self, store: Store, *, quick: bool, progress: Progress | None) -> None:
        self._store = store
        self._quick = quick
        self._progress = progress

    def run(self, sources: Iterable[Source], *, repair: bool, empty_quarantine: bool) -> FsckReport:
        before = self._quarantined()
        found = self._look()
        problems = found.problems
        repairs: tuple[Repair, ...] = ()
        if repair and found.readable:
            repairs, notes = self._repair(found, sources)
            problems = (*(self._look().problems if repairs else problems), *notes)
        if empty_quarantine and found.readable:
            # What this repair has set aside stays: nobody has seen it yet.
            Quarantine(self._store.root, self._store.modes).remove(before)
            paths = {os.path.join(self._store.root, "quarantine", name) for name in before}
            problems = tuple(one for one in problems if one.kind != "quarantined" or one.subject not in paths)
        return FsckReport(self._store.root, self._quick, found.problems, repairs, problems)

    def _look(self) -> Findings:
        return look(self._store, quick=self._quick, progress=self._progress)

    def _quarantined(self) -> list[str]:
        return Quarantine(self._store.root, self._store.modes).names()

    def _repair(self, found: Findings, sources: Iterable[Source]) -> tuple[tuple[Repair, ...], list[Problem]]:
        from orlop.store.repair import Repairer  # noqa: PLC0415 - most looks repair nothing

        repairer = Repairer(self._store, found, self._progress)
        if not repairer.is_possible:
            return (), []
        repairer.mend()
        notes = [note for source in sources for note in self._take(repairer, source)]
        repairer.finish()
        return tuple(repairer.repairs), notes

    def _take(self, repairer: Repairer, source: Source) -> Iterator[Problem]:
        """Take from an archive what is still wanted."""
        from orlop.archive.salvage import salvage  # noqa: PLC0415 - few repairs have archives

        wanted = repairer.wanted()
        if not wanted:
            return
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the input"
        try:
            taken = salvage(self._store, source, wanted, progress=self._progress)
        except _FAULTS as error:
            yield Problem(NOTE, "source", name, f"nothing can be taken from {name}: {error}")
            return
        repairer.repairs += taken.repairs
        for failure in taken.failures:
            yield Problem(NOTE, "source", name, f"a layer cannot be taken from {name}: {failure}")
