"""Entries with one file as their target: it is written once, and whole, of what all of them want.

It is written anew where something in it has changed, or goes, for one of them. What no entry speaks of stays in it. It
is not written where one of them fails, as a file that lacks something would look like one that is whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import Conflict, IntegrityError, NotFound, OrlopError
from orlop.service.sync.report import SyncAction
from orlop.service.sync.sources import FirstOf
from orlop.service.sync.whole import alone, opened_file, staying
from orlop.transfer.graph import beside, referring
from orlop.transfer.places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.service.copy import Copy
    from orlop.service.sync.plan import SyncEntry
    from orlop.service.sync.run import EntryRun, Part
    from orlop.service.sync.tags import Named
    from orlop.transfer.source import Root, Source


class FileRun:
    """One file under way.

    Args:
        runs: the entries that go into it, in the order of the plan; one at least.
        copying: returns a new copy.
        failed: hears which entry has failed, and why.
        dry_run: change nothing.
    """

    def __init__(
        self,
        runs: Sequence[EntryRun],
        copying: Callable[[], Copy],
        failed: Callable[[SyncEntry, OrlopError], None],
        *,
        dry_run: bool,
    ) -> None:
        self._runs = runs
        self._copying = copying
        self._failed = failed
        self._dry_run = dry_run
        self._target = runs[0].target
        self._place = runs[0].entry.target
        self._counted: set[Digest] = set()

    def run(self, *, is_whole: bool = True) -> None:
        """Do it. What fails is told.

        Args:
            is_whole: whether these are all entries of the file; if one has failed already, it is not written.
        """
        parts: list[Part] = []
        for run in self._runs:
            try:
                parts.append(run.part())
                _require_apart(parts)
            except OrlopError as error:
                self._failed(run.entry, error)
                parts = [part for part in parts if part.run is not run]
                is_whole = False
        if not is_whole:
            self._defer(parts)
        elif all(part.is_same for part in parts):
            for part in parts:
                for one in part.wanted:
                    part.run.tell(one, SyncAction.UNCHANGED, "is the same")
                part.run.drop(part.dropped)
        else:
            self._write(parts)

    def _defer(self, parts: Sequence[Part]) -> None:
        for part in parts:
            for one in part.wanted:
                part.run.tell(
                    one, SyncAction.DEFERRED, f"another [[sync]] failed, and {self._place.path} is written whole"
                )

    def _write(self, parts: Sequence[Part]) -> None:
        try:
            opened = [[(one, *part.run.opened(one.item)) for one in part.wanted] for part in parts]
            self._carried(parts, opened)
            if not self._dry_run:
                for part, found in zip(parts, opened, strict=True):
                    part.run.remember(part, found)
        except OrlopError as error:
            for part in parts:
                self._failed(part.run.entry, error)
            return
        for part, found in zip(parts, opened, strict=True):
            for one, source, root in found:
                lacking = self._target.lacking(source, [(one.name, root)])
                size = sum(each.size for each in lacking if self._is_first(each))
                part.run.tell(one, SyncAction.COPIED, "is written with all others", root.descriptor.digest, size)
            part.run.drop(part.dropped)

    def _carried(self, parts: Sequence[Part], opened: Sequence[Sequence[tuple[Named, Source, Root]]]) -> None:
        """Write the file of what is wanted and of what stays; in a dry run, find out whether that could be done."""
        sources: dict[int, Source] = {}
        roots: list[Root] = []
        about_it: list[Root] = []
        for part, found in zip(parts, opened, strict=True):
            for one, source, root in found:
                sources[id(source)] = source
                roots.append(replace(root, name=one.name, tag=one.name.tag))
                if part.run.entry.referrers:
                    about = referring(source, [root]).values()
                    about_it += [beside(each) for referrers in about for each in referrers]
        going = {one.name for part in parts for one in part.going}
        try:
            self._carry(list(sources.values()), roots, about_it, going)
        except IntegrityError:
            # What is damaged in the old file may be whole at the source.
            self._carry(list(sources.values()), roots, about_it, going, is_old_last=True)

    def _carry(
        self,
        sources: Sequence[Source],
        roots: Sequence[Root],
        about: Sequence[Root],
        going: Collection[Reference],
        *,
        is_old_last: bool = False,
    ) -> None:
        """Write the file. The old one is asked first, or last, for what it has."""
        with alone(self._place), self._copying() as copy:
            old = opened_file(copy, self._place)
            stay: list[Root] = []
            if old is not None:
                there, tops = old
                sources = [*sources, there] if is_old_last else [there, *sources]
                names = {*going, *(root.name for root in roots if root.name is not None)}
                stay = staying(FirstOf(sources), tops, names, roots)
                attached = {root.address for root in about} - {""}
                stay = [root for root in stay if root.name is not None or root.address not in attached]
            if not roots and not stay:
                source = self._runs[0].entry.source
                raise NotFound(f"{source} has none of the wanted tags; {self._place} would be left without any")
            if self._dry_run:
                self._target.check()
                return
            place = Place(self._place.kind, self._place.path, "")
            copy.carry(FirstOf(sources), [*roots, *stay, *about], self._runs[0].entry.source, place)

    def _is_first(self, part: Descriptor) -> bool:
        is_first = part.digest not in self._counted
        self._counted.add(part.digest)
        return is_first


def _require_apart(parts: Sequence[Part]) -> None:
    """Raise `Conflict` where the last of some entries wants a name that another one wants for something else."""
    *others, last = parts
    taken = {one.name: (other.run, one.item) for other in others for one in other.wanted}
    for one in last.wanted:
        run, item = taken.get(one.name, (last.run, one.item))
        if (run.entry.source, run.how, item) != (last.run.entry.source, last.run.how, one.item):
            raise Conflict(f"{item.shown} and {one.item.shown} would both become {one.name.familiar}")
