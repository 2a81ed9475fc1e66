"""``remove``: names, then images, then the parents and layers that nothing needs any more, as daemons do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.errors import ImageInUse, ReferenceNotFound
from orlop.model.digest import Digest
from orlop.model.reference import Reference, parse_any
from orlop.service.lookup import find_image, is_id_of, labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import ImageID
    from orlop.store.root import Store


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


def remove(store: Store, name: str, *, force: bool = False, prune: bool = True) -> RemoveReport:
    """See `orlop.service.ImageService.remove`."""
    with store.metadata.write():
        removal = _Removal(store, force=force, prune=prune)
        removal.start(name)
    return RemoveReport(tuple(removal.lines))


@dataclass
class _Removal:
    """One removal under way, inside a write."""

    store: Store
    force: bool
    prune: bool
    lines: list[tuple[str, str]] = field(default_factory=list)

    def start(self, name: str) -> None:
        if self._is_dangling(name):
            return
        image_id = find_image(self.store, name)
        if not is_id_of(image_id, name):
            self._untag(self._carried(name, image_id), image_id)
            if not self.store.references.of_image(image_id):
                # The name is gone, which was asked for; that others need the image is no error.
                self._delete(image_id, force=self.force, quiet=True)
            return
        names = self.store.references.of_image(image_id)
        if _are_one(names):
            self._check(image_id, active_names=False)
            for reference in names:
                self._untag_one(reference, image_id)
        self._delete(image_id, force=self.force, quiet=False)

    def _is_dangling(self, name: str) -> bool:
        """Take away a name whose image is gone already, and say whether it was one."""
        parsed = parse_any(name)
        if isinstance(parsed, Digest):
            return False
        reference = parsed.with_default_tag()
        try:
            image_id = self.store.references.get(reference)
        except ReferenceNotFound:
            return False
        with self.store.metadata.read() as rows:
            if rows.image_row(image_id) is not None:
                return False
        self._untag_one(reference, image_id)
        return True

    def _carried(self, name: str, image_id: ImageID) -> Reference:
        """Give the one of the image's names that the user means: of a tag and a digest, the tag."""
        asked = Reference.parse(name).with_default_tag()
        names = self.store.references.of_image(image_id)
        if asked in names:
            return asked
        parts = [one for one in names if one.name == asked.name and (asked.tag is None or one.tag == asked.tag)]
        return parts[0] if parts else asked

    def _untag(self, reference: Reference, image_id: ImageID) -> None:
        self._untag_one(reference, image_id)
        left = [name for name in self.store.references.of_image(image_id) if name.name == reference.name]
        # Digests of a repository mean nothing once its last tag on the image is gone.
        if reference.digest is None and all(name.tag is None for name in left):
            for name in left:
                self._untag_one(name, image_id)

    def _untag_one(self, reference: Reference, image_id: ImageID) -> None:
        self.store.references.delete(reference)
        self.store.events.image("untag", image_id, labels=labels(self.store, image_id))
        self.lines.append(("Untagged", reference.familiar))

    def _check(self, image_id: ImageID, *, active_names: bool) -> None:
        """Raise `ImageInUse` where something needs the image."""
        if self.store.images.children(image_id):
            raise _conflict(image_id, "cannot", "image has dependent child images")
        if active_names and self.store.references.of_image(image_id):
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
            parent = self.store.images.get_parent(current)
            for reference in self.store.references.of_image(current):
                self._untag_one(reference, current)
            layers = self.store.images.delete(current)
            self.store.events.image("delete", current)
            self.lines.append(("Deleted", str(current)))
            self.lines += [("Deleted", str(layer.chain_id)) for layer in layers]
            current, force, quiet = (parent if self.prune and self._may_go(parent) else None), False, True

    def _may_go(self, parent: ImageID | None) -> bool:
        # A parent may be missing; its children can be removed all the same. Nobody has named a pinned one.
        if parent is None or self.store.images.is_pinned(parent):
            return False
        with self.store.metadata.read() as rows:
            return rows.image_row(parent) is not None


def _are_one(names: Sequence[Reference]) -> bool:
    """Say whether an image's names are one tag at most, and all of one repository."""
    return sum(name.tag is not None for name in names) <= 1 and len({name.name for name in names}) <= 1


def _conflict(image_id: Digest, how: str, why: str) -> ImageInUse:
    forced = "cannot be forced" if how == "cannot" else "must be forced"
    return ImageInUse(f"conflict: unable to delete {image_id.short} ({forced}) - {why}")
