"""What is kept behind tables of contents: path tables, and seek indexes, which are made here at first need.

Behind the table of contents of a layer there may be its path table (`orlop.streams.path_table`), and then its seek
index (`orlop.streams.seek_index`), so whatever copies, counts, checks or removes tables does so with these too. To add
one, the table is written anew, with the other one kept, and takes the place of the old one in one step. A process that
reads the old one at that time reads it to its end.

Both are only ever a help. A store that cannot be written, a disk that is full, a layer without a table, or a system
without zlib's library leave the layer as it is: it is read from its beginning.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress

from orlop.errors import BucketUnavailable, InvalidCompression, StorageError, TocDamaged
from orlop.store.layers import compression_of
from orlop.streams.compression import Compression
from orlop.streams.files import CHUNK
from orlop.streams.path_table import path_table_start, read_path_table
from orlop.streams.seek_index import SPAN, packed, read_seek_index, seek_index_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Final

    from orlop.model.digest import DiffID
    from orlop.store.blobs.store import BlobStore
    from orlop.store.layers import LayerStore
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.path_table import PathTable
    from orlop.streams.seek_index import SeekIndex

__all__ = ["find_index", "find_paths", "is_fine", "make_index", "put_index", "put_paths"]


_GAP: Final = 2 * SPAN
"""How far apart the borders of streams may be before points between them are worth a pass."""


@contextmanager
def _helping() -> Iterator[None]:
    """Do without what a block looks for, if that cannot be read."""
    try:
        yield
    except BucketUnavailable:
        raise
    except (OSError, TocDamaged):
        return


def find_index(blobs: BlobStore, diff_id: DiffID, blob: BlobRow) -> SeekIndex | None:
    """Return the seek index of a blob of a layer; None if there is none that can be used.

    Raises `BucketUnavailable` where the store cannot be asked: its blobs cannot be read either.
    """
    with _helping():
        file = blobs.open_toc(diff_id)
        if file is not None:
            with file:
                return read_seek_index(file, str(blob.digest))
    return None


def make_index(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, blob: BlobRow) -> SeekIndex | None:
    """Make the seek index of a blob, in a pass over it, and keep it. The caller protects the layer.

    One that is there already and has no large gaps, or was made like this, is returned as it is.

    Returns:
        The index; the best there is, or None, if none can be made, or the store cannot be written.

    Raises:
        ContentNotFound, DigestMismatch, SizeMismatch, InvalidCompression: the blob is missing or damaged.
    """
    found = find_index(blobs, diff_id, blob)
    with layers.metadata.read() as rows:
        diff = rows.diff(diff_id)
    can_be = compression_of(blob) is Compression.GZIP and layers.metadata.refusal() is None
    if diff is None or is_fine(found) or _is_best(found) or not can_be:
        return found
    from orlop.streams.seek_points import gzip_index  # noqa: PLC0415 - an index is made once for each layer

    with blobs.open(blob) as file:
        index = gzip_index(file, blob=str(blob.digest), plain_size=diff.size)
    if index is None:
        return found
    with suppress(StorageError):
        put_index(layers, blobs, diff_id, index)
    return index


def is_fine(index: SeekIndex | None) -> bool:
    """Return whether no better index can be made: it has more than borders, or these are close enough."""
    return index is not None and (index.windows != b"" or index.gap() <= _GAP)


def _is_best(index: SeekIndex | None) -> bool:
    """Return whether an index is from a whole pass, even one that found no other place, as in a layer of one block."""
    return index is not None and index.points[0].digest != b""


def put_index(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, index: SeekIndex | None) -> None:
    """Keep a seek index in place of the one that a layer has; None removes that one.

    Atomic and idempotent. Nothing happens if the layer or its table of contents is gone, or the table is damaged.

    Raises:
        StorageError: it cannot be written; nothing has changed.
    """
    file = blobs.open_toc(diff_id)
    if file is None:
        return
    with file, suppress(TocDamaged):
        start = path_table_start(file)
        behind = _between(file, start, seek_index_start(file)) + (b"" if index is None else packed(index))
        _put_behind(layers, blobs, diff_id, file, behind)


def find_paths(blobs: BlobStore, diff_id: DiffID) -> PathTable | None:
    """Return the path table of a layer; None if there is none that can be used. Raises as `find_index` does."""
    with _helping():
        file = blobs.open_toc(diff_id)
        if file is not None:
            with file:
                return read_path_table(file)
    return None


def put_paths(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, paths: bytes) -> None:
    """Keep a path table in place of the one that a layer has.

    Args:
        layers: the layers of the store.
        blobs: its blobs.
        diff_id: the layer, which the caller protects.
        paths: from `orlop.streams.path_table.packed_paths`.

    Atomic and idempotent. Nothing happens if the layer or its table of contents is gone, or the table is damaged.

    Raises:
        StorageError: it cannot be written; nothing has changed.
    """
    file = blobs.open_toc(diff_id)
    if file is None:
        return
    with file, suppress(TocDamaged):
        start = seek_index_start(file)
        _put_behind(layers, blobs, diff_id, file, paths + _between(file, start, file.seek(0, 2)))


def _put_behind(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, file: BinaryIO, behind: bytes) -> None:
    """Write a table of contents anew, with other bytes behind it, and make it the one of its layer."""
    from orlop.streams.toc import TocWriter, toc_records  # noqa: PLC0415 - mostly what is kept is only read

    file.seek(0)
    with blobs.begin() as ingest, suppress(TocDamaged, InvalidCompression):
        table = TocWriter(ingest)
        with toc_records(file) as records:
            while data := records.read(CHUNK):
                table.add(data)
        table.close()
        ingest.write(behind)
        ingest.finish()
        ingest.sync()
        with layers.metadata.write() as rows:
            if rows.diff(diff_id) is not None:
                ingest.commit_toc(rows, diff_id)


def _between(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
