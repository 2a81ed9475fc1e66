"""``images``: what a store holds, by name and by filters."""

from __future__ import annotations

from orlop.model.names import NamePattern
from orlop.service.listing.summaries import list_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.model.names import ImageName
    from orlop.service.listing.summaries import ImageSummary
    from orlop.store.root import Store


def images(
    store: Store,
    name: ImageName | NamePattern | None = None,
    *,
    all: bool = False,  # noqa: A002 - docker's word
    filters: Sequence[str] = (),
    canonical_names: bool = True,
) -> Iterator[ImageSummary]:
    """See `orlop.service.ImageService.iter_images`, and for ``canonical_names`` its ``listed_images``."""
    if not filters and not isinstance(name, NamePattern):
        return list_images(store, name, all=all)
    from orlop.service.listing.filtered import filtered_images  # noqa: PLC0415 - most lists have none

    return filtered_images(store, name, filters, all=all, canonical_names=canonical_names)
