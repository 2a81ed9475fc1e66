"""What a sync writes to: what is there, what it lacks, and how a tag goes from it. Content gets there by `Copy`."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from orlop.errors import Conflict, NotInRegistry, OrlopError, RegistryUnsupported
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import INDEX_TYPES, Index, parse_manifest
from orlop.model.names import ImageName
from orlop.model.values import dataclass
from orlop.service.push import tags_of
from orlop.service.space.remove import remove
from orlop.service.sync.whole import names_in
from orlop.transfer.file_targets import check_directory
from orlop.transfer.graph import Gathering
from orlop.transfer.places import Kind, Place
from orlop.transfer.registry_target import RegistryTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.limits import Limits
    from orlop.model.reference import Reference
    from orlop.registry.client import RegistryClient
    from orlop.registry.registries import Registries
    from orlop.service.copy import Copy
    from orlop.store.root import Store
    from orlop.transfer.source import Root, Source


Then: TypeAlias = "Callable[[OrlopError | None], None]"
Removed: TypeAlias = "tuple[Reference, OrlopError | None]"


@dataclass(frozen=True, slots=True)
class OpenedTag:
    """A tag of a source.

    Attributes:
        source: where it is read. root: what it leads to.
        place: where that is, by which it can be pulled.
        name: what it is called at the target.
    """

    source: Source
    root: Root
    place: Place
    name: Reference


class SyncTarget(Protocol):
    """A place that is written. What it has is known by a text: mostly a digest, of a file what tells it from others."""

    def place(self, name: Reference) -> Place:
        """Return the place of one tag."""

    def found(self, name: Reference) -> str | None:
        """Return what a tag leads to; None where it is not there."""

    def tags(self, repository: Reference) -> Iterable[str]:
        """Return the tags of a repository."""

    def lacking(self, source: Source, roots: Iterable[tuple[Reference, Root]]) -> Iterable[Descriptor]:
        """Return the manifests and blobs that would be copied for some roots under their new names."""

    def unattached(self, source: Source, name: Reference, referring: Mapping[Digest, Sequence[Root]]) -> Iterable[Root]:
        """Return those of some referrers, by their subjects, that nobody would find beside a tag."""

    def has_list(self, source: Source, name: Reference, root: Root) -> bool:
        """Return whether a tag leads to a list that keeps all it has, and has all that a list of the source has.

        Raises:
            Conflict: the two cannot be joined.
        """

    def check(self) -> None:
        """Raise `TargetExists` or `InvalidArchive` where something else stands in its place."""

    def take(self, copy: Copy, tag: OpenedTag, then: Then) -> None:
        """Copy a tag. It may become visible together with others, see `settle`.

        Args:
            copy: a new copy, whose block has begun.
            tag: what is copied.
            then: called once it is there, or with why it could not be put there.

        Raises:
            OrlopError: it cannot be copied; ``then`` is not called.
        """

    def settle(self) -> None:
        """Make visible what was taken, and wait for it."""

    def remove(self, names: Sequence[Reference], others: Mapping[str, Mapping[str, str]]) -> Iterable[Removed]:
        """Remove tags, and no other ones; yield each with the error that kept it, if any did.

        Args:
            names: they.
            others: what other tags of their repositories lead to, by these, as far as that is known.
        """


class _OneByOne(SyncTarget, Protocol):
    """A target where each tag is there once it was taken."""

    def has_list(self, source: Source, name: Reference, root: Root) -> bool:
        """See `SyncTarget.has_list`: nobody adds to one but in a registry."""
        del source, name, root
        return False

    def take(self, copy: Copy, tag: OpenedTag, then: Then) -> None:
        """See `SyncTarget.take`: it is there when this returns."""
        copy.carry(tag.source, [tag.root], tag.place, self.place(tag.name))
        then(None)

    def settle(self) -> None:
        """See `SyncTarget.settle`: nothing waits."""
        return


class RegistryTags(_OneByOne):
    """Repositories of registries."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    def place(self, name: Reference) -> Place:
        """See `SyncTarget.place`."""
        return Place(Kind.REGISTRY, "", name.familiar)

    def found(self, name: Reference) -> str | None:
        """See `SyncTarget.found`."""
        client, repository = self._registries.to_push(name)
        try:
            return str(client.head_manifest(repository, name.tag or "").digest)
        except NotInRegistry:
            return None

    def tags(self, repository: Reference) -> Iterable[str]:
        """See `SyncTarget.tags`."""
        client, path = self._registries.to_push(repository)
        try:
            return list(client.tags(path))
        except NotInRegistry:
            return []

    def lacking(self, source: Source, roots: Iterable[tuple[Reference, Root]]) -> Iterable[Descriptor]:
        """See `SyncTarget.lacking`: blobs that another repository of the registry has are not counted."""
        found: dict[Digest, Descriptor] = {}
        for name, root in roots:
            client, repository = self._registries.to_push(name)
            gathering = Gathering(source, is_there=partial(_is_there, RegistryTarget(client, repository)))
            gathering.add([root])
            graph = gathering.graph()
            found |= {node.descriptor.digest: node.descriptor for node in graph.nodes}
            for blob in graph.blobs:
                is_near = any(home.client.host == client.host for home in source.homes(blob))
                if blob.digest not in found and not is_near and not client.has_blob(repository, blob.digest):
                    found[blob.digest] = blob
        return found.values()

    def unattached(self, source: Source, name: Reference, referring: Mapping[Digest, Sequence[Root]]) -> Iterable[Root]:
        """See `SyncTarget.unattached`."""
        return RegistryTarget(*self._registries.to_push(name)).lacking(source, referring)

    def has_list(self, source: Source, name: Reference, root: Root) -> bool:
        """See `SyncTarget.has_list`."""
        return RegistryTarget(*self._registries.to_push(name)).has_list(source, root, name.tag or "")

    def check(self) -> None:
        """See `SyncTarget.check`: a registry has room for every name."""

    def remove(self, names: Sequence[Reference], others: Mapping[str, Mapping[str, str]]) -> Iterable[Removed]:
        """See `SyncTarget.remove`: where a tag cannot go without another one, it stays, for a `Conflict`."""
        going: dict[str, set[str]] = {}
        for name in names:
            going.setdefault(name.name, set()).add(name.tag or "")
        return one_by_one(names, lambda name: self._remove(name, others.get(name.name, {}), going[name.name]))

    def _remove(self, name: Reference, others: Mapping[str, str], going: Collection[str]) -> None:
        """Remove a tag, one of those of its repository that are ``going``."""
        client, repository = self._registries.to_push(name)
        try:
            client.delete_tag(repository, name.tag or "")
        except NotInRegistry:
            return
        except RegistryUnsupported:
            # The manifest can go instead where no other tag leads to it.
            with suppress(NotInRegistry):
                self._remove_manifest(client, repository, name, others, going)

    def _remove_manifest(
        self,
        client: RegistryClient,
        repository: str,
        name: Reference,
        others: Mapping[str, str],
        going: Collection[str],
    ) -> None:
        digest = client.head_manifest(repository, name.tag or "").digest
        looked: set[str] = set()
        for tag in client.tags(repository):
            if tag == name.tag or tag in going:
                continue
            leads_to = others.get(tag) or self.found(name.with_tag(tag))
            if leads_to is None or leads_to in looked:
                continue
            looked.add(leads_to)
            if leads_to == str(digest) or _has_part(client, repository, Digest.parse(leads_to), digest):
                raise Conflict(
                    f"{client.host} cannot delete a tag alone, and {tag} leads to the same manifest as {name.tag};"
                    " delete the tag there by other means"
                )
        client.delete_manifest(repository, digest)


