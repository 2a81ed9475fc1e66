"""The blobs of an OCI layout that is written: what each is, and its verified bytes."""

from __future__ import annotations

import hashlib

from orlop.errors import DigestMismatch, SizeMismatch
from orlop.model.digest import Digest
from orlop.model.generic import Protocol
from orlop.model.values import dataclass, field
from orlop.streams.verify import verified_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.model.digest import DiffID
    from orlop.model.progress import Progress
    from orlop.store.blobs.store import BlobStore, Spool
    from orlop.store.layers import LayerStore
    from orlop.store.rows.metadata import BlobRow

LAYOUT_FILE: Final = b'{"imageLayoutVersion":"1.0.0"}'
"""What ``oci-layout`` holds."""


class Blob(Protocol):
    """What a layout holds under a digest: one of those below, or bytes that come from elsewhere."""

    @property
    def digest(self) -> Digest:
        """The digest of its bytes."""

    @property
    def size(self) -> int:
        """Their number."""

    @property
    def label(self) -> str:
        """What progress calls it; nothing where it is not told of."""

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, the last of them once all are verified. Raises what reading them raises."""


@dataclass(frozen=True, slots=True)
class Document:
    """A config, a manifest or an index, whose bytes are known; ``media_type`` is what the first who names it says."""

    digest: Digest
    data: bytes
    media_type: str

    @classmethod
    def of(cls, data: bytes, media_type: str, digest: Digest | None = None) -> Document:
        """Return the document of some bytes. Raises `DigestMismatch` where they do not have the digest."""
        if digest is None:
            return cls(Digest.of(data), data, media_type)
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            msg = f"the document {digest} in the store is damaged; run `orlop fsck`, then load its image again"
            raise DigestMismatch(msg)
        return cls(digest, data, media_type)

    @property
    def size(self) -> int:
        """Its number of bytes."""
        return len(self.data)

    @property
    def label(self) -> str:
        """What progress calls it: nothing is told of it."""
        return ""

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes."""
        yield self.data


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in the form in which a store keeps them."""

    store: BlobStore = field(repr=False, compare=False)
    row: BlobRow

    @property
    def digest(self) -> Digest:
        """The digest of these bytes."""
        return self.row.digest

    @property
    def size(self) -> int:
        """Their number."""
        return self.row.size

    @property
    def label(self) -> str:
        """What progress calls it."""
        return self.row.digest.short

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, the last of them once all are verified.

        Raises:
            ContentNotFound: they are not there. DigestMismatch, SizeMismatch: they are damaged.
        """
        try:
            with self.store.open_unverified(self.row) as source:
                yield from verified_beside(source, digest=self.row.digest, size=self.row.size)
        except (DigestMismatch, SizeMismatch) as error:
            raise type(error)(self._damaged(error)) from error

    def _damaged(self, error: Exception) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class StoredLayer(Stored):
    """A layer in the form in which the store keeps it."""

    diff_id: DiffID

    @property
    def label(self) -> str:
        """What progress calls it."""
        return self.diff_id.short

    def _damaged(self, error: Exception) -> str:
        return f"the layer {self.diff_id} is damaged: {error}; load its image again"


@dataclass(frozen=True, slots=True)
class StoredBlob(Stored):
    """Bytes that are not a layer to the store."""

    def _damaged(self, error: Exception) -> str:
        return f"the blob {self.digest} is damaged: {error}; load what it belongs to again"


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """The uncompressed tar of a layer of which the store keeps no form that a layout can name."""

    store: LayerStore = field(repr=False, compare=False)
    diff_id: DiffID
    size: int

    @property
    def digest(self) -> Digest:
        """The digest of these bytes."""
        return Digest.wrap(self.diff_id)

    @property
    def label(self) -> str:
        """What progress calls it."""
        return self.diff_id.short

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes. Raises as `LayerStore.tar_chunks` does."""
        return self.store.tar_chunks(self.diff_id)


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """A layer that was compressed for this layout: its bytes are in a spool that goes when the save ends."""

    digest: Digest
    size: int
    spool: Spool

    @property
    def label(self) -> str:
        """What progress calls it: nothing is told of it once more."""
        return ""

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, the last of them once all are verified. Raises `DigestMismatch`, `SizeMismatch`."""
        yield from verified_beside(_Spooled(self.spool, self.size), digest=self.digest, size=self.size)


class _Spooled:
    """A reader of what a spool keeps."""

    def __init__(self, spool: Spool, size: int) -> None:
        self._spool = spool
        self._size = size
        self._done = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        data = self._spool.read(self._done, min(size, self._size - self._done))
        self._done += len(data)
        return data


def blob_path(digest: Digest) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def blob_chunks(blob: Blob, progress: Progress | None) -> Iterator[bytes]:
    """Yield the bytes of a blob, and report those of a layer."""
    from orlop.archive.saved import told  # noqa: PLC0415 - a push writes no archive

    return told(blob.chunks(), blob.label, blob.size, progress if blob.label else None)
