"""Blobs on their way here, for any number who wait for them.

Theory of operation. A blob is downloaded once, by a thread of its own, into the file under its digest in ``partial/``,
where a download that broke off has left its beginning (`orlop.store.blobs.partial`). Whoever asks for it follows: reads
from that file what is there, and waits for the rest. The first who asks is a follower like all others.

- The file is locked by its writer. A second process that is asked for the same blob waits for the lock in its own
  download, and its followers read from the same file meanwhile. If the writer dies, the one that gets the lock goes on
  where it ended, and nobody notices.
- A follower gets everything but the last byte before the digest is verified and the blob is committed. So nobody gets
  all of a blob that is wrong: the read fails, the connection is cut, and the file is removed.
- After the commit the file has another name and is still the same one. If it is not (another process threw it away,
  and began anew), what was read before may be something else, and the follower is cut off.

In a store without files here, on several machines, one process fetches a blob as well, and the others wait until it is
kept (`orlop.store.blobs.s3.claiming`); their followers, as those of the first, read it then.

A download goes on when all who followed have left: what it brings will be asked for again. Only so many run at once.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import ContentNotFound, DigestMismatch, IntegrityError, OrlopError, SizeMismatch, StoreClosed
from orlop.model.closing import Closing
from orlop.model.logger import Logger
from orlop.registry.rest import Rest
from orlop.service.hosted.damage import Damage
from orlop.store.blobs.ingest import ingest_blob
from orlop.streams.files import explaining
from orlop.streams.meter import Meter
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.registry.places import Places
    from orlop.store.blobs.store import Ingest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.waiting import Started

AT_ONCE: Final = 6
"""How many blobs are downloaded at once; registries limit what one client may ask for."""
_TICK: Final = 0.05
# For so many seconds a blob that is here stays, whatever the quota is, for those that have yet to open it.
_OPENED: Final = 10.0
"""Seconds after which a follower looks again, since another process may be the writer."""
_PARTIAL: Final = "partial"
_log: Final = Logger(__name__)


class Downloads:
    """The downloads of one process. Threads may share it.

    Args:
        store: where to. While one without files here keeps a blob, its followers wait.
        stored: called after each commit with the digest and the number of bytes, by the thread of the download. It may
            remove the blob: whoever follows has it open by then.
        damage: what is known of files that are damaged; they are replaced.
    """

    def __init__(
        self,
        store: Store,
        stored: Callable[[Digest, int], object] = lambda *_: None,
        damage: Damage | None = None,
    ) -> None:
        self._store = store
        self._damage = damage or Damage(store)
        self._stored = stored
        self._turn = threading.Lock()
        self._running: dict[Digest, _Download] = {}
        self._threads: set[Started] = set()
        self._slots = threading.Semaphore(AT_ONCE)
        self._closed = threading.Event()

    def follow(self, want: Descriptor, places: Places) -> Following:
        """Return a reader of a blob that is not here yet; its download is begun unless one is under way.

        Args:
            want: the blob.
            places: where it comes from.
        """
        with self._turn:
            self._check()
            download = self._running.get(want.digest)
            if download is None or download.size != want.size:
                download = _Download(self._store, want, places, self._check, self._damage)
                self._running[want.digest] = download
                self._threads.add(started(partial(self._run, download), name="orlop-proxy"))
            # Before the download can end: it waits for those that follow.
            kind = Following if self._store.is_local else FollowingElsewhere
            return kind(self._store, download)

    def _run(self, download: _Download) -> None:
        error: BaseException | None = None
        try:
            while not self._slots.acquire(timeout=1):
                self._check()
            try:
                download.run()
            finally:
                self._slots.release()
        except BaseException as why:  # noqa: BLE001 - whoever follows raises it
            error = why
        # Whoever asks from now on finds the blob, or begins anew.
        with self._turn:
            if self._running.get(download.digest) is download:
                del self._running[download.digest]
        download.end(error)
        if error is None:
            download.wait_for_followers(self._closed.is_set)
            try:
                self._stored(download.digest, download.size)
            except OrlopError as why:
                _log.warning("the cache could not make room: %s", why)
        with self._turn:
            self._threads.discard(threading.current_thread())

    def _check(self) -> None:
        if self._closed.is_set():
            raise StoreClosed("the cache was closed while something was fetched; ask again")

    def close(self) -> None:
        """End all downloads; what they have got stays for the next ones."""
        self._closed.set()
        with self._turn:
            threads = list(self._threads)
        for one in threads:
            one.join()


class _Download:
    """One blob under way: it ``is_done``, or there is an ``error``, or neither yet."""

    def __init__(
        self, store: Store, want: Descriptor, places: Places, check: Callable[[], None], damage: Damage
    ) -> None:
        self.digest = want.digest
        self.size = want.size
        self.is_done = False
        self.error: BaseException | None = None
        self._store = store
        self._want = want
        self._places = places
        self._check = check
        self._damage = damage
        self._news = threading.Condition()
        self._without_file = 0

    def run(self) -> None:
        """Fetch the blob and keep it; nothing is fetched where another process has brought it meanwhile."""
        while True:
            content = self._store.blobs.resume(self.digest, check=self._check, metadata=self._store.metadata)
            try:
                if self.row() is not None:
                    content.reject()
                    return
                if self._keep(content):
                    return
            except BaseException:
                content.discard()
                raise

    def row(self) -> BlobRow | None:
        """Return the row of the blob, if that is here by now."""
        with self._store.metadata.read() as rows:
            row = rows.blob(self.digest)
        return row if row is not None and self._damage.has(row) else None

    def _keep(self, content: Ingest) -> bool:
        """Fetch the rest; return whether it is kept, and not if what was left was wrong, and is forgotten now."""
        kept = content.kept
        try:
            if kept > self.size:
                content.reject()
                raise SizeMismatch(f"{kept} bytes are left of the blob {self.digest}, which has {self.size}")
            with Rest(content, self._places, self._want) as source:
                taken = ingest_blob(
                    source,
                    self._store.blobs,
                    meter=Meter(self._store.limits),
                    progress=self._came,
                    content=content,
                )
            if (taken.blob.digest, taken.blob.size) != (self.digest, self.size):
                content.reject()
                came = taken.blob.digest
                raise DigestMismatch(f"the blob {self.digest} came with the digest {came}; its registry has it damaged")
        except IntegrityError:
            if kept:
                return False
            raise
        taken.sync()
        with self._store.metadata.write() as rows:
            self._damage.set_aside(self.digest, rows.blob(self.digest))
            taken.publish_blob(rows)
        self._damage.was_hashed(self.digest)
        return True

    def _came(self, count: int) -> None:
        del count
        self._check()
        with self._news:
            self._news.notify_all()

    def end(self, error: BaseException | None) -> None:
        """Wake all followers: it is done, or has failed."""
        with self._news:
            self.error, self.is_done = error, error is None
            self._news.notify_all()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes."""
        return self.is_done or self.error is not None

    def wait(self) -> None:
        """Wait for more, but not for long."""
        with self._news:
            if not self.has_ended:
                self._news.wait(_TICK)

    def follow(self, count: int) -> None:
        """Count followers that have not opened its file yet."""
        with self._news:
            self._without_file += count
            self._news.notify_all()

    def wait_for_followers(self, is_closed: Callable[[], bool]) -> None:
        """Wait until all followers have its file open, but not for long."""
        left = _OPENED
        with self._news:
            while self._without_file > 0 and left > 0 and not is_closed():
                self._news.wait(_TICK)
                left -= _TICK


