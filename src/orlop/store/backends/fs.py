"""The store backend in a Docker daemon's own directory format.

``content/<algorithm>/<hex>`` holds a config, ``metadata/<algorithm>/<hex>/<key>`` a value beside it; directories have
mode 0700 and files 0600 (``image/<driver>/imagedb`` of a daemon's data root).
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from orlop.errors import InvalidDigest, StoreInUse
from orlop.model.digest import Digest
from orlop.store.backends.backend import StoreBackend, missing, missing_metadata
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
from orlop.streams.files import NewFile, explaining, fsync_directory, make_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

# A file system's clock has coarse ticks (seconds on some networks): two changes within one cannot be told apart.
_TICK = 2_000_000_000

# Databases in a data root that a living daemon holds locked, relative to image/<driver>/imagedb.
_DAEMON_LOCKS = ("volumes/metadata.db", "network/files/local-kv.db", "buildkit/cache.db")


class FSStoreBackend(StoreBackend):
    """Configs and metadata as files at ``root``.

    Each call is atomic and durable by itself, but several calls are not one transaction: a crash between them leaves
    what was done so far. While a daemon lives that owns the directory, nothing is written, since it would not notice.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(os.fspath(root))

    def _walk(self) -> Iterator[Digest]:
        base = os.path.join(self._root, "content", "sha256")
        with explaining("read", base):
            try:
                names = os.listdir(base)
            except FileNotFoundError:
                return
        for name in names:
            with suppress(InvalidDigest):
                yield Digest.parse(f"sha256:{name}")

    def _get(self, digest: Digest) -> bytes:
        path = self._content(digest)
        with explaining("read", path):
            try:
                with open(path, "rb") as file:
                    return file.read()
            except FileNotFoundError:
                raise missing(digest) from None

    def _set(self, digest: Digest, data: bytes) -> None:
        path = self._content(digest)
        self._write(path, data)

    def _delete(self, digest: Digest) -> None:
        self._check_alone()
        path = self._content(digest)
        with explaining("remove", path):
            # The metadata goes first, as the content is what makes it valid.
            directory = self._metadata(digest)
            with suppress(FileNotFoundError):
                shutil.rmtree(directory)
                fsync_directory(os.path.dirname(directory))
            try:
                os.unlink(path)
            except FileNotFoundError:
                raise missing(digest) from None
            fsync_directory(os.path.dirname(path))

    def _set_metadata(self, digest: Digest, key: str, data: bytes) -> None:
        self.get(digest)
        self._write(os.path.join(self._metadata(digest), key), data)

    def _get_metadata(self, digest: Digest, key: str) -> bytes:
        self.get(digest)
        path = os.path.join(self._metadata(digest), key)
        with explaining("read", path):
            try:
                with open(path, "rb") as file:
                    return file.read()
            except FileNotFoundError:
                raise missing_metadata(digest, key) from None

    def _delete_metadata(self, digest: Digest, key: str) -> None:
        self._check_alone()
        directory = self._metadata(digest)
        with explaining("remove", directory), suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, key))
            fsync_directory(directory)

    def revision(self) -> object:
        """Return the times of change of all directories, see `Revisioned`; nothing where one has changed just now."""
        now = time.time_ns()
        found = []
        for name in ("content", "metadata"):
            base = os.path.join(self._root, name, "sha256")
            try:
                found.append(("", os.stat(base).st_mtime_ns))
                if name == "metadata":
                    with os.scandir(base) as entries:
                        found += [(entry.name, entry.stat().st_mtime_ns) for entry in entries]
            except FileNotFoundError:
                found.append(("", 0))
        if max(when for _, when in found) > now - _TICK:
            return None
        return frozenset(found[1:]), found[0]

    def _content(self, digest: Digest) -> str:
        return os.path.join(self._root, "content", digest.algorithm, digest.hex)

    def _metadata(self, digest: Digest) -> str:
        return os.path.join(self._root, "metadata", digest.algorithm, digest.hex)

    def _write(self, path: str, data: bytes) -> None:
        self._check_alone()
        directory = os.path.dirname(path)
        with explaining("write", path):
            make_directories(directory)
            # A name that is not a digest: a walk never takes it for content.
            with NewFile(outside(os.path.join(directory, f".new-{secrets.token_hex(8)}"))) as file:
                file.write(data)
                file.sync()
                file.publish(outside(path))
            fsync_directory(directory)

    def _check_alone(self) -> None:
        data_root = os.path.dirname(os.path.dirname(os.path.dirname(self._root)))
        for name in _DAEMON_LOCKS:
            path = os.path.join(data_root, name)
            if not os.path.exists(path):
                continue
            lock = FileLock(outside(path))
            with explaining("lock", path):
                free = lock.try_acquire()
            lock.release()
            if not free:
                msg = f"a daemon is using {data_root}; stop it before its images are changed"
                raise StoreInUse(msg)
