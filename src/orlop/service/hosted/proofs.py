"""Blobs that clients have read are read once more, to see whether they are still what their digests say.

Theory of operation. A disk loses bits without a trace, and a look at a blob may not read it. A client that pulls a
blob is the first to see that its bytes are wrong, and tells nobody. So whatever is given away is read again afterwards,
when the machine has it in memory anyway: by one thread, one blob after the other, and each at most once a day. A blob
that proves wrong counts as missing from then on, so that the next push of it, or the upstream of a cache, mends it.

- Nobody waits for a proof. Blobs that find the queue full are proved when they are read the next time.
- A blob is as good as proved when it was hashed on its way in.
- The thread ends with its queue, and begins anew with the next blob. It asks for less of the processor than others.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.model.logger import Logger
from orlop.streams.waiting import started

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.digest import Digest
    from orlop.store.rows.metadata import BlobRow

AGAIN: Final = 86_400
"""For how many seconds a proof holds."""
_MOST: Final = 1000
_REMEMBERED: Final = 10_000
_LESS: Final = 10
_log: Final = Logger(__name__)


class Proofs:
    """Which blobs were proved when, and which are to be. Threads may share it.

    Args:
        prove: reads a blob and returns whether it is right, or None where that cannot be told.
        clock: seconds, which never go back.
    """

    def __init__(self, prove: Callable[[BlobRow], bool | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._prove = prove
        self._clock = clock
        self._guard = threading.Lock()
        self._queue: OrderedDict[Digest, BlobRow] = OrderedDict()
        self._proved: OrderedDict[Digest, float] = OrderedDict()
        self._is_at_work = False

    def was_read(self, blob: BlobRow) -> None:
        """Have a blob proved, unless that was done within a day."""
        with self._guard:
            since = self._proved.get(blob.digest)
            is_proved = since is not None and self._clock() < since + AGAIN
            if is_proved or blob.digest in self._queue or len(self._queue) >= _MOST:
                return
            self._queue[blob.digest] = blob
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            started(self._work, name="orlop-proofs")
        except RuntimeError:
            # The system has no thread for it.
            with self._guard:
                self._is_at_work = False
                self._queue.clear()

    def was_hashed(self, digest: Digest) -> None:
        """Note that a blob was hashed, and is right."""
        with self._guard:
            self._note(digest)

    def _note(self, digest: Digest) -> None:
        self._proved[digest] = self._clock()
        self._proved.move_to_end(digest)
        while len(self._proved) > _REMEMBERED:
            self._proved.popitem(last=False)

    def _work(self) -> None:
        with suppress(AttributeError, OSError):  # not every system counts threads one by one
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LESS)
        while True:
            with self._guard:
                if not self._queue:
                    self._is_at_work = False
                    return
                digest, blob = self._queue.popitem(last=False)
                self._note(digest)
            try:
                if self._prove(blob) is False:
                    _log.warning("the blob %s is damaged, and counts as missing until it is pushed again", digest)
                    self._forget(digest)
            except (OSError, OrlopError):
                # As where the store is closed; the next reader asks for it again.
                self._forget(digest)

    def _forget(self, digest: Digest) -> None:
        with self._guard:
            self._proved.pop(digest, None)
