"""Blobs whose file has the right size and other bytes: found where that costs little, and replaced by the next push.

Theory of operation. Whether a repository has a blob is asked all the time, so that a look may not read it; its size is
compared, and two times of its file. Content is written, then gets its mode and its name, and is never written again:
the time of its last change as a file (``ctime``) is later than that of its bytes (``mtime``). Where both are the same,
its bytes were the last thing that changed, and it is read once, to see what they are; the verdict holds as long as the
file is the same. A blob that is wrong is not there for clients, so that they push it again. One that is right gets its
mode once more, which moves the first of these times: a store of which a plain copy was made (``cp -r``) has such files
only, and each of them is read once, not once for each run and each client.

A file of which the disk cannot read some bytes is as wrong, and the next push replaces it. But a disk, or the way to
it, may come back: the verdict on such a file is forgotten after some minutes, and it is read anew.

What a disk has lost changes no time. But whoever pushes a blob has its bytes at hand: those of the store are compared
with them. What differs is set aside in the quarantine, as a repair does, in the write that publishes the right bytes.
And whoever pulls it may have found it wrong: what was given away is proved afterwards (`orlop.service.hosted.proofs`).
"""

from __future__ import annotations

import math
import os
import stat
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import IntegrityError, NotFound
from orlop.model.tuples import NamedTuple
from orlop.service.hosted.proofs import Proofs
from orlop.streams.directory import ForeignFile
from orlop.streams.files import CHUNK, explaining, is_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from orlop.model.digest import Digest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.files import NewFile

_REMEMBERED: Final = 10_000
_UNREADABLE_FOR: Final = 600
"""For how many seconds a file counts as damaged that could not be read."""


class _Mark(NamedTuple):
    """Which file something is, and when it was written and changed."""

    device: int
    inode: int
    size: int
    written: int
    changed: int

    @property
    def is_doubtful(self) -> bool:
        """Whether its bytes were the last thing that changed."""
        return self.written == self.changed


class _Verdict(NamedTuple):
    """Whether a file is right, and how long that counts."""

    mark: _Mark
    is_right: bool
    until: float


