"""``push``: images out of the store into registries.

What goes out is what ``save --format oci`` writes: the manifest or index that came with an image, unchanged, where the
store has all that it names; else one that is made, the same for equal images. The tags of one repository go together,
so that their layers are looked for once. A tag that leads to this manifest already costs one request.

An index of which the store lacks a part can be pushed where the registry has that part. Elsewhere the manifest of the
one platform goes alone, as docker does it, and the report says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.archive.oci_layout import Asked
from orlop.archive.oci_platforms import Platforms
from orlop.errors import Conflict, InvalidInput, ReferenceNotFound, RegistryError
from orlop.model.digest import Digest
from orlop.model.manifest import Manifest, parse_manifest
from orlop.model.names import ImageName
from orlop.model.reference import Reference
from orlop.model.values import dataclass, replace
from orlop.service.listing.content import find_content
from orlop.service.save_oci import held_content
from orlop.service.saving import require_names
from orlop.store.events import LABELS
from orlop.store.references import reference_of
from orlop.store.trust import UPLOADS
from orlop.streams.compressing import Recipe
from orlop.transfer.content_source import ContentSource
from orlop.transfer.graph import Gathering, referring
from orlop.transfer.registry_target import RegistryTarget
from orlop.transfer.sessions import Sessions
from orlop.transfer.source import Home, Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.archive.oci_layout import LayoutContent, TopEntry
    from orlop.model.descriptor import Descriptor
    from orlop.model.progress import Progress
    from orlop.registry.registries import Registries
    from orlop.service.saving import AskedPlatforms
    from orlop.store.leases import Hold
    from orlop.store.root import Store
    from orlop.streams.directory import Directory

_NEIGHBOURS: Final = 64
"""How many other repositories of a registry are considered at most."""


@dataclass(frozen=True, slots=True)
class PushedTag:
    """A tag that a registry has now: the digest and the size in bytes of the manifest or index that it leads to.

    ``is_new`` says whether it led elsewhere before; ``alone`` whether the manifest of one platform was pushed in place
    of an index of which the store lacks a part.
    """

    reference: Reference
    digest: Digest
    size: int
    is_new: bool
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did, tag by tag; ``referrers`` is how many manifests refer to these, where they were pushed too."""

    tags: tuple[PushedTag, ...]
    referrers: int = 0

    def messages(self) -> tuple[str, ...]:
        """Return a line for people for each tag that stands for less than its index."""
        return tuple(
            f"The store lacks a part of the index of {one.reference.familiar}:"
            " the image of one platform was pushed alone"
            for one in self.tags
            if one.alone
        )


def pushed_names(store: Store, names: Sequence[ImageName], *, all_tags: bool) -> dict[str, list[Reference]]:
    """Return the tags that names stand for, by their repositories, each tag once.

    Raises:
        InvalidInput: a name cannot be pushed. ReferenceNotFound: a repository has no tags.
    """
    require_names(names)
    found: dict[str, list[Reference]] = {}
    for name in names:
        asked = name.asked
        if isinstance(asked, Digest) or asked.digest is not None:
            raise InvalidInput(f"{name.text} cannot be pushed: a push needs a tag; give the image one with `tag`")
        if all_tags and asked.tag is not None:
            raise InvalidInput(f"{name.text} has a tag, and all tags are to be pushed: name the repository alone")
        tags = [asked.with_default_tag()]
        if all_tags:
            tags = tags_of(store, asked.name)
        if not tags:
            raise ReferenceNotFound(
                f"An image does not exist locally with the tag: {asked.familiar_name};"
                " `orlop images` lists what is there"
            )
        listed = found.setdefault(asked.name, [])
        listed += [one for one in tags if one not in listed]
    return found


def tags_of(store: Store, repository: str) -> list[Reference]:
    """Return the tags of a repository, those of artifacts among them, sorted."""
    images = (one for one, _ in store.references.of_repository(repository) if one.tag is not None)
    others = (one for _, names in store.content.tops() for one in names if one.name == repository)
    return sorted({*images, *others}, key=str)


