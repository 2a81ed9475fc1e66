"""Seek indexes of the layers of a store: found, made at first need, and dropped where they are wrong.

An index is kept at the end of its layer's table of contents (`orlop.streams.seek_index`), so whatever copies, counts,
checks or removes tables does so with indexes too. To add one, the table is written anew, with the index behind it, and
takes the place of the old one in one step. A process that reads the old one at that time reads it to its end.

An index is only ever a help. A store that cannot be written, a disk that is full, a layer without a table, or a system
without zlib's library leave the layer as it is: it is read from its beginning.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidCompression, StorageError, TocDamaged
from orlop.store.layers import compression_of
from orlop.streams.compression import Compression
from orlop.streams.files import CHUNK
from orlop.streams.seek_index import SPAN, packed, read_seek_index
from orlop.streams.toc import TocWriter, toc_records

if TYPE_CHECKING:
    from orlop.model.digest import DiffID
    from orlop.store.blobs.store import BlobStore
    from orlop.store.layers import LayerStore
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.seek_index import SeekIndex

__all__ = ["find_index", "is_fine", "make_index", "put_index"]


_GAP: Final = 2 * SPAN
"""How far apart the borders of streams may be before points between them are worth a pass."""


def find_index(blobs: BlobStore, diff_id: DiffID, blob: BlobRow) -> SeekIndex | None:
    """Return the seek index of a blob of a layer; None if there is none that can be used. Raises nothing."""
    with suppress(OSError, StorageError, TocDamaged):
        file = blobs.open_toc(diff_id)
        if file is not None:
            with file:
                return read_seek_index(file, str(blob.digest))
    return None


def make_index(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, blob: BlobRow) -> SeekIndex | None:
    """Make the seek index of a blob, in a pass over it, and keep it. The caller protects the layer.

    One that is there already and has no large gaps is returned as it is.

    Returns:
        The index; the best there is, or None, if none can be made, or the store cannot be written.

    Raises:
        ContentNotFound, DigestMismatch, SizeMismatch, InvalidCompression: the blob is missing or damaged.
    """
    found = find_index(blobs, diff_id, blob)
    with layers.metadata.read() as rows:
        diff = rows.diff(diff_id)
    can_be = compression_of(blob) is Compression.GZIP and layers.metadata.refusal() is None
    if diff is None or is_fine(found) or not can_be:
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


def put_index(layers: LayerStore, blobs: BlobStore, diff_id: DiffID, index: SeekIndex | None) -> None:
    """Keep a seek index in place of the one that a layer has; None removes that one.

    Atomic and idempotent. Nothing happens if the layer or its table of contents is gone, or the table is damaged.

    Raises:
        StorageError: it cannot be written; nothing has changed.
    """
    file = blobs.open_toc(diff_id)
    if file is None:
        return
    with file, blobs.begin() as ingest, suppress(TocDamaged, InvalidCompression):
        table = TocWriter(ingest)
        with toc_records(file) as records:
            while data := records.read(CHUNK):
                table.add(data)
        table.close()
        if index is not None:
            ingest.write(packed(index))
        ingest.finish()
        ingest.sync()
        with layers.metadata.write() as rows:
            if rows.diff(diff_id) is not None:
                ingest.commit_toc(rows, diff_id)
