"""Files that are on their way in from far away, under the digest that they are to have: what breaks off goes on later.

Theory of operation. ``partial/<algorithm>-<hex>`` holds the first bytes of the content of that digest, as far as they
came. It is in one of these states:

- *locked*: somebody writes it, and holds a ``flock`` on it, which ends with its process. Only the one who holds that
  appends to the file, renames it or removes it. Others that want the same content wait for the lock.
- *left*: nobody holds it. Whoever locks it next goes on at its end, or `PartialFiles.free` or a collection removes it.
- *gone*: it got its name in ``blobs/``, or was removed. Whoever waited for it notices that what it has locked has no
  name any more, and opens a new one; it looks first whether the content is there by now. If the content is, and its
  writer was killed before the rows were, it is moved in place of the new one, and is *left* again, as is what a write
  has published that was undone.

Nothing in such a file is trusted. It is never synced before it is complete, so that a loss of power may leave anything
in it; the bytes are read again and hashed with those that follow, and get their name only where all of them have the
digest. Where they do not, `Ingest.reject` removes them, and a next try begins anew.

What must never happen: two write one file, a file is removed that somebody writes, or wrong bytes stay, so that each
further try fails as well.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, InvalidInput, LimitExceeded, OrlopError
from orlop.store.blobs.store import Ingest
from orlop.store.trust import PARTIAL
from orlop.streams.file_lock import FileLock
from orlop.streams.files import (
    CHUNK,
    NewFile,
    explained,
    explaining,
    is_unreadable,
    remove_leftover,
    remove_unlocked,
)
from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from orlop.model.digest import DiffID, Digest
    from orlop.store.blobs.store import BlobStore
    from orlop.store.rows.metadata import Metadata, WritableRows
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes

__all__ = ["PARTIAL", "PartialFiles", "PartialIngest"]

_TICK: Final = 0.05


class PartialFiles:
    """The files in ``partial/``.

    Args:
        root: the store's directory.
        modes: who may use it.
    """

    def __init__(self, root: Directory, modes: Modes) -> None:
        self._root = root
        self._modes = modes

    def take(self, digest: Digest, check: Callable[[], None] | None) -> NewFile:
        """Lock the file of a digest, which is made where it is not there; wait while another one has it."""
        entry = self._root.place(f"{PARTIAL}/{digest.algorithm}-{digest.hex}")

        def pause() -> None:
            if check is not None:
                check()
            time.sleep(_TICK)

        with explaining("write", os.path.join(self._root.path, PARTIAL)):
            self._root.make(PARTIAL, self._modes.directory)
        while True:
            file = NewFile(entry, mode=self._modes.file, flags=os.O_CREAT)
            try:
                if file.lock(pause=pause) and self._is_usable(file):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def restore(self, file: Entry, empty: NewFile, digest: Digest, metadata: Metadata) -> bool:
        """Bring the bytes that a killed write has given their name, but no row, back to an empty file that is locked.

        They are moved. Where a manifest names them, it is the rows that were damaged, and a repair needs the file: what
        is whole is copied then.

        Args:
            file: what has the digest's name, if anything has.
            empty: the locked file; it is closed where it is to be taken anew, or where this fails.
            digest: of the content.
            metadata: where the rows are.

        Returns:
            Whether the file is to be taken anew.
        """
        try:
            if file.state() is None:
                return False
            with metadata.read() as rows:
                is_named = rows.blob(digest) is None and bool(rows.edges_to(digest))
            try:
                is_back = is_named and self._is_copied(file, empty, digest)
            except OSError as error:
                if is_unreadable(error):
                    # What is fetched takes its place.
                    return False
                raise explained(error, "copy", file.path) from error
            if not is_back:
                # Under the lock: what has a file's name already has its rows once that write is over.
                with metadata.lock(), metadata.read() as rows:
                    is_back = rows.blob(digest) is None and self._is_moved(file, empty.entry)
        except BaseException:
            empty.close()
            raise
        if is_back:
            empty.close()
        return is_back

    def take_back(self, digest: Digest, file: Entry) -> None:
        """Keep the bytes of a file, whose write was undone, for a later try, unless one has begun.

        The file loses its name in any case, and has never two: it would count as somebody else's.
        """
        entry = self._root.place(f"{PARTIAL}/{digest.algorithm}-{digest.hex}")
        is_back = False
        lock = FileLock(entry, mode=self._modes.file)
        try:
            with suppress(OSError, OrlopError):  # it is fetched again
                is_back = lock.try_acquire() and lock.is_current() and self._is_moved(file, entry)
        finally:
            lock.release()
        if not is_back:
            file.unlink()

    def _is_copied(self, file: Entry, empty: NewFile, digest: Digest) -> bool:
        """Copy a file that has the content of a digest; return whether it has."""
        hashing = hashlib.new(digest.algorithm)
        try:
            descriptor = file.open()
        except OSError:
            return False
        is_whole = False
        try:
            with os.fdopen(descriptor, "rb", buffering=0) as content, os.fdopen(os.dup(empty.descriptor), "wb") as copy:
                while chunk := content.read(CHUNK):
                    check_interruption()
                    hashing.update(chunk)
                    copy.write(chunk)
            is_whole = hashing.hexdigest() == digest.hex
        finally:
            if not is_whole:
                # It would take space that may be short, and be no more than a copy.
                os.ftruncate(empty.descriptor, 0)
                os.lseek(empty.descriptor, 0, os.SEEK_SET)
        return is_whole

    def _is_moved(self, file: Entry, locked: Entry) -> bool:
        """Move a file in place of one that is locked; return whether that may be."""
        with explaining("move", file.path):
            state = file.state()
            # Nobody else may set its mode, and go on with it.
            if state is None or not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
                return False
            file.set_mode(self._modes.file)
            file.rename(locked)
        return True

    def _is_usable(self, file: NewFile) -> bool:
        """Return whether a locked file can be continued; one of another user, who may not publish it, is removed."""
        with explaining("write", file.entry.path):
            if os.fstat(file.descriptor).st_uid != os.geteuid():
                file.entry.unlink()
                return False
            # Another one may have written meanwhile.
            file.size = os.lseek(file.descriptor, 0, os.SEEK_END)
            if file.size == 0:
                os.fchmod(file.descriptor, self._modes.file)
        return True

    def unlocked(self) -> Iterator[tuple[os.stat_result, Entry]]:
        """Yield the files that nobody has locked at this moment, with what the system says of them."""
        with explaining("read", os.path.join(self._root.path, PARTIAL)):
            try:
                names = (self._root / PARTIAL).names()
            except FileNotFoundError:
                return
        for name in names:
            entry = self._root.place(f"{PARTIAL}/{name}")
            lock = FileLock(entry, create=False)
            with suppress(OSError):
                if lock.try_acquire():
                    lock.release()
                    if (state := entry.state()) is not None:
                        yield state, entry

    def free(self, most: int, before: float) -> int:
        """Remove what is left and older than a time, and then the oldest beyond a number of bytes; return the bytes."""
        found = sorted(self.unlocked(), key=lambda one: one[0].st_mtime)
        total = sum(state.st_size for state, _ in found)
        freed = 0
        for state, entry in found:
            if state.st_mtime < before or total - freed > most:
                remove_unlocked(entry)
                freed += state.st_size
        return freed


class PartialIngest(Ingest):
    """Content in a file of `PartialFiles`, which this object has locked until it is committed or discarded.

    What was left (`kept`) is written again by the caller, so that it is hashed; it is not stored twice.

    Args:
        blobs: where the content is to be.
        file: the locked file.
        digest: what the content is to have.
        publish: gives a file its name in a write of the rows.
    """

    def __init__(
        self,
        blobs: BlobStore,
        file: NewFile,
        digest: Digest,
        publish: Callable[[WritableRows, NewFile, Digest], object],
    ) -> None:
        super().__init__(blobs, digest.algorithm)
        self._file: NewFile | None = file
        self._expected = digest
        self._publish_file = publish
        self._kept = self._skipped = file.size

    @property
    def kept(self) -> int:
        """The number of bytes that an earlier try has left."""
        return self._kept

    def read_kept(self, start: int, size: int) -> bytes:
        """Return some of these bytes. Raises IntegrityError where the disk has lost them."""
        file = self._own
        with explaining("read", file.entry.path):
            try:
                return os.pread(file.descriptor, min(size, self._kept - start), start)
            except OSError as error:
                if not is_unreadable(error):
                    raise
                # Each further try would fail as well.
                raise IntegrityError(f"what is left of {self._expected} cannot be read; it is fetched anew") from error

    def _append(self, data: bytes) -> None:
        if self._skipped:
            known = min(self._skipped, len(data))
            self._skipped -= known
            data = data[known:]
        if data:
            self._own.write(data)

    def finish(self) -> None:
        """Begin to put the file on disk; it stays open, since closing it would unlock it."""
        self._own.start_sync()

    def sync(self) -> None:
        """Wait until the file is on disk."""
        self._own.sync()

    def _publish(self, rows: WritableRows, digest: Digest) -> None:
        self._publish_file(rows, self._own, digest)
        self._file = None

    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Raise: a table of contents is never fetched."""
        del rows
        msg = f"the table of contents of {diff_id} is not content that was fetched"
        raise TypeError(msg)

    def discard(self) -> None:
        """Unlock the file, and leave what it has for a later try."""
        file, self._file = self._file, None
        if file is None:
            return
        if file.size == 0:
            remove_leftover(file.entry)
        with suppress(Exception):  # nobody wants to know any more
            file.close()

    def reject(self) -> None:
        """Remove the file, as its bytes are wrong, or needed no longer."""
        file, self._file = self._file, None
        if file is not None:
            # It goes before it is unlocked, as nobody else may have it.
            remove_leftover(file.entry)
            with suppress(Exception):  # as above
                file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard; what has turned out to be wrong is removed."""
        if isinstance(error, InvalidInput | IntegrityError) and not isinstance(error, LimitExceeded):
            self.reject()
        else:
            self.discard()

    @property
    def _own(self) -> NewFile:
        if self._file is None:
            msg = f"the content of {self._expected} was committed or discarded; start again"
            raise ValueError(msg)
        return self._file
