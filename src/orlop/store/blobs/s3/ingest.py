"""Content on its way into a bucket, sent in parts while it is written.

An upload is in one of these states, and goes from one to the next:

- *gathering*: what was written so far fits into one part. Nothing was sent, and a key is taken only where it claims
  the digest that the bytes are to have, see `orlop.store.blobs.s3.claiming`.
- *in parts*: more was written. The key is recorded with the ID of the upload, and full parts are on their way, in the
  threads of `Senders`. A part is sent again as often as needed; it has a number, so twice is once.
- *finished*: nothing more is written; the last part, or everything in one request, is on its way too.
- *synced*: the server has answered that the object is complete.
- *ended*: a name leads to the object, or the key is doomed. Nothing can be written any more.

The object is invisible before it is published, since nobody else knows its key; so it may be complete in the bucket
before it is verified. What must never happen: a name leads to an object whose last answer has not come, or an upload
whose end nobody waits for goes on after its key was doomed and leaves parts that nobody knows of. The ID is recorded
before the first part is sent, so that everybody can abort it. Before each further part the session must not be known to
be dead: nobody could publish what is sent after that.

Parts are of 8 MiB at first. From the thousandth on they grow, so that 10,000 parts hold more than 2 TiB.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Final, final

from orlop.errors import InvalidDigest, LeaseLost, LimitExceeded, OrlopError, StorageError
from orlop.store.blobs.s3.client import Pieces, Unwanted
from orlop.store.blobs.store import Ingest
from orlop.store.rows.keys import TOC

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.digest import DiffID, Digest
    from orlop.store.blobs.s3.bucket import Bucket, Part
    from orlop.store.blobs.s3.sending import Senders, Sending
    from orlop.store.blobs.store import BlobStore
    from orlop.store.rows.keys import ObjectKeys
    from orlop.store.rows.metadata import WritableRows

_MOST_PARTS: Final = 10_000
_GROWTH: Final = 1_000
_LARGEST: Final = 512 << 20


def part_size(number: int, first: int, *, equal: bool) -> int:
    """Return the bytes of a part, by its number from 1 on, where the first ones have ``first``."""
    return first if equal else max(first, min(first << ((number - 1) // _GROWTH), _LARGEST))


class Upload:
    """The bytes of one object on their way: takes them in order, and sends them.

    Args:
        bucket: where the object is made.
        keys: what records its key.
        senders: the threads.
        first: bytes of the first parts.
        equal: whether all parts are of that size.
        key: that of the object, where it is taken already.
    """

    def __init__(
        self, bucket: Bucket, keys: ObjectKeys, senders: Senders, *, first: int, equal: bool, key: str = ""
    ) -> None:
        self._bucket, self._keys, self._senders = bucket, keys, senders
        self._unwanted = Event()
        self._first, self._equal = first, equal
        self._pieces: list[bytes | memoryview] = []
        self._gathered = 0
        self._size = 0
        self._upload_id = ""
        self._sent: list[Sending[Part]] = []
        self._whole: Sending[None] | None = None
        self._finished = self._complete = False
        self.key, self._session = key, keys.session if key else ""
        self.is_sent = False
        """Whether a request for the key may have been sent."""

    def write(self, data: bytes) -> None:
        """Take bytes, and send what fills a part."""
        self._pieces.append(data)
        self._gathered += len(data)
        self._size += len(data)
        while self._gathered > (wanted := part_size(len(self._sent) + 1, self._first, equal=self._equal)):
            self._send_part(self._cut(wanted))

    def _cut(self, size: int) -> Pieces:
        """Return the first bytes that were gathered, and keep the others."""
        taken: list[bytes | memoryview] = []
        missing = size
        rest = iter(self._pieces)
        for piece in rest:
            if len(piece) > missing:
                view = memoryview(piece)
                taken.append(view[:missing])
                self._pieces = [view[missing:], *rest]
                break
            taken.append(piece)
            missing -= len(piece)
        else:
            self._pieces = []
        self._gathered -= size
        return Pieces(taken)

    def _send_part(self, body: Pieces) -> None:
        number = len(self._sent) + 1
        if number > _MOST_PARTS:
            msg = f"the object store takes {_MOST_PARTS} parts of an object, and {self._size} bytes are more than that"
            raise LimitExceeded(f"{msg}; use larger parts or a store in a directory")
        if self._upload_id:
            self._keys.require(self._session)
        else:
            self._begin()
            self._upload_id = self._bucket.begin_parts(self._path)
            self._keys.multipart(self.key, self._upload_id)
        send = partial(self._bucket.put_part, self._path, self._upload_id, number, body, self._unwanted)
        self._sent.append(self._senders.submit(body.size, send))
        if number > 1 and self._sent[number - 2].has_ended:
            # What went wrong is told early.
            self._sent[number - 2].result()

    def _begin(self) -> None:
        """Take a key, unless there is one of a session that lives: nobody could publish another one."""
        if self.key:
            with suppress(LeaseLost):
                self._keys.require(self._session)
                self.is_sent = True
                return
        self.key = self._keys.begin()
        self._session = self._keys.session
        self.is_sent = True

    def finish(self) -> None:
        """Send what was gathered; nothing more is written."""
        if self._finished:
            return
        body = self._cut(self._gathered)
        if self._upload_id:
            self._send_part(body)
        else:
            self._begin()
            send = partial(self._bucket.put, self._path, body, self._unwanted)
            self._whole = self._senders.submit(body.size, send)
        self._finished = True

    def sync(self) -> None:
        """Return once the object is complete."""
        self.finish()
        if self._complete:
            return
        if self._whole is not None:
            self._whole.result()
        else:
            parts = [one.result() for one in self._sent]
            self._bucket.complete(self._path, self._upload_id, parts, self._size)
        self._complete = True

    def give_up(self) -> None:
        """Stop sending; return when nothing is sent any more. Raises nothing."""
        self._unwanted.set()
        self._pieces = []
        running: list[Sending[Any]] = [*self._sent, *([] if self._whole is None else [self._whole])]
        for one in running:
            one.cancel()
        for one in running:
            with suppress(Exception):
                one.result()
        if self._upload_id and not self._complete:
            # What this leaves, `reclaim` aborts once more.
            path, upload_id = self._path, self._upload_id
            with suppress(OrlopError, Unwanted, RuntimeError):
                self._senders.submit(0, partial(self._bucket.abort, path, upload_id, self._unwanted))

    @property
    def _path(self) -> str:
        return path_of(self.key)


def path_of(key: str) -> str:
    """Return where in the bucket an object lies."""
    return f"blobs/{key}"


@final
class S3Ingest(Ingest):
    """Content on its way into a bucket, see `Ingest`."""

    def __init__(
        self, blobs: BlobStore, keys: ObjectKeys, upload: Upload, algorithm: str, published: Callable[[str], object]
    ) -> None:
        super().__init__(blobs, algorithm)
        self._keys = keys
        self._published = published
        self._upload: Upload | None = upload

    def _append(self, data: bytes) -> None:
        self._open().write(bytes(data))

    def finish(self) -> None:
        """Send the rest."""
        if self._upload is not None:
            self._upload.finish()

    def sync(self) -> None:
        """Return once the object is complete."""
        if self._upload is not None:
            self._upload.sync()

    def _publish(self, rows: WritableRows, digest: Digest) -> None:
        self._named(rows, str(digest))

    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Make the bytes the table of contents of a layer, see `Ingest.commit_toc`."""
        if not diff_id.is_valid:
            raise InvalidDigest(f"{str(diff_id)!r} is not a digest, and no table of contents can have it as its name")
        self._named(rows, f"{TOC}{diff_id}")

    def _named(self, rows: WritableRows, name: str) -> None:
        upload = self._open()
        upload.sync()
        if not name.startswith(TOC):
            # What a row or nothing led to, and is not what it should be, makes room.
            self._keys.doom(rows, [name])
        rows.after_rollback(partial(_doom, self._keys, upload.key))
        if self._keys.publish(rows, name, upload.key, self.size):
            self._published(upload.key)
        self._upload = None

    def _open(self) -> Upload:
        if self._upload is None:
            raise StorageError("cannot write to a bucket: the content was committed or discarded; start again")
        return self._upload

    def discard(self) -> None:
        """Stop sending, and doom what was sent."""
        upload, self._upload = self._upload, None
        if upload is not None:
            try:
                upload.give_up()
            finally:
                # Others may wait for what it claims, for as long as this process lives. What an interruption leaves
                # on its way is deleted later, like that of a process that was killed.
                _doom(self._keys, upload.key, is_sent=upload.is_sent)


def _doom(keys: ObjectKeys, key: str, *, is_sent: bool = True) -> None:
    """Doom the key of an upload, unless it was published after all. What fails is done later, by the keys."""
    with suppress(OrlopError):
        if key:
            keys.discard(key, is_sent=is_sent)
