"""One run of a sync: what the source has, what the target has, and what is to be done about it.

    tags of the source ── choice ──► HEAD source, HEAD target, a few at once
        ── the same digest ────────────────────────► unchanged
        ── what the state says was made of it ─────► unchanged
        ── else ───────────────────────────────────► copied, one after the other; each is remembered when it is done
    tags of the target that the file speaks of and the source does not have ──► removed, where that was asked for

A tag that cannot be copied harms no other one. A registry that asks to be left alone for long, or whose budget is
spent, is left alone: the rest of its tags is deferred. One that cannot be reached several times in a row is not tried
for the rest either, as each try takes its time.

Nothing is removed where the source cannot be listed, where it is empty, or where a tag of the same repository failed:
what looks dropped may then be what cannot be seen. Several repositories of a source, and several entries of a file, may
go into one repository; a tag that any of them wants, or speaks of, stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    Conflict,
    IntegrityError,
    InvalidInput,
    NoSpace,
    NotFound,
    NotInRegistry,
    OrlopError,
    RegistryBusy,
    RegistryError,
    RegistryUnreachable,
)
from orlop.model.digest import ALGORITHMS, Digest
from orlop.service.sync.report import SyncAction, SyncedTag
from orlop.service.sync.sources import Item
from orlop.service.sync.state import Known
from orlop.service.sync.tags import Look, Named, Taken
from orlop.service.sync.targets import OpenedTag
from orlop.streams.pipeline import in_parallel
from orlop.transfer.graph import Gathering, referring
from orlop.transfer.narrowed import WithManifest, narrowed
from orlop.transfer.places import Kind, Place
from orlop.transfer.registry_source import RegistrySource
from orlop.transfer.signatures import grows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.model.reference import Reference
    from orlop.service.copy import Copy
    from orlop.service.sync.noted import NotedTags
    from orlop.service.sync.plan import SyncEntry
    from orlop.service.sync.sources import SyncSource
    from orlop.service.sync.state import SyncState
    from orlop.service.sync.targets import SyncTarget
    from orlop.transfer.source import Root, Source

CONNECTIONS: Final = 4
_UNREACHABLE: Final = 3
"""After how many tags in a row for which a registry cannot be reached a run gives up."""


@dataclass(slots=True)
class _Stop:
    """Whether the rest of an entry is left for another run, and why."""

    error: OrlopError | None = None
    unreachable: int = field(default=0)

    def note(self, error: OrlopError | None) -> None:
        """Note how a tag went."""
        self.unreachable = self.unreachable + 1 if isinstance(error, RegistryUnreachable) else 0
        if isinstance(error, RegistryBusy | NoSpace) or self.unreachable >= _UNREACHABLE:
            self.error = error


@dataclass(frozen=True, slots=True)
class Part:
    """What an entry wants of a file that is written whole.

    Attributes:
        run: the entry.
        wanted: its tags, each with what it leads to.
        dropped: tags in the file that it speaks of, and does not want; ``going`` are those that are removed.
        is_same: whether all of it is there as it is wanted.
    """

    run: EntryRun
    wanted: dict[Named, Look]
    dropped: list[Named]
    going: frozenset[Named]
    is_same: bool


class EntryRun:
    """One entry under way.

    Args:
        entry: what the file says.
        source: where tags are read.
        target: where they are written.
        copying: returns a new copy, for one tag or one file.
        state: what is known from earlier runs.
        noted: which tags this and other entries have written, or would have.
        dry_run: change nothing. delete: remove what the source has dropped.
        is_of_another: returns whether another entry of the file speaks of a tag at the target.
        moved: returns how many bytes of content have crossed the network.
        told: hears of each tag when it is done.
    """

    def __init__(
        self,
        entry: SyncEntry,
        source: SyncSource,
        target: SyncTarget,
        copying: Callable[[], Copy],
        state: SyncState,
        *,
        noted: NotedTags,
        dry_run: bool,
        delete: bool,
        is_of_another: Callable[[Reference], bool],
        moved: Callable[[], int],
        told: Callable[[SyncedTag], None],
    ) -> None:
        self.entry = entry
        self._source = source
        self.target = target
        self.copying = copying
        self._state = state
        self._noted = noted
        self.dry_run = dry_run
        self._delete = delete
        self._is_of_another = is_of_another
        self._moved = moved
        self._told = told
        self.how = _how(entry)
        self._stop = _Stop()
        self._failed: set[str] = set()
        self._at: dict[str, dict[str, str]] = {}
        self._led: dict[Item, Digest] = {}

    def run(self) -> None:
        """Do it. What fails for one tag alone is told; else raises `OrlopError`."""
        wanted, dropped = self._wanted()
        looks = self._looks(wanted)
        # Those of which nothing is known come first, so that runs that end early come to all of them.
        order = sorted(wanted, key=lambda one: self._state.known(self.entry.shown, one.item.shown) is not None)
        for one in order:
            self._do(one, looks[one])
        if dropped:
            # Whether a tag failed is known only then.
            self.target.settle()
        self.drop(dropped)

    # What is wanted.

    def _wanted(self) -> tuple[list[Named], list[Named]]:
        """Return the tags to copy, and those to remove."""
        entry = self.entry
        if entry.choice.is_list and not entry.mirror:
            there: list[Item] = []
        else:
            there = list(self._source.items())
        wanted: list[Named] = []
        dropped: dict[Reference, Named] = {}
        repositories = self._source.repositories()
        if not repositories:
            raise NotFound(f"{entry.source} has no tags: nothing is copied, and nothing is removed")
        by_repository: dict[Reference | None, dict[str, None]] = {}
        for item in there:
            by_repository.setdefault(item.repository, {})[item.tag] = None
        for repository in repositories:
            tags = by_repository.get(repository, {})
            if entry.mirror and not tags:
                raise NotFound(f"{entry.source} has no tags: nothing is copied, and nothing is removed")
            at = entry.repository_at(repository)
            chosen = entry.choice.chosen(tags)
            removed: list[str] = []
            if entry.mirror:
                listed = set(self._tags_at(at))
                is_chosen, is_lost = set(chosen), {tag for tag in chosen if tag in listed and tag not in tags}
                removed = sorted(tag for tag in listed if entry.choice.covers(tag) and tag not in is_chosen)
                removed += [tag for tag in chosen if tag in is_lost]
                chosen = [tag for tag in chosen if tag not in is_lost]
            wanted += [self._named(repository, tag, at) for tag in chosen]
            for tag in removed:
                one = Named(Item(repository, tag), at.with_tag(tag), is_there=tag in tags)
                dropped.setdefault(one.name, one)
        _require_apart(wanted)
        names = {one.name for one in wanted}
        return wanted, [one for name, one in dropped.items() if name not in names]

    def _named(self, repository: Reference | None, tag: str, at: Reference) -> Named:
        return Named(Item(repository, tag), at.with_tag(tag))

    # Looks.

    def _looks(self, wanted: Sequence[Named]) -> dict[Named, Look]:
        looks = {one: Look() for one in wanted}
        if self.entry.skip_existing:
            repositories = {one.name.name: one.name for one in wanted}
            listed = {name: set(self._tags_at(at)) for name, at in repositories.items()}
            for one in wanted:
                if one.name.tag in listed[one.name.name]:
                    looks[one].there = ""
        tasks = [partial(self._look, one, look) for one, look in looks.items() if look.there is None]
        in_parallel(tasks, workers=CONNECTIONS)
        return looks

    def _look(self, one: Named, look: Look, _: Callable[[], None]) -> None:
        if self._stop.error is not None:
            look.error = self._stop.error
            return
        try:
            look.found = str(self._source.digest(one.item))
            look.there = self._found_at(one.name)
        except OrlopError as error:
            look.error = error
        self._stop.note(look.error)

    def _found_at(self, name: Reference) -> str | None:
        return self._noted.found(self.target, name) if self.dry_run else self.target.found(name)

    def _tags_at(self, repository: Reference) -> Iterable[str]:
        return self._noted.tags(self.target, repository) if self.dry_run else self.target.tags(repository)

    # What is done.

    def _do(self, one: Named, look: Look) -> None:
        if look.there == "":
            self.tell(one, SyncAction.UNCHANGED, "is there")
            return
        # It may have come along with another one.
        look.there = self._noted.digest(self.target, one.name) or look.there
        try:
            if look.error is not None:
                raise look.error
            if self._is_unchanged(one, look):
                self._at.setdefault(one.name.name, {})[one.item.tag] = look.there or ""
                self.tell(one, SyncAction.UNCHANGED, "is the same")
                return
            if self._stop.error is not None:
                raise self._stop.error
            while not self._is_copied(one, look):
                pass
        except OrlopError as error:
            self._stop.note(error)
            self._fail(one, error)
        else:
            self._stop.note(None)

    def _fail(self, one: Named, error: OrlopError) -> None:
        self._failed.add(one.name.name)
        is_later = isinstance(error, RegistryBusy)
        self.tell(one, SyncAction.DEFERRED if is_later else SyncAction.FAILED, str(error), error=error)

    def _is_unchanged(self, one: Named, look: Look) -> bool:
        if look.there is None:
            return False
        known = self._state.known(self.entry.shown, one.item.shown)
        if known is not None and (known.how, known.found, known.made) != (self.how, look.found, look.there):
            known = None
        if self.entry.referrers:
            return known is not None and bool(known.about) and self._about(known.about) == known.about
        return known is not None or (look.there == look.found and self.entry.platforms is None)

    def _about(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return digests of the lists of what refers to some manifests."""
        found = {}
        for subject in subjects:
            listed = sorted(str(one.digest) for one in self._source.has_referrers(Digest.parse(subject)))
            found[subject] = hashlib.sha256("\n".join(listed).encode()).hexdigest()
        return found

    def _is_copied(self, one: Named, look: Look) -> bool:
        """Copy a tag; return False where another place of the source is to be tried. Raises `OrlopError`."""
        try:
            self._copied(one, look)
        except (NotInRegistry, RegistryError, IntegrityError):
            # What a mirror cannot give, or gives wrong, the next place may have.
            if self._source.pass_over(one.item):
                return False
            raise
        return True

    def _copied(self, one: Named, look: Look) -> None:
        """Copy a tag, or find out what that would copy."""
        source, root = self.opened(one.item)
        digest = root.descriptor.digest
        is_same = look.there is not None and _leads_to(source, root, look.there)
        has_all = look.there is not None and not is_same and self.target.has_list(source, one.name, root)
        reason = "is the same" if is_same else "is new" if look.there is None else f"was {_short(look.there)}"
        about = referring(source, [root]) if self.entry.referrers else {}
        if is_same or has_all:
            more = list(self.target.unattached(source, one.name, about)) if about else []
        else:
            more = [each for roots in about.values() for each in roots]
        if (is_same or has_all) and not more:
            if not self.dry_run:
                self._keep(
                    one, Known(self.how, self._led_to(one, look), look.there or "", self._about_of(source, root))
                )
            self.tell(one, SyncAction.UNCHANGED, "has all of its signatures" if has_all else reason, digest)
            return
        if about:
            count = len({each.descriptor.digest for roots in about.values() for each in roots})
            reason = f"{reason}, with {count} artifacts that refer to it"
        if self.dry_run:
            self._plan(one, source, root, more, reason)
            return
        taken = Taken(
            one, root, more, Known(self.how, self._led_to(one, look), "", self._about_of(source, root)), reason
        )
        before = self._moved()
        taken.size = lambda: self._moved() - before
        with self.copying() as copy:
            tag = OpenedTag(source, root, _place_of(one.item), one.name)
            self.target.take(copy, tag, partial(self._ended, taken))
        size = taken.size()
        taken.size = lambda: size

    def _ended(self, taken: Taken, error: OrlopError | None) -> None:
        """Note that a tag is there now, or that it could not be put there."""
        one, digest = taken.one, taken.root.descriptor.digest
        try:
            if error is not None:
                raise error
            self._note(one, taken.root, taken.about)
            # A registry may name by another algorithm what it was given, and a list of signatures have more than came.
            is_told = self.entry.target.kind is Kind.REGISTRY and digest.algorithm == "sha256"
            made = str(digest) if is_told and not grows(one.item.tag) else self.target.found(one.name) or ""
            self._keep(one, replace(taken.known, made=made))
        except OrlopError as failure:
            self._stop.note(failure)
            self._fail(one, failure)
        else:
            self.tell(one, SyncAction.COPIED, taken.reason, digest, taken.size())

    def _plan(self, one: Named, source: Source, root: Root, about: Sequence[Root], reason: str) -> None:
        """Report that a tag would be copied, with some of what refers to it."""
        self.target.check()
        names = [(one.name, root), *((one.name.with_tag(each.tag or one.item.tag), each) for each in about)]
        size = sum(each.size for each in self.target.lacking(source, names))
        self._note(one, root, about)
        self.tell(one, SyncAction.COPIED, reason, root.descriptor.digest, size)

    def _note(self, one: Named, root: Root, about: Iterable[Root]) -> None:
        """Note what a tag leads to, and the tags of what refers to that, now or after a run."""
        self._noted.take(self.target, one.name, str(root.descriptor.digest))
        # In a layout, a tag that attaches something is not a name.
        has_tags = self.entry.target.kind in {Kind.REGISTRY, Kind.STORE}
        for each in about:
            if has_tags and each.tag is not None:
                self._noted.take(self.target, one.name.with_tag(each.tag), str(each.descriptor.digest))

    def _about_of(self, source: Source, root: Root) -> dict[str, str]:
        return self._about(_manifests(source, root)) if self.entry.referrers else {}

    def _keep(self, one: Named, known: Known) -> None:
        self._state.keep(self.entry.shown, one.item.shown, known)
        self._at.setdefault(one.name.name, {})[one.item.tag] = known.made

    def opened(self, item: Item) -> tuple[Source, Root]:
        """Return what a tag leads to, of the wanted platforms, and where it is read."""
        source, root = self._source.opened(item)
        self._led[item] = root.descriptor.digest
        if self.entry.platforms is None:
            return source, root
        root, made = narrowed(source, root, self.entry.platforms)
        if made is None:
            return source, root
        if isinstance(source, RegistrySource):
            source.read[root.descriptor.digest] = made
            return source, root
        return WithManifest(source, made), root

    def _led_to(self, one: Named, look: Look) -> str:
        """Return what a tag of the source led to when it was opened: it may have moved since it was looked at."""
        opened = self._led.get(one.item)
        return str(opened) if opened is not None and look.found.startswith(f"{opened.algorithm}:") else look.found

    # What is written whole.

    def part(self) -> Part:
        """Return what the entry wants of a file that is written whole.

        Raises:
            NotFound: none of its tags is there. InvalidInput: the file can hold one alone. What looking at one raises:
            a file without it would look like one that is whole.
        """
        wanted, dropped = self._wanted()
        going = {one for one in dropped if self._is_going(one)}
        if not wanted and not going:
            raise NotFound(f"{self.entry.source} has none of the wanted tags; {self.entry.target} is not written")
        if self.entry.target.kind is Kind.DIRECTORY and len(wanted) != 1:
            raise InvalidInput(f"{self.entry.target} holds one image, and not {len(wanted)}; name one tag")
        looks = self._looks(wanted)
        for look in looks.values():
            if look.error is not None:
                raise look.error
        is_same = not going and all(self._is_unchanged(one, look) for one, look in looks.items())
        return Part(self, looks, dropped, frozenset(going), is_same)

    def remember(self, part: Part, opened: Sequence[tuple[Named, Source, Root]]) -> None:
        """Remember what a file was written of."""
        for one, source, root in opened:
            found = self.target.found(one.name) or ""
            led_to = self._led_to(one, part.wanted[one])
            self._keep(one, Known(self.how, led_to, found, self._about_of(source, root)))

    # What goes.

    def _is_going(self, one: Named) -> bool:
        return self._delete and one.name.name not in self._failed and not self._is_of_another(one.name)

    def drop(self, dropped: Iterable[Named]) -> None:
        """Remove tags, or report why they stay."""
        going: dict[Reference, Named] = {}
        for one in dropped:
            if self._stays(one):
                continue
            if self.dry_run:
                self._noted.take(self.target, one.name, None)
                self.tell(one, SyncAction.REMOVED, _why(one))
            else:
                going[one.name] = one
        if not going:
            return
        for name, error in self.target.remove(tuple(going), self._at):
            if error is not None:
                self.tell(going[name], SyncAction.FAILED, str(error), error=error)
                continue
            self._state.forget(self.entry.shown, going[name].item.shown)
            self.tell(going[name], SyncAction.REMOVED, _why(going[name]))

    def _stays(self, one: Named) -> bool:
        """Return whether a dropped tag stays, and report why."""
        if self._is_of_another(one.name):
            stays = "it stays, as another [[sync]] is about it, too"
        elif not self._delete:
            stays = "--delete removes it here"
        elif one.name.name in self._failed:
            stays = "it stays, as other tags failed"
        else:
            return False
        self.tell(one, SyncAction.DROPPED, f"{_why(one)}; {stays}")
        return True

    def tell(
        self,
        one: Named,
        action: SyncAction,
        reason: str,
        digest: Digest | None = None,
        size: int = 0,
        *,
        error: OrlopError | None = None,
    ) -> None:
        """Report what became of a tag."""
        shown = self.target.place(one.name)
        target = str(shown) if shown.name else f"{shown} {one.name.familiar}"
        self._told(SyncedTag(one.item.shown, target, action, reason, digest, size, error))


