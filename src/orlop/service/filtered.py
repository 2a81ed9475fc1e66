"""Lists of a store's images, filtered."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import OrlopError
from orlop.service.filters import parse_filters, select
from orlop.service.images import is_pattern, list_images
from orlop.service.lookup import find_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.model.digest import ImageID
    from orlop.service.images import ImageSummary
    from orlop.store.root import Store

_log = logging.getLogger(__name__)


def filtered_images(
    store: Store,
    name: str | None,
    filters: Sequence[str],
    *,
    all: bool,  # noqa: A002 - docker's word
) -> Iterator[ImageSummary]:
    """See `orlop.service.ImageService.iter_images`; a name with wildcards is a filter too."""
    wanted = parse_filters(filters, now=store.now())
    if name is not None and is_pattern(name):
        wanted = replace(wanted, references=parse_filters([f"reference={name}"], now=0).references + wanted.references)
        name = None
    # What is dangling has no children.
    found = list_images(store, name, all=all and not wanted.dangling)
    return select(
        found, wanted, created=lambda text: _created(store, text), labels=lambda image_id: labels(store, image_id)
    )


def labels(store: Store, image_id: ImageID) -> Mapping[str, str] | None:
    """Give an image's labels; one that is damaged has none."""
    try:
        config = store.images.get(image_id).config
    except OrlopError as error:
        _log.warning("the image %s cannot be filtered: %s", image_id, error)
        return None
    return None if config is None else config.labels


def _created(store: Store, name: str) -> tuple[int, int]:
    image_id = find_image(store, name)
    with store.metadata.read() as rows:
        row = rows.image_row(image_id)
    return (0, 0) if row is None else row.created
