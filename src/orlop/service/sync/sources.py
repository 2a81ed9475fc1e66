"""What a sync reads from: the tags that are there, what they lead to, and their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from orlop.errors import ImageNotFound, NotFound, NotInRegistry, RegistryError
from orlop.model.attached import attached_to
from orlop.model.reference import Reference
from orlop.model.values import dataclass
from orlop.registry.places import Places
from orlop.transfer.content_source import ContentSource
from orlop.transfer.places import Kind, Place
from orlop.transfer.registry_source import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.registry.registries import Registries
    from orlop.service.copy import Copy
    from orlop.streams.compression import OpenReadable
    from orlop.transfer.source import Home, Root, Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """A tag at a source, and the repository that it is in; either may be missing in files."""

    repository: Reference | None
    tag: str

    @property
    def shown(self) -> str:
        """The name, as a person writes it."""
        return self.tag if self.repository is None else self.repository.with_tag(self.tag).familiar


class SyncSource(Protocol):
    """A place with tags."""

    def items(self) -> Iterable[Item]:
        """Return all tags. Raises what reading them raises."""

    def repositories(self) -> Sequence[Reference | None]:
        """Return the repositories that there are, without asking for their tags where that costs a request."""

    def digest(self, item: Item) -> Digest:
        """Return what a tag leads to, without fetching it. Raises `NotFound` where it is not there."""

    def opened(self, item: Item) -> tuple[Source, Root]:
        """Return what a tag leads to, and where it is read. Raises as `digest` does."""

    def pass_over(self, item: Item) -> bool:
        """Have a tag opened at the next place, as this one failed; return whether there is one."""

    def has_referrers(self, subject: Digest) -> Iterable[Descriptor]:
        """Return what refers to a manifest, as a list of the source's tells it."""


class RegistryRepository:
    """A repository of a registry; its mirrors are asked first for what is in it, and not for its tags."""

    def __init__(self, registries: Registries, name: Reference) -> None:
        self._registries = registries
        self._name = name
        self._passed_over: dict[Item, int] = {}

    def items(self) -> Iterable[Item]:
        """See `SyncSource.items`."""
        client, repository = self._registries.to_pull(self._name)[-1]
        return [Item(self._name, tag) for tag in client.tags(repository)]

    def repositories(self) -> Sequence[Reference | None]:
        """See `SyncSource.repositories`."""
        return (self._name,)

    def digest(self, item: Item) -> Digest:
        """See `SyncSource.digest`."""
        return Places(self._registries.to_pull(self._name.with_tag(item.tag))).head(item.tag).digest

    def opened(self, item: Item) -> tuple[Source, Root]:
        """See `SyncSource.opened`."""
        name = self._name.with_tag(item.tag)
        places = self._registries.to_pull(name)
        while True:
            number = self._passed_over.get(item, 0)
            source = RegistrySource(*places[number])
            try:
                return source, source.root(name)
            except (NotInRegistry, RegistryError):
                # A mirror may lack what the registry has, or be away.
                if number + 1 == len(places):
                    raise
                self._passed_over[item] = number + 1

    def pass_over(self, item: Item) -> bool:
        """See `SyncSource.pass_over`."""
        passed = self._passed_over.get(item, 0) + 1
        if passed >= len(self._registries.to_pull(self._name.with_tag(item.tag))):
            return False
        self._passed_over[item] = passed
        return True

    def has_referrers(self, subject: Digest) -> Iterable[Descriptor]:
        """See `SyncSource.has_referrers`."""
        named = Reference(self._name.domain, self._name.path, None, subject)
        return [one for one, _ in Places(self._registries.to_pull(named)).referrers(subject)]


