"""Where a store was opened: whether its directory and its database are still the ones that have their names.

Another program may move a store while it is open. Its files are then still there for whoever holds them, and a write
would end in a place that nobody looks into any more.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from orlop.errors import StoreMoved
from orlop.streams.files import explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.streams.directory import Directory, Entry
    from orlop.streams.file_lock import FileLock


class Place:
    """The place of a store.

    Args:
        root: its directory.
        file: its database.
    """

    def __init__(self, root: Directory, file: Entry) -> None:
        self._root = root
        self._file = file
        self._database: tuple[int, int] | None = None

    def forget(self) -> None:
        """Take whatever has the database's name for it the next time."""
        self._database = None

    def require(self) -> None:
        """Raise `StoreMoved` where the directory is another one now, or the database, once it is known."""
        self.require_root()
        if self._database is not None:
            self.require_database()

    @contextmanager
    def locked(self, lock: FileLock) -> Iterator[None]:
        """Hold the lock of the writers. Raises `StoreMoved` as `require`, and where the lock's file is gone."""
        try:
            with explaining("lock", self._root.path):
                with suppress(FileNotFoundError):
                    lock.acquire()
                if not lock.is_current():
                    raise self.moved()
                self.require()
            yield
        finally:
            try:
                lock.release()
            except BaseException:
                # A signal may have interrupted it before it did anything.
                lock.release()
                raise

    def require_database(self) -> None:
        """Raise `StoreMoved` where the database is not there, or another one; note which one it is."""
        self.require_root()
        state = self._file.state()
        found = None if state is None else (state.st_dev, state.st_ino)
        self._database = self._database or found
        if found is None or found != self._database:
            raise self.moved()

    def require_root(self) -> None:
        """Raise `StoreMoved` where something else has the path of the directory."""
        try:
            state = os.stat(self._root.path)
        except (FileNotFoundError, NotADirectoryError):
            raise self.moved() from None
        if not os.path.samestat(state, self._root.state()):
            raise self.moved()

    def moved(self) -> StoreMoved:
        """Return the error that says so."""
        return StoreMoved(
            f"the store at {self._root.path} was moved or removed while it was open; open it where it is now"
        )
