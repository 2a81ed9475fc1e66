"""A directory of this machine for what a store without files cannot keep yet: pushes that are under way."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from orlop.streams.files import PRIVATE, explaining, make_directories

if TYPE_CHECKING:
    from orlop.streams.directory import Directory

_PREFIX: Final = "orlop-"


class Scratch:
    """A directory that is made when it is first needed. Threads may share it.

    Args:
        path: where; it stays, and what was under way goes on in the next process. By default a new directory for
            temporary files, which goes with `close`.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._directory: Directory | None = None
        self._pid = os.getpid()
        self._is_temporary = path is None

    @property
    def place(self) -> str:
        """Where it is, or what it is to be made in."""
        if self._path is not None:
            return self._path
        import tempfile  # noqa: PLC0415 - only where content is kept for a moment

        return tempfile.gettempdir()

    @property
    def directory(self) -> Directory:
        """The directory. Raises `StorageError` where it cannot be made."""
        from orlop.streams.directory import Directory  # noqa: PLC0415 - only where content is pushed

        with self._guard:
            if self._directory is None:
                self._directory = Directory(self._made())
            return self._directory

    def _made(self) -> str:
        if self._path is None:
            import tempfile  # noqa: PLC0415 - as above

            with explaining("make a directory in", tempfile.gettempdir()):
                self._path = tempfile.mkdtemp(prefix=_PREFIX)
        else:
            with explaining("make", self._path):
                make_directories(self._path, PRIVATE.directory)
        return self._path

    def close(self) -> None:
        """Remove a temporary directory with what is in it. A forked child leaves it to its parent."""
        with self._guard:
            directory, self._directory = self._directory, None
            if directory is not None:
                directory.close()
                if self._is_temporary and self._pid == os.getpid():
                    import shutil  # noqa: PLC0415 - as above

                    path, self._path = self._path, None
                    shutil.rmtree(path or "", ignore_errors=True)
