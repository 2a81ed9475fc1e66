"""A store as a place: its directory, and the parts that are composed over it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from orlop.errors import PermissionDenied, StoreDamaged
from orlop.store.backend_sqlite import SQLiteStoreBackend
from orlop.store.blobs import FileBlobStore
from orlop.store.images import ImageStore
from orlop.store.layers import LayerStore
from orlop.store.leases import Leases
from orlop.store.metadata_sqlite import SQLiteMetadata
from orlop.store.references import ReferenceStore
from orlop.streams.files import explaining, make_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Store:
    """Everything that is kept under one root.

    Opening costs the same for every size: nothing is read or checked. A root that is not there is made (mode 0700);
    one that cannot be written is opened for reading. Safe to share between threads, and usable after a fork.
    """

    def __init__(self, root: str | os.PathLike[str], *, now: Callable[[], int] = time.time_ns) -> None:
        """Open a store, or make one.

        Args:
            root: its directory.
            now: the clock, in nanoseconds since 1970.

        Raises:
            PermissionDenied, ReadOnlyStore, NoSpace, StorageError: it can be neither opened nor made.
        """
        self.root = os.path.abspath(os.fspath(root))
        self.now = now
        self.read_only = self._prepare()
        self.metadata = SQLiteMetadata(self.root, read_only=self.read_only)
        self.leases = Leases(os.path.join(self.root, "leases"), self.metadata)
        self.blobs = FileBlobStore(self.root, self.leases)
        self.layers = LayerStore(self.metadata, self.blobs, self.leases)
        self.images = ImageStore(SQLiteStoreBackend(self.metadata), self.layers, now=now)
        self.references = ReferenceStore(self.metadata, now)
        if not self.read_only:
            with explaining("open", self.root):
                self._recover()

    def _prepare(self) -> bool:
        database = os.path.join(self.root, "metadata.db")
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            msg = f"{self.root} is no directory; give another root"
            raise StoreDamaged(msg)
        if os.path.isdir(self.root) and not os.access(self.root, os.R_OK | os.X_OK):
            msg = f"cannot open the store at {self.root}: permission denied; check who owns it or give another root"
            raise PermissionDenied(msg)
        with explaining("open", self.root):
            try:
                there = os.stat(database).st_size > 0
            except FileNotFoundError:
                there = False
        if there and not (os.access(self.root, os.W_OK) and os.access(database, os.W_OK)):
            return True
        if not there:
            with explaining("make a store at", self.root):
                os.makedirs(self.root, mode=0o700, exist_ok=True)
                if os.listdir(self.root) and not os.path.isdir(os.path.join(self.root, "ingest")):
                    self._refuse_foreign()
                for name in ("blobs", "blobs/sha256", "toc", "toc/sha256", "ingest", "trash", "leases"):
                    make_directory(os.path.join(self.root, name))
        return False

    def _refuse_foreign(self) -> None:
        if set(os.listdir(self.root)) <= {"lost+found", "write.lock", "blobs", "toc", "metadata.db"}:
            return
        msg = f"{self.root} is not empty and holds no store; give an empty or a new directory"
        raise StoreDamaged(msg)

    def _recover(self) -> None:
        if self.blobs.needs_recovery():
            with self.metadata.write() as rows:
                self.blobs.recover(rows)

    def close(self) -> None:
        """Let go of everything; what is still held is no longer protected."""
        if not self.read_only:
            self.leases.close()
        self.metadata.close()

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
