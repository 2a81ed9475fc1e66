"""``remove``: names, then images, then the parents and layers that nothing needs any more, as daemons do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import ImageInUse, ImageNotFound, ReferenceNotFound
from orlop.model.digest import Digest
from orlop.service.listing.content import find_content
from orlop.service.listing.lookup import check_platform, find_image, labels, platform_of
from orlop.store.content import top_row
from orlop.store.events import LABELS
from orlop.store.graph.indexed import is_indexed
from orlop.store.loose import loose_blob, loose_keeper
from orlop.store.references import reference_of, suffix_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.model.digest import ChainID, ImageID
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ReferenceRow, WritableRows


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """What went, in order: ``lines`` of ``("Untagged", name)`` and ``("Deleted", digest of an image or a chain)``."""

    lines: tuple[tuple[str, str], ...]

    @property
    def untagged(self) -> tuple[str, ...]:
        """The names that went, in their familiar form."""
        return tuple(text for kind, text in self.lines if kind == "Untagged")

    @property
    def deleted(self) -> tuple[str, ...]:
        """The IDs of images and the chain IDs of layers that went."""
        return tuple(text for kind, text in self.lines if kind == "Deleted")


class Ground(ABC):
    """What a removal works on: a store inside a write, or a plan of what would become of one."""

    @abstractmethod
    def names(self, image_id: ImageID) -> Sequence[Reference]:
        """Return an image's names, sorted."""

    def names_beside(self, reference: Reference, image_id: ImageID) -> Sequence[Reference]:
        """Return as many of an image's names as tell what goes with one of them; that one need not be among them."""
        del reference
        return self.names(image_id)

    @abstractmethod
    def has_names(self, image_id: ImageID) -> bool:
        """Return whether an image has a name."""

    @abstractmethod
    def untag(self, references: Sequence[Reference], image_id: ImageID, *, told: bool = True) -> None:
        """Take some of its names from an image; unless that is ``told``, without events."""

    @abstractmethod
    def has_children(self, image_id: ImageID) -> bool:
        """Return whether an image is another's parent."""

    @abstractmethod
    def parent(self, image_id: ImageID) -> ImageID | None:
        """Return an image's parent, which need not be there."""

    @abstractmethod
    def may_go_along(self, image_id: ImageID) -> bool:
        """Return whether an image is there and may go with its last child: one that is pinned may not, unless named."""

    @abstractmethod
    def delete(self, image_id: ImageID) -> Iterable[ChainID]:
        """Delete an image that is there, and return the layers that went with it, top first."""


class StoreGround(Ground):
    """A store, inside a write: everything is done, and told as an event."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self, image_id: ImageID) -> Sequence[Reference]:
        """Return an image's names, sorted."""
        return self._store.references.of_image(image_id)

    def names_beside(self, reference: Reference, image_id: ImageID) -> Sequence[Reference]:
        """Return another tag of the repository, or else the names there and one elsewhere: an image may have many."""
        with self._store.metadata.read() as rows:
            near: list[ReferenceRow] = []
            if reference.digest is None:
                near = rows.references(image=image_id, name=reference.name, most=2)
                if len(near) > 1 and near[1].suffix.startswith(":"):
                    return [reference_of(row) for row in near]
                near = rows.references(image=image_id, name=reference.name)
            # Among more than those, and that one, is one elsewhere if there is any.
            found = {*near, *rows.references(image=image_id, most=len(near) + 2)}
        return [reference_of(row) for row in sorted(found)]

    def has_names(self, image_id: ImageID) -> bool:
        """Return whether an image has a name."""
        with self._store.metadata.read() as rows:
            return bool(rows.references(image=image_id, most=1))

    def untag(self, references: Sequence[Reference], image_id: ImageID, *, told: bool = True) -> None:
        """Take some of its names from an image; unless that is ``told``, without events."""
        self._store.references.delete_all(references)
        if told:
            found = labels(self._store, image_id, most=LABELS)
            self._store.events.image("untag", image_id, labels=found, times=len(references))

    def has_children(self, image_id: ImageID) -> bool:
        """Return whether an image is another's parent."""
        with self._store.metadata.read() as rows:
            return rows.has_children(image_id)

    def parent(self, image_id: ImageID) -> ImageID | None:
        """Return an image's parent."""
        return self._store.images.get_parent(image_id)

    def may_go_along(self, image_id: ImageID) -> bool:
        """Return whether an image is there and may go with its last child."""
        with self._store.metadata.read() as rows:
            return (
                rows.image_row(image_id) is not None
                and not self._store.images.is_pinned(image_id)
                and not is_indexed(rows, image_id)
            )

    def delete(self, image_id: ImageID) -> Iterable[ChainID]:
        """Delete an image, and return the layers that went with it."""
        layers = self._store.images.delete(image_id)
        self._store.events.image("delete", image_id)
        return [layer.chain_id for layer in layers]


