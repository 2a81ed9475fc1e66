"""An archive as a table of members: small documents, possible layers, and links between them.

Nothing is extracted: a member's name is a key and never becomes a path on disk. Of a file that can be sought in, the
members are located first and read when they are asked for; of a pipe, each is taken as it comes.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

from orlop.errors import InvalidArchive, InvalidInput, LimitExceeded, ReadFailed
from orlop.model.progress import LayerDone, LayerProgress
from orlop.streams.files import CHUNK, explained
from orlop.streams.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from orlop.errors import OrlopError
    from orlop.model.progress import Progress, ProgressEvent
    from orlop.store.ingest import Readable
    from orlop.store.metadata import BlobRow, DiffRow
    from orlop.streams.tar import TarEntry

MAX_DOCUMENT = 4 << 20
"""Bytes that a manifest, an index or a config may have."""

MAX_DOCUMENTS = 256 << 20
"""Bytes of documents that may wait in memory while an archive comes through a pipe."""

MAX_MEMBERS = 100_000
"""Members that an archive may have: a layer takes four at most, and an image has no more than 125."""

MAX_NAME = 4096
"""Characters that a member's name or a link's target may have."""

_MAX_LINKS = 40
_BLOCK = 512


def member_key(name: str) -> str:
    """Give the key of a member: ``./x``, ``/x`` and ``x`` are one.

    Raises:
        InvalidArchive: the name climbs out of the archive.
    """
    if len(name) > MAX_NAME:
        msg = f"the archive has a name of {len(name)} characters, {name[:40]!r}…; at most {MAX_NAME} are allowed"
        raise LimitExceeded(msg)
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                msg = f"the archive names {name!r}, which lies outside of it; it is refused"
                raise InvalidArchive(msg)
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


class KnownLayer(Protocol):
    """A layer of an archive that was read to its end; what else it is, the one who took it knows."""

    @property
    def diff(self) -> DiffRow:
        """What is known of its content."""

    @property
    def blob(self) -> BlobRow:
        """What is known of its bytes as they came."""

    def discard(self) -> None:
        """Leave nothing behind of it."""


L = TypeVar("L", bound=KnownLayer)
LayerTaker: TypeAlias = "Callable[[Readable, Callable[[int], object] | None], L]"
"""What makes a layer of a member's bytes; the second argument is to be called with the number of bytes read."""


@dataclass(slots=True)
class Member(Generic[L]):
    """One entry of the table: a link's ``target`` is a key; of a file, one of the others says where its bytes are."""

    size: int = 0
    target: str | None = None
    offset: int = 0
    sparse: bool = False
    data: bytes | None = None
    layer: L | None = None
    failure: OrlopError | None = None


