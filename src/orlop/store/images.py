"""The image store: configs under their IDs, parents, and the layers they retain.

The counterpart of ``image.Store`` of the Go package ``docker/image``.
"""

from __future__ import annotations

import time
from collections.abc import ItemsView, Mapping, ValuesView
from functools import partial

from orlop.errors import (
    AmbiguousID,
    ContentNotFound,
    ImageNotFound,
    IntegrityError,
    InvalidInput,
    LayerNotFound,
    WrongType,
)
from orlop.model.digest import ImageID, check_digest
from orlop.model.given import check_bytes, check_text, shown
from orlop.model.logger import Logger
from orlop.store.backends.backend import ImageIndex
from orlop.store.layers import required
from orlop.store.rows.metadata import PINNED, parent_of
from orlop.streams.files import afterwards

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.model.digest import ChainID
    from orlop.model.image import Image
    from orlop.model.platform import Platform
    from orlop.model.timestamp import Timestamp
    from orlop.store.backends.backend import StoreBackend
    from orlop.store.layers import Layer, LayerGetReleaser, LayerMetadata
    from orlop.store.rows.metadata import Metadata

_log = Logger(__name__)
_HEX = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64
_PARENT, _UPDATED, _BUILT = "parent", "lastUpdated", "builtLocally"
USED, _LISTING = "lastUsed", "listing"
"""Keys of metadata that only this store has, as `PINNED`: daemons know none of them."""
METADATA_KEYS = (_PARENT, _UPDATED, _BUILT, USED, PINNED, _LISTING)
"""All keys of metadata that an image may have."""
_YES = b"\1"


