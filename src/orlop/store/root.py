"""A store: rows, blobs and leases, and the parts that are composed over them."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress

from orlop.errors import NoSpace, NotSupported
from orlop.model.generic import TypeVar
from orlop.model.given import Single
from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.backends.sqlite import SQLiteStoreBackend
from orlop.store.images import ImageStore
from orlop.store.layers import LayerStore
from orlop.store.references import ReferenceStore
from orlop.streams.files import PRIVATE, explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from orlop.model.limits import Limits
    from orlop.store.blobs.incoming import IncomingFiles
    from orlop.store.blobs.store import BlobStore
    from orlop.store.content import ContentStore
    from orlop.store.events import EventLog
    from orlop.store.files import LocalFiles
    from orlop.store.leases import Leases
    from orlop.store.rows.metadata import Metadata
    from orlop.store.scratch import Scratch

T = TypeVar("T")


class Store(Single):
    """Everything that is kept: the rows of one `Metadata`, the bytes of one `BlobStore`, and who needs them.

    `orlop.store.local.local_store` composes one over a directory. Safe to share between threads.
    """

    def __init__(
        self,
        metadata: Metadata,
        blobs: BlobStore,
        *,
        leases: Leases | None = None,
        files: LocalFiles | None = None,
        root: str = "memory",
        scratch: Scratch | None = None,
        closing: Callable[[], object] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Compose a store. Nothing is read; `recover` finishes what a crash has interrupted.

        Args:
            metadata: the rows; they are this store's to end.
            blobs: the bytes that the rows name.
            leases: what keeps content that somebody works with; by default that of users in this process alone.
            files: what local files can do besides, if blobs and rows are such.
            root: where it is, for people: the directory of a store that has one.
            scratch: where a store without files keeps here what others send in several requests; by default in a
                directory that goes with this object.
            closing: called before the rows are ended.
            limits: what an archive or a layer may ask for that comes in.
            now: the clock, in nanoseconds since 1970.
        """
        self.root = root
        self.now = now
        self.limits = limits
        self.metadata = metadata
        self.blobs = blobs
        self.leases = leases or _leases_of_this_process(metadata)
        self._files = files
        self._scratch = scratch
        self._closing = [] if closing is None else [closing]
        self._guard = threading.Lock()
        self.layers = LayerStore(metadata, blobs, self.leases, limits=limits)
        self.images = ImageStore(SQLiteStoreBackend(metadata), self.layers, now=now)
        self.references = ReferenceStore(metadata, now)
        self._now = now

    @property
    def content(self) -> ContentStore:
        """Manifests, indexes, artifacts and blobs, by digest."""
        from orlop.store.content import ContentStore  # noqa: PLC0415 - commands that list images read none

        return ContentStore(self.metadata, self.blobs)

    @property
    def events(self) -> EventLog:
        """What happened to images."""
        from orlop.store.events import EventLog  # noqa: PLC0415 - commands that list images record nothing

        return EventLog(self.metadata, self._now)

    @property
    def is_local(self) -> bool:
        """Whether all of it lies in a directory of this machine, so that `files` can be asked for."""
        return self._files is not None

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories of this machine that it is known to write: its own, or the one for what is under way."""
        if self._files is not None:
            return (self.root,)
        return () if self._scratch is None else (self._scratch.place,)

    @property
    def files(self) -> LocalFiles:
        """What only local files can do. Raises `NotSupported` where the store has none."""
        if self._files is None:
            msg = f"the store {self.root!r} has no files on this machine, which this needs; use one in a directory"
            raise NotSupported(msg)
        return self._files

    @property
    def incoming(self) -> IncomingFiles:
        """What others send in several requests: it is in the store's directory, or else in one of this machine."""
        if self._files is not None:
            return self._files.incoming
        from orlop.store.blobs.incoming import IncomingFiles  # noqa: PLC0415 - only where content is pushed
        from orlop.store.scratch import Scratch  # noqa: PLC0415 - as above

        with self._guard:
            self._scratch = self._scratch or Scratch()
        return IncomingFiles(self._scratch.directory, PRIVATE)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed."""
        return self.metadata.refusal() is not None

    def why_read_only(self) -> str:
        """Return why nothing can be changed; nothing where it can."""
        refusal = self.metadata.refusal()
        return "" if refusal is None else str(refusal)

    def require_writable(self) -> None:
        """Raise `ReadOnlyStore` or `UnsafeFileSystem` where nothing can be changed, `StoreClosed` after `close`."""
        self.metadata.require_open()
        refusal = self.metadata.refusal()
        if refusal is not None:
            raise refusal

    def recover(self) -> None:
        """Put back what a process that died was about to remove and has not. Idempotent; nothing is removed."""
        if self.blobs.needs_recovery():
            # No row changes: that would need space.
            with self.metadata.lock(), self.metadata.read() as rows:
                self.blobs.put_back(rows)

    def with_reserve(self, action: Callable[[], T]) -> T:
        """Do what frees space or needs little, with the space that is kept for it where the disk is full.

        The action is done a second time if there is no space for the first, which has to leave nothing behind.
        """
        if self.metadata.in_block() or self.read_only:
            return action()
        self.metadata.keep_reserve()
        try:
            return action()
        except NoSpace:
            with explaining("write", self.root):
                if not self.metadata.give_up_reserve():
                    raise
        return action()

    def before_close(self, action: Callable[[], object]) -> None:
        """Call an action when this is closed, before the rows and what was given first."""
        self._closing.insert(0, action)

    def close(self) -> None:
        """Release everything; what is still held is no longer protected."""
        read_only = True
        try:
            read_only = self.read_only
            if not read_only:
                self.leases.close()
        finally:
            with ExitStack() as ending:
                # The last is called first, and each of them whatever the others raise. A file on its way in opens the
                # blobs again, if that is left.
                ending.callback(self.blobs.close)
                if self._scratch is not None:
                    ending.callback(self._scratch.close)
                ending.callback(self.metadata.end)
                for closing in reversed(self._closing):
                    ending.callback(closing)
        if not read_only:
            # What was given up comes back, now that SQLite needs nothing beside its database any more.
            self.metadata.keep_reserve()
            self.blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(Exception):  # the first error is the one to show
                self.close()


def _leases_of_this_process(metadata: Metadata) -> Leases:
    from orlop.store.leases import Leases  # noqa: PLC0415 - a store in a directory brings its own
    from orlop.store.owners import MemoryOwners  # noqa: PLC0415 - as above

    return Leases(metadata, MemoryOwners())
