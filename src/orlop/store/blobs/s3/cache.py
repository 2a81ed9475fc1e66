"""What was read of a bucket lately, in a directory of this machine, so that it is not fetched again.

A cache holds *blocks*: a block is 1 MiB of an object, fewer bytes at its end, in a file of its own. Keys are never used
twice and objects never change, so a block is right for ever; nothing has to be invalidated, and parts of objects are
kept in the same way as whole ones. Each file ends with a CRC-32 of its name and its bytes. A file that does not fit it,
because a machine died or a disk failed, is dropped, and the block is fetched again. So no file is ever synced.

Any number of processes share a directory. A block gets its name when it is complete. The files used longest ago go
where all together are more than may be: whoever has added a part of that looks, one at a time, under a lock. What
another process reads it has opened, or finds missing and fetches.

A cache never lets a read fail. One that cannot be used, as its disk is full or it belongs to somebody else, is left
alone, with one warning. Nothing in its directory is removed that does not have the name of a block, or of one to come:
a user may have named a directory that has other files, too.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from orlop.errors import OrlopError
from orlop.model.logger import Logger
from orlop.model.regex import regex
from orlop.store.blobs.s3.reading import Fetch
from orlop.streams.directory import Directory, ForeignFile
from orlop.streams.file_lock import FileLock
from orlop.streams.files import PRIVATE, make_directories, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.blobs.s3.client import S3Client
    from orlop.store.blobs.s3.reading import Source
    from orlop.streams.directory import Entry

_log = Logger(__name__)

BLOCK: Final = 1 << 20
_TRAILER: Final = b"ob1\n"
_OVERHEAD: Final = len(_TRAILER) + 4
_LOCK: Final = "lock"
_SHARE: Final = 64
"""Whoever has added this part of what may be kept looks whether something has to go."""
_FAILURES: Final = (OSError, ForeignFile, OrlopError)
_OWN: Final = regex(r"(?:[0-9a-f]{32}-[0-9]+|new-[0-9a-f]{16})")
"""The names of blocks, and of those that are being written."""


class BlockCache:
    """Blocks of objects in a directory. Safe to share between threads and processes.

    Args:
        path: the directory; it is made when it is first needed.
        most: bytes that all files together may have. Between two looks every process may add a 64th of that.
    """

    def __init__(self, path: str, *, most: int) -> None:
        self.path = path
        self.most = most
        self._directory = Directory(path)
        self._guard = threading.Lock()
        self._added = most
        self._is_usable: bool | None = None

    def get(self, key: str, number: int, size: int) -> bytes | None:
        """Return a block of an object, or nothing where it is not kept whole; one that is damaged is dropped.

        Args:
            key: of the object.
            number: of the block, from 0 on.
            size: bytes that it must have.
        """
        if not self._usable():
            return None
        entry = self._entry(key, number)
        try:
            data = _read(entry, size + _OVERHEAD)
        except FileNotFoundError:
            return None
        except _FAILURES:
            return None
        if len(data) == size + _OVERHEAD and data[size:] == _trailer(entry.name, data[:size]):
            with suppress(*_FAILURES):
                os.utime(entry.name, dir_fd=self._directory.descriptor, follow_symlinks=False)
            return data[:size]
        with suppress(*_FAILURES):
            entry.unlink()
        return None

    def put(self, key: str, number: int, data: bytes) -> None:
        """Keep a block of an object. Raises nothing."""
        size = len(data) + _OVERHEAD
        if size * 2 > self.most or not self._usable():
            return
        with suppress(*_FAILURES):
            if self._is_due(size):
                self._make_room()
            self._write(self._entry(key, number), data)

    def drop(self, key: str, blocks: int) -> None:
        """Forget the blocks of an object. Raises nothing."""
        for number in range(blocks):
            with suppress(*_FAILURES):
                self._entry(key, number).unlink()

    def _entry(self, key: str, number: int) -> Entry:
        return self._directory.at(f"{key}-{number}")

    def _write(self, entry: Entry, data: bytes) -> None:
        new = entry.named(f"new-{os.urandom(8).hex()}")
        descriptor = new.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE.file)
        try:
            try:
                write_all(descriptor, data)
                write_all(descriptor, _trailer(entry.name, data))
            finally:
                os.close(descriptor)
            new.rename(entry)
        except BaseException:
            with suppress(*_FAILURES):
                new.unlink()
            raise

    def _usable(self) -> bool:
        if self._is_usable is None:
            try:
                make_directories(self.path, PRIVATE.directory)
                self._is_usable = _is_safe(self._directory.state())
                why = "others may write there"
            except _FAILURES as error:
                self._is_usable, why = False, getattr(error, "strerror", None) or str(error)
            if not self._is_usable:
                _log.warning("nothing is kept in the cache at %s: %s", self.path, why)
        return self._is_usable

    def _is_due(self, size: int) -> bool:
        with self._guard:
            self._added += size
            due = self._added * _SHARE >= self.most
            if due:
                self._added = 0
            return due

    def _make_room(self) -> None:
        """Remove the files used longest ago, until all together have an eighth less than they may have."""
        lock = FileLock(self._directory.at(_LOCK))
        if not lock.try_acquire():
            return
        try:
            found = [(state.st_mtime_ns, name, state.st_size) for name, state in self._directory.states()]
            files = sorted(one for one in found if _OWN.fullmatch(one[1]))
            excess = sum(size for _, _, size in files) - (self.most - self.most // 8)
            for _, name, size in files:
                if excess <= 0:
                    break
                with suppress(*_FAILURES):
                    self._directory.at(name).unlink()
                excess -= size
        finally:
            lock.release()

    def close(self) -> None:
        """Release the directory; it may be used again."""
        self._directory.close()


def _is_safe(state: os.stat_result) -> bool:
    """Return whether nobody else may have written a file or into a directory: it could be somebody else's bytes."""
    return state.st_uid == os.geteuid() and not state.st_mode & 0o022


