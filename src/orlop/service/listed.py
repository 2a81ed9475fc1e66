"""Lists of images with what the Engine API says of each beside its names and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.service.images import images
from orlop.service.lookup import labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.service.images import ImageSummary
    from orlop.store.root import Store


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a list; ``shared_size`` is None where it was not asked for, ``labels`` where its config has none."""

    summary: ImageSummary
    labels: Mapping[str, str] | None
    shared_size: int | None = None


def listed_images(
    store: Store,
    *,
    all: bool = False,  # noqa: A002 - docker's word
    filters: Sequence[str] = (),
) -> Iterator[ListedImage]:
    """See `orlop.service.ImageService.listed_images`."""
    return (ListedImage(image, labels(store, image.id)) for image in images(store, all=all, filters=filters))
