"""``sync``: a whole plan, entry by entry."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import OrlopError
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.reference import Reference
from orlop.registry.budget import CountingTransport, Spending
from orlop.service.copy import Copy
from orlop.service.push import tags_of
from orlop.service.sync.file_run import FileRun
from orlop.service.sync.layout_target import LayoutNames
from orlop.service.sync.noted import NotedTags
from orlop.service.sync.report import SyncAction, SyncedTag, SyncReport
from orlop.service.sync.run import EntryRun
from orlop.service.sync.sources import Files, RegistryRepository, StoreRepository
from orlop.service.sync.targets import OneFile, RegistryTags, StoreNames
from orlop.transfer.places import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.registry.messages import Transport
    from orlop.registry.registries import Registries
    from orlop.service.copy import Opened
    from orlop.service.sync.plan import SyncEntry, SyncPlan
    from orlop.service.sync.sources import SyncSource
    from orlop.service.sync.state import SyncState
    from orlop.service.sync.targets import SyncTarget
    from orlop.store.opening import Root
    from orlop.store.root import Store
    from orlop.transfer.places import Place
    from orlop.transfer.sessions import Sessions


class Sync:
    """One run of a plan.

    Args:
        plan: what is to be where.
        registries: how registries are reached.
        store: opens the store, where a place is in it.
        state: what earlier runs have left.
        sessions: where uploads are kept that another process may go on with.
        progress: called with one event of a layer at a time.
        told: called with each tag when it is done.
        now: the time in seconds since 1970, for budgets.
        store_root: returns what names the store, as for `orlop.service.copy.Copy`.
        temporary: where the user wants temporary files, as for that.
        limits: what files may ask for, as for that.
    """

    def __init__(
        self,
        plan: SyncPlan,
        registries: Registries,
        store: Callable[[], AbstractContextManager[Opened]],
        state: SyncState,
        *,
        sessions: Sessions | None = None,
        progress: Progress | None = None,
        told: Callable[[SyncedTag], object] = lambda _: None,
        now: Callable[[], float] = time.time,
        store_root: Callable[[], Root] | None = None,
        temporary: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._plan = plan
        self._store_root = store_root
        self._temporary = temporary
        self._limits = limits
        self._opening = store
        self._opened: Opened | None = None
        self._stack = ExitStack()
        self._state = state
        self._sessions = sessions
        self._progress = progress
        self._told = told
        budgets = {
            host: Spending(budget, state.moments(host), now, partial(state.spend, host))
            for host, budget in plan.budgets.items()
        }
        self._counting: list[CountingTransport] = []

        def counting(transport: Transport) -> Transport:
            self._counting.append(CountingTransport(transport, budgets))
            return self._counting[-1]

        self._registries = registries.through(counting)
        self._tags: list[SyncedTag] = []
        self._noted = NotedTags()
        self._layouts: dict[str, LayoutNames] = {}

    def run(self, *, dry_run: bool = False, delete: bool = False) -> SyncReport:
        """Do it. What fails, fails for its tag, or its entry, and is in the report.

        Args:
            dry_run: find out what would be done, and change nothing.
            delete: remove what mirrored sources have dropped.
        """
        with self._stack:
            for entries in self._plan.together():
                with ExitStack() as stack:
                    runs: list[EntryRun] = []
                    for entry in entries:
                        try:
                            runs.append(self._entry_run(entry, stack, dry_run=dry_run, delete=delete))
                        except OrlopError as error:
                            self._fail(entry, error)
                    self._go(runs, len(entries), dry_run=dry_run)
            self._settle()
        (counting,) = self._counting
        return SyncReport(tuple(self._tags), dry_run, counting.fetched, counting.sent)

    def _go(self, runs: Sequence[EntryRun], count: int, *, dry_run: bool) -> None:
        """Run the entries of one target, so many of which the plan has: those of a file together, or the only one."""
        if runs and runs[0].entry.is_written_whole:
            copying = partial(self._copying, referrers=False)
            FileRun(runs, copying, self._fail, dry_run=dry_run).run(is_whole=len(runs) == count)
            return
        for run in runs:
            try:
                run.run()
            except OrlopError as error:
                self._fail(run.entry, error)

    def _open_store(self) -> AbstractContextManager[Opened]:
        """Return the store, for a block: it is opened once, and stays open until the run ends."""
        if self._opened is None:
            self._opened = self._stack.enter_context(self._opening())
            self._stack.callback(self._forget_store)
        return nullcontext(self._opened)

    def _forget_store(self) -> None:
        self._opened = None

    def _settle(self, *paths: str) -> None:
        """Make visible what was taken into layouts: into all, or those that are at the given paths."""
        places = {os.path.realpath(path) for path in paths}
        for path, layout in self._layouts.items():
            if not paths or os.path.realpath(path) in places:
                layout.settle()

    def _fail(self, entry: SyncEntry, error: OrlopError) -> None:
        self._tell(SyncedTag(str(entry.source), str(entry.target), SyncAction.FAILED, str(error), error=error))

    def _tell(self, tag: SyncedTag) -> None:
        self._tags.append(tag)
        self._told(tag)

    def _moved(self) -> int:
        (counting,) = self._counting
        return max(counting.fetched, counting.sent)

    def _entry_run(self, entry: SyncEntry, stack: ExitStack, *, dry_run: bool, delete: bool) -> EntryRun:
        return EntryRun(
            entry,
            self._source(entry, stack),
            self._target(entry.target, stack),
            partial(self._copying, referrers=entry.referrers),
            self._state,
            noted=self._noted,
            dry_run=dry_run,
            delete=delete,
            is_of_another=partial(self._is_of_another, entry),
            moved=self._moved,
            told=self._tell,
        )

    def _is_of_another(self, entry: SyncEntry, name: Reference) -> bool:
        return any(one is not entry and one.speaks_of(entry.target, name) for one in self._plan.entries)

    def _copying(self, *, referrers: bool) -> Copy:
        """Return a copy of whole indexes, whose platforms were chosen before."""
        return Copy(
            self._registries,
            self._open_store,
            all_platforms=True,
            with_referrers=referrers,
            replace=True,
            sessions=self._sessions,
            progress=self._progress,
            store_root=self._store_root,
            temporary=self._temporary,
            limits=self._limits,
        )

    def _source(self, entry: SyncEntry, stack: ExitStack) -> SyncSource:
        place = entry.source
        name = Reference.parse(place.name) if place.name else None
        if place.kind is Kind.REGISTRY and name is not None:
            return RegistryRepository(self._registries, name)
        if place.path:
            self._settle(place.path)
        copy = stack.enter_context(self._copying(referrers=entry.referrers))
        if place.kind is Kind.ROOT:
            copy.keep_outside(place, entry.target)
        if place.kind is Kind.STORE and name is not None:
            store = stack.enter_context(self._open_store()).store
            looking = partial(self._copying, referrers=entry.referrers)
            return StoreRepository(copy, looking, name, partial(_tags, store, name))
        source, roots = copy.opened(type(place)(place.kind, place.path, ""))
        return Files(source, roots, name, fallback="latest")

    def _target(self, place: Place, stack: ExitStack) -> SyncTarget:
        if place.kind is Kind.REGISTRY:
            return RegistryTags(self._registries)
        if place.kind is Kind.LAYOUT:
            if place.path not in self._layouts:
                # It may be there already, under another spelling of its path.
                self._settle(place.path)
                self._layouts[place.path] = LayoutNames(place.path, self._progress, self._limits)
            return self._layouts[place.path]
        if place.kind is Kind.STORE:
            return StoreNames(stack.enter_context(self._open_store()).store)
        return OneFile(place, self._limits)


def _tags(store: Store, name: Reference) -> list[str]:
    return [one.tag for one in tags_of(store, name.name) if one.tag is not None]
