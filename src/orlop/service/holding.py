"""Layers of images, and other content, that a verb reads and that stay meanwhile."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.model.digest import Digest
    from orlop.model.image import Image
    from orlop.store.leases import Hold
    from orlop.store.root import Store


@contextmanager
def held(store: Store, images: Iterable[Image], others: Iterable[Digest] = ()) -> Iterator[Hold | None]:
    """Protect the layers of images, and other content, for a block; a store that cannot be written needs no hold."""
    chains = [chain for image in images if (chain := image.rootfs.chain_id()) is not None]
    hold = None if store.read_only else store.with_reserve(partial(store.leases.hold, [*chains, *others]))
    with hold or nullcontext():
        yield hold