def _how(entry: SyncEntry) -> str:
    """Return what decides how a tag is copied, so that what was copied otherwise is copied again."""
    platforms = "all" if entry.platforms is None else ",".join(sorted(map(str, entry.platforms)))
    return f"{platforms}{' referrers' if entry.referrers else ''}"


def _why(dropped: Named) -> str:
    return "it is not among the newest any more" if dropped.is_there else "the source has dropped it"


def _place_of(item: Item) -> Place:
    """Return the place of a tag in a registry, by which it is pulled."""
    return Place(Kind.REGISTRY, "", item.shown)


def _manifests(source: Source, root: Root) -> list[str]:
    """Return the digests of all manifests that a root leads to, which were read before."""
    gathering = Gathering(source)
    gathering.add([root])
    return [str(node.descriptor.digest) for node in gathering.graph().nodes]


def _leads_to(source: Source, root: Root, there: str) -> bool:
    """Return whether a root has a digest, which may be by another algorithm: registries choose theirs."""
    wanted, _, _ = there.partition(":")
    digest = root.descriptor.digest
    if wanted == digest.algorithm or wanted not in ALGORITHMS:
        return str(digest) == there
    return f"{wanted}:{hashlib.new(wanted, source.manifest(root.descriptor)).hexdigest()}" == there


def _short(text: str) -> str:
    return text[: len("sha256:") + 12]


def _require_apart(wanted: Iterable[Named]) -> None:
    """Raise `Conflict` where two tags would get one name."""
    taken: dict[Reference, Item] = {}
    for one in wanted:
        other = taken.setdefault(one.name, one.item)
        if other != one.item:
            raise Conflict(f"{other.shown} and {one.item.shown} would both become {one.name.familiar}")
