"""Lists of images with what the Engine API says of each beside its names and its size."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from orlop.model.values import dataclass
from orlop.service.listing.images import images
from orlop.service.listing.manifests import descriptor_of, target, with_summaries
from orlop.store.graph.stacks import Stacks
from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import ImageID
    from orlop.service.listing.manifests import ManifestSummary
    from orlop.service.listing.summaries import ImageSummary
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a list.

    ``labels`` is None where its config has none. ``shared_size`` is the bytes of the files in the layers that other
    images have too, and ``manifests`` what its manifest or index (``target``) has; each is None where it was not asked
    for.
    """

    summary: ImageSummary
    labels: Mapping[str, str] | None = None
    target: Descriptor | None = None
    shared_size: int | None = None
    manifests: tuple[ManifestSummary, ...] | None = None


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """The images of a store with their shared sizes, and the bytes of the files in all layers."""

    images: tuple[ListedImage, ...]
    layers_size: int

    @property
    def reclaimable(self) -> int:
        """The bytes that would be free if every image went that shares them with no other."""
        return sum(image.summary.size - (image.shared_size or 0) for image in self.images)


def listed_images(
    store: Store,
    *,
    all: bool = False,  # noqa: A002 - docker's word
    filters: Sequence[str] = (),
    shared_size: bool = False,
    manifests: bool = False,
    canonical_names: bool = True,
) -> Iterator[ListedImage]:
    """See `orlop.service.ImageService.listed_images`."""
    found = images(store, all=all, filters=filters, canonical_names=canonical_names)
    shared = None
    if shared_size:
        with store.metadata.read() as rows:
            shared = _shared_sizes(rows, Stacks(rows.chains()), listed_only=False)
    return (image for batch in _batches(found) for image in _described(store, batch, shared, manifests=manifests))


def image_usage(store: Store, *, listed_only: bool = False) -> ImageUsage:
    """See `orlop.service.ImageService.image_usage`."""
    with store.metadata.read() as rows:
        stacks = Stacks(rows.chains())
        shared = _shared_sizes(rows, stacks, listed_only=listed_only)
        found = tuple(_described(store, list(images(store)), shared, manifests=False))
        return ImageUsage(found, sum(stacks.own_sizes()))


def _batches(found: Iterator[ImageSummary]) -> Iterator[list[ImageSummary]]:
    while batch := list(islice(found, _BATCH)):
        yield batch


def _described(
    store: Store, batch: Sequence[ImageSummary], shared: Mapping[ImageID, int] | None, *, manifests: bool
) -> list[ListedImage]:
    with store.metadata.read() as rows:
        labels = rows.labels([image.id for image in batch])
        # What is asked for each image are statements too short for SQLite to ask whether they are to go on.
        return [
            _listed(rows, image, labels.get(image.id), shared, manifests=manifests)
            for image in _until_interrupted(batch)
        ]


def _until_interrupted(images: Iterable[ImageSummary]) -> Iterator[ImageSummary]:
    for image in images:
        check_interruption()
        yield image


def _listed(
    rows: Rows,
    image: ImageSummary,
    labels: Mapping[str, str] | None,
    shared: Mapping[ImageID, int] | None,
    *,
    manifests: bool,
) -> ListedImage:
    named = target(rows, image.id, image.references)
    summaries = with_summaries(rows, named).manifests if manifests and named is not None else ()
    return ListedImage(
        image,
        labels,
        None if named is None else descriptor_of(named),
        None if shared is None else shared.get(image.id, 0),
        summaries if manifests else None,
    )


def _shared_sizes(rows: Rows, stacks: Stacks, *, listed_only: bool) -> dict[ImageID, int]:
    """Return for every image how many bytes of its layers other images have too.

    Args:
        rows: the store's.
        stacks: its layers.
        listed_only: leave out the images that only serve as parents of others.
    """
    tops = {row.id: row.chain_id for row in rows.image_rows(listed_only=listed_only)}
    shared = stacks.shared_sizes(stacks.users(tops.values()))
    numbers = {image: stacks.number(top) for image, top in tops.items()}
    return {image: 0 if number is None else shared[number] for image, number in numbers.items()}
