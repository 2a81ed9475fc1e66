"""Content that others send in as many requests as they like, before its digest is known: it survives this process.

Theory of operation. ``incoming/KEY`` holds the bytes of one upload, as far as they came, and ``incoming/KEY.about``
what its owner wrote down when it began; KEY is random. An upload is in one of these states:

- *locked*: somebody writes it, and holds a ``flock`` on the first file, which ends with its process. Only the one who
  holds that appends to the file, renames it or removes it.
- *left*: nobody holds it. Whoever locks it next goes on at its end. Its age is that of its last byte.
- *over*: it got its name in ``blobs/``, or was removed; or it is older than `LIFE`, and the next collection takes it.

Nothing in such a file is trusted. It is not synced before it is complete, so that a loss of power may leave anything in
it. A process that has hashed all that it wrote may keep the hash; after a restart the bytes are read again. Content
gets its name only where the digest is right and every byte is on disk.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreInUse
from orlop.store.blobs.partial import PartialIngest
from orlop.store.trust import INCOMING
from orlop.streams.file_lock import FileLock
from orlop.streams.files import NewFile, explaining, remove_leftover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from orlop.model.digest import Digest
    from orlop.store.blobs.files import FileBlobStore
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes

LIFE: Final = 86_400
"""For how many seconds an upload stays that nobody continues."""
_ABOUT: Final = ".about"
_TICK: Final = 0.05
_PATIENCE: Final = 15
"""For how many seconds somebody waits who finds an upload locked: its last client may have hung up, and be at work."""
_KEY_BYTES: Final = 16


class IncomingFiles:
    """The files in ``incoming/``.

    Args:
        root: the store's directory.
        modes: who may use it.
    """

    def __init__(self, root: Directory, modes: Modes) -> None:
        self._root = root
        self._modes = modes

    def begin(self, about: bytes) -> str:
        """Begin an upload, and return its key: 32 hex digits that nobody can guess.

        Args:
            about: what is to be known of it later, which is kept as it is.

        Raises:
            StorageError: it cannot be written.
        """
        with explaining("write", os.path.join(self._root.path, INCOMING)):
            self._root.make_room(INCOMING, self._modes.directory)
        key = secrets.token_hex(_KEY_BYTES)
        for name, content in ((f"{key}{_ABOUT}", about), (key, b"")):
            file = NewFile(self._entry(name), mode=self._modes.file)
            try:
                file.write(content)
            except BaseException:
                file.discard()
                raise
            file.close()
        return key

    def about(self, key: str) -> bytes | None:
        """Return what was written down of an upload; nothing where there is none."""
        if not _is_key(key):
            return None
        try:
            with explaining("read", self._entry(key).path), open(self._entry(f"{key}{_ABOUT}").open(), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        """Return how many bytes have come of an upload; nothing where there is none."""
        with explaining("read", self._entry(key).path):
            state = self._entry(key).state()
        return None if state is None else state.st_size

    @contextmanager
    def taken(self, key: str) -> Iterator[NewFile | None]:
        """Return, for a block, the locked file of an upload, to be appended to; nothing where it is over.

        Raises:
            StoreInUse: another one writes it, and does not end. StorageError: it cannot be written.
        """
        if self.size(key) is None:
            yield None
            return
        until = time.monotonic() + _PATIENCE

        def pause() -> None:
            if time.monotonic() > until:
                raise StoreInUse(f"the upload {key} is being written by another request; wait until that has ended")
            time.sleep(_TICK)

        try:
            file = NewFile(self._entry(key), flags=os.O_APPEND)
        except FileNotFoundError:
            yield None
            return
        try:
            if file.lock(pause=pause):
                # Another one may have written meanwhile.
                file.size = os.lseek(file.descriptor, 0, os.SEEK_END)
                yield file
            else:
                yield None
        finally:
            with suppress(Exception):  # what it was about is told
                file.close()

    def remove(self, key: str) -> None:
        """Remove an upload that its caller has locked, or what is left of one that is over."""
        for name in (key, f"{key}{_ABOUT}"):
            remove_leftover(self._entry(name))

    def keys(self) -> list[str]:
        """Return the keys of all uploads."""
        return [name for name in self._names() if _is_key(name)]

    def expired(self, before: float) -> Iterator[Entry]:
        """Yield the files of uploads to which nothing was added since a time and that nobody has locked.

        What does not have the name of an upload is somebody else's.

        Args:
            before: seconds since 1970.
        """
        for key in filter(_is_key, dict.fromkeys(name.removesuffix(_ABOUT) for name in self._names())):
            found = [entry for entry in (self._entry(key), self._entry(f"{key}{_ABOUT}")) if entry.state() is not None]
            if found and self._is_left(found[0], before):
                yield from found

    @staticmethod
    def _is_left(entry: Entry, before: float) -> bool:
        """Return whether a file is older than a time, and nobody has it locked."""
        state = entry.state()
        lock = FileLock(entry, create=False)
        with suppress(OSError):
            if state is not None and state.st_mtime < before and lock.try_acquire():
                lock.release()
                return True
        return False

    def _names(self) -> list[str]:
        with explaining("read", os.path.join(self._root.path, INCOMING)):
            try:
                return sorted((self._root / INCOMING).names())
            except FileNotFoundError:
                return []

    def _entry(self, name: str) -> Entry:
        return self._root.place(f"{INCOMING}/{name}")


class _Hashed:
    """Stands where content is hashed that was hashed before."""

    def update(self, data: bytes, /) -> None:
        """Do nothing."""


class IncomingIngest(PartialIngest):
    """An upload that is complete: all its bytes are in its locked file, and have the digest that they are to have.

    What is written is there, so that whoever looks through the content writes it again, and costs neither a copy nor a
    second hash.

    Args:
        blobs: where the content is to be.
        file: the locked file. It stays open, and with it the lock, until whoever has locked it lets go.
        digest: what its bytes have.
    """

    def __init__(self, blobs: FileBlobStore, file: NewFile, digest: Digest) -> None:
        super().__init__(blobs, file, digest, blobs.publish)
        self._whole = file.size
        self._hash = _Hashed()  # type: ignore[assignment]  # of which nothing but this is asked

    @property
    def size(self) -> int:
        """The number of its bytes."""
        return self._whole

    @property
    def digest(self) -> Digest:
        """Their digest."""
        return self._expected

    def discard(self) -> None:
        """Leave the file to whoever has locked it."""
        self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard, whatever is wrong: content that is not what somebody takes it for is content all the same."""
        self.discard()


def _is_key(text: str) -> bool:
    return len(text) == 2 * _KEY_BYTES and not text.strip("0123456789abcdef")
