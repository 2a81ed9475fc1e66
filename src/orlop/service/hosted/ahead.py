"""Uploads that a store without files sends on while they come.

Such a store keeps an upload in a file of this machine until it is whole, since a bucket cannot append. To look through
the file only then, and to send it, takes as long as it came once more. So a thread follows the file from its first
bytes on, and takes them as a layer or a blob. What it takes is invisible until it is published, under the digest that
it has found itself.

It is in one of these states:

- *following*: it takes what is in the file so far, and waits for more.
- *whole*: nothing more will come, and it takes the rest.
- *ended*: it has the content, or nothing, if anything went wrong.

Nothing depends on it. The file has everything, so that an upload which nobody followed, or which another process goes
on with, is looked through when it is whole. What follows is bounded: a few uploads at once, and none for which nothing
comes for a while. Before bytes are cut from the file, and after another process has written to it, nobody follows it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from orlop.archive.members import begins_like_layer
from orlop.errors import BucketUnavailable, InvalidInput, LimitExceeded, StorageError
from orlop.model.limits import NO_LIMITS
from orlop.store.blobs.ingest import ingest_blob, ingest_layer
from orlop.streams.files import explaining
from orlop.streams.meter import Meter
from orlop.streams.tar_entry import BLOCK
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from orlop.store.blobs.ingest import IngestedBlob, IngestedLayer, Readable
    from orlop.store.root import Store
    from orlop.streams.files import NewFile

    Taken: TypeAlias = IngestedLayer | IngestedBlob

MOST: Final = 16
"""How many uploads are followed at once: each holds a few parts of an object in memory."""
IDLE: Final = 60.0
"""For how many seconds nothing may come of one."""
LAYERS: Final = "sha256"
"""By which digests layers are kept."""


class _GivenUp(Exception):
    """Ends the reading of an upload that nobody follows any more."""


class _Growing:
    """Reads a file that another thread appends to, as far as it has said."""

    def __init__(self, file: NewFile) -> None:
        # Not a copy of its descriptor, which would keep it locked.
        with explaining("read", file.entry.path):
            self._descriptor = file.entry.open()
        self._place = file.entry.path
        self._position = 0
        self._room = threading.Condition()
        self.size = 0
        self._is_whole = self._is_given_up = False

    def peek(self, n: int) -> bytes:
        """Return the first bytes, as many as are wanted unless there are fewer."""
        return self._at(0, self._wait(n, n))

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, and none at the end."""
        data = self._at(self._position, self._wait(self._position + 1, self._position + n) - self._position)
        self._position += len(data)
        return data

    def _wait(self, least: int, most: int) -> int:
        """Return how far can be read, once that is so far or the file is whole."""
        with self._room:
            known = self.size
            while not (self.size >= least or self._is_whole or self._is_given_up):
                if not self._room.wait(IDLE) and self.size == known:
                    raise _GivenUp
                known = self.size
            if self._is_given_up:
                raise _GivenUp
            return min(most, self.size)

    def _at(self, position: int, n: int) -> bytes:
        with explaining("read", self._place):
            data = os.pread(self._descriptor, n, position)
        if len(data) < n:
            raise _GivenUp
        return data

    def came(self, size: int, *, is_whole: bool = False) -> None:
        """Note that the file has so many bytes, and whether more will come."""
        with self._room:
            self.size = size
            self._is_whole = is_whole
            self._room.notify_all()

    def give_up(self) -> None:
        """End the reading."""
        with self._room:
            self._is_given_up = True
            self._room.notify_all()

    def close(self) -> None:
        """Close the file, once nothing reads it."""
        os.close(self._descriptor)


class _Following:
    """One upload that is followed."""

    def __init__(self, store: Store, file: NewFile, algorithm: str) -> None:
        self._store, self._algorithm = store, algorithm
        self.file = _Growing(file)
        self._taken: list[Taken] = []
        self._error: Exception | None = None
        try:
            self._thread = started(self._run, name="orlop-ahead")
        except RuntimeError:
            self.file.close()
            raise

    def _run(self) -> None:
        try:
            first = self.file.peek(BLOCK)
            self._taken.append(looked_through(self._store, self.file, first, self._algorithm))
        except Exception as error:  # noqa: BLE001 - the file is looked through again
            self._error = error
        finally:
            self.file.close()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended before the upload was whole."""
        return self._error is not None

    def end(self, size: int) -> Taken | None:
        """Return what the upload is, which is whole; nothing where it has to be looked through.

        Raises `BucketUnavailable` where it could not be sent just now.
        """
        was_running = self._thread.is_alive()
        self.file.came(size, is_whole=True)
        self._thread.join()
        if was_running and isinstance(self._error, BucketUnavailable):
            raise self._error
        return self._taken.pop() if self._taken else None

    def give_up(self) -> None:
        """End, and leave nothing behind."""
        self.file.give_up()
        self._thread.join()
        if self._taken:
            self._taken.pop().discard()


class Ahead:
    """The uploads to one store that are followed, by their keys. Threads may share it; one of them has each upload.

    Args:
        store: where to. Uploads to one in a directory are not followed: their file becomes the blob.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._following: dict[str, _Following] = {}
        if not store.is_local:
            store.before_close(self.close)

    def follow(self, key: str, file: NewFile, algorithm: str) -> Callable[[], object] | None:
        """Return what is to be called after each write to a file; nothing where nobody follows it.

        It is followed from its first byte on.
        """
        with self._guard:
            one = self._following.get(key)
        if one is None and file.size == 0 and not self._store.is_local:
            one = self._begun(key, file, algorithm)
        if one is not None and one.file.size != file.size:
            self.give_up(key)
            one = None
        return None if one is None else lambda: one.file.came(file.size)

    def _begun(self, key: str, file: NewFile, algorithm: str) -> _Following | None:
        with self._guard:
            for other in [key for key, one in self._following.items() if one.has_failed]:
                del self._following[other]
            if len(self._following) >= MOST:
                return None
            try:
                one = self._following[key] = _Following(self._store, file, algorithm)
            except (RuntimeError, StorageError):
                # The system has no thread for it, or no descriptor.
                return None
            return one

    def end(self, key: str, size: int) -> Taken | None:
        """Return what an upload of so many bytes is, see `_Following.end`. It is the caller's to publish or discard."""
        with self._guard:
            one = self._following.pop(key, None)
        if one is None:
            return None
        if one.file.size != size:
            one.give_up()
            return None
        return one.end(size)

    def give_up(self, key: str) -> None:
        """Follow an upload no longer."""
        with self._guard:
            one = self._following.pop(key, None)
        if one is not None:
            one.give_up()

    def close(self) -> None:
        """Follow none any longer."""
        for key in list(self._following):
            self.give_up(key)


def looked_through(store: Store, source: Readable, first: bytes, algorithm: str) -> Taken:
    """Return what some bytes are: a layer where they look like one and are one, otherwise a blob.

    Raises:
        LimitExceeded: they are a layer that asks for too much. StorageError: they cannot be kept.
    """
    # An artifact may be anything, and so may be what is damaged.
    others: list[IngestedBlob] = []
    if algorithm == LAYERS and first and begins_like_layer(first):
        try:
            return ingest_layer(source, store.blobs, meter=Meter(store.limits), other=others.append)
        except LimitExceeded:
            raise
        except InvalidInput:
            if not others:
                raise
            return others[0]
    return ingest_blob(source, store.blobs, meter=Meter(NO_LIMITS), algorithm=algorithm)
