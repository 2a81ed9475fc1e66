"""The rows of a store, as a seam: what a database must offer. No SQL is outside the room of a database.

`Metadata` is the whole of what a store needs of one: transactions with their hooks, rows, a snapshot, a check of all
rows, and a mender. Nothing in it knows of files; what rows in a local file can do besides is `rows.file.RowsFile`.
Whoever uses rows finds their names here as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from orlop.store.rows.content import BlobRow, EdgeRow, ManifestRow, TopRow
from orlop.store.rows.rows import (
    EVERYTHING,
    LEFT,
    LOST_ROWS,
    MAX_SIZE,
    PINNED,
    ChainRow,
    DiffRow,
    Event,
    ImageRow,
    ReferenceRow,
    RowProblem,
    Rows,
    WritableRows,
    only_leased,
    parent_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.errors import StorageError
    from orlop.store.rows.mender import RowMender
    from orlop.store.rows.snapshot import Snapshot

__all__ = [
    "EVERYTHING",
    "LEFT",
    "LOST_ROWS",
    "MAX_SIZE",
    "PINNED",
    "BlobRow",
    "ChainRow",
    "DiffRow",
    "EdgeRow",
    "Event",
    "ImageRow",
    "ManifestRow",
    "Metadata",
    "ReferenceRow",
    "RowProblem",
    "Rows",
    "TopRow",
    "WritableRows",
    "only_leased",
    "parent_of",
]


class Metadata(ABC):
    """A database of rows. Safe to share between threads."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Rows]:
        """Return a consistent view; inside another block of the same thread, that block's own view.

        Nothing slow belongs inside: no hashing, copying or waiting for a user.
        """

    @abstractmethod
    def write(self) -> AbstractContextManager[WritableRows]:
        """Return rows that may be changed, under the store's one write lock.

        The block's end commits durably, an exception undoes everything. A write inside a write of the same thread is
        part of the outer one.

        Raises:
            ReadOnlyStore, NoSpace, StoreDamaged, StorageError: the changes cannot be made; nothing was changed.
        """

    @abstractmethod
    def in_block(self) -> bool:
        """Return whether this thread is inside a block of `read` or `write`."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Keep every other writer waiting for a block, without a transaction, which might need space.

        Inside a block of `write` or `lock` of the same thread it adds nothing. Reads may begin in it; a write may not,
        as some databases would have it wait for the lock itself.

        Raises:
            ReadOnlyStore, StoreMoved, StorageError: the lock cannot be taken.
        """

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Return, for a block, all rows as they are now, whoever changes them since.

        It begins outside of a write of the same thread; some databases can do more (`rows.file.RowsFile`).
        """

    @abstractmethod
    def refusal(self) -> StorageError | None:
        """Return the error that every write raises, or nothing where rows can be changed."""

    @abstractmethod
    def require_sound(self, *, but: Iterable[str] = ()) -> None:
        """Look through all rows before something is done because of all of them, with nothing locked meanwhile.

        What was looked through already, and has not changed since, is not looked through again.

        Args:
            but: kinds of problems that are of no matter.

        Raises:
            DatabaseDamaged: something else is wrong.
        """

    @abstractmethod
    def problems(self, *, verify: bool) -> Sequence[RowProblem]:
        """Look through all rows for what is wrong; with ``verify`` hash also what is named by its digest.

        Raises:
            StoreDamaged: the rows cannot be read.
        """

    @abstractmethod
    def mender(self) -> RowMender:
        """Return what only a repair asks and does, inside a read or a write of this thread."""

    @abstractmethod
    def update(self) -> tuple[int, str | None]:
        """Bring older rows to this orlop's schema, and return their old version and where a copy of them is kept.

        That happens to every store that is opened and used; this says what was done. Atomic, idempotent.

        Raises:
            StoreTooNew: a newer orlop wrote them. ReadOnlyStore: they cannot be written.
        """

    @abstractmethod
    def keep_reserve(self) -> None:
        """Keep the space that a removal needs on a full disk, where it needs any."""

    @abstractmethod
    def give_up_reserve(self) -> bool:
        """Free that space for a removal, and return whether there was any. Raises OSError where it cannot."""

    @abstractmethod
    def close(self) -> None:
        """Release the database; it may be used again."""

    @abstractmethod
    def end(self) -> None:
        """Close the database for good. Idempotent."""

    @abstractmethod
    def require_open(self) -> None:
        """Raise `StoreClosed` after `end`."""

    @abstractmethod
    def facts(self) -> Mapping[str, str]:
        """Return what kind of database this is, for people."""
