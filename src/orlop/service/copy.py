"""``copy``: images from one place to another, with the digests that they have.

    source ── roots ──► one platform, or whole indexes ──► graph: manifests, blobs (and what refers to them)
           ── a registry: what it lacks, from the source or from a neighbour; manifests, then tags
           ── a layout, a tar, a directory: written beside, and renamed; or added to the layout that is there
           ── a store: pulled from a registry; from elsewhere loaded as a layout that streams by
           ── an archive of Docker's: saved from a store that was loaded so

Nothing is kept in between, but for archives of Docker's and data roots of engines, whose layers have no form that a
manifest names: these are read, and archives written, by way of a store that goes with the copy.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, Self, cast

from orlop.archive.oci_blobs import Document
from orlop.archive.oci_index import index_json
from orlop.archive.oci_platforms import Platforms
from orlop.archive.oci_tar import layout_chunks
from orlop.errors import (
    ImageNotFound,
    IntegrityError,
    InvalidInput,
    InvalidReference,
    NotInRegistry,
    PlatformNotFound,
    RegistryError,
)
from orlop.intake.platforms import chosen, matches
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import Index, parse_manifest
from orlop.model.names import ImageName, image_names
from orlop.model.reference import Reference
from orlop.service.load import load
from orlop.service.pull import pull
from orlop.service.rescue import opened_root, rescue_into
from orlop.service.rescue_names import saved_names
from orlop.service.rescue_places import check_outside, check_store, check_temporary
from orlop.service.save import save
from orlop.service.save_oci import asked_content, held_content
from orlop.store.local import local_store
from orlop.store.loose import is_loose
from orlop.transfer import file_targets
from orlop.transfer.content_source import ContentSource
from orlop.transfer.graph import Gathering, beside, is_blob, referring, standing
from orlop.transfer.members_source import opened_directory, opened_layout
from orlop.transfer.places import Kind, parse_place
from orlop.transfer.registry_source import RegistrySource
from orlop.transfer.registry_target import RegistryTarget
from orlop.transfer.source import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import BinaryIO

    from orlop.archive.oci_layout import Asked, LayoutContent
    from orlop.intake.report import LoadedImage, LoadReport
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.registry.registries import Registries
    from orlop.store.opening import Root as OpenRoot
    from orlop.store.root import Store
    from orlop.transfer.places import Place
    from orlop.transfer.sessions import Sessions
    from orlop.transfer.source import Source

_SHOWN: Final = 32
"""How many platforms of an index an error names at most."""


@dataclass(frozen=True, slots=True)
class CopiedImage:
    """A manifest or an index that is at the target now: its digest and size, and the name that it has there, if any."""

    digest: Digest
    size: int
    name: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did: the ``images`` that were asked for, and how many ``referrers`` went along."""

    images: tuple[CopiedImage, ...]
    referrers: int = 0


class Opened(Protocol):
    """An open store, or what has one."""

    @property
    def store(self) -> Store:
        """The store."""


