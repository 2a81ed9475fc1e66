"""A layer as the merged view needs it, wherever it is kept, and the layers of a store."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.store.layers import compression_of
from orlop.streams.compression import Compression, decompressed
from orlop.streams.tar_read import TarReader
from orlop.streams.toc import read_toc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orlop.model.digest import DiffID
    from orlop.store.blobs.store import BlobStore
    from orlop.store.layers import LayerStore
    from orlop.streams.compression import Readable
    from orlop.streams.tar_header import TarEntry

__all__ = ["ChunkReader", "Layer", "StoredContent", "skip"]

_CHUNK: Final = 1 << 20


class Layer(Protocol):
    """What one layer offers."""

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar."""

    @property
    def seekable(self) -> bool:
        """Whether `at` takes about as long for the last byte as for the first."""

    def entries(self) -> Iterator[TarEntry]:
        """Yield its members in order, without their content. Raises what reading it raises."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of its uncompressed tar; fail before the last of them where they are not its diff ID's."""

    def at(self, offset: int) -> AbstractContextManager[Readable]:
        """Return, for a block, its uncompressed tar from a byte on, unverified."""


class StoredContent:
    """A layer of a store, a `Layer`. The caller protects it while it is read.

    Args:
        layers: the layers of the store.
        blobs: its blobs.
        diff_id: which layer.
    """

    __slots__ = ("_blobs", "_layers", "diff_id")

    def __init__(self, layers: LayerStore, blobs: BlobStore, diff_id: DiffID) -> None:
        self._layers = layers
        self._blobs = blobs
        self.diff_id = diff_id

    @property
    def seekable(self) -> bool:
        """Whether it is kept uncompressed."""
        return compression_of(self._layers.blob_of(self.diff_id)) is Compression.NONE

    def entries(self) -> Iterator[TarEntry]:
        """Yield its members as its table of contents has them, or, where that cannot be used, as the layer has them.

        Nothing is yielded before the whole table was read without an error.
        """
        found = self._listed()
        if found is not None:
            return iter(found)
        return self._scanned()

    def _listed(self) -> list[TarEntry] | None:
        with suppress(OSError, TocDamaged):
            file = self._blobs.open_toc(self.diff_id)
            if file is not None:
                with file:
                    return list(read_toc(file))
        return None

    def _scanned(self) -> Iterator[TarEntry]:
        with closing(ChunkReader(self.chunks())) as reader:
            tar = TarReader(reader, limits=NO_LIMITS)
            yield from tar
            tar.drain()

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, verified; see `orlop.store.layers.LayerStore.tar_chunks`."""
        return self._layers.tar_chunks(self.diff_id)

    @contextmanager
    def at(self, offset: int) -> Iterator[Readable]:
        """Return its bytes from an offset on, see `Layer.at`."""
        blob = self._layers.blob_of(self.diff_id)
        compression = compression_of(blob)
        with self._blobs.open_unverified(blob) as file:
            if compression is Compression.NONE:
                file.seek(offset)
                yield file
                return
            plain = decompressed(file, compression, limits=NO_LIMITS)
            with plain:
                skip(plain, offset)
                yield plain


def skip(source: Readable, size: int) -> None:
    """Read and drop so many bytes, fewer at the end of the source."""
    while size and (data := source.read(min(size, _CHUNK))):
        size -= len(data)


class ChunkReader:
    """Chunks as a stream that is read; `position` is how many bytes were."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.position = 0

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        piece, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(piece)
        return bytes(piece)

    def close(self) -> None:
        """End the iteration."""
        close: Callable[[], object] | None = getattr(self._chunks, "close", None)
        if close is not None:
            close()
