"""Rows that lie in a local file: what such a database can do besides, for those who ask for it.

A copy of a store is a copy of this file with what it names; `fsck` reads its log before the database does; a repair
makes a new one of what is left of it. A database elsewhere has none of that.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from orlop.model.tuples import NamedTuple
from orlop.store.rows.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from orlop.errors import DatabaseDamaged
    from orlop.store.rows.metadata import RowProblem
    from orlop.store.rows.snapshot import SavedRows
    from orlop.streams.directory import Entry


class RowRepair(NamedTuple):
    """Something that was put right: the word for what was wrong, what it is about, and what was done as a sentence."""

    kind: str
    subject: str
    message: str


class Aside(Protocol):
    """Where a repair puts copies of what it is about to change."""

    def keep(self, file: Entry, descriptor: int | None = None) -> str:
        """Keep a copy of a file, durably, and return its path; with a descriptor the file is read by that alone."""

    def sync(self) -> None:
        """Put the names of all copies on disk."""


class FileSnapshot(Snapshot):
    """A snapshot that can be written to another file."""

    @abstractmethod
    def write(self, file: Entry, *, mode: int) -> None:
        """Write all rows to a new database; `RowsFile.finish` makes it what a copy of the store holds.

        Args:
            file: where; nothing is there.
            mode: of the new file.

        Raises:
            NoSpace, PermissionDenied, StorageError: it cannot be written.
        """


class RowsFile(Protocol):
    """What a `Metadata` has whose rows lie in a local file."""

    def snapshot(self) -> AbstractContextManager[FileSnapshot]:
        """Return all rows for a block, see `Metadata.snapshot`; inside a write, as they were before it.

        With the lock of that write nobody can change them between what the write does and what the snapshot sees. Logs
        grow as long as it lasts.
        """

    def alone(self) -> AbstractContextManager[FileSnapshot]:
        """Return all rows, for a block in which nobody else has the database open, and all of it is in its one file.

        No connection of this object may be in use. Whoever opens the database next makes it what it was.

        Raises:
            StoreInUse: somebody has it open.
        """

    def finish(self, file: Entry) -> SavedRows:
        """Make rows that a snapshot wrote those of a copy, durably, and return what they need.

        They are looked through first, wholly: a copy of damaged rows would lose what they fail to name. What only an
        operation at work needs is then taken out, and that this lost no image, name or layer is verified as well.

        Raises:
            DatabaseDamaged: something is wrong with them. NoSpace, PermissionDenied, StorageError: they cannot be
            written.
        """

    def replace(self, file: Entry) -> None:
        """Replace all rows by those of another database. Atomic, durable."""

    def beside(self, file: Entry) -> Sequence[Entry]:
        """Return the names that such a database uses beside a file: a journal, then what has no rows of its own."""

    def damaged(self, what: str) -> DatabaseDamaged:
        """Make the error for rows that are found damaged; ``what`` was found is part of a sentence."""

    def log_fault(self) -> str | None:
        """Return what is wrong with the log, or with the journal, beside the database, as a clause, or nothing."""

    def take_as_last(self) -> None:
        """Take the rows that are there for what was written last, although later writes are known.

        Raises:
            NoSpace, PermissionDenied, StorageError: the store cannot be written.
        """

    def repair(
        self, aside: Aside, *, done: Callable[[RowRepair], object], lost: Callable[[RowProblem], object]
    ) -> None:
        """Put a damaged database right: its log, its indexes, or else a new one is made of its rows.

        Each step is whole or undone, so that a repair that was killed can be run again.

        Args:
            aside: where copies of the old files are put first.
            done: called with each repair.
            lost: called with each thing that could not be brought back.

        Raises:
            StoreInUse: another process, or another part of this one, has the database open. DatabaseDamaged: nothing
            can be made of it. NoSpace, StorageError: it cannot be written; everything is as it was.
        """
