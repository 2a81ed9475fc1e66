"""Layers of images that a verb reads, and that stay meanwhile."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.model.image import Image
    from orlop.store.leases import Hold
    from orlop.store.root import Store


@contextmanager
def held(store: Store, images: Iterable[Image]) -> Iterator[Hold | None]:
    """Protect the layers of images for a block; one who reads from a store that cannot be written need not."""
    chains = [chain for image in images if (chain := image.rootfs.chain_id()) is not None]
    hold = None if store.read_only else store.with_reserve(partial(store.leases.hold, chains))
    with hold or nullcontext():
        yield hold
