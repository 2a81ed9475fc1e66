"""One layer on its way in: in one pass it is written, hashed as it came and decompressed, and scanned.

The caller's thread decompresses and scans, since that is the work that holds the interpreter; writing and hashing
go on beside it.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import InvalidInput, InvalidTar, LimitExceeded
from orlop.model.digest import DiffID, Digest
from orlop.model.values import dataclass
from orlop.store.rows.metadata import MAX_SIZE, BlobRow, DiffRow
from orlop.streams.compression import PREFIX_SIZE, Compression, decompressed, detect
from orlop.streams.files import CHUNK
from orlop.streams.pipeline import Fanout
from orlop.streams.seek_index import Borders, packed
from orlop.streams.tar_scan import TarScanner
from orlop.streams.toc import TocWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.store.blobs.store import BlobStore, Ingest
    from orlop.store.rows.metadata import WritableRows
    from orlop.streams.compression import DecompressingReader
    from orlop.streams.meter import Meter
    from orlop.streams.seek_index import SeekIndex

_PIECE: Final = 1 << 18
"""What is decompressed at once: several layers are on their way at the same time, and each holds a dozen pieces."""
_WAITING: Final = 3
"""How many pieces wait at most to be written or hashed."""


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


@dataclass(frozen=True, slots=True)
class IngestedLayer:
    """A layer whose bytes are written and known but not yet visible. It is published once, or discarded.

    Without content it is one that is there already.
    """

    diff: DiffRow
    blob: BlobRow
    _content: Ingest | None = None
    _toc: Ingest | None = None

    def sync(self) -> None:
        """Put the bytes and their table on disk. Slow: never call it with the write lock."""
        for one in (self._content, self._toc):
            if one is not None:
                one.sync()

    def publish(self, rows: WritableRows) -> None:
        """Make the synced layer visible with the rows; bytes that are there already stay, or are repaired."""
        if self._content is not None:
            self._content.commit(rows, self.blob)
        if self._toc is not None:
            self._toc.commit_toc(rows, self.diff.diff_id)
        rows.put_diff(self.diff, self.blob)

    def publish_blob(self, rows: WritableRows) -> None:
        """Make the synced bytes visible as what they are, and not as a layer."""
        if self._content is not None:
            self._content.commit(rows, self.blob)
        rows.put_blob(self.blob)

    def discard(self) -> None:
        """Leave nothing behind of a layer that was not published."""
        with ExitStack() as stack:
            for one in (self._content, self._toc):
                if one is not None:
                    stack.callback(one.discard)


class TakenBlob(Protocol):
    """Bytes that are written and known but not yet visible, whatever they are."""

    @property
    def blob(self) -> BlobRow:
        """What is known of them."""

    def sync(self) -> None:
        """Put them on disk. Slow: never call it with the write lock."""

    def publish_blob(self, rows: WritableRows) -> None:
        """Make the synced bytes visible with the rows; bytes that are there already stay."""

    def discard(self) -> None:
        """Leave nothing behind of bytes that were not published."""


@dataclass(frozen=True, slots=True)
class IngestedBlob:
    """Bytes that nothing has looked into. They are published once, or discarded.

    Without content they are there already.
    """

    blob: BlobRow
    _content: Ingest | None = None

    def sync(self) -> None:
        """Put the bytes on disk. Slow: never call it with the write lock."""
        if self._content is not None:
            self._content.sync()

    def publish_blob(self, rows: WritableRows) -> None:
        """Make the synced bytes visible with the rows; bytes that are there already stay."""
        if self._content is not None:
            self._content.commit(rows, self.blob)
        rows.put_blob(self.blob)

    def discard(self) -> None:
        """Leave nothing behind of bytes that were not published."""
        if self._content is not None:
            self._content.discard()


def ingest_blob(
    source: Readable,
    blobs: BlobStore,
    *,
    meter: Meter,
    progress: Callable[[int], object] | None = None,
    content: Ingest | None = None,
    algorithm: str = "sha256",
) -> IngestedBlob:
    """Read bytes to their end, and write and hash them. Takes what `ingest_layer` does.

    Raises:
        StorageError: they cannot be written. LimitExceeded: they are too many. Nothing is left behind.
    """
    with ExitStack() as stack:
        content = stack.enter_context(blobs.begin(algorithm) if content is None else content)
        first = b""
        raw = _Tee(source, b"", Fanout(content.append, content.hash), progress)
        with raw.out:
            while chunk := raw.read(CHUNK):
                if len(first) < PREFIX_SIZE:
                    first += chunk[:PREFIX_SIZE]
                meter.plain(len(chunk))
            raw.out.close()
        content.finish()
        stack.pop_all()
    return IngestedBlob(BlobRow(content.digest, content.size, detect(first).name.lower()), content)


@dataclass(frozen=True, slots=True)
class MeasuredLayer:
    """What is known of a layer that was read and not kept.

    ``index`` has the borders of its compressed streams; None if there are none beside its start.
    """

    diff: DiffRow
    blob: BlobRow
    index: SeekIndex | None

    def discard(self) -> None:
        """Leave nothing behind: nothing was written."""


def ingest_layer(
    source: Readable,
    blobs: BlobStore,
    *,
    meter: Meter,
    progress: Callable[[int], object] | None = None,
    content: Ingest | None = None,
    algorithm: str = "sha256",
    other: Callable[[IngestedBlob], object] | None = None,
) -> IngestedLayer:
    """Read a layer to its end, plain or compressed, and write it.

    Args:
        source: the layer's bytes as they came.
        blobs: where they are to be kept.
        meter: counts what comes out, and has the limits.
        progress: called with the number of raw bytes read since the last call.
        content: where they are kept, if that is settled already.
        algorithm: by which the bytes are named, else.
        other: called with the bytes if they are not a layer, before the error is raised: they are then read to their
            end, and kept for whoever needs them as they are.

    Raises:
        InvalidTar: what comes out is not a layer tar. InvalidCompression: the stream is damaged. StorageError: the
            bytes cannot be written. LimitExceeded: the layer asks for too much. Nothing is left behind.
    """
    with ExitStack() as stack:
        content = stack.enter_context(blobs.begin(algorithm) if content is None else content)
        toc = stack.enter_context(blobs.begin())
        table = TocWriter(toc)
        # Compressing the table takes as long as finding its headers.
        begun = _Begun(source)
        try:
            with Fanout(table.add) as tables:
                measured = measure_layer(
                    begun, meter=meter, ingest=content, headers=tables.put, progress=progress, drain=other is not None
                )
        except LimitExceeded:
            raise
        except InvalidInput:
            if other is not None:
                toc.discard()
                content.finish()
                stack.pop_all()
                other(IngestedBlob(BlobRow(content.digest, content.size, detect(begun.first).name.lower()), content))
            raise
        table.close()
        if measured.index is not None:
            toc.write(packed(measured.index))
        # What follows, another layer or the rows, need not wait for the disk.
        content.finish()
        toc.finish()
        stack.pop_all()
    return IngestedLayer(measured.diff, measured.blob, content, toc)


def measure_layer(
    source: Readable,
    *,
    meter: Meter,
    ingest: Ingest | None = None,
    headers: Callable[[bytes], object] | None = None,
    progress: Callable[[int], object] | None = None,
    algorithm: str = "sha256",
    drain: bool = False,
) -> MeasuredLayer:
    """Read a layer to its end, plain or compressed: hash it as it came and decompressed, and scan it.

    Args:
        source: the layer's bytes as they came.
        meter: counts what comes out, and has the limits.
        ingest: where these bytes are kept; it writes them in a thread of its own.
        headers: called with the tar headers in them.
        progress: called with the number of raw bytes read since the last call.
        algorithm: by which the bytes are named, where they are not kept.
        drain: read the rest of what is not a layer before that is told.

    Raises:
        InvalidTar: what comes out is not a layer tar. InvalidCompression: the stream is damaged.
        LimitExceeded: the layer asks for too much. Exception: what ``write`` raises.
    """
    first = source.read(_PIECE)
    while 0 < len(first) < PREFIX_SIZE and (more := source.read(_PIECE)):
        first += more
    compression = detect(first)
    raw_hash, plain_hash = hashlib.new(algorithm), hashlib.sha256()
    named_by = algorithm if ingest is None else ingest.algorithm
    # A plain layer that is named by sha256 is hashed once.
    is_diff = compression is Compression.NONE and named_by == "sha256"
    scanner = TarScanner(headers=headers, limits=meter.limits)
    if ingest is None:
        consumers: list[Callable[[bytes], object]] = [raw_hash.update]
    elif compression is Compression.NONE:
        # Writing and hashing take about as long as each other, and longer than what this thread does.
        consumers = [ingest.append, ingest.hash]
    else:
        # Both together take less than what this thread does; each further one would only add changes of threads.
        consumers = [ingest.write]
    raw = _Tee(source, first, Fanout(*consumers, depth=_WAITING), progress)
    del first
    borders = None if compression is Compression.NONE else Borders()
    with raw.out:
        try:
            if borders is None:
                while chunk := raw.read(CHUNK):
                    meter.plain(len(chunk))
                    scanner.feed(chunk)
                    if not is_diff:
                        plain_hash.update(chunk)
            else:
                plain = decompressed(raw, compression, limits=meter.limits, border=borders.add)
                _scan_compressed(raw, plain, scanner, plain_hash.update, meter)
        except LimitExceeded:
            raise
        except InvalidInput:
            while drain and (chunk := raw.read(CHUNK)):
                meter.plain(len(chunk))
            raw.out.close()
            raise
        raw.out.close()
    summary = scanner.close()
    if max(summary.content_size, summary.tar_size) > MAX_SIZE:
        msg = f"the layer's files add up to {summary.content_size} bytes, which no disk holds; it is refused"
        raise InvalidTar(msg)
    digest = Digest(algorithm, raw_hash.hexdigest()) if ingest is None else ingest.digest
    diff_id = DiffID.wrap(digest) if is_diff else DiffID("sha256", plain_hash.hexdigest())
    return MeasuredLayer(
        DiffRow(diff_id, summary.tar_size, summary.content_size, summary.entries, summary.reason or None),
        BlobRow(digest, raw.size, compression.name.lower()),
        None if borders is None else borders.index(str(digest), compression, summary.tar_size),
    )


def _scan_compressed(
    raw: _Tee, plain: DecompressingReader, scanner: TarScanner, hash_plain: Callable[[bytes], object], meter: Meter
) -> None:
    try:
        with Fanout(hash_plain, depth=_WAITING) as out:
            while chunk := plain.read(_PIECE):
                meter.plain(len(chunk))
                out.put(chunk)
                scanner.feed(chunk)
            out.close()
    finally:
        plain.close()
    # What follows the last compressed member belongs to the blob all the same.
    while raw.read(CHUNK):
        pass


class _Begun:
    """A reader that remembers how its bytes begin."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.first = b""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        chunk = self._source.read(n)
        if len(self.first) < PREFIX_SIZE:
            self.first += chunk[: PREFIX_SIZE - len(self.first)]
        return chunk


class _Tee:
    """A reader that hands on everything it reads."""

    def __init__(self, source: Readable, first: bytes, out: Fanout, progress: Callable[[int], object] | None) -> None:
        self._source = source
        self._first = first
        self.size = 0
        self.out = out
        self._progress = progress

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, and the same to the others, who get all that came also where it breaks off."""
        try:
            return self._read(n)
        except BaseException:
            with suppress(Exception):  # the first error is the one to show
                self.out.close()
            raise

    def _read(self, n: int) -> bytes:
        if self._first:
            chunk, self._first = self._first[:n], self._first[n:]
        else:
            chunk = self._source.read(n)
        if chunk:
            self.size += len(chunk)
            self.out.put(chunk)
            if self._progress is not None:
                self._progress(len(chunk))
        return chunk