def push(
    store: Store,
    names: Sequence[ImageName],
    registries: Registries,
    *,
    all_tags: bool = False,
    referrers: bool = False,
    platform: AskedPlatforms = None,
    compress: str | None = None,
    progress: Progress | None = None,
    begun: Callable[[Reference], object] | None = None,
) -> PushReport:
    """See `orlop.service.ImageService.push`."""
    platforms = Platforms.of(platform)
    recipe = None if compress is None else Recipe.parse(compress)
    wanted = pushed_names(store, names, all_tags=all_tags)
    # What is not there is told before anything is sent.
    asked = {repository: [_asked(store, one) for one in tags] for repository, tags in wanted.items()}
    found: list[PushedTag] = []
    about = 0
    for tags in asked.values():
        work = _RepositoryPush(store, registries, tags, recipe, progress, referrers=referrers)
        if begun is not None:
            begun(work.name)
        found += work.run(platforms)
        about += work.referrers
    return PushReport(tuple(found), about)


def _asked(store: Store, reference: Reference) -> Asked:
    """Return what a tag stands for: an image, or an artifact."""
    try:
        return Asked(str(reference), store.references.get(reference), reference)
    except ReferenceNotFound:
        found = find_content(store, ImageName.parse(str(reference)))
        if found is not None:
            return Asked(str(reference), None, reference, found[0])
        raise ReferenceNotFound(
            f"An image does not exist locally with the tag: {reference.familiar}; `orlop images` lists what is there"
        ) from None


