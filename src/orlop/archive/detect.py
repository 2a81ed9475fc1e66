"""What a file or pipe holds, found out by its first bytes, and its members."""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.members import LocatedMembers, StreamedMembers
from orlop.errors import InvalidArchive, InvalidTar
from orlop.streams.compression import Compression, decompressed, detect
from orlop.streams.files import CHUNK, explained, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.archive.members import Members
    from orlop.model.progress import Progress
    from orlop.store.blobs import FileBlobStore
    from orlop.store.ingest import Readable

_PREFIX = 512


@contextmanager
def open_members(
    source: BinaryIO | str | os.PathLike[str], blobs: FileBlobStore, *, progress: Progress | None = None
) -> Iterator[Members]:
    """Open an archive, plain or compressed, in a file or a pipe, and give its members.

    Args:
        source: a path, or an open binary file or stream, which is read from where it stands and not closed.
        blobs: where layers are ingested.
        progress: told of every layer's bytes.

    Raises:
        NotFound, PermissionDenied, ReadFailed: the path cannot be read. InvalidArchive: what it holds is no archive.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        with (
            open(open_source(source), "rb", buffering=CHUNK) as file,
            _members_of(file, name, blobs, progress) as members,
        ):
            yield members
        return
    with _members_of(source, "the input", blobs, progress) as members:
        yield members


@contextmanager
def _members_of(source: BinaryIO, name: str, blobs: FileBlobStore, progress: Progress | None) -> Iterator[Members]:
    if _is_regular_file(source):
        descriptor, start = source.fileno(), source.tell()
        prefix = os.pread(descriptor, _PREFIX, start)
        if detect(prefix) is Compression.NONE:
            _check_prefix(prefix, name)
            with LocatedMembers(descriptor, start, blobs, progress) as members:
                yield members
            return
    with _streamed(_Prefixed(source, name), blobs, progress) as members:
        yield members


@contextmanager
def _streamed(source: _Prefixed, blobs: FileBlobStore, progress: Progress | None) -> Iterator[Members]:
    compression = detect(source.prefix)
    _check_prefix(source.prefix, source.name)
    if compression is Compression.NONE:
        with StreamedMembers(source, blobs, progress) as members:
            yield members
        return
    plain = decompressed(source, compression)
    try:
        with StreamedMembers(plain, blobs, progress) as members:
            yield members
    finally:
        plain.close()


def _check_prefix(prefix: bytes, name: str) -> None:
    if not prefix:
        msg = f"{name} is empty; give an image archive, such as docker save writes"
        raise InvalidArchive(msg)
    if detect(prefix) is Compression.NONE and len(prefix) < _PREFIX:
        msg = f"{name} is no image archive: it is neither a tar nor compressed"
        raise InvalidTar(msg)


def _is_regular_file(source: BinaryIO) -> bool:
    # A reader that decompresses has its file's descriptor too, but other bytes.
    return isinstance(source, (io.FileIO, io.BufferedReader, io.BufferedRandom)) and stat.S_ISREG(
        os.fstat(source.fileno()).st_mode
    )


class _Prefixed:
    """A stream whose first bytes have been looked at; errors of the system are explained."""

    def __init__(self, source: Readable, name: str) -> None:
        self._source = source
        self.name = name
        self._rest = self.prefix = self._read(_PREFIX)

    def _read(self, n: int) -> bytes:
        try:
            return self._source.read(n)
        except OSError as error:
            raise explained(error, "read", self.name) from error

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""
        if self._rest:
            if n <= len(self._rest):
                data, self._rest = self._rest[:n], self._rest[n:]
                return data
            data, self._rest = self._rest, b""
            return data + self._read(n - len(data))
        return self._read(n)