class Files:
    """A layout, an archive, or a directory, which was opened.

    Args:
        source: where its content is.
        roots: what is in it.
        repository: the one that counts, or all.
        fallback: the tag of an image that has none.
    """

    def __init__(self, source: Source, roots: Sequence[Root], repository: Reference | None, fallback: str) -> None:
        self._source = source
        self._roots: dict[Item, Root] = {}
        has_names = any(root.name is not None for root in roots)
        for root in roots:
            if has_names and root.name is None and attached_to(root.tag or "") is not None:
                # It goes along with an image, and is not in a repository without a name.
                continue
            name = None if root.name is None else Reference(root.name.domain, root.name.path)
            tag = root.tag or (root.name.tag if root.name is not None else None)
            is_alone = len(roots) == 1
            if (repository is None or name == repository) and (tag is not None or is_alone):
                self._roots.setdefault(Item(name, tag or fallback), root)

    def items(self) -> Iterable[Item]:
        """See `SyncSource.items`."""
        return list(self._roots)

    def repositories(self) -> Sequence[Reference | None]:
        """See `SyncSource.repositories`."""
        return list(dict.fromkeys(item.repository for item in self._roots))

    def digest(self, item: Item) -> Digest:
        """See `SyncSource.digest`."""
        return self._root(item).descriptor.digest

    def opened(self, item: Item) -> tuple[Source, Root]:
        """See `SyncSource.opened`."""
        return self._source, self._root(item)

    def pass_over(self, item: Item) -> bool:
        """See `SyncSource.pass_over`: there is one place."""
        del item
        return False

    def has_referrers(self, subject: Digest) -> Iterable[Descriptor]:
        """See `SyncSource.has_referrers`."""
        return [root.descriptor for root in self._source.referrers(subject)]

    def _root(self, item: Item) -> Root:
        found = self._roots.get(item)
        if found is None:
            raise ImageNotFound(f"{item.shown} is not there")
        return found


class StoreRepository:
    """A repository of a store.

    Args:
        copy: opens images in the store, which stay open with it.
        looking: returns a copy that opens an image for one look.
        name: of the repository.
        tags: returns its tags.
    """

    def __init__(
        self, copy: Copy, looking: Callable[[], Copy], name: Reference, tags: Callable[[], Iterable[str]]
    ) -> None:
        self._copy = copy
        self._looking = looking
        self._name = name
        self._tags = tags
        self._opened: dict[Item, tuple[Source, Root]] = {}
        self._digests: dict[Item, Digest] = {}
        self._referring: dict[Digest, dict[Digest, Descriptor]] = {}

    def items(self) -> Iterable[Item]:
        """See `SyncSource.items`."""
        return [Item(self._name, tag) for tag in self._tags()]

    def repositories(self) -> Sequence[Reference | None]:
        """See `SyncSource.repositories`."""
        return (self._name,)

    def digest(self, item: Item) -> Digest:
        """See `SyncSource.digest`."""
        if item not in self._digests:
            with self._looking() as looking:
                self._digests[item] = self._look(looking, item)[1].descriptor.digest
        return self._digests[item]

    def opened(self, item: Item) -> tuple[Source, Root]:
        """See `SyncSource.opened`."""
        if item not in self._opened:
            self._opened[item] = self._look(self._copy, item)
        return self._opened[item]

    def _look(self, copy: Copy, item: Item) -> tuple[Source, Root]:
        """Open a tag, and note what refers to what it leads to."""
        source, roots = copy.opened(Place(Kind.STORE, "", self._name.with_tag(item.tag).familiar))
        if isinstance(source, ContentSource):
            for subject, referring in source.referring.items():
                known = self._referring.setdefault(subject, {})
                known.update((root.descriptor.digest, root.descriptor) for root in referring)
        return source, roots[0]

    def pass_over(self, item: Item) -> bool:
        """See `SyncSource.pass_over`: there is one place."""
        del item
        return False

    def has_referrers(self, subject: Digest) -> Iterable[Descriptor]:
        """See `SyncSource.has_referrers`."""
        return list(self._referring.get(subject, {}).values())


class FirstOf:
    """Several sources as one: what the first of them does not have, the next one is asked for."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def manifest(self, want: Descriptor) -> bytes:
        """See `Source.manifest`."""
        return self._first(lambda source: source.manifest(want))

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """See `Source.open_blob`."""
        return self._first(lambda source: source.open_blob(want, offset))

    def check_blob(self, want: Descriptor) -> None:
        """See `Source.check_blob`."""
        self._first(lambda source: source.check_blob(want))

    def label(self, want: Descriptor) -> str:
        """See `Source.label`."""
        return next((label for source in self._sources if (label := source.label(want))), "")

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """See `Source.homes`."""
        return [home for source in self._sources for home in source.homes(want)]

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """See `Source.referrers`."""
        return [root for source in self._sources for root in source.referrers(subject)]

    def _first(self, ask: Callable[[Source], T]) -> T:
        *others, last = self._sources
        for source in others:
            try:
                return ask(source)
            except NotFound:
                continue
        return ask(last)