class ImageStore:
    """Images over a backend and a layer store. Opening one reads nothing; what is read is verified.

    With a transactional backend each call is atomic; several are atomic inside its ``metadata.write()``.
    """

    def __init__(
        self, backend: StoreBackend, layers: LayerGetReleaser, *, now: Callable[[], int] = time.time_ns
    ) -> None:
        """Compose a store; ``now`` is the clock, in nanoseconds since 1970."""
        self._backend = backend
        self._layers = layers
        self._now = now
        # Rows of one database retain each other; else a handle for each image does.
        rows: Metadata | None = getattr(layers, "metadata", None)
        self._rows: Metadata | None = rows if rows is getattr(backend, "metadata", layers) else None
        self._has_index = isinstance(backend, ImageIndex)
        self._index: ImageIndex = backend if isinstance(backend, ImageIndex) else _walked_index(backend)
        self._retained: dict[ImageID, Layer] = {}

    def create(self, config: bytes) -> ImageID:
        """Keep an image config and retain its top layer; one that is there already gives its ID. Idempotent.

        Args:
            config: the exact bytes; they are kept as they are.

        Raises:
            InvalidImage: this is not an image config, or its history names more layers than it has.
            LayerNotFound: a layer that it names is not there; nothing is kept.
        """
        image_id = ImageID.of(config)
        return image_id if self._is_retained(image_id) else self.keep(_parsed(config))

    def keep(self, image: Image) -> ImageID:
        """Do what `create` does for an image whose config has been read already. Raises what it raises."""
        from orlop.model.image import Image, check_history  # noqa: PLC0415 - listing images reads no config

        if not isinstance(image, Image):
            raise WrongType(f"an image to keep is an Image, not {shown(image)}")
        if self._is_retained(image.id):
            if self._rows is not None:
                # The bytes that are there may be damaged; these are what the ID says.
                self._backend.set_image(image)
            return image.id
        check_history(image)
        chain_id = image.rootfs.chain_id()
        if self._rows is not None:
            # The image's row retains the layer from the moment at which it is written.
            with self._rows.write() as rows:
                if chain_id is not None:
                    required(rows, chain_id)
                self._backend.set_image(image)
            return image.id
        with self._backend.together():
            layer = None if chain_id is None else self._layers.get(chain_id)
            with afterwards(partial(self._retain, image.id, layer)):
                self._backend.set_image(image)
        return image.id

    def _is_retained(self, image_id: ImageID) -> bool:
        return self._has(image_id) and (self._rows is not None or image_id in self._retained)

    def _retain(self, image_id: ImageID, layer: Layer | None) -> None:
        if layer is None:
            return
        if not self._has(image_id):
            self._layers.release(layer)
        else:
            self._retained[image_id] = layer

    def get(self, image_id: ImageID) -> Image:
        """Return an image, verified, with the parent that its metadata names.

        Raises:
            ImageNotFound: there is none. DigestMismatch: its config is damaged. InvalidImage: it is not an image
                config.
        """
        _check_id(image_id)
        try:
            raw = self._backend.get(image_id)
        except ContentNotFound:
            raise not_found(str(image_id)) from None
        return _parsed(raw).with_parent(self.get_parent(image_id))

    def delete(self, image_id: ImageID) -> tuple[LayerMetadata, ...]:
        """Delete an image and return the layers that went with it, top first. Its children lose their parent.

        Delete its names first: in one database with them, a name that leads nowhere keeps all layers until it goes.

        Raises:
            ImageNotFound: there is none.
        """
        _check_id(image_id)
        chain_id = self._chain_of(image_id)
        with self._backend.together():
            for child in self._index.children(image_id):
                self._backend.delete_metadata(child, _PARENT)
            layer = self._retained.get(image_id)
            if layer is None and chain_id is not None:
                try:
                    layer = self._layers.get(chain_id)
                except LayerNotFound as error:
                    _log.warning("deleting the image %s, which has lost its layers: %s", image_id, error)
            try:
                self._backend.delete(image_id)
            except ContentNotFound:
                # Another process was faster.
                raise not_found(str(image_id)) from None
            self._retained.pop(image_id, None)
            return () if layer is None else self._layers.release(layer)

    def _chain_of(self, image_id: ImageID) -> ChainID | None:
        """Return the layers that an image retains. Raises `ImageNotFound` where there is none."""
        if self._rows is not None:
            # The row says what is retained, even if the config is damaged.
            with self._rows.read() as rows:
                row = rows.image_row(image_id)
            if row is None:
                raise not_found(str(image_id))
            return row.chain_id
        try:
            return _parsed(self._backend.get(image_id)).rootfs.chain_id()
        except ContentNotFound:
            raise not_found(str(image_id)) from None
        except (IntegrityError, InvalidInput) as error:
            # A damaged image is still one that can be deleted; its layers are then left to gc.
            _log.warning("deleting the damaged image %s: %s", image_id, error)
            return None

    def restore(self) -> None:
        """Retain the layers of the images that were there before this object, as daemons do when they start.

        Only a backend whose images are not rows of the layer store needs this, and only before layers are released. It
        reads every image; one that is damaged or has lost its layers is skipped with a warning.
        """
        if self._rows is not None:
            return
        for image_id, image in self.map().items():
            chain_id = image.rootfs.chain_id()
            if chain_id is None or image_id in self._retained:
                continue
            try:
                self._retained[image_id] = self._layers.get(chain_id)
            except LayerNotFound as error:
                _log.warning("the image %s has lost its layers: %s", image_id, error)

    def search(self, partial: str) -> ImageID:
        """Find the one image whose ID starts with ``partial``, given with or without ``sha256:``.

        Raises:
            ImageNotFound: no ID starts so. AmbiguousID: several do.
        """
        check_text(partial, "the beginning of an image ID")
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
        # An ID that is none may have no hash.
        _check_id(image_id)
        self.set_parents({image_id: parent})

    def set_parents(self, parents: Mapping[ImageID, ImageID]) -> None:
        """Do what `set_parent` does for several images at once: all or, where it raises, none.

        Each ancestor is looked at once, however many descend from it.
        """
        if not isinstance(parents, Mapping):
            raise WrongType(f"parents are a mapping from one ImageID to another, not {shown(parents)}")
        for one in (*parents, *parents.values()):
            _check_id(one)
        with self._backend.together():
            for parent in dict.fromkeys(parents.values()):
                if not self._has(parent):
                    raise not_found(str(parent))
            self._check_descent(parents)
            for image_id, parent in parents.items():
                self._set(image_id, _PARENT, str(parent).encode())

    def _check_descent(self, parents: Mapping[ImageID, ImageID]) -> None:
        """Raise `InvalidInput` where an image with a new parent would be its own ancestor."""
        for image_id in in_circles(parents, self.get_parent):
            msg = f"{parents[image_id]} cannot be the parent of {image_id}: it descends from it"
            raise InvalidInput(msg)

    def get_parent(self, image_id: ImageID) -> ImageID | None:
        """Return an image's parent, if it has one."""
        return parent_of(self._metadata(image_id, _PARENT))

    def set_last_updated(self, image_id: ImageID) -> None:
        """Keep the present time as that of an image's last change, such as a new name.

        Raises:
            ImageNotFound: there is no such image.
        """
        self._set_time(image_id, _UPDATED)

    def get_last_updated(self, image_id: ImageID) -> Timestamp | None:
        """Return the time of an image's last change, to the nanosecond, or nothing where none is kept.

        Raises:
            InvalidTimestamp: what is kept is not a time.
        """
        return self._time(image_id, _UPDATED)

    def set_last_used(self, image_id: ImageID) -> None:
        """Keep the present time as that of an image's last use: a load, an import, a new name, or a save.

        Raises:
            ImageNotFound: there is no such image.
        """
        self._set_time(image_id, USED)

    def get_last_used(self, image_id: ImageID) -> Timestamp | None:
        """Return the time of an image's last use, to the nanosecond, or nothing where none is kept.

        Raises:
            InvalidTimestamp: what is kept is not a time.
        """
        return self._time(image_id, USED)

    def _set_time(self, image_id: ImageID, key: str) -> None:
        from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - listing images needs none

        self._set(image_id, key, str(Timestamp(*divmod(self._now(), 1_000_000_000))).encode())

    def _time(self, image_id: ImageID, key: str) -> Timestamp | None:
        from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - listing images needs none

        value = self._metadata(image_id, key)
        return None if value is None else Timestamp.parse(value.decode("utf-8", "replace"))

    def pin(self, image_id: ImageID) -> None:
        """Mark an image as one that stays until somebody removes it by its name or ID. Idempotent.

        Raises:
            ImageNotFound: there is no such image.
        """
        self._set(image_id, PINNED, _YES)

    def unpin(self, image_id: ImageID) -> None:
        """Take that mark away; an image without it stays as it is.

        Raises:
            ImageNotFound: there is no such image.
        """
        _check_id(image_id)
        with self._backend.together():
            if not self._has(image_id):
                raise not_found(str(image_id))
            self._backend.delete_metadata(image_id, PINNED)

    def is_pinned(self, image_id: ImageID) -> bool:
        """Return whether an image is marked as one that stays."""
        return self._metadata(image_id, PINNED) is not None

    def set_listing(self, image_id: ImageID, listing: bytes) -> None:
        """Keep how the archive that an image came in listed it, or forget it where nothing is given.

        Raises:
            ImageNotFound: there is no such image.
        """
        check_bytes(listing, "a listing")
        if listing:
            self._set(image_id, _LISTING, listing)
        elif self.get_listing(image_id) is not None:
            self._backend.delete_metadata(image_id, _LISTING)

    def get_listing(self, image_id: ImageID) -> bytes | None:
        """Return how the archive that an image came in listed it, if that is kept."""
        return self._metadata(image_id, _LISTING)

    def set_built_locally(self, image_id: ImageID) -> None:
        """Mark an image as built here, so that the build cache may use it.

        Raises:
            ImageNotFound: there is no such image.
        """
        self._set(image_id, _BUILT, _YES)

    def is_built_locally(self, image_id: ImageID) -> bool:
        """Return whether an image is marked as built here."""
        return (self._metadata(image_id, _BUILT) or b"")[:1] == _YES

    def platform(self, image_id: ImageID) -> Platform:
        """Return what an image runs on, its variant included, as its config says. Raises what `get` raises."""
        return self.get(image_id).platform

    def _metadata(self, image_id: ImageID, key: str) -> bytes | None:
        _check_id(image_id)
        try:
            return self._backend.get_metadata(image_id, key)
        except ContentNotFound:
            return None

    def _set(self, image_id: ImageID, key: str, value: bytes) -> None:
        _check_id(image_id)
        try:
            self._backend.set_metadata(image_id, key, value)
        except ContentNotFound:
            raise not_found(str(image_id)) from None

    def children(self, image_id: ImageID) -> tuple[ImageID, ...]:
        """Return the images whose parent this is."""
        _check_id(image_id)
        return tuple(self._index.children(image_id))

    def ids(self) -> Iterator[ImageID]:
        """Yield the IDs of all images, in no promised order, without reading any."""
        return (ImageID.wrap(digest) for digest in self._backend.walk())

    def map(self) -> Mapping[ImageID, Image]:
        """Return all images, each read when it is asked for; a damaged one is skipped with a warning."""
        return _LazyImages(self, self.ids, belongs=lambda _: True)

    def heads(self) -> Mapping[ImageID, Image]:
        """Return the images without children, each read when asked for; a damaged one is skipped with a warning."""
        return _LazyImages(self, self._index.heads, belongs=lambda image: not self._index.children(image))

    def _has(self, image_id: ImageID) -> bool:
        if self._has_index:
            return image_id in self._index.ids_with_prefix(str(image_id), 1)
        # A walk for one image would make creating many take the square of their number.
        try:
            self._backend.get(image_id)
        except ContentNotFound:
            return False
        except IntegrityError:
            return True
        return True


