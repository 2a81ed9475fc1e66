"""The image store: configs under their IDs, parents, and the layers they retain.

The counterpart of ``image.Store`` of the Go package ``docker/image``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orlop.errors import (
    AmbiguousID,
    ContentNotFound,
    ImageNotFound,
    InvalidDigest,
    InvalidInput,
    OrlopError,
)
from orlop.model.digest import Digest, ImageID
from orlop.store.backend import ImageIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.model.image import Image
    from orlop.store.backend import StoreBackend
    from orlop.store.layers import Layer, LayerGetReleaser, LayerMetadata

_log = logging.getLogger(__name__)
_HEX = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64


class ImageStore:
    """Images over a backend and a layer store. Opening one reads nothing; what is read is verified.

    With a transactional backend each call is atomic; several are atomic inside its ``metadata.write()``.
    """

    def __init__(self, backend: StoreBackend, layers: LayerGetReleaser) -> None:
        self._backend = backend
        self._layers = layers
        self._index: ImageIndex = backend if isinstance(backend, ImageIndex) else _WalkedIndex(backend)
        self._retained: dict[ImageID, Layer] = {}

    def create(self, config: bytes) -> ImageID:
        """Keep an image config and retain its top layer; one that is there already gives its ID. Idempotent.

        Args:
            config: the exact bytes; they are kept as they are.

        Raises:
            InvalidImage: this is no image config, or its history names more layers than it has.
            LayerNotFound: a layer that it names is not there; nothing is kept.
        """
        from orlop.model.image import check_history  # noqa: PLC0415 - listing images reads no config

        image = _parsed(config)
        check_history(image)
        if self._has(image.id):
            return image.id
        chain_id = image.rootfs.chain_id()
        layer = None if chain_id is None else self._layers.get(chain_id)
        try:
            self._backend.set(config)
        finally:
            self._retain(image.id, layer)
        return image.id

    def _retain(self, image_id: ImageID, layer: Layer | None) -> None:
        if layer is None:
            return
        if getattr(self._layers, "rows_retain", False) or not self._has(image_id):
            self._layers.release(layer)
        else:
            self._retained[image_id] = layer

    def get(self, image_id: ImageID) -> Image:
        """Give an image, verified, with the parent that its metadata names.

        Raises:
            ImageNotFound: there is none. DigestMismatch: its config is damaged. InvalidImage: it is no image config.
        """
        try:
            raw = self._backend.get(image_id)
        except ContentNotFound:
            raise not_found(str(image_id)) from None
        return _parsed(raw).with_parent(self.get_parent(image_id))

    def delete(self, image_id: ImageID) -> tuple[LayerMetadata, ...]:
        """Delete an image and give the layers that went with it, top first. Its children lose their parent.

        Raises:
            ImageNotFound: there is none.
        """
        try:
            chain_id = _parsed(self._backend.get(image_id)).rootfs.chain_id()
        except ContentNotFound:
            raise not_found(str(image_id)) from None
        except OrlopError as error:
            # A damaged image is still one that can be deleted; its layers are then left to gc.
            _log.warning("deleting the damaged image %s: %s", image_id, error)
            chain_id = None
        for child in self._index.children(image_id):
            self._backend.delete_metadata(child, "parent")
        layer = self._retained.pop(image_id, None)
        if layer is None and chain_id is not None:
            layer = self._layers.get(chain_id)
        self._backend.delete(image_id)
        return () if layer is None else self._layers.release(layer)

    def search(self, partial: str) -> ImageID:
        """Find the one image whose ID starts with ``partial``, given with or without ``sha256:``.

        Raises:
            ImageNotFound: no ID starts so. AmbiguousID: several do.
        """
        text = partial.removeprefix("sha256:")
        if not _HEX.issuperset(text) or len(text) > _DIGEST_LENGTH:
            raise not_found(partial)
        found = self._index.ids_with_prefix(f"sha256:{text}", 2)
        if not found:
            raise not_found(partial)
        if len(found) > 1:
            msg = f"several image IDs start with {partial!r}; give more of it"
            raise AmbiguousID(msg)
        return found[0]

    def set_parent(self, image_id: ImageID, parent: ImageID) -> None:
        """Set an image's parent; a parent it had is replaced.

        Raises:
            ImageNotFound: one of the two is not there. InvalidInput: the image would be its own ancestor.
        """
        if not self._has(parent):
            raise not_found(str(parent))
        above: ImageID | None = parent
        seen: set[ImageID] = set()
        while above is not None and above not in seen:
            if above == image_id:
                msg = f"{parent} cannot be the parent of {image_id}: it descends from it"
                raise InvalidInput(msg)
            seen.add(above)
            above = self.get_parent(above)
        try:
            self._backend.set_metadata(image_id, "parent", str(parent).encode())
        except ContentNotFound:
            raise not_found(str(image_id)) from None

    def get_parent(self, image_id: ImageID) -> ImageID | None:
        """Give an image's parent, if it has one."""
        try:
            return ImageID.parse(self._backend.get_metadata(image_id, "parent").decode("ascii", "replace"))
        except (ContentNotFound, InvalidDigest):
            return None

    def children(self, image_id: ImageID) -> tuple[ImageID, ...]:
        """Give the images whose parent this is."""
        return tuple(self._index.children(image_id))

    def map(self) -> Mapping[ImageID, Image]:
        """Give all images, each read when it is asked for; a damaged one is skipped with a warning."""
        return _LazyImages(self, lambda: (ImageID.wrap(digest) for digest in self._backend.walk()))

    def heads(self) -> Mapping[ImageID, Image]:
        """Give the images without children, each read when it is asked for; a damaged one is skipped."""
        return _LazyImages(self, self._index.heads)

    def _has(self, image_id: ImageID) -> bool:
        return image_id in self._index.ids_with_prefix(str(image_id), 1)


