"""A layer as the merged view needs it, wherever it is kept, and the layers of a store."""

from __future__ import annotations

import io
from contextlib import closing, contextmanager, suppress

from orlop.errors import BucketUnavailable, StorageError, TocDamaged
from orlop.model.generic import Protocol
from orlop.model.limits import NO_LIMITS
from orlop.store.layers import compression_of
from orlop.streams.compression import Compression, decompressed
from orlop.streams.tar_entry import TYPE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Final

    from orlop.model.digest import DiffID
    from orlop.store.blobs.store import BlobStore
    from orlop.store.layers import LayerStore
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.compression import Readable
    from orlop.streams.path_table import PathTable
    from orlop.streams.seek_index import SeekIndex
    from orlop.streams.tar_entry import TarEntry

__all__ = ["ChunkReader", "Layer", "StoredContent", "skip"]

_CHUNK: Final = 1 << 20
_FEW: Final = 500  # entries that are read in no time
_PIECE: Final = 1 << 18  # all layers of an image may be read at once
_AHEAD: Final = 4


class Layer(Protocol):
    """What one layer offers."""

    @property
    def diff_id(self) -> DiffID:
        """The digest of its uncompressed tar."""

    @property
    def seekable(self) -> bool:
        """Whether `at` costs next to nothing for any byte."""

    def indexed(self, *, make: bool) -> bool:
        """Return whether `at` costs at most the decompression of a few MiB for any byte.

        Args:
            make: read the layer once, if that makes it so from now on. Raises what reading it raises.
        """

    def entries(self, known: Mapping[int, TarEntry] | None = None) -> Iterator[TarEntry]:
        """Yield its members in order, without their content. Raises what reading it raises.

        Args:
            known: entries of it, by the offsets of their headers, that take the place of equal ones, which need no
                memory then. Whoever has these asks for contents: members without one may be left out.
        """

    def paths(self) -> PathTable | None:
        """Return its path table, made and kept first if need be; None if it can have none. Raises nothing."""

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

    __slots__ = ("_blobs", "_index", "_layers", "_looked", "diff_id")

    def __init__(self, layers: LayerStore, blobs: BlobStore, diff_id: DiffID) -> None:
        self._layers = layers
        self._blobs = blobs
        self._index: SeekIndex | None = None
        self._looked = False
        self.diff_id = diff_id

    @property
    def seekable(self) -> bool:
        """Whether it is kept uncompressed."""
        return compression_of(self._layers.blob_of(self.diff_id)) is Compression.NONE

    def indexed(self, *, make: bool) -> bool:
        """Return whether it has a seek index without large gaps, and make and keep one if asked to and possible."""
        from orlop.store.seeking import is_fine, make_index  # noqa: PLC0415 - lists need no index

        blob = self._layers.blob_of(self.diff_id)
        index = self._index_of(blob)
        if make and not is_fine(index):
            index = self._index = make_index(self._layers, self._blobs, self.diff_id, blob)
        return is_fine(index)

    def _index_of(self, blob: BlobRow) -> SeekIndex | None:
        if not self._looked:
            from orlop.store.seeking import find_index  # noqa: PLC0415 - as in `indexed`

            self._index, self._looked = find_index(self._blobs, self.diff_id, blob), True
        index = self._index
        return index if index is not None and index.blob == str(blob.digest) else None

    def entries(self, known: Mapping[int, TarEntry] | None = None) -> Iterator[TarEntry]:
        """Yield its members as its table of contents has them, or, where that cannot be used, as the layer has them.

        Nothing is yielded before the whole table was read without an error. See `Layer.entries`.
        """
        found = self._listed(known)
        if found is not None:
            return iter(found)
        return self._scanned()

    def paths(self) -> PathTable | None:
        """Return its path table; see `Layer.paths`. That of a small layer is made each time, and not kept."""
        from orlop.store.seeking import find_paths, put_paths  # noqa: PLC0415 - most looks are at all paths

        found = find_paths(self._blobs, self.diff_id)
        if found is not None:
            return found
        entries = self._listed(None)
        refused = self._layers.metadata.refusal() is not None
        if entries is None or (len(entries) > _FEW and refused):
            return None
        from orlop.inside.slices import path_table  # noqa: PLC0415 - made once for a layer
        from orlop.streams.path_table import read_path_table  # noqa: PLC0415 - as above

        made = path_table(entries)
        if len(entries) > _FEW:
            with suppress(StorageError):
                put_paths(self._layers, self._blobs, self.diff_id, made)
        return read_path_table(io.BytesIO(made))

    def _listed(self, known: Mapping[int, TarEntry] | None) -> list[TarEntry] | None:
        from orlop.streams.toc import read_toc  # noqa: PLC0415 - looks at single paths need none

        try:
            file = self._blobs.open_toc(self.diff_id)
            if file is not None:
                with file:
                    found = read_toc(file)
                    if known is None:
                        return list(found)
                    return [known.get(one.header_offset, one) for one in found if one.size and one.type == TYPE_FILE]
        except BucketUnavailable:
            # The layer cannot be read instead.
            raise
        except (OSError, TocDamaged):
            pass
        return None

    def _scanned(self) -> Iterator[TarEntry]:
        from orlop.streams.tar_read import TarReader  # noqa: PLC0415 - most layers have a table of contents

        with closing(ChunkReader(self.chunks())) as reader:
            tar = TarReader(reader, limits=NO_LIMITS)
            yield from tar
            tar.drain()

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, verified and read ahead; see `orlop.store.layers.LayerStore.tar_chunks`."""
        from orlop.streams.pipeline import read_ahead  # noqa: PLC0415 - most looks read no layer

        return read_ahead(self._layers.tar_chunks(self.diff_id, piece=_PIECE), depth=_AHEAD)

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
            with closing(ChunkReader(self._chunks_from(file, blob, offset), offset)) as reader:
                yield reader

    def _chunks_from(self, file: BinaryIO, blob: BlobRow, offset: int) -> Iterator[bytes]:
        """Yield what a compressed blob holds from a byte on, by its seek index, or from its beginning."""
        index = self._index_of(blob)
        if index is not None:
            from orlop.streams.seek_read import chunks_from  # noqa: PLC0415 - as in `indexed`

            try:
                for chunk in chunks_from(file, index, offset):
                    yield chunk
                    offset += len(chunk)
            except TocDamaged:
                # The blob is wrong, or the index is. Nothing wrong was yielded.
                with self._blobs.open(blob) as reader:
                    for _ in reader.chunks():
                        pass
                self._forget()
            else:
                return
        file.seek(0)
        with decompressed(file, compression_of(blob), limits=NO_LIMITS) as plain:
            skip(plain, offset)
            while chunk := plain.read(_CHUNK):
                yield chunk

    def _forget(self) -> None:
        """Drop a seek index that is wrong; the next one who needs it makes it anew."""
        from orlop.store.seeking import put_index  # noqa: PLC0415 - as in `indexed`

        self._index = None
        with suppress(StorageError):
            put_index(self._layers, self._blobs, self.diff_id, None)


def skip(source: Readable, size: int) -> None:
    """Read and drop so many bytes, fewer at the end of the source."""
    while size and (data := source.read(min(size, _CHUNK))):
        size -= len(data)


class ChunkReader:
    """Chunks as a stream that is read; `position` is where it stands, from ``start`` on."""

    def __init__(self, chunks: Iterator[bytes], start: int = 0) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.position = start

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

    def at_hand(self, start: int, size: int) -> memoryview | None:
        """Return so many bytes from a position on, if the chunk that was read last has all of them; reads nothing."""
        begin = start - self.position
        return self._rest[begin : begin + size] if 0 <= begin <= len(self._rest) - size else None

    def pass_to(self, position: int) -> None:
        """Pass over bytes up to a position that is at hand."""
        self._rest = self._rest[position - self.position :]
        self.position = position

    def close(self) -> None:
        """End the iteration."""
        close: Callable[[], object] | None = getattr(self._chunks, "close", None)
        if close is not None:
            close()
