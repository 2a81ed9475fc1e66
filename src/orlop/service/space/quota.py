"""The order in which a quota takes images: the least recently used first, as far as others let it go.

An image waits for those that are made from it, and for the images whose names mean an index that needs it: as long as
such a name stays, so does the image. Where images wait for each other, as two do that are both in two indexes, the
least recently used of them goes together with all that it waits for.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orlop.model.digest import ImageID
    from orlop.model.reference import Reference
    from orlop.service.space.inventory import Inventory, KnownImage, PlannedGround


class Queue:
    """Images that may go, in their order. The caller removes each turn from the ground, and reports what went.

    Args:
        inventory: all images. ground: what is left of them. free: those that may go.
    """

    def __init__(self, inventory: Inventory, ground: PlannedGround, free: Collection[ImageID]) -> None:
        self._all = inventory
        self._ground = ground
        self._free = free
        self._owners = {name: image_id for image_id in free for name in ground.names(image_id)}
        self._waits = {image_id: names for image_id in free if (names := self._needing(image_id))}
        self._needed: dict[Reference, list[ImageID]] = {}
        for image_id, names in self._waits.items():
            for name in names:
                self._needed.setdefault(name, []).append(image_id)
        self._children: dict[ImageID, list[ImageID]] = {}
        for image_id in free:
            parent = inventory.images[image_id].row.parent
            if parent is not None:
                self._children.setdefault(parent, []).append(image_id)
        self._loose: list[ImageID] = []
        self._queue = [_by_use(inventory.images[image_id]) for image_id in free if self._is_ready(image_id)]
        heapify(self._queue)

    def _needing(self, image_id: ImageID) -> set[Reference]:
        return {name for name in self._all.indexed.get(image_id, ()) if name is not None and name in self._owners}

    def _is_ready(self, image_id: ImageID) -> bool:
        return image_id in self._ground and image_id not in self._waits and not self._ground.has_children(image_id)

    def loose(self) -> Sequence[ImageID]:
        """Return the images without a tag that stayed for an index alone, and now go whether the rest fits or not."""
        loose, self._loose = [one for one in self._loose if one in self._ground], []
        return loose

    def next(self) -> Sequence[ImageID]:
        """Return the images that go next, at once and in this order; none where no more may go."""
        while self._queue:
            image_id = heappop(self._queue)[-1]
            if image_id in self._ground:
                return [image_id]
        waiting = [_by_use(self._all.images[image_id]) for image_id in self._waits if image_id in self._ground]
        return self._together(min(waiting)[-1]) if waiting else []

    def _together(self, image_id: ImageID) -> Sequence[ImageID]:
        """Return an image with all that it waits for, children first."""
        order: list[ImageID] = []
        seen = {image_id}
        stack: list[tuple[ImageID, bool]] = [(image_id, False)]
        while stack:
            current, is_done = stack.pop()
            if is_done:
                order.append(current)
                continue
            stack.append((current, True))
            owners = [self._owners[name] for name in self._waits.get(current, ())]
            for one in (*owners, *self._children.get(current, ())):
                if one not in seen and one in self._ground:
                    seen.add(one)
                    stack.append((one, False))
        for one in seen:
            self._waits.pop(one, None)
        return order

    def gone(self, image_id: ImageID) -> None:
        """Note that an image went with its names: others need not wait for it any longer."""
        ready: set[ImageID] = set()
        for name in self._all.images[image_id].references:
            for one in self._needed.pop(name, ()):
                names = self._waits.get(one)
                if names is not None:
                    names.discard(name)
                    if not names:
                        del self._waits[one]
                        ready.add(one)
        self._loose += [one for one in sorted(ready) if self._dangles(one)]
        ready.difference_update(self._loose)
        above = self._left_above(image_id)
        if above is not None:
            ready.add(above)
        for one in ready:
            if one in self._free and self._is_ready(one):
                heappush(self._queue, _by_use(self._all.images[one]))

    def _dangles(self, image_id: ImageID) -> bool:
        return self._is_ready(image_id) and all(name.tag is None for name in self._ground.names(image_id))

    def _left_above(self, image_id: ImageID) -> ImageID | None:
        """Return what an image that went was made from, as far as it did not go along."""
        current: ImageID | None = image_id
        while current is not None and current in self._all.images and current not in self._ground:
            current = self._all.images[current].row.parent
        return current


def _by_use(image: KnownImage) -> tuple[int, int, ImageID]:
    """Return what orders images by their last use; of several at one time the oldest is first."""
    return image.used, image.created, image.row.id
