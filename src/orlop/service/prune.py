"""``image prune``: images that nobody needs, removed as daemons do it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orlop.errors import ImageInUse, NotFound
from orlop.service.filters import PRUNE_FILTERS, parse_filters, select
from orlop.service.images import list_images
from orlop.service.lookup import labels
from orlop.service.remove import RemoveReport, remove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.service.images import ImageSummary
    from orlop.store.root import Store


@dataclass(frozen=True, slots=True)
class PruneReport(RemoveReport):
    """What went, as a `RemoveReport` says it; ``reclaimed`` is the bytes of the files in the layers among it."""

    reclaimed: int


def prune(store: Store, *, all: bool = False, filters: Sequence[str] = ()) -> PruneReport:  # noqa: A002 - docker's word
    """See `orlop.service.ImageService.prune`."""
    wanted = parse_filters(filters, known=PRUNE_FILTERS, now=store.now())
    everything = all or wanted.dangling is False
    sizes = {str(chain): layer.diff_size for chain, layer in store.layers.map().items()}
    found = select(
        list_images(store, None, all=False),
        wanted if wanted.dangling is None else replace(wanted, dangling=None),
        created=lambda _: (0, 0),
        labels=lambda image_id: labels(store, image_id),
    )
    lines: list[tuple[str, str]] = []
    for image in found:
        if everything or not image.repo_tags:
            lines += _removed(store, image)
    reclaimed = sum(sizes.get(text, 0) for kind, text in lines if kind == "Deleted")
    store.events.pruned(reclaimed)
    return PruneReport(tuple(lines), reclaimed)


def _removed(store: Store, image: ImageSummary) -> list[tuple[str, str]]:
    """Remove an image, if it has no other names than it had; what others need stays, and is no error."""
    lines: list[tuple[str, str]] = []
    with store.metadata.write():
        if set(store.references.of_image(image.id)) != set(image.references) or store.images.is_pinned(image.id):
            return lines
        for name in [str(reference) for reference in image.references] or [str(image.id)]:
            # It may have gone as the parent of another one.
            with suppress(ImageInUse, NotFound):
                lines += remove(store, name).lines
    return lines