def _read(entry: Entry, size: int) -> bytes:
    """Return at most a byte more than a file should have, and nothing of one of another user."""
    descriptor = entry.open()
    try:
        if not _is_safe(os.fstat(descriptor)):
            return b""
        data = os.read(descriptor, size + 1)
        while 0 < len(data) <= size and (more := os.read(descriptor, size + 1 - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def _trailer(name: str, data: bytes) -> bytes:
    return _TRAILER + isal_zlib.crc32(data, isal_zlib.crc32(name.encode())).to_bytes(4, "big")


class CachedFetch:
    """The bytes of an object from ``start`` to ``end``, from a cache as far as they are there; see `Fetch`.

    What is not there is fetched, block by block from the first that is missing on, and kept. Where all of an object is
    read its digest is compared: blocks that came wrong from the bucket do not stay.
    """

    def __init__(
        self, cache: BlockCache, client: S3Client, source: Source, start: int, end: int, *, haste: bool = False
    ) -> None:
        self._cache, self._client, self._source, self._haste = cache, client, source, haste
        self._key = source.key.rpartition("/")[2]
        self._at, self._end = start, end
        self._fetch: Fetch | None = None
        self._stream: Iterator[bytes] | None = None
        whole = source.digest is not None and (start, end) == (0, source.size)
        self._hash = hashlib.new(source.digest.algorithm) if source.digest is not None and whole else None
        self.unwanted = threading.Event()
        # What is missing is known at once.
        self._next = self._block(start // BLOCK) if start < end or source.size == 0 else b""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, in pieces of at most 1 MiB. Raises what `Fetch` raises."""
        while self._at < self._end:
            number, skipped = divmod(self._at, BLOCK)
            block = self._next or self._block(number)
            self._next = b""
            piece = block[skipped : self._end - number * BLOCK] if skipped or self._is_last(number) else block
            self._at += len(piece)
            if self._hash is not None:
                self._hash.update(piece)
                if self._at == self._end:
                    self._judge()
            yield piece
        self.close()

    def _judge(self) -> None:
        """Forget the blocks of an object that are not what its digest says, so that the next read fetches them."""
        if self._hash is not None and self._source.digest is not None:
            if self._hash.hexdigest() != self._source.digest.hex:
                self._cache.drop(self._key, -(-self._source.size // BLOCK))
            self._hash = None

    def _is_last(self, number: int) -> bool:
        return self._end < (number + 1) * BLOCK

    def _block(self, number: int) -> bytes:
        first = number * BLOCK
        size = min(BLOCK, self._source.size - first)
        found = self._cache.get(self._key, number, size) if self._stream is None and size else None
        if found is not None:
            return found
        if self._stream is None:
            end = min(self._source.size, -(-self._end // BLOCK) * BLOCK)
            self._fetch = Fetch(self._client, self._source, first, end, unwanted=self.unwanted, haste=self._haste)
            self._stream = self._fetch.pieces()
        block = next(self._stream, b"")
        while len(block) < size:
            block += next(self._stream)
        if size:
            self._cache.put(self._key, number, block)
        return block

    def close(self) -> None:
        """Drop the connection and what may be on it. Idempotent."""
        if self._fetch is not None:
            self._fetch.close()