class _LazyImages(Mapping[ImageID, "Image"]):
    """Images by ID, read one at a time; the IDs are those of the moment they are asked for."""

    def __init__(
        self, store: ImageStore, ids: Callable[[], Iterable[ImageID]], *, belongs: Callable[[ImageID], bool]
    ) -> None:
        self._store = store
        self._ids = ids
        self._belongs = belongs

    def __getitem__(self, key: ImageID) -> Image:
        image = self._read(key) if self._belongs(key) else None
        if image is None:
            raise KeyError(key)
        return image

    def __iter__(self) -> Iterator[ImageID]:
        return (image_id for image_id, _ in self.pairs())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def items(self) -> ItemsView[ImageID, Image]:
        """Return the pairs, each image read once."""
        return _Items(self)

    def values(self) -> ValuesView[Image]:
        """Return the images, each read once."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[ImageID, Image]]:
        """Yield every ID with its image; what vanishes meanwhile is left out."""
        for image_id in self._ids():
            image = self._read(image_id)
            if image is not None:
                yield image_id, image

    def _read(self, image_id: ImageID) -> Image | None:
        try:
            return self._store.get(image_id)
        except ImageNotFound:
            return None
        except (IntegrityError, InvalidInput) as error:
            _log.warning("skipping the image %s: %s", image_id, error)
            return None


class _Items(ItemsView[ImageID, "Image"]):
    _mapping: _LazyImages

    def __iter__(self) -> Iterator[tuple[ImageID, Image]]:
        return self._mapping.pairs()


class _Values(ValuesView["Image"]):
    _mapping: _LazyImages

    def __iter__(self) -> Iterator[Image]:
        return (image for _, image in self._mapping.pairs())


def _check_id(image_id: object) -> None:
    check_digest(image_id, "an image in a store is named by an ImageID")


def _walked_index(backend: StoreBackend) -> ImageIndex:
    from orlop.store.backends.walked_index import WalkedIndex  # noqa: PLC0415 - the default backend has an index of its own

    return WalkedIndex(backend)


def _parsed(config: bytes) -> Image:
    from orlop.model.image import Image  # noqa: PLC0415 - listing images reads no config

    return Image.from_json(config)


def in_circles(parents: Mapping[ImageID, ImageID], parent_of: Callable[[ImageID], ImageID | None]) -> list[ImageID]:
    """Return those of some images that would be their own ancestors with new parents.

    Each image is looked at once, however many descend from it.

    Args:
        parents: the new parents.
        parent_of: returns the parent that an image has now.
    """
    clear: set[ImageID] = set()
    found: list[ImageID] = []
    for image_id in parents:
        way: dict[ImageID, None] = {}
        above: ImageID | None = image_id
        while above is not None and above not in clear and above not in way:
            way[above] = None
            above = parents.get(above) or parent_of(above)
        if above in way:
            order = list(way)
            found += [one for one in order[order.index(above) :] if one in parents]
        clear |= way.keys()
    return found


def not_found(name: str) -> ImageNotFound:
    """Make the error for an image that is not there, in Docker's words."""
    return ImageNotFound(f"No such image: {name}")
