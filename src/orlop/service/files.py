"""``files``: what is inside an image of the store, or of an archive."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from orlop.inside.info import ImageLayer
from orlop.inside.layer import ChunkReader, StoredContent, skip
from orlop.inside.view import ImageFiles, select_layers
from orlop.model.limits import NO_LIMITS
from orlop.service.holding import held
from orlop.service.listing.lookup import check_platform, find_image, platform_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.inside.layer import Layer
    from orlop.model.digest import DiffID
    from orlop.model.image import Image
    from orlop.model.names import ImageName
    from orlop.model.platform import Platform
    from orlop.service.outside_image import OutsideImage, OutsideLayer
    from orlop.store.root import Store
    from orlop.streams.compression import Readable
    from orlop.streams.tar_entry import TarEntry


def files(
    store: Store,
    name: ImageName,
    *,
    platform: Platform | str | None = None,
    layer: int | None = None,
    up_to: int | None = None,
    resolve_links: bool = False,
) -> ImageFiles:
    """See `orlop.service.ImageService.files`."""
    wanted = platform_of(platform)
    image_id = find_image(store, name)
    check_platform(store, name, image_id, wanted)
    image = store.images.get(image_id)
    with ExitStack() as stack:
        stack.enter_context(held(store, [image]))
        contents = [StoredContent(store.layers, store.blobs, diff_id) for diff_id in image.rootfs.diff_ids]
        return _viewed(image, contents, stack, layer=layer, up_to=up_to, resolve_links=resolve_links)


def outside_files(
    image: OutsideImage, *, layer: int | None = None, up_to: int | None = None, resolve_links: bool = False
) -> ImageFiles:
    """See `orlop.service.outside.OutsideService.files`."""
    contents = [_OutsideContent(one) for one in image.layers]
    with ExitStack() as stack:
        return _viewed(image.config, contents, stack, layer=layer, up_to=up_to, resolve_links=resolve_links)


def _viewed(
    image: Image,
    contents: Sequence[Layer],
    stack: ExitStack,
    *,
    layer: int | None,
    up_to: int | None,
    resolve_links: bool,
) -> ImageFiles:
    described = _described(image)
    chosen = select_layers(described, layer=layer, up_to=up_to)
    view = ImageFiles(
        [contents[place] for place in chosen],
        [described[place] for place in chosen],
        image,
        resolve_links=resolve_links,
    )
    view.closing(stack.pop_all())
    return view


def _described(image: Image) -> list[ImageLayer]:
    """Return the layers of an image, each with the step of the history that made it, as far as that tells."""
    steps = [step.created_by for step in image.history if not step.empty_layer]
    diff_ids = image.rootfs.diff_ids
    if len(steps) != len(diff_ids):
        steps = [""] * len(diff_ids)
    return [
        ImageLayer(number, diff_id, step)
        for number, (diff_id, step) in enumerate(zip(diff_ids, steps, strict=True), start=1)
    ]


class _OutsideContent:
    """A layer that is in no store, an `orlop.inside.layer.Layer`."""

    seekable = False

    def __init__(self, layer: OutsideLayer) -> None:
        self._layer = layer

    @property
    def diff_id(self) -> DiffID:
        return self._layer.diff_id

    def entries(self, known: Mapping[int, TarEntry] | None = None) -> Iterator[TarEntry]:
        del known  # none is kept here
        from orlop.streams.tar_read import TarReader  # noqa: PLC0415 - layers of a store have tables of contents

        reader = ChunkReader(self.chunks())
        try:
            tar = TarReader(reader, limits=NO_LIMITS)
            yield from tar
            tar.drain()
        finally:
            reader.close()

    def indexed(self, *, make: bool) -> bool:
        del make
        return False

    def paths(self) -> None:
        return None

    def chunks(self) -> Iterator[bytes]:
        return self._layer.chunks()

    @contextmanager
    def at(self, offset: int) -> Iterator[Readable]:
        reader = ChunkReader(self.chunks())
        try:
            skip(reader, offset)
            yield reader
        finally:
            reader.close()