class Removal:
    """One removal under way; ``lines`` are those of its `RemoveReport` so far.

    Args:
        ground: what it works on. parents: an image's nameless parents go with it.
    """

    def __init__(self, ground: Ground, *, parents: bool = True) -> None:
        self._ground = ground
        self._parents = parents
        self.lines: list[tuple[str, str]] = []

    def take_name(self, reference: Reference, image_id: ImageID) -> None:
        """Take a name from an image; once it has none, and no children, the image goes."""
        self._take([reference], image_id, self._ground.names_beside(reference, image_id))

    def take_names(self, references: Iterable[Reference], image_id: ImageID) -> None:
        """Do what `take_name` does for each of some names, in as many steps as the image has names."""
        self._take(references, image_id, self._ground.names(image_id))

    def _take(self, references: Iterable[Reference], image_id: ImageID, names: Iterable[Reference]) -> None:
        """Take names from an image whose ``names`` these are, or as many of them as matter."""
        left = dict.fromkeys(names)
        repositories = _by_repository(left)
        going: dict[Reference, bool] = {}
        """The names that go, and whether that is told."""
        for reference in references:
            # A digest may have gone with the last tag of its repository.
            if reference in going:
                continue
            going[reference] = True
            left.pop(reference, None)
            repository = repositories.get(reference.name) if reference.digest is None else None
            if repository is not None:
                repository.tags -= 1
                # Digests of a repository mean nothing once its last tag on the image is gone. Engines do not tell it.
                for name in [one for one in repository.digests if repository.tags == 0 and one in left]:
                    going[name] = False
                    del left[name]
        self._untag(going, image_id)
        if not left:
            # The names are gone, which was asked for; other images may need it, which is not an error.
            self._delete(image_id, force=False, quiet=True)

    def take_image(self, image_id: ImageID, *, force: bool = False) -> None:
        """Take an image away, with its names if they are one; with all of them where that is forced.

        Raises:
            ImageInUse: it has children, or several names.
        """
        names = self._ground.names(image_id)
        if _are_one(names):
            self._check(image_id, active_names=False)
            self._untag(dict.fromkeys(names, True), image_id)
        self._delete(image_id, force=force, quiet=False)

    def untag(self, reference: Reference, image_id: ImageID) -> None:
        """Take a name from an image, and do no more."""
        self._untag({reference: True}, image_id)

    def _untag(self, going: Mapping[Reference, bool], image_id: ImageID) -> None:
        """Take names from an image, at once; of those that are true it is told."""
        for told in (True, False):
            if references := [reference for reference, one in going.items() if one is told]:
                self._ground.untag(references, image_id, told=told)
        self.lines += [("Untagged", reference.familiar) for reference in going]

    def _check(self, image_id: ImageID, *, active_names: bool) -> None:
        """Raise `ImageInUse` where something needs the image."""
        if self._ground.has_children(image_id):
            raise _conflict(image_id, "cannot", "image has dependent child images")
        if active_names and self._ground.has_names(image_id):
            raise _conflict(image_id, "must", "image is referenced in multiple repositories")

    def _delete(self, image_id: ImageID, *, force: bool, quiet: bool) -> None:
        """Delete an image, then its parents as far as nothing needs them."""
        current: ImageID | None = image_id
        while current is not None:
            try:
                self._check(current, active_names=not force)
            except ImageInUse:
                if quiet:
                    return
                raise
            parent = self._ground.parent(current)
            self._untag(dict.fromkeys(self._ground.names(current), True), current)
            layers = self._ground.delete(current)
            self.lines.append(("Deleted", str(current)))
            self.lines += [("Deleted", str(layer)) for layer in layers]
            # A parent may be missing; its children can be removed all the same.
            goes_along = self._parents and parent is not None and self._ground.may_go_along(parent)
            current, force, quiet = (parent if goes_along else None), False, True


def remove(
    store: Store, name: ImageName, *, force: bool = False, prune: bool = True, platform: Platform | str | None = None
) -> RemoveReport:
    """See `orlop.service.ImageService.remove`."""
    wanted = platform_of(platform)
    return store.with_reserve(partial(_removed, store, name, force=force, prune=prune, wanted=wanted))


def _removed(store: Store, name: ImageName, *, force: bool, prune: bool, wanted: Platform | None) -> RemoveReport:
    with store.metadata.write() as rows:
        store.blobs.sweep_trash(rows)
        removal = Removal(StoreGround(store), parents=prune)
        variant = None if wanted is None else _variant(store, rows, name, wanted, force=force)
        # Of an image that is gone nobody knows the platform.
        dangling = _dangling(store, name) if wanted is None else None
        content = _content(store, name) if wanted is None and dangling is None else None
        if dangling is not None:
            removal.untag(*dangling)
        elif content is not None:
            removal.lines += _taken(store, rows, *content)
        elif variant is not None:
            removal.take_image(variant, force=True)
        else:
            image_id = find_image(store, name)
            check_platform(store, name, image_id, wanted)
            asked = name.tagged
            if isinstance(asked, Digest) or name.begins(image_id):
                removal.take_image(image_id, force=force)
            else:
                removal.take_name(_carried(store, asked, image_id), image_id)
        store.content.sweep(rows)
    return RemoveReport(tuple(removal.lines))