class Damage:
    """What is known of a store's files that may be damaged. Threads may share it.

    Args:
        store: whose files they are.
        clock: seconds, which never go back.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._guard = threading.Lock()
        self._verdicts: OrderedDict[Digest, _Verdict] = OrderedDict()
        self._reading: dict[Digest, threading.Lock] = {}
        self._proofs = Proofs(self._proved)

    def was_read(self, blob: BlobRow) -> None:
        """Note that the bytes of a blob were given away; they are proved afterwards."""
        if self._store.is_local:
            self._proofs.was_read(blob)

    def was_hashed(self, digest: Digest) -> None:
        """Note that the bytes of a blob are right, since they were hashed on their way in."""
        self._proofs.was_hashed(digest)

    def _proved(self, blob: BlobRow) -> bool | None:
        """Read a blob, and return whether it is right; nothing where it is not there, or another file by now."""
        mark = self._mark(blob)
        if mark is None:
            return None
        is_right, holds = self._looked_at(blob)
        if self._mark(blob) != mark:
            return None
        return self._note(blob, mark, is_right=is_right, holds=holds)

    def has(self, blob: BlobRow) -> bool:
        """Return whether a blob is there, and is not known to be damaged. May read it, so not inside a write."""
        if not self._store.blobs.has(blob):
            return False
        mark = self._mark(blob)
        if mark is None:
            return not self._store.is_local
        if (known := self._verdict(blob, mark)) is not None:
            return known
        return not mark.is_doubtful or self._read_once(blob, mark)

    def _read_once(self, blob: BlobRow, mark: _Mark) -> bool:
        """Return whether a doubtful blob is right; one thread reads it, and the others wait for the verdict."""
        with self._guard:
            lock = self._reading.setdefault(blob.digest, threading.Lock())
        with lock:
            try:
                # Another one may have read it, and settled it, meanwhile.
                mark = self._mark(blob) or mark
                if (known := self._verdict(blob, mark)) is not None:
                    return known
                is_right, holds = self._looked_at(blob) if mark.is_doubtful else (True, math.inf)
                mark = self._settled(blob, mark) if is_right else mark
                return self._note(blob, mark, is_right=is_right, holds=holds)
            finally:
                with self._guard:
                    self._reading.pop(blob.digest, None)

    def _settled(self, blob: BlobRow, mark: _Mark) -> _Mark:
        """Set the mode of a file that was read once more, which moves its ``ctime``, and return what it is now.

        Nothing happens if the file has changed since, or is not ours to change; then only the verdict is remembered.
        """
        if not mark.is_doubtful or self._store.read_only:
            return mark
        with suppress(OSError, ForeignFile):
            descriptor = self._store.files.blobs.file(blob.digest).open()
            try:
                state = os.fstat(descriptor)
                if _mark_of(state) == mark:
                    os.fchmod(descriptor, stat.S_IMODE(state.st_mode))
                    return _mark_of(os.fstat(descriptor))
            finally:
                os.close(descriptor)
        return mark

    def _mark(self, blob: BlobRow) -> _Mark | None:
        """Return which file a blob is; nothing where it is none."""
        if not self._store.is_local:
            return None
        file = self._store.files.blobs.file(blob.digest)
        with explaining("read", file.path):
            state = file.state()
        return None if state is None else _mark_of(state)

    def _verdict(self, blob: BlobRow, mark: _Mark) -> bool | None:
        with self._guard:
            known = self._verdicts.get(blob.digest)
        is_good = known is not None and known.mark == mark and self._clock() < known.until
        return known.is_right if known is not None and is_good else None

    def _looked_at(self, blob: BlobRow) -> tuple[bool, float]:
        """Read a blob, and return whether it has its digest, and for how many seconds that can be relied on."""
        try:
            with self._store.blobs.open(blob) as reader:
                while reader.read(CHUNK):
                    pass
        except (IntegrityError, NotFound):
            return False, math.inf
        except OSError as error:
            if not is_unreadable(error):
                raise
            return False, _UNREADABLE_FOR
        return True, math.inf

    def _note(self, blob: BlobRow, mark: _Mark, *, is_right: bool, holds: float = math.inf) -> bool:
        with self._guard:
            self._verdicts[blob.digest] = _Verdict(mark, is_right, self._clock() + holds)
            self._verdicts.move_to_end(blob.digest)
            while len(self._verdicts) > _REMEMBERED:
                self._verdicts.popitem(last=False)
        return is_right

    def differs(self, blob: BlobRow, pushed: NewFile) -> bool:
        """Return whether a blob is not there, or has other bytes than a file of its size that has its digest."""
        if not self._store.is_local:
            return not self._store.blobs.has(blob)
        mark = self._mark(blob)
        try:
            with self._store.blobs.open_unverified(blob) as kept:
                is_same = _are_same(kept, pushed)
        except (IntegrityError, NotFound):
            return True
        if mark is not None:
            # It may have been unreadable a moment ago.
            self._note(blob, mark, is_right=is_same)
        return not is_same

    def set_aside(self, digest: Digest, blob: BlobRow | None) -> None:
        """Take out of the way what is in the place of a blob, inside a write that brings the right bytes.

        That is a file which is damaged for sure, where the blob is known, and anything that is not a file.
        """
        if not self._store.is_local:
            return
        file = self._store.files.blobs.file(digest)
        with explaining("read", file.path):
            state = file.state()
        if state is None:
            return
        # Another one may have brought the right bytes meanwhile.
        is_damaged = blob is not None and self._verdict(blob, _mark_of(state)) is False
        if is_damaged or not stat.S_ISREG(state.st_mode):
            from orlop.store.upkeep.quarantine import Quarantine  # noqa: PLC0415 - what is damaged is rare

            quarantine = Quarantine(self._store.files)
            quarantine.take(file)
            quarantine.sync()


def _mark_of(state: os.stat_result) -> _Mark:
    return _Mark(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _are_same(kept: BinaryIO, pushed: NewFile) -> bool:
    done = 0
    while True:
        try:
            chunk = kept.read(CHUNK)
        except OSError as error:
            if is_unreadable(error):
                return False
            raise
        if not chunk:
            return done == pushed.size
        with explaining("read", pushed.entry.path):
            if chunk != os.pread(pushed.descriptor, len(chunk), done):
                return False
        done += len(chunk)