class Members(ABC, Generic[L]):
    """The members of one archive. Leaving the block discards every layer that has not been published.

    Where ``parallel`` is set, several layers may be taken at once, by several threads.
    """

    parallel: ClassVar[bool] = False

    def __init__(self, take: LayerTaker[L], progress: Progress | None = None) -> None:
        self.progress = None if progress is None else _one_at_a_time(progress)
        self._take_layer = take
        self._table: dict[str, Member[L]] = {}

    def names(self) -> Iterator[str]:
        """Give the keys of all files and links."""
        return iter(self._table)

    def has(self, name: str) -> bool:
        """Say whether a name leads to a member."""
        return self._find(name) is not None

    def document(self, name: str, *, what: str) -> bytes:
        """Give the bytes of a small member, whole.

        Args:
            name: its name in the archive.
            what: what it is to the reader, for the error.

        Raises:
            InvalidArchive: it is not there. LimitExceeded: it has more than `MAX_DOCUMENT` bytes.
        """
        key = self.key_of(name, what=what)
        member = self._table[key]
        if member.size > MAX_DOCUMENT:
            msg = f"{what} {name!r} has {member.size} bytes; at most {MAX_DOCUMENT} are allowed"
            raise LimitExceeded(msg)
        return self._read(member, key)

    def key_of(self, name: str, *, what: str) -> str:
        """Give the key that a name leads to when all links are followed. Raises `InvalidArchive`."""
        found = self._find(name)
        if found is None:
            raise self._missing(name, what)
        return found

    def size_of(self, name: str, *, what: str) -> int:
        """Give how many bytes a member has, as it stands in the archive. Raises `InvalidArchive`."""
        return self._required(name, what).size

    def layer(self, name: str, *, label: str, check: Callable[[], None] | None = None) -> L:
        """Give a member as a layer, taken, hashed and scanned; the same member gives the same layer.

        Args:
            name: its name in the archive.
            label: how progress calls it.
            check: called now and then; what it raises ends the work.

        Raises:
            InvalidArchive: it is not there. InvalidTar, InvalidCompression: it is no layer.
        """
        member = self._required(name, "the layer")
        if member.failure is not None:
            raise member.failure
        if member.layer is None:
            try:
                with self._reading(member, self.key_of(name, what="the layer")) as source:
                    member.layer = self._take_layer(source, self._watcher(label, member.size, check))
            except InvalidInput as error:
                raise type(error)(f"the layer {name!r} is no layer tar: {error}") from error
            self._finished(label)
        return member.layer

    @contextmanager
    def reading(self, name: str, *, what: str) -> Iterator[Readable]:
        """Give a reader of a member's bytes as they stand, unverified.

        Raises:
            InvalidArchive: it is not there. ReadFailed: the archive came through a pipe, and is gone.
        """
        with self._reading(self._required(name, what), self.key_of(name, what=what)) as source:
            yield source

    @abstractmethod
    def _reading(self, member: Member[L], key: str) -> AbstractContextManager[Readable]: ...

    def _read(self, member: Member[L], key: str) -> bytes:
        with self._reading(member, key) as source:
            return read_exactly(source, member.size, key)

    def _required(self, name: str, what: str) -> Member[L]:
        return self._table[self.key_of(name, what=what)]

    def _missing(self, name: str, what: str) -> InvalidArchive:
        return InvalidArchive(f"the archive names {what} {name!r}, but has no such member; it is incomplete")

    def _find(self, name: str) -> str | None:
        key = member_key(name)
        for _ in range(_MAX_LINKS):
            member = self._table.get(key)
            if member is None:
                return None
            if member.target is None:
                return key
            key = member.target
        msg = f"the links of the archive's member {name!r} lead in a circle; it is refused"
        raise InvalidArchive(msg)

    def _add(self, name: str, member: Member[L], same: Callable[[Member[L]], bool]) -> None:
        key = member_key(name)
        if len(self._table) >= MAX_MEMBERS:
            msg = f"the archive has more than {MAX_MEMBERS} members; it is refused"
            raise LimitExceeded(msg)
        before = self._table.get(key)
        if before is not None and not (before.target == member.target and same(before)):
            msg = f"the archive has two different members of the name {key!r}; it is refused"
            raise InvalidArchive(msg)
        if before is None:
            self._table[key] = member

    def _add_link(self, name: str, linkname: str, *, hard: bool) -> None:
        if hard or linkname.startswith("/"):
            target = member_key(linkname)
        else:
            target = member_key(posixpath.join(posixpath.dirname(member_key(name)), linkname))
        self._add(name, Member(target=target), lambda _: True)

    def _watcher(
        self, label: str, total: int | None, check: Callable[[], None] | None = None
    ) -> Callable[[int], object] | None:
        progress = self.progress
        if progress is None:
            return None if check is None else lambda _: check()
        done = 0

        def watch(count: int) -> None:
            nonlocal done
            if check is not None:
                check()
            done += count
            progress(LayerProgress(label, done, total))

        return watch

    def _finished(self, label: str) -> None:
        if self.progress is not None:
            self.progress(LayerDone(label))

    def close(self) -> None:
        """Discard every layer that has not been published."""
        for member in self._table.values():
            if member.layer is not None:
                member.layer.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocatedMembers(Members[L]):
    """The members of a plain tar file that can be sought in; content is read only when it is asked for."""

    parallel = True

    def __init__(self, descriptor: int, start: int, take: LayerTaker[L], progress: Progress | None = None) -> None:
        super().__init__(take, progress)
        self._descriptor = descriptor
        for entry in TarReader(Window(descriptor, start, None)):
            if entry.type in {"hardlink", "symlink"}:
                self._add_link(entry.name, entry.linkname, hard=entry.type == "hardlink")
            elif entry.type == "file":
                # Of a sparse file, what is stored is not what it holds: it is read from its header.
                place = entry.header_offset if entry.sparse else entry.offset
                member = Member[L](size=entry.size, offset=start + place, sparse=entry.sparse)
                self._add(entry.name, member, partial(self._same, member))

    def _same(self, one: Member[L], other: Member[L]) -> bool:
        return one.size == other.size and self._digest(one) == self._digest(other)

    def _digest(self, member: Member[L]) -> bytes:
        content, digest = self._content(member), hashlib.sha256()
        while chunk := content.read(CHUNK):
            digest.update(chunk)
        return digest.digest()

    def _content(self, member: Member[L]) -> Readable:
        if not member.sparse:
            return Window(self._descriptor, member.offset, member.size)
        reader = TarReader(Window(self._descriptor, member.offset, None))
        next(reader)
        return reader

    @contextmanager
    def _reading(self, member: Member[L], key: str) -> Iterator[Readable]:  # noqa: ARG002 - the place is known
        yield self._content(member)

    def close(self) -> None:
        """Discard every layer that has not been published; the file, which is the caller's, is not read any more."""
        super().close()
        self._descriptor = -1