class _RepositoryPush:
    """A push of some tags of one repository."""

    def __init__(
        self,
        store: Store,
        registries: Registries,
        asked: Sequence[Asked],
        recipe: Recipe | None,
        progress: Progress | None,
        *,
        referrers: bool,
    ) -> None:
        self.referrers = 0
        self._with_referrers = referrers
        first = asked[0].reference
        assert first is not None
        self.name = Reference(first.domain, first.path)
        self._store = store
        self._registries = registries
        self._asked = asked
        self._recipe = recipe
        self._progress = progress
        client, repository = registries.to_push(first)
        self._target = RegistryTarget(client, repository, sessions=_sessions(store), progress=progress)

    def run(self, platforms: Platforms) -> list[PushedTag]:
        """Push them all; what is not to be pushed as an index goes alone."""
        with self._held(self._asked, platforms) as (content, hold):
            alone = {entry.reference for entry in content.entries if self._lacks(content, entry)}
            if alone and platforms.are_several:
                raise Conflict(
                    f"{self.name.familiar} cannot be pushed with these platforms alone: its index names others, which"
                    " the registry does not have; push one platform, or all of them"
                )
            if any(one.image is None and one.reference in alone for one in self._asked):
                raise Conflict(
                    f"{self.name.familiar} cannot be pushed: neither the store nor the registry has all that its index"
                    " names; pull it whole first"
                )
            whole = [entry for entry in content.entries if entry.subject is None and entry.reference not in alone]
            pushed = self._push(content, whole, hold)
        for one in self._asked:
            if one.reference in alone:
                assert one.image is not None
                image = self._store.images.get(one.image)
                with self._held([one], Platforms((image.platform,))) as (content, hold):
                    entries = [entry for entry in content.entries if entry.subject is None]
                    pushed += self._push(content, entries, hold, alone=True)
        order = [one.reference for one in self._asked]
        return sorted(pushed, key=lambda one: order.index(one.reference))

    def _held(
        self, asked: Sequence[Asked], platforms: Platforms
    ) -> AbstractContextManager[tuple[LayoutContent, Hold | None]]:
        return held_content(self._store, asked, platforms, self._recipe, self._progress)

    def _lacks(self, content: LayoutContent, entry: TopEntry) -> bool:
        """Return whether neither the store nor the registry has a part of an index."""
        return any(
            not self._target.has(child.digest, child.digest)
            for child in content.omitted.get(entry.descriptor.digest, ())
        )

    def _push(
        self, content: LayoutContent, entries: Iterable[TopEntry], hold: Hold | None, *, alone: bool = False
    ) -> list[PushedTag]:
        pushed: list[PushedTag] = []
        roots: list[Root] = []
        new: list[Root] = []
        for entry in entries:
            reference, descriptor = entry.reference, entry.descriptor
            assert reference is not None
            assert reference.tag is not None
            is_new = not self._target.has(reference.tag, descriptor.digest)
            roots.append(Root(descriptor, reference.tag, reference))
            if is_new:
                new.append(roots[-1])
            pushed.append(PushedTag(reference, descriptor.digest, descriptor.size, is_new, alone))
        about = self._lacking(content, roots)
        if new or about:
            source = ContentSource(content, self._homes())
            gathering = Gathering(
                source,
                is_there=lambda child: child.digest in omitted(content) or self._target.has(child.digest, child.digest),
            )
            gathering.add([*new, *about])
            tags: dict[Digest, list[str]] = {}
            for root in new:
                tags.setdefault(root.descriptor.digest, []).append(root.tag or "")
            for root in about:
                tags.setdefault(root.descriptor.digest, []).extend([root.tag] if root.tag else [])
            joined = self._target.take(source, gathering.graph(), tags)
            pushed = [_joined(one, joined) for one in pushed]
        self._note(pushed, hold)
        return pushed

    def _lacking(self, content: LayoutContent, roots: Sequence[Root]) -> list[Root]:
        """Return what refers to some manifests and the registry lacks, where it is to be pushed."""
        if not self._with_referrers:
            return []
        absent = omitted(content)
        source = ContentSource(content)
        found = referring(source, roots, lambda child: child.digest not in absent)
        self.referrers += len({one.descriptor.digest for named in found.values() for one in named})
        return self._target.lacking(source, found)

    def _homes(self) -> dict[Digest, list[Home]]:
        """Return where the layers of these images are known to be: other repositories of the same registry.

        The store knows a name by digest of an image that it got from there, or sent there.
        """
        client = self._target.client
        found: dict[Digest, list[Home]] = {}
        with self._store.metadata.read() as rows:
            named = [row for row in rows.references() if row.suffix.startswith("@") and row.name != self.name.name]
            named = [row for row in named if row.name.startswith(f"{self.name.domain}/")]
            named.sort(key=lambda row: -row.updated)
            for row in named[:_NEIGHBOURS]:
                manifest = rows.manifest(Digest.unchecked(row.suffix[1:]))
                try:
                    document = None if manifest is None else parse_manifest(manifest.raw)
                    other, repository = self._registries.to_push(reference_of(row))
                except (InvalidInput, RegistryError):
                    # It may be blocked, or damaged: it is only a shorter way.
                    continue
                if isinstance(document, Manifest) and other.host == client.host:
                    for layer in (document.config, *document.layers):
                        found.setdefault(layer.digest, []).append(Home(other, repository))
        return found

    def _note(self, pushed: Sequence[PushedTag], hold: Hold | None) -> None:
        """Record what was pushed, and by which digest the registry knows it."""
        if hold is not None:
            self._store.with_reserve(partial(self._write, pushed, hold))

    def _write(self, pushed: Sequence[PushedTag], hold: Hold) -> None:
        images = {one.reference: one.image for one in self._asked if one.image is not None}
        with self._store.metadata.write() as rows:
            for one in pushed:
                image = images.get(one.reference)
                # It may have been removed meanwhile.
                if image is None or rows.image_row(image) is None:
                    continue
                name = Reference(one.reference.domain, one.reference.path, None, one.digest)
                self._store.references.set(name, image)
                self._store.images.set_last_used(image)
                self._store.events.moved("push", one.reference, rows.labels([image], most=LABELS).get(image))
            hold.release()


def _joined(tag: PushedTag, joined: Mapping[str, Descriptor]) -> PushedTag:
    """Return what a tag leads to, which may have had more signatures than were pushed."""
    found = joined.get(tag.reference.tag or "")
    return tag if found is None else replace(tag, digest=found.digest, size=found.size)


def omitted(content: LayoutContent) -> set[Digest]:
    """Return what indexes name and the store lacks."""
    return {child.digest for children in content.omitted.values() for child in children}


def _sessions(store: Store) -> Sessions | None:
    """Return where uploads of a store are kept; None where nothing can be."""
    if store.read_only or not store.is_local:
        return None

    def folder() -> Directory:
        return store.files.directory.make_room(UPLOADS, store.files.modes.directory)

    return Sessions(folder)