class _LazyImages(Mapping[ImageID, "Image"]):
    """Images by ID, read one at a time; the IDs are those of the moment they are asked for."""

    def __init__(self, store: ImageStore, ids: Callable[[], Iterable[ImageID]]) -> None:
        self._store = store
        self._ids = ids

    def __getitem__(self, key: ImageID) -> Image:
        if key not in set(self._ids()):
            raise KeyError(key)
        try:
            return self._store.get(key)
        except ImageNotFound:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[ImageID]:
        for image_id in self._ids():
            if self._read(image_id) is not None:
                yield image_id

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self, image_id: ImageID) -> Image | None:
        try:
            return self._store.get(image_id)
        except OrlopError as error:
            _log.warning("skipping the image %s: %s", image_id, error)
            return None


class _WalkedIndex:
    """An index for a backend that has none: it walks each time, so that it is never out of date."""

    def __init__(self, backend: StoreBackend) -> None:
        self._backend = backend

    def ids_with_prefix(self, prefix: str, limit: int) -> list[ImageID]:
        """Give at most ``limit`` IDs that start with ``prefix``."""
        return sorted(ImageID.wrap(digest) for digest in self._backend.walk() if str(digest).startswith(prefix))[:limit]

    def children(self, image: ImageID) -> list[ImageID]:
        """Give the images whose parent this is."""
        return [child for child, parent in self._parents() if parent == str(image)]

    def heads(self) -> Iterable[ImageID]:
        """Give the images that are nobody's parent."""
        pairs = list(self._parents())
        parents = {parent for _, parent in pairs}
        return [image for image, _ in pairs if str(image) not in parents]

    def _parents(self) -> Iterator[tuple[ImageID, str]]:
        for digest in self._backend.walk():
            try:
                parent = self._backend.get_metadata(digest, "parent").decode("ascii", "replace")
            except OrlopError:
                parent = ""
            yield ImageID.wrap(Digest.parse(str(digest))), parent


def _parsed(config: bytes) -> Image:
    from orlop.model.image import Image  # noqa: PLC0415 - listing images reads no config

    return Image.from_json(config)


def not_found(name: str) -> ImageNotFound:
    """Make the error for an image that is not there, in Docker's words."""
    return ImageNotFound(f"No such image: {name}")
