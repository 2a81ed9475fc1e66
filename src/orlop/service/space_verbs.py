"""The verbs of a store that are about its space: what takes it, what may go, what must stay."""

from __future__ import annotations

from orlop.model.names import ImageName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import ImageID
    from orlop.model.names import Name
    from orlop.service.listing.summaries import ImageSummary
    from orlop.service.space.df import DiskUsage
    from orlop.service.space.prune import PruneReport
    from orlop.store.root import Store
    from orlop.store.upkeep.gc import GcReport


class SpaceVerbs:
    """What `ImageService` does about space."""

    _store: Store

    def df(self) -> DiskUsage:
        """Return the store's disk usage by kind of file, and what collecting garbage or pruning would free.

        Other processes can work meanwhile; what they are adding or removing may be counted or not.

        Raises:
            StorageError: a part of the store cannot be read.
        """
        from orlop.service.space.df import df  # noqa: PLC0415 - one verb needs one verb's code

        return df(self._store)

    def prune(
        self,
        *,
        all: bool = False,  # noqa: A002 - docker's word
        filters: Sequence[str] = (),
        keep_last: int | None = None,
        max_size: int | None = None,
        dry_run: bool = False,
    ) -> PruneReport:
        """Remove dangling images: no tag, and not the parent of another image. Atomic: all of it, or nothing.

        Pinned images keep their names, and the parents of images that stay also stay. Content that a living process
        works with stays until it is done.

        Args:
            all: remove images with names too: since no containers run here, that is every image.
            filters: remove only images that match: ``until=24h``, ``label=…``, ``label!=…``.
            keep_last: remove the tags of all but this many images of each repository: those that were tagged last there
                stay. ``all`` does not change its meaning.
            max_size: then remove the least recently used images, with or without names, until the store's blobs and
                tables of contents take no more than this many bytes. An image whose removal would free nothing stays,
                and so does what ``keep_last`` keeps, what filters exclude, and what a process works with.
            dry_run: change nothing; return what would be done.

        Returns:
            What was removed, or would be, with a verdict and its reason for every image and layer, and the bytes.

        Raises:
            InvalidFilter: a filter is not valid. InvalidInput: a number is too small. QuotaExceeded: what must stay
                takes more than ``max_size``; nothing was removed. DatabaseDamaged: rows contradict each other or what
                is hashed; nothing was removed.
        """
        from orlop.service.space.prune import prune  # noqa: PLC0415 - one verb needs one verb's code

        return prune(self._store, all=all, filters=filters, keep_last=keep_last, max_size=max_size, dry_run=dry_run)

    def pin(self, name: Name) -> ImageID:
        """Pin an image: no pruning and no quota removes it, its names or its parents. Idempotent.

        The image is pinned, not the name: when the name moves to another image, the pin stays with this one. `remove`
        by name or ID still removes a pinned image.

        Raises:
            ImageNotFound, AmbiguousID, InvalidReference: the name leads to no image.
        """
        from orlop.service.listing.pins import pin  # noqa: PLC0415 - one verb needs one verb's code

        return pin(self._store, ImageName.parse(name))

    def unpin(self, name: Name) -> ImageID:
        """Unpin an image, so that pruning can remove it. Idempotent. Raises what `pin` raises."""
        from orlop.service.listing.pins import unpin  # noqa: PLC0415 - one verb needs one verb's code

        return unpin(self._store, ImageName.parse(name))

    def pinned(self) -> list[ImageSummary]:
        """List the pinned images, newest first."""
        from orlop.service.listing.pins import pinned  # noqa: PLC0415 - one verb needs one verb's code

        return pinned(self._store)

    def gc(self, *, release: bool = False, dry_run: bool = False) -> GcReport:
        """Remove leftovers of crashes, and content that nothing in the store references. Atomic, idempotent.

        Content that any process works with stays. After a repair that could not read all rows, content that no row
        needs stays, too.

        Args:
            release: let go of what such a repair has held, so that this collection and later ones take it.
            dry_run: change nothing; return what would be removed.

        Raises:
            DatabaseDamaged: rows contradict each other or what is hashed; nothing was removed.
            ReadOnlyStore, StorageError: the store cannot be written.
        """
        from orlop.store.upkeep.gc import collect_garbage  # noqa: PLC0415 - one verb needs one verb's code

        return collect_garbage(self._store, release=release, dry_run=dry_run)
