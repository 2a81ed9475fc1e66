"""An OCI layout in a directory as the target of a sync: very many names, whose entries are written together.

What was taken waits in a batch until its entries are due, or somebody asks for them. Until then it counts as there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.archive.oci_batch import LayoutBatch
from orlop.archive.oci_blobs import blob_path
from orlop.archive.oci_directory import check_layout
from orlop.archive.oci_forget import forget_names
from orlop.errors import OrlopError
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.directory import mark_of
from orlop.transfer.graph import Gathering
from orlop.transfer.members_source import opened_layout
from orlop.transfer.places import Kind, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orlop.archive.oci_layout import TopEntry
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.service.copy import Copy
    from orlop.service.sync.targets import OpenedTag, Removed, Then
    from orlop.transfer.source import Root, Source


@dataclass(slots=True)
class _Listed:
    """What a layout has: what its names lead to, its tags by their repositories, and its entries by what they say."""

    names: dict[Reference, str] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    entries: set[tuple[Digest, str]] = field(default_factory=set)
    digests: set[Digest] = field(default_factory=set)

    def note(self, name: Reference, digest: str, entries: Iterable[TopEntry]) -> None:
        """Count a name, and the entries that come with it, as there."""
        if name not in self.names:
            self.tags.setdefault(name.name, []).append(name.tag or "")
        self.names[name] = digest
        for one in entries:
            self.digests.add(one.descriptor.digest)
            self.entries.add((one.descriptor.digest, one.address))


class LayoutNames:
    """Names in an OCI layout in a directory.

    Args:
        path: of the layout.
        progress: hears of each layer.
        limits: what the layout may ask for.
    """

    def __init__(self, path: str, progress: Progress | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = path
        self._limits = limits
        self._batch = LayoutBatch(path, progress, limits)
        self._waiting: list[tuple[Reference, str, Sequence[TopEntry], Then]] = []
        self._seen: tuple[int, ...] = ()
        self._listed = _Listed()

    def place(self, name: Reference) -> Place:
        """See `SyncTarget.place`."""
        return Place(Kind.LAYOUT, self._path, str(name))

    def found(self, name: Reference) -> str | None:
        """See `SyncTarget.found`."""
        return self._read().names.get(name)

    def tags(self, repository: Reference) -> Iterable[str]:
        """See `SyncTarget.tags`."""
        return tuple(self._read().tags.get(repository.name, ()))

    def lacking(self, source: Source, roots: Iterable[tuple[Reference, Root]]) -> Iterable[Descriptor]:
        """See `SyncTarget.lacking`."""
        gathering = Gathering(source)
        gathering.add(root for _, root in roots)
        graph = gathering.graph()
        everything = [*(node.descriptor for node in graph.nodes), *graph.blobs]
        return [one for one in everything if not self._has(one)]

    def unattached(self, source: Source, name: Reference, referring: Mapping[Digest, Sequence[Root]]) -> Iterable[Root]:
        """See `SyncTarget.unattached`: each has an entry of its own, with the tag that attaches it."""
        del source, name
        there = self._read()
        return [
            root
            for roots in referring.values()
            for root in roots
            if (root.descriptor.digest not in there.digests)
            or (root.tag and (root.descriptor.digest, root.tag) not in there.entries)
        ]

    def has_list(self, source: Source, name: Reference, root: Root) -> bool:
        """See `SyncTarget.has_list`: nobody adds to one in a layout."""
        del source, name, root
        return False

    def check(self) -> None:
        """See `SyncTarget.check`."""
        check_layout(self._path)

    def take(self, copy: Copy, tag: OpenedTag, then: Then) -> None:
        """See `SyncTarget.take`: its blobs are on disk when this returns."""
        content = copy.layout_content(tag.source, [tag.root], self.place(tag.name))
        name, digest = tag.name, str(tag.root.descriptor.digest)
        there = self._read()
        self._batch.add(content)
        self._waiting.append((name, digest, content.entries, then))
        if self._batch.is_due:
            self.settle()
            return
        there.note(name, digest, content.entries)

    def settle(self) -> None:
        """See `SyncTarget.settle`."""
        waiting, self._waiting = self._waiting, []
        failed: OrlopError | None = None
        try:
            self._batch.publish()
        except OrlopError as error:
            failed, self._seen = error, ()
        for *_, then in waiting:
            then(failed)

    def remove(self, names: Sequence[Reference], others: Mapping[str, Mapping[str, str]]) -> Iterable[Removed]:
        """See `SyncTarget.remove`: all of them go in one step."""
        del others
        self.settle()
        try:
            forget_names(self._path, names, self._limits)
        except OrlopError as error:
            return [(name, error) for name in names]
        return [(name, None) for name in names]

    def _has(self, one: Descriptor) -> bool:
        if not one.digest.is_valid:
            return False
        try:
            return os.stat(os.path.join(self._path, blob_path(one.digest))).st_size == one.size
        except OSError:
            return False

    def _read(self) -> _Listed:
        """Return what is there, and what waits. It is read again where the index has changed."""
        try:
            state = os.stat(os.path.join(self._path, "index.json"))
        except FileNotFoundError:
            self._seen, self._listed = (), _Listed()
            return self._listed
        seen = mark_of(state)
        if seen != self._seen:
            with opened_layout(self._path, self._limits) as layout:
                self._listed = _listed(layout.tops(), layout.names())
            self._seen = seen
            for name, digest, entries, _ in self._waiting:
                self._listed.note(name, digest, entries)
        return self._listed


def _listed(tops: Sequence[Root], names: Iterable[Reference]) -> _Listed:
    found = _Listed()
    for name in names:
        if name.tag is not None:
            found.tags.setdefault(name.name, []).append(name.tag)
    for root in tops:
        if root.name is not None:
            found.names[root.name] = str(root.descriptor.digest)
        found.entries.add((root.descriptor.digest, root.address))
        found.digests.add(root.descriptor.digest)
    return found