def _variant(store: Store, rows: WritableRows, name: ImageName, wanted: Platform, *, force: bool) -> ImageID | None:
    """Return the image of one platform of the index that a name means, whose names stay for the other platforms.

    Raises what `variant_of` and `require_alone` raise.
    """
    from orlop.service.space import variant  # noqa: PLC0415 - few removals are of a platform

    found = variant.variant_of(store, rows, name, wanted)
    if found is None:
        return None
    if not force:
        variant.require_alone(store, rows, name, found)
    variant.move_names(store, rows, found)
    return found


def _content(store: Store, name: ImageName) -> tuple[Digest, Reference | None] | None:
    """Return the manifest that a name stands for, and its tag, where it does not stand for an image."""
    try:
        find_image(store, name)
    except ImageNotFound:
        return find_content(store, name) or _lost_content(store, name)
    return None


def _lost_content(store: Store, name: ImageName) -> tuple[Digest, Reference] | None:
    """Return the manifest that a tag means and that is not there any more, and the tag."""
    reference = name.tagged
    if isinstance(reference, Digest) or reference.digest is not None:
        return None
    with store.metadata.read() as rows:
        row = rows.top(reference.name, suffix_of(reference))
    return None if row is None else (row.digest, reference)


def _taken(store: Store, rows: WritableRows, digest: Digest, tag: Reference | None) -> Iterator[tuple[str, str]]:
    """Take a tag from a manifest, or all names; yield what went.

    Raises:
        ImageInUse: it has no name, and stays since an image, an index or a subject leads to it.
    """
    before = rows.tops(digest)
    if not before:
        why = "it belongs to other content; remove that, or the image that it came with"
        raise ImageInUse(f"conflict: unable to delete {digest.short} (cannot be forced) - {why}")
    row = rows.manifest(digest)
    blob = None if row is None else loose_blob(row)
    if tag is None:
        names = store.content.forget(rows, digest)
    else:
        top = top_row(tag, digest, 0)
        rows.delete_top(top.name, top.suffix)
        names = (tag,)
    yield from (("Untagged", name.familiar) for name in names)
    if row is None or rows.manifest(digest) is not None:
        return
    if blob is not None and (other := loose_keeper(rows, blob.digest)) is not None:
        yield from _taken(store, rows, other, None)
    else:
        yield "Deleted", str(digest if blob is None else blob.digest)


def _dangling(store: Store, name: ImageName) -> tuple[Reference, ImageID] | None:
    """Return a name whose image is gone already, with the ID of that, if it is one."""
    reference = name.tagged
    if isinstance(reference, Digest):
        return None
    try:
        image_id = store.references.get(reference)
    except ReferenceNotFound:
        return None
    with store.metadata.read() as rows:
        return None if rows.image_row(image_id) is not None else (reference, image_id)


def _carried(store: Store, asked: Reference, image_id: ImageID) -> Reference:
    """Return the one of the image's names that the user means: of a tag and a digest, the tag."""
    suffix = suffix_of(asked) if asked.tag is None else f":{asked.tag}"
    with store.metadata.read() as rows:
        found = rows.reference(asked.name, suffix)
        if (found is None or found.image != image_id) and asked.tag is None:
            found = next(iter(rows.references(image=image_id, name=asked.name, most=1)), None)
    return asked if found is None or found.image != image_id else reference_of(found)


@dataclass(slots=True)
class _Repository:
    """What an image is called in one repository: how many tags it has there, and its digests, sorted."""

    tags: int
    digests: list[Reference]


def _by_repository(names: Iterable[Reference]) -> dict[str, _Repository]:
    found: dict[str, _Repository] = {}
    for name in names:
        repository = found.setdefault(name.name, _Repository(0, []))
        if name.tag is not None:
            repository.tags += 1
        if name.digest is not None:
            repository.digests.append(name)
    return found


def _are_one(names: Sequence[Reference]) -> bool:
    """Return whether an image's names are one tag at most, and all of one repository."""
    return sum(name.tag is not None for name in names) <= 1 and len({name.name for name in names}) <= 1


def _conflict(image_id: Digest, how: str, why: str) -> ImageInUse:
    forced = "cannot be forced" if how == "cannot" else "must be forced"
    return ImageInUse(f"conflict: unable to delete {image_id.short} ({forced}) - {why}")
