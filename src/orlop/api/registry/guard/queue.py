"""A queue of messages on disk: what is in it survives the process and the machine.

Each message is a file, and names sort in the order of arrival. A file gets its name once it is on disk, and is removed
once it was delivered; so a crash in between delivers a message twice, and loses none. The queue belongs to one process
at a time. When it is full, the oldest message goes: what happened last matters most.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import Conflict, StoreDamaged
from orlop.streams.directory import Directory
from orlop.streams.file_lock import FileLock
from orlop.streams.files import NewFile, explaining, make_directories

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_LOCK: Final = "lock"
_ENDING: Final = ".json"
_UNFINISHED: Final = ".part"
_NAME: Final = re.compile(r"[0-9]{20}-[0-9]{6,}\.json", re.ASCII)


class Queue:
    """The queue in a folder, which is made if it is missing. Threads may share it.

    Args:
        path: the folder.
        most: how many messages it holds.
        now: nanoseconds since 1970.

    Raises:
        Conflict: another process uses it. PermissionDenied, WriteFailed: it cannot be used.
    """

    def __init__(self, path: str, most: int, now: Callable[[], int] = time.time_ns) -> None:
        self._most = most
        self._now = now
        self._changed = threading.Lock()
        self._numbers = itertools.count()
        self._last = 0
        with explaining("write", path):
            make_directories(path)
        self._folder = Directory(path)
        self._lock = FileLock(self._folder.at(_LOCK))
        if not self._lock.try_acquire():
            raise Conflict(f"another server uses the queue in {path}; give each server a folder of its own")
        names = self._folder.names()
        for name in names:
            if name.endswith(_UNFINISHED) and _NAME.fullmatch(name.removesuffix(_UNFINISHED)):
                self._remove(name)
        # Somebody else's files are left alone.
        self._names = deque(name for name in names if _NAME.fullmatch(name))
        if self._names:
            self._last = int(self._names[-1].partition("-")[0])

    def __len__(self) -> int:
        return len(self._names)

    def put(self, message: bytes) -> int:
        """Add a message durably, and return how many had to go for it. Raises `WriteFailed`, `NoSpace`."""
        with self._changed:
            # The clock may go back, also across a restart; the order stays.
            self._last = max(self._last + 1, self._now())
            name = f"{self._last:020}-{next(self._numbers):06}{_ENDING}"
            with NewFile(self._folder.at(f"{name}{_UNFINISHED}")) as file:
                file.write(message)
                file.sync()
                file.publish(self._folder.at(name))
            with explaining("write", self._folder.path):
                self._folder.sync()
            self._names.append(name)
            dropped = 0
            while len(self._names) > self._most:
                self._remove(self._names.popleft())
                dropped += 1
            return dropped

    def first(self) -> tuple[str, bytes] | None:
        """Return the oldest message and its name, or None if the queue is empty. Raises `ReadFailed`."""
        while True:
            with self._changed:
                if not self._names:
                    return None
                name = self._names[0]
            try:
                with explaining("read", os.path.join(self._folder.path, name)):
                    descriptor = self._folder.at(name).open()
                    with open(descriptor, "rb") as file:
                        return name, file.read()
            except FileNotFoundError:
                # Somebody has removed it by hand.
                self.remove(name)
            except StoreDamaged as error:
                # A message is a file; anything else must not stop those behind it.
                _log.warning("%s", error)
                self._forget(name)

    def remove(self, name: str) -> None:
        """Remove a message; one that is gone already is none to worry about."""
        with self._changed:
            self._forget(name)
            self._remove(name)

    def _forget(self, name: str) -> None:
        with suppress(ValueError):
            self._names.remove(name)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError), explaining("write", self._folder.path):
            self._folder.at(name).unlink()

    def close(self) -> None:
        """Release the queue, for another process."""
        self._lock.release()
        self._folder.close()
