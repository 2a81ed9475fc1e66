"""Private copies of a database that may only be read, but has a log beside it: a log cannot be read without writing."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress

from orlop.model.logger import Logger
from orlop.store.rows.sqlite.damage.gate import require_whole_log
from orlop.store.rows.sqlite.unopened import BESIDE
from orlop.streams.directory import Directory, mark_of
from orlop.streams.file_lock import FileLock
from orlop.streams.files import explained, explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.streams.directory import Entry

_log = Logger(__name__)

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class CurrentCopy:
    """The private copy of the database of a store, made again whenever that has changed. Safe to share between threads.

    Args:
        root: the directory of the store.
    """

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._file = root.at("metadata.db")
        self._guard = threading.Lock()
        self._copy: PrivateCopy | None = None
        self._made_at: tuple[int, ...] = ()

    def is_needed(self) -> bool:
        """Return whether there is anything beside the database."""
        states = (self._root.at(f"{self._file.name}{suffix}").state() for suffix in BESIDE)
        return any(state is not None and state.st_size > 0 for state in states)

    def file(self) -> Entry:
        """Return the copy of the database as it is now.

        Raises:
            DatabaseDamaged: its log is cut. NoSpace, StorageError: it cannot be copied.
        """
        with explaining("lock", self._root.path), self._guard, FileLock(self._root.at("write.lock"), shared=True):
            moment = self.moment()
            if self._copy is None or self._made_at != moment:
                self._remove()
                copy = PrivateCopy(self._file)
                # Of a log that somebody works with nobody else asks whether it is whole.
                require_whole_log(copy.file.path, self._file.path)
                self._copy, self._made_at = copy, moment
            return self._copy.file

    def moment(self) -> tuple[int, ...]:
        """Return what changes when somebody who may write here does, through another mount."""
        moment: list[int] = []
        for suffix in ("", *BESIDE):
            state = self._root.at(f"{self._file.name}{suffix}").state()
            if state is not None:
                moment += mark_of(state)
        return tuple(moment)

    def drop(self) -> None:
        """Remove the copy; nobody reads it any more."""
        with self._guard:
            self._remove()

    def _remove(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.remove()

    def forget(self) -> None:
        """Leave the copy to the parent that this process was forked from."""
        self._guard = threading.Lock()
        self._copy = None


class PrivateCopy:
    """A copy of a database and of its log, in a directory of its own; it goes with the process that made it."""

    def __init__(self, database: Entry) -> None:
        import tempfile  # noqa: PLC0415 - only beside a log

        with explaining("copy", database.path):
            folder = tempfile.mkdtemp(prefix="orlop-")
            self.file = Directory(folder).at("metadata.db")
            self.remove = weakref.finalize(self, _remove_folder, folder, os.getpid())
            try:
                _copy(database, self.file)
                for suffix in BESIDE:
                    with suppress(FileNotFoundError):
                        _copy(database.named(f"{database.name}{suffix}"), self.file.named(f"{self.file.name}{suffix}"))
            except BaseException:
                self.remove()
                raise


def _copy(source: Entry, target: Entry) -> None:
    import shutil  # noqa: PLC0415 - only beside a log

    with os.fdopen(source.open(), "rb") as read, os.fdopen(target.open(_NEW), "wb") as written:
        shutil.copyfileobj(read, written)


def _remove_folder(folder: str, owner: int) -> None:
    """Remove a private copy, but not in a child that was forked from its owner."""
    import shutil  # noqa: PLC0415 - as above

    if os.getpid() == owner:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            _log.warning("%s", explained(error, "remove", folder))
