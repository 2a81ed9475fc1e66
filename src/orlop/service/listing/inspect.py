"""``inspect``: everything that is known of one image."""

from __future__ import annotations

from orlop.model.values import dataclass
from orlop.service.listing.lookup import check_platform, find_image, platform_of
from orlop.store.references import reference_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.image import Image
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.store.root import Store


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """An image with what the store knows beside its config.

    ``references`` are all its names, tags as well as digests; ``image.parent`` is the parent by the store; ``size`` is
    the bytes of the files in all layers; ``tagged`` is the newest time of tagging, in nanoseconds since 1970, or
    nothing; ``manifests`` are the digests of the manifests and indexes that came with it.
    """

    image: Image
    references: tuple[Reference, ...]
    size: int
    tagged: int | None
    manifests: tuple[str, ...]

    @property
    def repo_tags(self) -> tuple[Reference, ...]:
        """The names that are tags."""
        return tuple(reference for reference in self.references if reference.tag is not None)

    @property
    def repo_digests(self) -> tuple[Reference, ...]:
        """The names by digest: what the manifest or index is called that the image came with."""
        return tuple(reference for reference in self.references if reference.digest is not None)


def inspect(store: Store, name: ImageName, *, platform: Platform | str | None = None) -> ImageDetails:
    """See `orlop.service.ImageService.inspect`."""
    wanted = platform_of(platform)
    with store.metadata.read() as rows:
        image_id = find_image(store, name)
        check_platform(store, name, image_id, wanted)
        image = store.images.get(image_id)
        names = rows.references(image=image_id)
        row = rows.image_row(image_id)
        return ImageDetails(
            image,
            tuple(reference_of(name) for name in names),
            0 if row is None else row.size,
            max((name.updated for name in names), default=None),
            tuple(map(str, rows.manifest_digests(image_id))),
        )


def raw_config(store: Store, name: ImageName, *, platform: Platform | str | None = None) -> bytes:
    """See `orlop.service.ImageService.raw_config`."""
    wanted = platform_of(platform)
    image_id = find_image(store, name)
    check_platform(store, name, image_id, wanted)
    return store.images.get(image_id).raw_json
