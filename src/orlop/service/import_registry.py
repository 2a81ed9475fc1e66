"""``import-registry``: the images of a registry's directory into the store, under the digests that they had there.

Each manifest that has a tag is taken in a transaction of its own, with all that it names and all that refers to it, so
that one that is damaged harms no other, and an import that was interrupted goes on where it was. What is there already
is not read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from orlop.errors import IntegrityError, InvalidInput, NotFound, NotSupported, OrlopError
from orlop.foreign.distribution import DistributionSource, Wanted
from orlop.foreign.distribution_root import DistributionRoot
from orlop.intake.commit import commit
from orlop.intake.platforms import chosen
from orlop.intake.taking import storing
from orlop.model.gojson import MAX_VALUES, values_at_most
from orlop.model.limits import limits_or
from orlop.model.manifest import Index, parse_manifest
from orlop.model.reference import Reference
from orlop.service.pull import is_known
from orlop.store.blobs.shared import shared
from orlop.streams.files import PRIVATE
from orlop.streams.given import path_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from orlop.foreign.distribution_root import Repository
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.manifest import Manifest
    from orlop.model.progress import Progress
    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store

State = Literal["imported", "known", "damaged"]
"""Of a manifest: it was taken; it was there already, under all its names; or it cannot be taken."""


@dataclass(frozen=True, slots=True)
class ImportedManifest:
    """A manifest or an index of a registry, and what became of it.

    ``repository`` is that of the store, with the host, and ``names`` are the tags that it has now. ``problems`` say why
    it is damaged, or what of it the registry has lost where the rest was taken.
    """

    repository: Reference
    digest: Digest
    names: tuple[Reference, ...]
    state: State
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryImport:
    """What an import did.

    ``manifests`` are those that were wanted. ``uploads`` are uploads under way, which were skipped, by repository and
    name. ``notes`` are about the directory: what in it is not as the registry writes it.
    """

    root: str
    repositories: int
    manifests: tuple[ImportedManifest, ...]
    uploads: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def damaged(self) -> tuple[ImportedManifest, ...]:
        """The manifests that were not taken, or not whole."""
        return tuple(one for one in self.manifests if one.problems)


def import_registry(
    store: Store,
    root: str | os.PathLike[str],
    *,
    host: str,
    untagged: bool = False,
    link: bool = False,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> RegistryImport:
    """See `orlop.service.ImageService.import_registry`."""
    path = path_text(root, "the directory of a registry")
    _check_host(host)
    store.require_writable()
    store.blobs.sweep_ingests()
    taken: list[ImportedManifest] = []
    uploads: list[str] = []
    notes: list[str] = []
    count = 0
    with DistributionRoot(path) as registry:
        importing = _Importing(store, registry, link=link, progress=progress, limits=limits_or(limits, store.limits))
        for repository in registry.repositories():
            count += 1
            uploads += (f"{repository.name}/{name}" for name in repository.uploads)
            notes += (f"{repository.name}: {problem}" for problem in repository.problems)
            try:
                name = Reference.parse(f"{host}/{repository.name}")
            except InvalidInput as error:
                notes.append(f"{repository.name}: {error}")
                continue
            taken += importing.repository(name, repository, untagged=untagged)
        notes += registry.notes
    return RegistryImport(path, count, tuple(taken), tuple(uploads), tuple(notes))


class _Importing:
    """An import under way."""

    def __init__(
        self, store: Store, root: DistributionRoot, *, link: bool, progress: Progress | None, limits: Limits
    ) -> None:
        self._store = store
        self._root = root
        self._link = link
        self._progress = progress
        self._limits = limits

    def repository(self, name: Reference, repository: Repository, *, untagged: bool) -> Iterator[ImportedManifest]:
        """Take the manifests of a repository, and yield what became of each that has tags, or is wanted without."""
        tags: dict[Digest, list[str]] = {}
        for tag, digest in repository.tags.items():
            tags.setdefault(digest, []).append(tag)
        graph = _Graph(self._root, repository.revisions, self._limits)
        for digest, own in tags.items():
            names = tuple(name.with_tag(tag) for tag in own)
            yield self._take(name, Wanted(digest, names), graph.about(digest))
        if untagged:
            for digest in graph.tops(tags):
                yield self._take(name, Wanted(digest, repository=name), graph.about(digest))

    def _take(self, name: Reference, wanted: Wanted, about: Iterable[Digest]) -> ImportedManifest:
        """Take one manifest with what refers to it, or find out what is wrong."""
        done = partial(ImportedManifest, name, wanted.digest, wanted.names)
        every = [wanted, *(Wanted(one, about=True) for one in about)]
        try:
            with storing(self._store, limits=self._limits, progress=self._progress) as taking:
                source = DistributionSource(self._root, taking, every, sharing=self._shared)
                offer = source.offer(chosen(None))
                with self._store.metadata.read() as rows:
                    known = is_known(rows, offer)
                commit(self._store, source, offer)
        except (IntegrityError, InvalidInput, NotFound) as error:
            return done("damaged", (str(error),))
        return done("known" if known else "imported", tuple(source.problems))

    def _shared(self, descriptor: int) -> Ingest | None:
        try:
            files = self._store.files
        except NotSupported:
            return None
        # The mode of a link is that of the other file, too, which a group must not be let into.
        return shared(files.blobs, descriptor, link=self._link and files.modes is PRIVATE)


class _Graph:
    """What the manifests of a repository name and refer to, as far as that decides which are taken.

    A manifest is read only where it has no tag. What cannot be read refers to nothing; taking it will say why.
    """

    def __init__(self, root: DistributionRoot, revisions: frozenset[Digest], limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._revisions = revisions
        self._below: dict[Digest, frozenset[Digest]] = {}
        self._referring: dict[Digest, list[Digest]] = {}
        for digest in sorted(revisions):
            document = self._parsed(digest)
            children = document.manifests if isinstance(document, Index) else ()
            self._below[digest] = frozenset(child.digest for child in children) & revisions
            if document is not None and document.subject is not None:
                self._referring.setdefault(document.subject.digest, []).append(digest)

    def _parsed(self, digest: Digest) -> Manifest | Index | None:
        try:
            raw = self._root.read(digest, self._limits.manifest_size)
            # One of more values is refused where it is imported.
            is_small = values_at_most(raw, max(self._limits.json_values, MAX_VALUES))
            return parse_manifest(raw) if is_small else None
        except OrlopError:
            return None

    def about(self, digest: Digest) -> list[Digest]:
        """Return what refers to a manifest, to what it names, and to that in turn."""
        reached = self._reached([digest])
        about = {one for each in reached for one in self._referring.get(each, ())}
        return [one for one in reached if one in about]

    def tops(self, tagged: Iterable[Digest]) -> list[Digest]:
        """Return the manifests that none with a tag leads to, and none of these."""
        rest = self._revisions - set(self._reached(tagged))
        below = {child for digest in rest for child in self._below[digest]}
        about = {one for digest in rest for one in self._referring.get(digest, ())}
        return sorted(rest - below - about)

    def _reached(self, digests: Iterable[Digest]) -> dict[Digest, None]:
        found: dict[Digest, None] = {}
        waiting = list(digests)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found[digest] = None
                waiting += self._below.get(digest, ())
                waiting += self._referring.get(digest, ())
        return found


def _check_host(host: str) -> None:
    """Check that names of a host are of that one. Raises `InvalidInput`."""
    try:
        found = Reference.parse(f"{host}/a/b").domain
    except InvalidInput:
        found = ""
    if not host or found != host:
        msg = f"{host!r} is not the host of a registry; expected one such as registry.example.com or localhost:5000"
        raise InvalidInput(msg)