class Following(Closing):
    """A reader of a blob under way, for one thread. Close it, or use it in a ``with`` block."""

    def __init__(self, store: Store, download: _Download) -> None:
        self._store = store
        self._download = download
        self._descriptor = -1
        self._position = 0
        self._has_read = False
        self._has_opened = False
        self.size = download.size
        download.follow(1)

    def ready(self) -> None:
        """Wait until there is something to read, or nothing is missing.

        Raises:
            NotInRegistry, RegistryError: it cannot be fetched. IntegrityError: it does not match its digest.
            StorageError: it cannot be kept.
        """
        while not self._available() and not self._download.is_done:
            self._download.wait()

    def seek(self, offset: int, /) -> None:
        """Go to an offset, which may not be here yet."""
        self._position = offset

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, and none at the end; the last byte only once all are verified and kept.

        Raises what `ready` raises.
        """
        while self._position < self.size:
            count = min(n, self._available() - self._position)
            if count > 0:
                with explaining("read", f"{_PARTIAL}/{self._download.digest}"):
                    data = os.pread(self._descriptor, count, self._position)
                self._position += len(data)
                if data:
                    self._has_read = True
                    return data
            self._download.wait()
        while not self._download.is_done:
            self._available()
            self._download.wait()
        return b""

    def _available(self) -> int:
        """Return how many bytes may be read. Raises why nothing more can be."""
        download = self._download
        # Asked before the file is looked at: what has ended has its final name.
        is_done, error = download.is_done, download.error
        if error is not None:
            raise _told(error)
        if is_done:
            self._settle()
            return self.size
        if self._descriptor < 0:
            self._open_partial()
        return 0 if self._descriptor < 0 else max(0, min(os.fstat(self._descriptor).st_size, self.size - 1))

    def _open_partial(self) -> None:
        digest = self._download.digest
        try:
            entry = self._store.files.directory.place(f"{_PARTIAL}/{digest.algorithm}-{digest.hex}")
            self._descriptor = entry.open()
        except FileNotFoundError:
            # It is not begun yet, or just committed.
            return
        self._opened()

    def _opened(self) -> None:
        """Release the download, once, from waiting for this reader."""
        if not self._has_opened:
            self._has_opened = True
            self._download.follow(-1)

    def _settle(self) -> None:
        """Check that what was read so far is of the file that was verified; open that where nothing was read."""
        file = self._store.files.blobs.file(self._download.digest)
        state = file.state()
        if state is None:
            if self._descriptor < 0:
                raise ContentNotFound(f"the blob {self._download.digest} went away; ask for it again")
            # It was removed since, and this reader has it open.
            return
        if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), state):
            return
        if self._has_read:
            raise DigestMismatch(f"the blob {self._download.digest} was started again while it was read; ask again")
        self._close()
        self._descriptor = file.open()
        self._opened()

    def close(self) -> None:
        """Stop reading; the download goes on."""
        self._opened()
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class FollowingElsewhere(Following):
    """A reader of a blob under way to a store without files here: it reads once all of it is verified and kept."""

    _file: BinaryIO | None = None

    def _available(self) -> int:
        download = self._download
        is_done, error = download.is_done, download.error
        if error is not None:
            raise _told(error)
        return self.size if is_done else 0

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, and none at the end. Raises what `ready` raises."""
        while not self._available():
            self._download.wait()
        if self._position >= self.size:
            return b""
        if self._file is None:
            with self._store.metadata.read() as rows:
                row = rows.blob(self._download.digest)
            if row is None:
                raise ContentNotFound(f"the blob {self._download.digest} went away; ask for it again")
            self._file = self._store.blobs.open_unverified(row)
            self._file.seek(self._position)
            self._opened()
        data = self._file.read(min(n, self.size - self._position))
        self._position += len(data)
        if not data:
            raise SizeMismatch(f"the blob {self._download.digest} ends before its size; ask for it again")
        return data

    def close(self) -> None:
        """Stop reading; the download goes on."""
        super().close()
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _told(error: BaseException) -> BaseException:
    """Return an error for one of many followers: each raises one of its own, as tracebacks grow with each raise."""
    if not isinstance(error, OrlopError):
        return error
    own = error.__class__.__new__(error.__class__, *error.args)
    own.args = error.args
    own.__dict__.update(error.__dict__)
    return own