class StreamedMembers(Members[L]):
    """The members of a tar that comes once: documents wait in memory, all else is taken as a possible layer.

    Where the archive can be had again (``again``), members can be read later, each by going through it once more.
    """

    def __init__(
        self,
        source: Readable,
        take: LayerTaker[L],
        progress: Progress | None = None,
        *,
        again: Callable[[], AbstractContextManager[Readable]] | None = None,
    ) -> None:
        super().__init__(take, progress)
        self._waiting = 0
        self._again = again
        try:
            reader = TarReader(source)
            for entry in reader:
                if entry.type in {"hardlink", "symlink"}:
                    self._add_link(entry.name, entry.linkname, hard=entry.type == "hardlink")
                elif entry.type == "file":
                    # A name that is refused is refused before its content is kept.
                    member_key(entry.name)
                    member = self._take(reader, entry)
                    try:
                        self._add(entry.name, member, partial(_equal, member))
                    except BaseException:
                        if member.layer is not None:
                            member.layer.discard()
                        raise
            # What follows the end of an archive is read, so that who writes it does not meet a closed pipe. What has
            # no member is no archive, and may never end.
            while self._table and source.read(CHUNK):
                pass
        except BaseException:
            self.close()
            raise

    def _take(self, reader: TarReader, entry: TarEntry) -> Member[L]:
        first = b""
        while len(first) < min(entry.size, _BLOCK) and (data := reader.read(_BLOCK - len(first))):
            first += data
        if entry.size < _BLOCK or (entry.size <= MAX_DOCUMENT and first.lstrip()[:1] in {b"{", b"["}):
            self._waiting += entry.size
            if self._waiting > MAX_DOCUMENTS:
                msg = f"the archive has more than {MAX_DOCUMENTS} bytes of JSON documents; it is refused"
                raise LimitExceeded(msg)
            return Member(size=entry.size, data=first + b"".join(reader.chunks()))
        label = _label(entry.name)
        member = Member[L](size=entry.size, offset=entry.offset)
        try:
            content = _Continued(first, reader)
            member.layer = self._take_layer(content, self._watcher(label, entry.size))
            self._finished(label)
        except InvalidInput as error:
            # Only what the manifest names has to be a layer.
            member.failure = type(error)(f"the member {entry.name!r} is no layer tar: {error}")
            for _ in reader.chunks():
                pass
        return member

    @contextmanager
    def _reading(self, member: Member[L], key: str) -> Iterator[Readable]:
        if member.data is not None:
            yield io.BytesIO(member.data)
            return
        if self._again is None:
            msg = f"the archive came through a pipe, and its member {key!r} is gone; name a file instead"
            raise ReadFailed(msg)
        with self._again() as source:
            reader = TarReader(source)
            if not any(entry.offset == member.offset for entry in reader):
                msg = f"the archive has changed while it was read: its member {key!r} is not there any more"
                raise ReadFailed(msg)
            yield reader

    def _read(self, member: Member[L], key: str) -> bytes:
        if member.data is None:
            msg = f"the archive's document {key!r} is no JSON; it is refused"
            raise InvalidArchive(msg)
        return member.data


