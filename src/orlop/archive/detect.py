"""How the members of an archive can be had: of a file, a pipe or a directory, plain or compressed."""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.located import LocatedMembers, Window
from orlop.archive.members import begins_like_layer
from orlop.archive.streamed import StreamedMembers
from orlop.errors import InvalidArchive, InvalidTar
from orlop.streams.compression import Compression, decompressed, detect
from orlop.streams.files import CHUNK, explained, explaining, open_source, widen_pipe
from orlop.streams.given import check_file
from orlop.streams.tar_header import says_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.archive.members import Members
    from orlop.intake.taking import L, Taking
    from orlop.store.blobs.ingest import Readable
    from orlop.store.blobs.store import Spool
    from orlop.streams.meter import Meter

_PREFIX = 512


@contextmanager
def open_members(
    source: BinaryIO | str | os.PathLike[str],
    taking: Taking[L],
    *,
    scratch: Callable[[], Spool] | None = None,
) -> Iterator[Members[L]]:
    """Open an archive, plain or compressed, in a file or a pipe, or unpacked in a directory, and return its members.

    Args:
        source: a path, or an open binary file or stream, which is read from where it stands and not closed.
        taking: makes a layer of a member's bytes, within limits, and tells of it.
        scratch: begins a spool for what may wait on the disk; without it nothing is written.

    Raises:
        NotFound, PermissionDenied, ReadFailed: the path cannot be read. InvalidArchive: what it holds is not an
        archive.
        LimitExceeded: it asks for too much.
    """
    check_file(source, "an archive")
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if os.path.isdir(name):
            from orlop.archive.directory import DirectoryMembers  # noqa: PLC0415 - as the other formats below

            with DirectoryMembers(name, taking) as members:
                yield members
            return
        with (
            open(open_source(source), "rb", buffering=CHUNK) as file,
            _members_of(file, name, taking, scratch=scratch) as members,
        ):
            yield members
        return
    with _members_of(source, "the input", taking, scratch=scratch) as members:
        yield members


@contextmanager
def _members_of(
    source: BinaryIO,
    name: str,
    taking: Taking[L],
    *,
    scratch: Callable[[], Spool] | None,
) -> Iterator[Members[L]]:
    meter = taking.meter
    if not _is_regular_file(source):
        widen_pipe(source)
        prefixed = _Prefixed(meter.counted(source), name)
        with _streamed(prefixed, taking, scratch=scratch) as members:
            yield members
        return
    with explaining("read", name):
        descriptor, start = source.fileno(), source.tell()
        prefix = os.pread(descriptor, _PREFIX, start)
    compression = detect(prefix)
    _check_prefix(prefix, name)
    if compression is Compression.NONE:
        with LocatedMembers(descriptor, start, taking) as members:
            yield members
        return

    @contextmanager
    def again() -> Iterator[Readable]:
        plain = _Unpacked(meter.counted(Window(descriptor, start, None)), compression, meter)
        try:
            yield plain
        finally:
            plain.close()

    with (
        again() as plain,
        StreamedMembers(plain, taking, again=again, scratch=scratch) as members,
    ):
        yield members


@contextmanager
def _streamed(
    source: _Prefixed,
    taking: Taking[L],
    *,
    scratch: Callable[[], Spool] | None,
) -> Iterator[Members[L]]:
    compression = detect(source.prefix)
    _check_prefix(source.prefix, source.name)
    if compression is Compression.NONE:
        with StreamedMembers(source, taking, scratch=scratch) as members:
            yield members
        return
    plain = _Unpacked(source, compression, taking.meter)
    try:
        with StreamedMembers(plain, taking, scratch=scratch) as members:
            yield members
    finally:
        plain.close()


def _check_prefix(prefix: bytes, name: str) -> None:
    if not prefix:
        msg = f"{name} is empty; give an image archive, such as docker save writes"
        raise InvalidArchive(msg)
    if not begins_like_layer(prefix) and not says_tar(prefix):
        msg = f"{name} is not an image archive: it is neither a tar nor compressed; give one such as docker save writes"
        raise InvalidTar(msg)


def _is_regular_file(source: BinaryIO) -> bool:
    # A reader that decompresses has its file's descriptor too, but other bytes.
    return isinstance(source, (io.FileIO, io.BufferedReader, io.BufferedRandom)) and stat.S_ISREG(
        os.fstat(source.fileno()).st_mode
    )


class _Unpacked:
    """What comes out of an archive that is compressed as a whole; it is counted."""

    def __init__(self, source: Readable, compression: Compression, meter: Meter) -> None:
        self._plain = decompressed(source, compression, limits=meter.limits)
        self._meter = meter

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        data = self._plain.read(n)
        self._meter.unpacked(len(data))
        return data

    def close(self) -> None:
        """Free the decompressor's memory."""
        self._plain.close()


class _Prefixed:
    """A stream whose first bytes have been looked at; errors of the system are explained."""

    def __init__(self, source: Readable, name: str) -> None:
        self._source = source
        self.name = name
        self._rest = self.prefix = self._read(_PREFIX)

    def _read(self, n: int) -> bytes:
        """Read until there are ``n`` bytes or no more: a socket may give a few at a time."""
        try:
            data = self._source.read(n)
            if not data or len(data) == n:
                return data
            parts = [data]
            missing = n - len(data)
            while missing and (data := self._source.read(missing)):
                parts.append(data)
                missing -= len(data)
        except OSError as error:
            raise explained(error, "read", self.name) from error
        return b"".join(parts)

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        if self._rest:
            if n <= len(self._rest):
                data, self._rest = self._rest[:n], self._rest[n:]
                return data
            data, self._rest = self._rest, b""
            return data + self._read(n - len(data))
        return self._read(n)
