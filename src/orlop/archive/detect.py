"""What a file, a pipe or a directory holds, found out by its first bytes and its members."""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from orlop.archive.docker import DockerExporter
from orlop.archive.located import LocatedMembers, Window
from orlop.archive.streamed import StreamedMembers
from orlop.errors import InvalidArchive, InvalidTar
from orlop.model import gojson
from orlop.streams.compression import Compression, decompressed, detect
from orlop.streams.files import CHUNK, explained, explaining, open_source, widen_pipe
from orlop.streams.given import check_file
from orlop.streams.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.archive.exporter import Exporter
    from orlop.archive.members import Members
    from orlop.intake.source import L, LayerTaker
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.store.blobs.ingest import Readable
    from orlop.store.blobs.store import Spool

_PREFIX = 512
_DOCUMENT_KEYS = frozenset({"schemaversion", "mediatype", "config", "manifests"})


@contextmanager
def open_members(
    source: BinaryIO | str | os.PathLike[str],
    take: LayerTaker[L],
    *,
    limits: Limits,
    progress: Progress | None = None,
    scratch: Callable[[], Spool] | None = None,
) -> Iterator[Members[L]]:
    """Open an archive, plain or compressed, in a file or a pipe, or unpacked in a directory, and return its members.

    Args:
        source: a path, or an open binary file or stream, which is read from where it stands and not closed.
        take: makes a layer of a member's bytes.
        limits: what the archive may ask for.
        progress: told of every layer's bytes.
        scratch: begins a spool for what may wait on the disk; without it nothing is written.

    Raises:
        NotFound, PermissionDenied, ReadFailed: the path cannot be read. InvalidArchive: what it holds is no archive.
        LimitExceeded: it asks for too much.
    """
    check_file(source, "an archive")
    meter = Meter(limits)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if os.path.isdir(name):
            from orlop.archive.directory import DirectoryMembers  # noqa: PLC0415 - as the other formats below

            with DirectoryMembers(name, take, meter, progress) as members:
                yield members
            return
        with (
            open(open_source(source), "rb", buffering=CHUNK) as file,
            _members_of(file, name, take, meter, progress, scratch=scratch) as members,
        ):
            yield members
        return
    with _members_of(source, "the input", take, meter, progress, scratch=scratch) as members:
        yield members


def exporter_of(members: Members[L]) -> type[Exporter]:
    """Return in which format an archive is, by its members.

    Raises:
        InvalidArchive: it is in none that is known, or could be read in two ways.
    """
    has_index = members.has("index.json") or members.has("oci-layout")
    if members.has("manifest.json"):
        if not _is_manifest(members):
            return DockerExporter
        if has_index:
            msg = "the archive is a directory of skopeo and an OCI layout at once, which may differ; it is refused"
            raise InvalidArchive(msg)
        from orlop.archive.skopeo_dir import DirExporter  # noqa: PLC0415 - a load starts faster without all other formats

        return DirExporter
    if has_index:
        if members.has("repositories") and any(
            name.endswith("/json") and name.count("/") == 1 for name in members.names()
        ):
            msg = (
                "the archive is an OCI image layout and an archive of version 1 at once: Docker 20.10 would read the"
                " latter, skopeo and containerd the former; it is refused"
            )
            raise InvalidArchive(msg)
        from orlop.archive.oci import OCIExporter  # noqa: PLC0415 - as above

        return OCIExporter
    if members.has("repositories"):
        from orlop.archive.legacy import LegacyExporter  # noqa: PLC0415 - as above

        return LegacyExporter
    msg = (
        "this is no image archive: it has neither manifest.json nor index.json nor repositories; give one that docker,"
        " podman, skopeo or buildah saved"
    )
    raise InvalidArchive(msg)


def _is_manifest(members: Members[L]) -> bool:
    """Return whether manifest.json is the manifest of an image and not Docker's list of images."""
    raw = members.document("manifest.json", what="the document")
    if raw.lstrip()[:1] != b"{":
        # A list of images may be long.
        return False
    document = gojson.loads(raw, allow_trailing=True)
    return isinstance(document, dict) and not _DOCUMENT_KEYS.isdisjoint(map(gojson.fold, document))


@contextmanager
def _members_of(
    source: BinaryIO,
    name: str,
    take: LayerTaker[L],
    meter: Meter,
    progress: Progress | None,
    *,
    scratch: Callable[[], Spool] | None,
) -> Iterator[Members[L]]:
    if not _is_regular_file(source):
        widen_pipe(source)
        prefixed = _Prefixed(meter.counted(source), name)
        with _streamed(prefixed, take, meter, progress, scratch=scratch) as members:
            yield members
        return
    with explaining("read", name):
        descriptor, start = source.fileno(), source.tell()
        prefix = os.pread(descriptor, _PREFIX, start)
    compression = detect(prefix)
    _check_prefix(prefix, name)
    if compression is Compression.NONE:
        with LocatedMembers(descriptor, start, take, meter, progress) as members:
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
        StreamedMembers(plain, take, meter, progress, again=again, scratch=scratch) as members,
    ):
        yield members


@contextmanager
def _streamed(
    source: _Prefixed,
    take: LayerTaker[L],
    meter: Meter,
    progress: Progress | None,
    *,
    scratch: Callable[[], Spool] | None,
) -> Iterator[Members[L]]:
    compression = detect(source.prefix)
    _check_prefix(source.prefix, source.name)
    if compression is Compression.NONE:
        with StreamedMembers(source, take, meter, progress, scratch=scratch) as members:
            yield members
        return
    plain = _Unpacked(source, compression, meter)
    try:
        with StreamedMembers(plain, take, meter, progress, scratch=scratch) as members:
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