def read_exactly(source: Readable, size: int, name: str) -> bytes:
    """Read a small member to its end. Raises `InvalidArchive` where it has not ``size`` bytes."""
    parts: list[bytes] = []
    missing = size + 1
    while missing and (data := source.read(missing)):
        parts.append(data)
        missing -= len(data)
    if missing != 1:
        msg = f"the archive's member {name!r} has not the {size} bytes that it should have; it is damaged"
        raise InvalidArchive(msg)
    return b"".join(parts)


def _one_at_a_time(progress: Progress) -> Progress:
    """Let several threads tell of their progress without one meeting another in it."""
    turn = threading.Lock()

    def tell(event: ProgressEvent) -> None:
        with turn:
            progress(event)

    return tell


def _equal(new: Member[L], before: Member[L]) -> bool:
    """Compare a member with the one that has its name; the new one's layer, if any, is not needed either way."""
    if new.layer is not None:
        new.layer.discard()
        return before.layer is not None and before.layer.blob.digest == new.layer.blob.digest
    return new.data is not None and new.data == before.data


def _label(name: str) -> str:
    """Give a short name for progress: of the part of a path that looks like a digest, the first 12 digits."""
    parts = [part for part in name.split("/") if part not in {"", ".", "layer.tar"}]
    return parts[-1].partition(".")[0][:12] if parts else name


class Window:
    """A part of a file, read by position, so that several may read one descriptor at once."""

    __slots__ = ("_descriptor", "_end", "_start", "position")

    def __init__(self, descriptor: int, start: int, size: int | None) -> None:
        self._descriptor = descriptor
        self._start = start
        self._end = None if size is None else start + size
        self.position = start

    def read(self, n: int = -1, /) -> bytes:
        """Give at most ``n`` bytes, and fewer only at the end of the part or of the file."""
        if self._end is not None:
            n = self._end - self.position if n < 0 else min(n, self._end - self.position)
        try:
            data = os.pread(self._descriptor, n, self.position) if n > 0 else b""
        except OSError as error:
            raise explained(error, "read", "the archive") from error
        self.position += len(data)
        return data

    def seekable(self) -> bool:
        """Say that `seek` works."""
        return True

    def tell(self) -> int:
        """Give the position within the part."""
        return self.position - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position within the part, as files do."""
        if whence == os.SEEK_CUR:
            self.position += offset
        elif whence == os.SEEK_SET:
            self.position = self._start + offset
        else:
            end = os.fstat(self._descriptor).st_size if self._end is None else self._end
            self.position = end + offset
        return self.tell()


class _Continued:
    """A member's content, of which the first bytes have been read already."""

    def __init__(self, first: bytes, reader: TarReader) -> None:
        self._first = first
        self._reader = reader

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""
        if self._first:
            rest = self._reader.read(n - len(self._first)) if n > len(self._first) else b""
            data, self._first = self._first[:n] + rest, self._first[n:]
            return data
        return self._reader.read(n)
