"""Lists of a store's images, filtered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orlop.model.names import NamePattern
from orlop.model.values import replace
from orlop.service.listing.filters import parse_filters, select
from orlop.service.listing.lookup import find_image, labels
from orlop.service.listing.summaries import list_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.model.names import ImageName
    from orlop.service.listing.summaries import ImageSummary
    from orlop.store.root import Store


def filtered_images(
    store: Store,
    name: ImageName | NamePattern | None,
    filters: Sequence[str],
    *,
    all: bool,  # noqa: A002 - docker's word
    canonical_names: bool = True,
) -> Iterator[ImageSummary]:
    """See `orlop.service.ImageService.iter_images`; a name with wildcards is a filter too."""
    wanted = replace(parse_filters(filters, now=store.now()), canonical_names=canonical_names)
    if isinstance(name, NamePattern):
        pattern = parse_filters([f"reference={name.text}"], now=0)
        wanted = replace(wanted, references=pattern.references + wanted.references)
        name = None
    # What is dangling has no children.
    found = list_images(store, name, all=all and not wanted.dangling)
    return select(found, wanted, created=partial(_created, store), labels=partial(labels, store))


def _created(store: Store, name: ImageName) -> tuple[int, int]:
    image_id = find_image(store, name)
    with store.metadata.read() as rows:
        row = rows.image_row(image_id)
    return (0, 0) if row is None else row.created
