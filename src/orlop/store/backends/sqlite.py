"""The default store backend: a view on the rows of a store, with an index and with transactions."""

from __future__ import annotations

from orlop.errors import InvalidInput
from orlop.model.digest import Digest
from orlop.store.backends.backend import StoreBackend, missing, missing_metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.store.rows.metadata import Metadata


class SQLiteStoreBackend(StoreBackend):
    """Configs and metadata as rows; inside ``metadata.write()`` all calls of the thread share its fate."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        """The rows that this is a view on."""

    def _walk(self) -> Iterator[Digest]:
        with self.metadata.read() as rows:
            return map(Digest.wrap, list(rows.image_ids()))

    def _get(self, digest: Digest) -> bytes:
        with self.metadata.read() as rows:
            config = rows.config(digest)
        if config is None:
            raise missing(digest)
        return config

    def _set(self, digest: Digest, data: bytes) -> None:
        from orlop.model.image import Image  # noqa: PLC0415 - listing images reads no config

        try:
            self._set_image(Image.from_json(data))
        except InvalidInput:
            # A backend keeps any bytes, images or not.
            with self.metadata.write() as rows:
                rows.put_image(digest, data, chain_id=None, created=(0, 0))

    def _set_image(self, image: Image) -> None:
        created = (image.created.unix, image.created.nanosecond)
        with self.metadata.write() as rows:
            rows.put_image(
                image.id,
                image.raw_json,
                chain_id=image.rootfs.chain_id(),
                created=created,
                labels=None if image.config is None else image.config.labels,
            )

    def _delete(self, digest: Digest) -> None:
        with self.metadata.write() as rows:
            # Before the image: a name without one is the mark of a loss, for which all layers and manifests are kept.
            rows.delete_references([(one.name, one.suffix) for one in rows.references(image=digest)])
            if not rows.delete_image(digest):
                raise missing(digest)

    def _set_metadata(self, digest: Digest, key: str, data: bytes) -> None:
        with self.metadata.write() as rows:
            if rows.image_row(digest) is None:
                raise missing(digest)
            rows.set_metadata(digest, key, data)

    def _get_metadata(self, digest: Digest, key: str) -> bytes:
        with self.metadata.read() as rows:
            value = rows.metadata(digest, key)
            if value is None and rows.image_row(digest) is None:
                raise missing(digest)
        if value is None:
            raise missing_metadata(digest, key)
        return value

    def _delete_metadata(self, digest: Digest, key: str) -> None:
        with self.metadata.write() as rows:
            rows.delete_metadata(digest, key)

    def together(self) -> AbstractContextManager[object]:
        """Return a write of the rows."""
        return self.metadata.write()

    def ids_with_prefix(self, prefix: str, limit: int) -> list[ImageID]:
        """Return at most ``limit`` IDs that start with ``prefix`` (with its algorithm)."""
        with self.metadata.read() as rows:
            return rows.image_ids_with_prefix(prefix, limit)

    def children(self, image: ImageID) -> list[ImageID]:
        """Return the images whose parent this is."""
        with self.metadata.read() as rows:
            return rows.children(image)

    def heads(self) -> Iterable[ImageID]:
        """Return the images that are nobody's parent."""
        with self.metadata.read() as rows:
            return list(rows.heads())