class StoreNames(_OneByOne):
    """Names in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def place(self, name: Reference) -> Place:
        """See `SyncTarget.place`."""
        return Place(Kind.STORE, "", name.familiar)

    def found(self, name: Reference) -> str | None:
        """See `SyncTarget.found`: what a manifest was brought by, or else the ID of an image."""
        with self._store.metadata.read() as rows:
            top = rows.top(name.name, f":{name.tag}")
            reference = rows.reference(name.name, f":{name.tag}")
        if top is not None:
            return str(top.digest)
        return None if reference is None else str(reference.image)

    def tags(self, repository: Reference) -> Iterable[str]:
        """See `SyncTarget.tags`."""
        return [one.tag for one in tags_of(self._store, repository.name) if one.tag is not None]

    def lacking(self, source: Source, roots: Iterable[tuple[Reference, Root]]) -> Iterable[Descriptor]:
        """See `SyncTarget.lacking`."""
        gathering = Gathering(source)
        gathering.add(root for _, root in roots)
        graph = gathering.graph()
        with self._store.metadata.read() as rows:
            nodes = [one.descriptor for one in graph.nodes if rows.manifest(one.descriptor.digest) is None]
            blobs = [one for one in graph.blobs if rows.blob(one.digest) is None]
            blobs = [one for one in blobs if rows.config(ImageID.wrap(one.digest)) is None]
        return [*nodes, *blobs]

    def unattached(self, source: Source, name: Reference, referring: Mapping[Digest, Sequence[Root]]) -> Iterable[Root]:
        """See `SyncTarget.unattached`: what has a tag that attaches it has it in the repository of the name."""
        del source
        found = [root for roots in referring.values() for root in roots]
        with self._store.metadata.read() as rows:
            absent = {one.descriptor.digest for one in found if rows.manifest(one.descriptor.digest) is None}
        return [
            root
            for root in found
            if root.descriptor.digest in absent
            or (root.tag is not None and self.found(name.with_tag(root.tag)) != str(root.descriptor.digest))
        ]

    def check(self) -> None:
        """See `SyncTarget.check`: a store has room for every name."""

    def remove(self, names: Sequence[Reference], others: Mapping[str, Mapping[str, str]]) -> Iterable[Removed]:
        """See `SyncTarget.remove`."""
        del others
        return one_by_one(names, lambda name: remove(self._store, ImageName.parse(name)))


class OneFile(_OneByOne):
    """An archive or a directory that is written whole: it is known by its size and the time when it was written."""

    def __init__(self, place: Place, limits: Limits) -> None:
        self._place = place
        self._limits = limits

    def place(self, name: Reference) -> Place:
        """See `SyncTarget.place`."""
        del name
        return self._place

    def found(self, name: Reference) -> str | None:
        """See `SyncTarget.found`."""
        del name
        try:
            state = os.stat(self._place.path)
        except OSError:
            return None
        return f"{state.st_ino}:{state.st_size}:{state.st_mtime_ns}"

    def tags(self, repository: Reference) -> Iterable[str]:
        """See `SyncTarget.tags`."""
        names = names_in(self._place, self._limits)
        return [name.tag for name in names if name.name == repository.name and name.tag is not None]

    def lacking(self, source: Source, roots: Iterable[tuple[Reference, Root]]) -> Iterable[Descriptor]:
        """See `SyncTarget.lacking`: all of it."""
        gathering = Gathering(source)
        gathering.add(root for _, root in roots)
        graph = gathering.graph()
        return [*(node.descriptor for node in graph.nodes), *graph.blobs]

    def unattached(self, source: Source, name: Reference, referring: Mapping[Digest, Sequence[Root]]) -> Iterable[Root]:
        """See `SyncTarget.unattached`: all of it."""
        del source, name
        return [root for roots in referring.values() for root in roots]

    def check(self) -> None:
        """See `SyncTarget.check`: an archive is read where it is written."""
        if self._place.kind is Kind.DIRECTORY:
            check_directory(self._place.path)

    def remove(self, names: Sequence[Reference], others: Mapping[str, Mapping[str, str]]) -> Iterable[Removed]:
        """See `SyncTarget.remove`: they are not in the file that was written."""
        del others
        return [(name, None) for name in names]


def one_by_one(names: Iterable[Reference], remove_one: Callable[[Reference], object]) -> Iterable[Removed]:
    """Remove tags one after the other, and yield each with the error that kept it, if any did."""
    for name in names:
        try:
            remove_one(name)
        except OrlopError as error:
            yield name, error
        else:
            yield name, None


def _has_part(client: RegistryClient, repository: str, index: Digest, part: Digest) -> bool:
    """Return whether a manifest is one of those in an index, or in an index within it. What is not there has none."""
    if client.head_manifest(repository, index).media_type not in INDEX_TYPES:
        return False
    try:
        found = parse_manifest(client.get_manifest(repository, index).raw)
    except NotInRegistry:
        return False
    if not isinstance(found, Index):
        return False
    return any(
        one.digest == part or (one.media_type in INDEX_TYPES and _has_part(client, repository, one.digest, part))
        for one in found.manifests
    )


def _is_there(target: RegistryTarget, one: Descriptor) -> bool:
    return target.has(one.digest, one.digest)
