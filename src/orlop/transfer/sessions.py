"""Uploads that another process may go on with: a small file for each, in a folder of its own.

    FOLDER/HEX    one line of JSON: where the registry expects the rest, and how much of it was acknowledged

HEX is the SHA-256 of registry, repository and digest, so that nothing from outside becomes a path. A file is locked by
the process that uploads: a second one that sends the same blob to the same place opens a session of its own, and keeps
no file. It is written in place, in one small write, after each acknowledged chunk; a torn line is not read, and the
upload begins anew. Whatever it says is asked of the registry before it is believed.

The place of an upload may be as good as a secret: the files are for their owner alone. Registries forget uploads
after some days, and so does the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.model.logger import Logger
from orlop.model.tuples import NamedTuple
from orlop.registry.uploads import UploadState
from orlop.streams.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.model.digest import Digest
    from orlop.streams.directory import Directory, Entry

_LONGEST: Final = 1 << 16
_LIFE: Final = 7 * 24 * 3600
_log: Final = Logger("orlop.transfer")


class Sessions:
    """The uploads that are kept in a folder.

    A folder that cannot be made or written keeps nothing, and hinders nobody: the upload is then begun anew.

    Args:
        folder: returns it, and makes it where it is not there; it stays open.
        now: the time in seconds since 1970.
    """

    def __init__(self, folder: Callable[[], Directory], *, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now

    @contextmanager
    def of(self, registry: str, repository: str, digest: Digest) -> Iterator[Session]:
        """Return the session of a blob for a block, which sends it; the file goes where the upload has ended."""
        key = hashlib.sha256(f"{registry}\n{repository}\n{digest}".encode()).hexdigest()
        with ExitStack() as stack:
            file = None
            try:
                folder = self._folder()
                self._sweep(folder)
                lock = FileLock(folder.at(key))
                if lock.try_acquire():
                    stack.callback(lock.release)
                    file = _File(folder.at(key), folder.at(key).open(os.O_RDWR))
            except (OSError, OrlopError) as error:
                _log.warning("an upload that breaks off will start again, as it cannot be kept: %s", error)
            session = Session(file, repository)
            stack.callback(session.close)
            yield session

    def _sweep(self, folder: Directory) -> None:
        """Remove what registries have forgotten by now."""
        for name, state in folder.states():
            lock = FileLock(folder.at(name), create=False)
            if self._now() - state.st_mtime > _LIFE:
                with suppress(OSError):
                    if lock.try_acquire():
                        folder.at(name).unlink()
                lock.release()


class _File(NamedTuple):
    entry: Entry
    descriptor: int


class Session:
    """What is kept of one upload."""

    def __init__(self, file: _File | None, repository: str) -> None:
        self._file = file
        self._repository = repository
        self._is_empty = True if file is None else not os.fstat(file.descriptor).st_size

    def state(self) -> UploadState | None:
        """Return from where to go on; None where the upload begins."""
        if self._file is None:
            return None
        line, end, _ = os.pread(self._file.descriptor, _LONGEST, 0).partition(b"\n")
        try:
            document = json.loads(line) if end else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict):
            return None
        location, offset = document.get("location"), document.get("offset")
        if not isinstance(location, str) or type(offset) is not int or offset < 0:
            return None
        return UploadState(self._repository, location, offset)

    def save(self, state: UploadState | None) -> None:
        """Keep how far the upload got; None where it has ended."""
        self._is_empty = state is None
        if self._file is None or state is None:
            return
        line = json.dumps({"location": state.location, "offset": state.offset}).encode() + b"\n"
        if len(line) <= _LONGEST:
            with suppress(OSError):
                os.pwrite(self._file.descriptor, line, 0)

    def close(self) -> None:
        """Remove the file where there is nothing to go on with."""
        if self._file is None:
            return
        if self._is_empty:
            with suppress(OSError):
                self._file.entry.unlink()
        os.close(self._file.descriptor)
