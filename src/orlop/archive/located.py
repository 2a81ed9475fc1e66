"""The members of an archive that can be sought in, and parts of files that are read by position."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from orlop.archive.members import READ, Member, Members
from orlop.intake.taking import L
from orlop.streams.files import CHUNK, explained
from orlop.streams.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.intake.taking import Taking
    from orlop.store.blobs.ingest import Readable

_LARGE = 1 << 30


class LocatedMembers(Members[L]):
    """The members of a plain tar file that can be sought in; content is read only when it is asked for."""

    parallel = True

    def __init__(self, descriptor: int, start: int, taking: Taking[L]) -> None:
        super().__init__(taking)
        self._descriptor = descriptor
        for count, entry in enumerate(TarReader(Window(descriptor, start, None), limits=self.limits), 1):
            self._check_count(count)
            if entry.type not in READ:
                self._note_other(entry.name)
            elif entry.type in {"hardlink", "symlink"}:
                self._add_link(entry.name, entry.linkname, hard=entry.type == "hardlink")
            elif entry.type == "file":
                # Of a sparse file, what is stored is not what it holds: it is read from its header.
                place = entry.header_offset if entry.sparse else entry.offset
                member = Member[L](entry.size, None, start + place, entry.sparse, entry.stored_size)
                self._add(entry.name, member, partial(self._same, member))
        self._check_places()

    def _same(self, one: Member[L], other: Member[L]) -> bool:
        if one.size != other.size:
            return False
        left, right = self._content(one), self._content(other)
        for start in range(0, one.size, CHUNK):
            size = min(CHUNK, one.size - start)
            # A sparse member may have no end.
            self.meter.unpacked(size)
            if _read_all(left, size) != _read_all(right, size):
                return False
        return True

    def _content(self, member: Member[L]) -> Readable:
        if not member.sparse:
            return self.meter.counted(Window(self._descriptor, member.offset, member.size))
        reader = TarReader(self.meter.counted(Window(self._descriptor, member.offset, None)), limits=self.limits)
        next(reader)
        return reader

    @contextmanager
    def _reading(self, member: Member[L], key: str) -> Iterator[Readable]:  # noqa: ARG002 - the place is known
        yield self._content(member)

    def close(self) -> None:
        """Do not read the file, which is the caller's, any more."""
        super().close()
        self._descriptor = -1


def _read_all(source: Readable, size: int) -> bytes:
    """Read as many bytes, fewer only where there are no more."""
    data = source.read(size)
    while data and len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data


class Window:
    """A part of a file, read by position, so that several may read one descriptor at once."""

    __slots__ = ("_descriptor", "_end", "_start", "position")

    def __init__(self, descriptor: int, start: int, size: int | None) -> None:
        self._descriptor = descriptor
        self._start = start
        self._end = None if size is None else start + size
        self.position = start

    def read(self, n: int = -1, /) -> bytes:
        """Return at most ``n`` bytes, and fewer only at the end of the part or of the file."""
        if self._end is not None:
            n = self._end - self.position if n < 0 else min(n, self._end - self.position)
        try:
            if n > _LARGE or self.position > _LARGE:
                # A header may claim more than there is, or than a file can be long.
                n = min(n, os.fstat(self._descriptor).st_size - self.position)
            data = os.pread(self._descriptor, n, self.position) if n > 0 else b""
        except OSError as error:
            raise explained(error, "read", "the archive") from error
        self.position += len(data)
        return data

    def seekable(self) -> bool:
        """Return that `seek` works."""
        return True

    def tell(self) -> int:
        """Return the position within the part."""
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
