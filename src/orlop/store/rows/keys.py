"""Which object of a bucket holds which content, as a seam between a store of objects and the database of its rows.

A *name* is what content is called: a digest (``sha256:…``), or ``toc:`` and a diff ID for a table of contents. A *key*
is the object that holds the bytes: 32 random hex digits, never used a second time. A *session* is one process that uses
the store, as the database sees it. A key goes through these states, and each step is durable in the database before any
request that relies on it is sent:

    ── begin ──> upload ── publish ──> object ── doom ──> doomed ── collect ──> deleting ── deleted ──> forgotten
                    └──── discard, or its session died ─────^

- *upload*: its session may be sending bytes. Nobody else knows the key.
- *object*: a name leads to it, and it is complete.
- *doomed*: nothing leads to it any more, but readers that found it before may still be at it.
- *deleting*: requests to delete it may be on their way. There is no way back from here.

Invariants:

1. A key is in at most one state.
2. The object of a key in the state *object* is complete: `publish` follows the last answer of the upload.
3. A key that reached *deleting* is never named again, and no key is used twice. A request to delete that arrives late
   therefore hurts nobody, and neither does an upload that ends late.
4. A session that was declared dead publishes nothing: `publish` is a part of a write, and the write of a dead session
   fails.
5. `collect` stamps what is doomed with a new epoch, in a transaction after the one that doomed it. What is stamped
   moves to *deleting* once every living session has pinned that epoch or a later one: whoever looked a name up before
   it went has finished.

Nothing here depends on the clock of a machine. A wrong clock of the database, or a limit that is too short, lets writes
fail and leaves objects behind for a while; it loses nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.store.rows.rows import Rows, WritableRows

TOC: Final = "toc:"
"""What the names of tables of contents begin with; the rest is a diff ID."""

DIGITS: Final = 32
"""How many hexadecimal digits a key has."""

BATCH: Final = 1000
"""How many keys are collected at once: a bucket deletes as many with one request."""


class StoredObject(NamedTuple):
    """Content with a name, the key of the object that holds it, and its size in bytes."""

    name: str
    key: str
    size: int


class PendingUpload(NamedTuple):
    """A key that a session uploads to; ``upload_id`` is empty where the bytes go in one request."""

    key: str
    session: str
    upload_id: str = ""


class Condemned(NamedTuple):
    """A key in the state *deleting*, as `ObjectKeys.collect` has found it.

    ``upload_id`` is that of an upload in parts which may have to be aborted first; ``again`` says that the object was
    deleted before, and is deleted for the last time.
    """

    key: str
    upload_id: str = ""
    again: bool = False


class Identity(NamedTuple):
    """Which store the rows belong to, and how often it has changed hands: after a restore or a clone it is higher.

    ``origin`` tells these rows from a copy of them: it is another one in a database that was cloned, or restored from a
    dump. It is empty where that cannot be known.
    """

    store: str
    generation: int
    origin: str = ""

    def is_of(self, other: Identity) -> bool:
        """Return whether these are the rows that another identity speaks of, as far as both know."""
        origins = {self.origin, other.origin} - {""}
        return self[:2] == other[:2] and len(origins) < 2


def is_key(text: str) -> bool:
    """Return whether a text can be a key: any other, which only a damaged row has, is the name of no object of ours."""
    return len(text) == DIGITS and not text.strip("0123456789abcdef")


class ObjectKeys(ABC):
    """The names and keys of one store, as one session sees them. Safe to share between threads.

    Methods that take ``rows`` belong to that write and share its fate. Methods that are only asked for answers use the
    block that the thread is in, or a read of their own. The others are short transactions of their own, durable when
    they return. So uploads begin outside of a block. `discard` may be called inside one, whose fate it does not share:
    it must not wait for the write lock.

    All raise `StorageError` where the database cannot be used.
    """

    @property
    @abstractmethod
    def session(self) -> str:
        """The name of this session."""

    @abstractmethod
    def require(self, session: str) -> None:
        """Raise `LeaseLost` where a session, which was this one once, is known to be dead.

        It costs next to nothing, and asks the database only after a silence.
        """

    @abstractmethod
    def in_block(self) -> bool:
        """Return whether this thread is inside a block of rows: others may be waiting for its end."""

    # Uploading.

    @abstractmethod
    def begin(self) -> str:
        """Return a new key, recorded durably as an upload of this session before anything is sent for it."""

    @abstractmethod
    def claim(self, name: str) -> str | None:
        """Return a new key as `begin` does, and claim a name for it; nothing where another upload claims that.

        The claim ends with the upload, and costs nothing beside it. It spares whoever heeds it a second fetch of the
        same content, and decides nothing: what is published, read or deleted does not depend on it.
        """

    @abstractmethod
    def is_claimed(self, name: str) -> bool:
        """Return whether the upload of a session that was heard of lately claims a name.

        Others lose their claim here. Their uploads go on, and may be published.
        """

    @abstractmethod
    def multipart(self, key: str, upload_id: str) -> None:
        """Record the ID of the upload in parts for a key of `begin`, so that anybody can abort it."""

    @abstractmethod
    def discard(self, key: str, *, is_sent: bool = True) -> None:
        """Doom the key of an upload that is given up. Idempotent; a key that was published stays.

        Args:
            key: the key.
            is_sent: whether a request for it may have been sent; a key without one is only forgotten.
        """

    @abstractmethod
    def publish(self, rows: WritableRows, name: str, key: str, size: int) -> bool:
        """Make a name lead to an upload that is complete, inside a write, and return whether it does.

        Where a digest has an object already, that one stays, and the key of the upload is doomed. A table of contents
        is replaced, and the old one is doomed.

        Raises:
            LeaseLost: this session was declared dead, and the upload with it.
        """

    @abstractmethod
    def resize(self, rows: WritableRows, name: str, size: int) -> None:
        """Record another size of what a name leads to, inside a write: what was recorded was wrong."""

    @abstractmethod
    def uploads(self) -> Iterable[PendingUpload]:
        """Return the uploads of all sessions."""

    # Finding.

    @abstractmethod
    def find(self, name: str) -> StoredObject | None:
        """Return what a name leads to."""

    @abstractmethod
    def find_many(self, names: Iterable[str]) -> Mapping[str, StoredObject]:
        """Return what some names lead to, without those that lead nowhere."""

    @abstractmethod
    def objects(self, *, tocs: bool) -> Iterator[StoredObject]:
        """Yield all tables of contents, or all blobs, in no promised order; those of this moment."""

    def unnamed(self, rows: Rows) -> Iterable[StoredObject]:
        """Return the blobs and tables of contents that no row of content names, in no promised order."""
        named = {str(row.digest) for row in rows.blobs()} | {f"{TOC}{diff_id}" for diff_id in rows.diff_ids()}
        return [one for tocs in (False, True) for one in self.objects(tocs=tocs) if one.name not in named]

    def lacks_any(self, rows: Rows) -> bool:
        """Return whether a row of content names a blob that has no object."""
        there = {one.name for one in self.objects(tocs=False)}
        return any(str(row.digest) not in there for row in rows.blobs())

    @abstractmethod
    def named_after(self, key: str, *, most: int) -> Sequence[StoredObject]:
        """Return the first of what names lead to whose keys come after one, in the order of keys."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Keep, for a block, every object that a name leads to now or later in it, even if it is doomed meanwhile.

        Another thread may leave the block than entered it.
        """

    # Removing.

    @abstractmethod
    def doom(self, rows: WritableRows, names: Iterable[str]) -> None:
        """Doom what names lead to, inside a write. Names that lead nowhere are of no matter."""

    @abstractmethod
    def doomed(self) -> Iterable[StoredObject]:
        """Return what is doomed, without what is being deleted already; its name is empty where it never had one."""

    @abstractmethod
    def collect(self, *, grace: float = 0.0, most: int = BATCH) -> list[Condemned]:
        """Declare sessions dead that are, move what may go to *deleting*, and return keys to delete.

        Among them are those that were returned before and not reported by `deleted`, and those that are due for the
        second time, see there. What is left over is returned once these are reported.

        Args:
            grace: seconds, by the database's clock, for which what was doomed stays: as long as the URLs live that
                were handed out for it.
            most: how many keys are returned.
        """

    @abstractmethod
    def deleted(self, gone: Iterable[Condemned]) -> None:
        """Note that the objects of these keys are gone.

        The request of a process that hangs may make an object once more. So a key is returned by `collect` a second
        time an hour later, and is forgotten when that is reported. What is reported is what `collect` has said, however
        long ago: two sessions that delete a key at once, or one that hangs for hours before it reports, count once.
        """

    @abstractmethod
    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys that are in any state and were not reported by `deleted`.

        What lies in the bucket under any other key is garbage: nobody has heard of it, or a request that hung has made
        it again.
        """

    # The store.

    @abstractmethod
    def identity(self) -> Identity:
        """Return whose rows these are. The bucket says the same, or nothing in it may be deleted."""

    @abstractmethod
    def adopt(self, place: str = "") -> Identity:
        """Raise the generation of the store durably, and return what `identity` returns from now on.

        The objects are at ``place`` from then on, wherever they were.
        """

    @abstractmethod
    def settle(self, place: str = "") -> str:
        """Record durably where the objects are, unless that is recorded already, and return where they are.

        Of several at once one is first, and all return the same. Without a place nothing is recorded.
        """

    @abstractmethod
    def unsettle(self, place: str) -> None:
        """Forget where the objects are, if it is this place and no name leads to any."""