class Copy:
    """One copy under way.

    Args:
        registries: how registries are reached.
        store: opens the store, where a place is in it.
        platform: which image of an index is copied; by default the one for this machine.
        all_platforms: copy whole indexes.
        with_referrers: copy what refers to the images, too.
        replace: write a directory of skopeo's anew where one is there.
        sessions: where uploads are kept that another process may go on with.
        progress: called with one event at a time.
        store_root: returns what names the store, which may not lie in a data root that is copied from.
        temporary: where the user wants temporary files, if anywhere, which may not lie there either.
        limits: what files may ask for that are read, or added to.
    """

    def __init__(
        self,
        registries: Registries,
        store: Callable[[], AbstractContextManager[Opened]],
        *,
        platform: Platform | str | None = None,
        all_platforms: bool = False,
        with_referrers: bool = False,
        replace: bool = False,
        sessions: Sessions | None = None,
        progress: Progress | None = None,
        store_root: Callable[[], OpenRoot] | None = None,
        temporary: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if all_platforms and platform is not None:
            raise InvalidInput("name one platform, or copy all of them")
        choice = chosen(platform)
        self._registries = registries
        self._open_store = store
        self._platform = choice.asked or choice.host
        self._all = all_platforms
        self._with_referrers = with_referrers
        self._replace = replace
        self._sessions = sessions
        self._progress = progress
        self._store_root = store_root
        self._temporary = temporary
        self._limits = limits
        self._stack = ExitStack()
        self._passed_over = self._places_left = 0

    def run(self, source: str, target: str) -> CopyReport:
        """Copy from one place to another.

        Raises:
            InvalidInput: a place cannot be read or written. NotFound: an image is not there. IntegrityError: something
            is damaged. RegistryError: a registry refuses, or fails. StorageError: the target cannot be written.
        """
        where_from, where_to = parse_place(source, is_target=False), parse_place(target, is_target=True)
        if where_from.kind is Kind.ROOT:
            self.keep_outside(where_from, where_to)
        while True:
            with self:
                try:
                    found, roots = self.opened(where_from)
                    if self._with_referrers or where_to.kind is Kind.REGISTRY or where_to.name:
                        roots = standing(found, roots)
                    chosen = [self._chosen(found, root, where_from) for root in roots]
                    return self.carry(found, chosen, where_from, where_to)
                except (NotInRegistry, RegistryError, IntegrityError):
                    # What a mirror cannot give, or gives wrong, the next place may have.
                    if not self._places_left:
                        raise
                    self._passed_over += 1

    def keep_outside(self, root: Place, target: Place) -> None:
        """Check that nothing would be written into a data root. Raises `InvalidInput`."""
        with opened_root(root.path, None) as foreign:
            if target.path:
                check_outside(foreign, target.path)
            elif target.kind is Kind.STORE and self._store_root is not None:
                check_store(foreign, self._store_root(), self._temporary)
            elif target.kind is Kind.STORE:
                with self._open_store() as opened:
                    for directory in opened.store.directories:
                        check_outside(foreign, directory)
            check_temporary(foreign, self._temporary)
        # What is remembered of uploads lies in a home, and that may be in the root.
        self._sessions = None

    def __enter__(self) -> Self:
        """Begin a block in which places may be opened, and carried from."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self._stack.close()

    def carry(self, source: Source, roots: list[Root], place: Place, target: Place) -> CopyReport:
        """Copy some roots of an opened place to another one. Raises as `run` does."""
        if target.kind is Kind.STORE and isinstance(source, RegistrySource):
            return self._pulled(source, roots, place, target)
        if target.kind is Kind.REGISTRY:
            return self._to_registry(source, roots, target)
        return self._to_files(source, roots, target)

    # Sources.

    def opened(self, place: Place) -> tuple[Source, list[Root]]:
        """Open a place, until the block of the copy ends, and return it with what is there. Raises as `run` does."""
        if place.kind is Kind.REGISTRY:
            return self._from_registry(place)
        if place.kind in {Kind.LAYOUT, Kind.LAYOUT_ARCHIVE}:
            layout = self._stack.enter_context(opened_layout(place.path, self._limits))
            return layout, layout.roots(place.name)
        if place.kind is Kind.DIRECTORY:
            directory = self._stack.enter_context(opened_directory(place.path, self._limits))
            return directory, directory.roots()
        if place.kind is Kind.STORE:
            return self._from_store(self._stack.enter_context(self._open_store()).store, place.name)
        store = self._stack.enter_context(self._scratch())
        if place.kind is Kind.ROOT:
            return self._from_root(store, place)
        report = load(store, place.path)
        names = [place.name] if place.name else [name for image in report.images for name in _called(image)]
        return self._from_store(store, *names)

    def _from_registry(self, place: Place) -> tuple[Source, list[Root]]:
        name = place.reference()
        first, *others = self._registries.to_pull(name)[self._passed_over :]
        self._places_left = len(others)
        source = RegistrySource(*first)
        return source, [source.root(name)]

    def _from_store(self, store: Store, *names: str) -> tuple[Source, list[Root]]:
        asked = list(asked_content(store, [ImageName.parse(name) for name in names]))
        one = self._platform_in(store, asked) or None
        content, _ = self._stack.enter_context(
            held_content(store, asked, Platforms.of("all" if self._all else one), None)
        )
        roots = [
            Root(
                entry.descriptor,
                None if entry.reference is None else entry.reference.tag,
                entry.reference,
                entry.address,
            )
            for entry in content.entries
            if entry.subject is None
        ]
        return ContentSource(content), roots

    def _from_root(self, store: Store, place: Place) -> tuple[Source, list[Root]]:
        """Take images of another engine's data root into a store, and offer them from there."""
        report = rescue_into(
            store,
            place.path,
            image_names([place.name] if place.name else []),
            limits=self._limits,
            progress=self._progress,
        )
        for image in report.damaged:
            raise IntegrityError(
                f"the image {image.image.id} of {report.root} is damaged: {'; '.join(image.problems)}; orlop rescue"
                " copies all that are whole"
            )
        if not report.images:
            raise ImageNotFound(f"the root {report.root} holds no image")
        return self._from_store(store, *(name for image in report.images for name in saved_names(image.image)))

    def _platform_in(self, store: Store, asked: list[Asked]) -> list[Platform]:
        """Return the platforms of the images of a store, which are each of one."""
        images = [one.image for one in asked if one.image is not None]
        return list(dict.fromkeys(store.images.get(image).platform for image in images))[:1]

    def _scratch(self) -> Store:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-copy-"))
        return local_store(f"{folder}/store", limits=self._limits)

    def _chosen(self, source: Source, root: Root, place: Place) -> Root:
        """Return a root, or what it leads to for the wanted platform."""
        if is_loose(root.descriptor):
            return root
        document = parse_manifest(source.manifest(root.descriptor))
        if self._all or not isinstance(document, Index):
            return root
        known = [one for one in document.manifests if one.platform is not None]
        for one in known:
            if one.platform is not None and matches(self._platform, one.platform):
                return replace(root, descriptor=one)
        found = ", ".join(dict.fromkeys(str(one.platform) for one in known[:_SHOWN])) or "none"
        found += ", and others" if len(known) > _SHOWN else ""
        raise PlatformNotFound(
            f"{place} is not there for {self._platform}; it is for {found}: name one of these with --platform, or copy"
            " --all-platforms"
        )

    # Targets.

    def _to_registry(self, source: Source, roots: list[Root], place: Place) -> CopyReport:
        name = place.reference()
        roots = _told_apart(roots, place, is_named=name.tag is not None or name.digest is not None)
        for root in roots:
            if is_blob(root.descriptor):
                raise InvalidInput(
                    f"{root.descriptor.digest} is a blob of the type {root.descriptor.media_type!r}, which a registry"
                    " keeps for manifests only; name an image or an artifact to copy"
                )
        client, repository = self._registries.to_push(name)
        target = RegistryTarget(client, repository, sessions=self._sessions, progress=self._progress)
        tags: dict[Digest, list[str]] = {}
        taken: dict[str, Digest] = {}
        called: list[tuple[Root, str | None, bool]] = []
        for root in roots:
            tag = None if name.digest is not None else name.tag or root.tag or name.with_default_tag().tag
            if name.digest is not None and name.digest != root.descriptor.digest:
                raise InvalidReference(f"{place} names another digest than {root.descriptor.digest}, which is copied")
            if tag is not None and taken.setdefault(tag, root.descriptor.digest) != root.descriptor.digest:
                raise InvalidInput(
                    f"two images would get the tag {tag} in {name.name}; copy them one by one, with a tag"
                )
            is_new = not target.has(tag or root.descriptor.digest, root.descriptor.digest)
            if is_new:
                tags.setdefault(root.descriptor.digest, []).extend([tag] if tag else [])
            called.append((root, tag, is_new))
        about = self._referring(source, roots)
        new = [*(root for root, _, is_new in called if is_new), *target.lacking(source, about)]
        joined: Mapping[str, Descriptor] = {}
        if new:
            gathering = Gathering(source, is_there=lambda one: target.has(one.digest, one.digest))
            gathering.add(new)
            for root in _each(about):
                tags.setdefault(root.descriptor.digest, []).extend([root.tag] if root.tag else [])
            joined = target.take(source, gathering.graph(), tags)
        copied: list[CopiedImage] = []
        for root, tag, is_new in called:
            found = joined.get(tag or "", root.descriptor)
            shown = f"{name.name}:{tag}" if tag else f"{name.name}@{found.digest}"
            copied.append(CopiedImage(found.digest, found.size, shown, is_new))
        return CopyReport(tuple(copied), _number_of(_each(about)))

    def _referring(self, source: Source, roots: list[Root]) -> dict[Digest, list[Root]]:
        return referring(source, roots) if self._with_referrers else {}

    def layout_content(self, source: Source, roots: list[Root], place: Place) -> LayoutContent:
        """Return what a layout has to hold of some roots of an opened place. Raises as `run` does."""
        return self._gathered(source, [replace(root, name=_renamed(root, place)) for root in roots])[0]

    def _gathered(self, source: Source, roots: list[Root]) -> tuple[LayoutContent, list[Root]]:
        """Return what files have to hold of some roots, and what refers to these."""
        gathering = Gathering(source)
        gathering.add(roots)
        referrers = _each(self._referring(source, roots))
        gathering.add(referrers)
        return file_targets.content_of(source, gathering.graph(), [*roots, *map(beside, referrers)]), referrers

    def _to_files(self, source: Source, roots: list[Root], place: Place) -> CopyReport:
        roots = _told_apart(roots, place, is_named=bool(place.name))
        roots = [replace(root, name=_renamed(root, place)) for root in roots]
        content, referrers = self._gathered(source, roots)
        self._write(place, content)
        copied = (
            CopiedImage(
                root.descriptor.digest,
                root.descriptor.size,
                "" if root.name is None else root.name.familiar,
                is_new=True,
            )
            for root in roots
        )
        return CopyReport(tuple(copied), _number_of(referrers))

    def _pulled(self, source: RegistrySource, roots: list[Root], place: Place, target: Place) -> CopyReport:
        """Pull into a store, which fetches nothing that is there and keeps what breaks off."""
        name, store = place.reference(), self._stack.enter_context(self._open_store()).store
        copied: list[CopiedImage] = []
        referrers = 0
        for root in roots:
            called = _renamed(root, target)
            report = pull(
                store,
                Reference(name.domain, name.path, None, root.descriptor.digest),
                self._registries,
                "all" if self._all else None,
                exact=True,
                referrers=self._with_referrers,
                called=called,
                read=source.read,
                progress=self._progress,
            )
            shown = "" if called is None else called.familiar
            copied.append(CopiedImage(root.descriptor.digest, root.descriptor.size, shown, report.changed))
            referrers += report.referrers
        return CopyReport(tuple(copied), referrers)

    def _write(self, place: Place, content: LayoutContent) -> None:
        if place.kind is Kind.LAYOUT:
            file_targets.write_oci(place.path, content, self._progress, self._limits)
        elif place.kind is Kind.LAYOUT_ARCHIVE:
            file_targets.write_oci_archive(place.path, content, self._progress)
        elif place.kind is Kind.DIRECTORY:
            file_targets.write_directory(place.path, content, self._progress, replace=self._replace)
        elif place.kind is Kind.STORE:
            self._load(self._stack.enter_context(self._open_store()).store, content)
        else:
            store = self._stack.enter_context(self._scratch())
            report = self._load(store, content)
            names = [str(entry.reference) for entry in content.entries if entry.reference is not None]
            if len(names) < len(content.entries):
                parts = _configs(content, is_named=True) - _configs(content, is_named=False)
                nameless = [str(image.id) for image in report.images if not image.references]
                names += [one for one in nameless if one not in parts]
            save(store, image_names(names), place.path)

    def _load(self, store: Store, content: LayoutContent) -> LoadReport:
        index = index_json(content.entries)
        chunks = layout_chunks(content, index.raw, self._progress)
        return load(store, cast("BinaryIO", _Piped(cast("Generator[bytes]", chunks))))


def _each(referring: dict[Digest, list[Root]]) -> list[Root]:
    """Return what refers to some manifests, each once; one that several tags attach, with each of them."""
    found = {(root.descriptor.digest, root.tag): root for roots in referring.values() for root in roots}
    tagged = {digest for digest, tag in found if tag is not None}
    return [root for (digest, tag), root in found.items() if tag is not None or digest not in tagged]


def _number_of(roots: Iterable[Root]) -> int:
    return len({root.descriptor.digest for root in roots})


def _called(image: LoadedImage) -> list[str]:
    """Return the names by which a store has an image that was loaded; its ID, if it has none."""
    return [str(name) for name in image.references] or [str(image.id)]


def _configs(content: LayoutContent, *, is_named: bool) -> set[str]:
    """Return the digests of the configurations to which the entries with a name lead, or those without one."""
    documents = {blob.digest: blob.data for blob in content.blobs if isinstance(blob, Document)}
    waiting = [one.descriptor.digest for one in content.entries if (one.reference is not None) == is_named]
    found: set[str] = set()
    while waiting:
        raw = documents.pop(waiting.pop(), None)
        document = None if raw is None else parse_manifest(raw)
        if isinstance(document, Index):
            waiting += [one.digest for one in document.manifests]
        elif document is not None:
            found.add(str(document.config.digest))
    return found


def _told_apart(roots: list[Root], place: Place, *, is_named: bool) -> list[Root]:
    """Return the roots that a place can tell apart: neither a registry nor skopeo's directory has addresses.

    Raises:
        InvalidInput: several images would get one name.
    """
    if not is_named and place.kind not in {Kind.REGISTRY, Kind.DIRECTORY}:
        return roots
    is_tagged = not is_named and place.kind is Kind.REGISTRY
    apart = {(root.descriptor.digest, root.tag if is_tagged else None): root for root in reversed(roots)}
    if len(apart) > 1 and is_named:
        raise InvalidInput(
            f"there are {len(apart)} images to copy, which cannot all be called {place}; name one of them"
        )
    return list(reversed(apart.values()))


def _renamed(root: Root, place: Place) -> Reference | None:
    """Return the name that a root gets in files: the one that was asked for, of which a tag alone is a part."""
    if not place.name:
        return root.name
    if root.name is not None and "/" not in place.name and ":" not in place.name and place.kind is not Kind.STORE:
        return root.name.with_tag(place.name)
    return place.reference().with_default_tag()


class _Piped:
    """A reader of pieces that are made while they are read."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, n: int = -1, /) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = (self._rest, b"") if n < 0 else (self._rest[:n], self._rest[n:])
        return data
