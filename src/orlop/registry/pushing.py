"""How a blob gets into a registry, whatever that registry takes.

Registries differ in which of the ways they take (`orlop.registry.uploads`), and how much at once. For each way that
fails there is one that may not:

    monolithic ── 413 ──► chunks of 95 MB ── 413 ──► chunks of 4 MiB
    chunks ── refused at the first one, or always behind the same one ──► monolithic
    a broken connection ──► is the blob there? else: how far did the registry get? else: anew

A body that can be opened again is needed for all that; a stream is sent in one piece, once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    NotInRegistry,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsupported,
    UploadLost,
)
from orlop.registry.exchange import is_passing
from orlop.registry.messages import BytesBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.digest import Digest
    from orlop.registry.client import RegistryClient
    from orlop.registry.messages import OpenedBody
    from orlop.registry.uploads import Upload, UploadState

_MIB: Final = 1 << 20
CHUNK: Final = 32 * _MIB
_FALLBACKS: Final = (95_000_000, 4 * _MIB)
"""What proxies let through that refuse a whole blob: below Cloudflare's 100 MB, and what all let through."""
_TOO_LARGE: Final = 413
_MOST_FALLS: Final = 3
"""How often a registry may lose what it acknowledged before its session is given up."""
_MOST_SHORT: Final = 16
"""Of how many pieces of a session a registry may take less than was sent."""
_MOST_PIECES: Final = 100_000
"""A registry that wants a blob in more pieces than this would never have it."""
_PASSING: Final = frozenset({408, 499})
_NOT_SO: Final = frozenset({400, 404, 405, 411, 415, 416, 500, 501})


class Way(Enum):
    """How a blob is sent."""

    AUTO = "auto"
    """In one piece up to the size of a chunk, else in chunks."""
    MONOLITHIC = "monolithic"
    """With the request that ends the session."""
    STREAMED = "streamed"
    """In one piece, before the request that ends the session."""
    CHUNKED = "chunked"
    """In chunks, each of which is acknowledged: the only way that can be resumed."""


class BlobPush:
    """Sends one blob. A session that is kept lets another process go on.

    Args:
        client: of the registry.
        repository: into which it goes.
        digest: of the blob.
        body: the blob.
        way: how it is sent.
        chunk: bytes of a chunk.
        save: called with each state of the session, and with None at its end.
        sent: called with how many bytes are acknowledged.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        digest: Digest,
        body: OpenedBody,
        *,
        way: Way = Way.AUTO,
        chunk: int = CHUNK,
        save: Callable[[UploadState | None], None] = lambda _: None,
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._repository = repository
        self._digest = digest
        self._body = body
        self._way = way if way is not Way.AUTO else Way.CHUNKED if body.size > chunk else Way.MONOLITHIC
        self._chunk = chunk
        self._save = save
        self._sent = sent
        self._fallbacks = iter(_FALLBACKS)
        self._was_refused = False
        self._ended: int | None = None

    def run(self, upload: Upload | None = None) -> None:
        """Send the blob, and return when the registry has it.

        A session that was kept may hold other bytes than this blob's: where the registry refuses what came of it, the
        whole blob is sent once more.

        Args:
            upload: a session to go on with; one is opened otherwise.

        Raises:
            RegistryError: the registry refuses it, or fails too often.
        """
        waiting, tried = self._client.waiting, 0
        # Only what no session reached before is progress.
        best = 0 if upload is None else upload.offset
        kept = upload
        while True:
            try:
                if upload is None:
                    upload = self._client.start_upload(self._repository)
                self._send(upload)
            except RegistryError as error:
                reached = 0 if upload is None else upload.offset
                best = max(best, reached)
                if kept is not None and upload is kept and error.answered in _NOT_SO:
                    self._save(None)
                    upload = kept = None
                    continue
                if self._falls_back(error, reached):
                    upload = None
                    continue
                tried += 1
                wait = self._wait(error, tried)
                if wait is None or tried >= waiting.patience.tries:
                    raise
                waiting.pause(wait)
                if self._is_there():
                    break
                upload = self._resumed(upload, error)
                if upload is not None and upload.offset > best:
                    tried, best = 0, upload.offset
            else:
                break
        self._save(None)
        self._sent(self._body.size)

    def _send(self, upload: Upload) -> None:
        if self._way is Way.CHUNKED:
            self._send_chunks(upload)
            upload.commit(self._digest)
        elif self._way is Way.STREAMED:
            upload.send(self._body)
            upload.commit(self._digest)
        else:
            rest = self._body if not upload.offset else self._body.part(upload.offset, self._body.size - upload.offset)
            upload.commit(self._digest, rest)

    def _send_chunks(self, upload: Upload) -> None:
        stuck, mark, falls, short = -1, upload.offset, 0, 0
        while upload.offset < self._body.size:
            self._save(upload.state)
            size = max(self._chunk, upload.least or 0)
            size = min(size, upload.most or size)
            if self._body.size > size * _MOST_PIECES:
                raise RegistryUnsupported(
                    f"{self._client.host} takes {size} bytes at once, too little for a blob of {self._body.size} bytes",
                    registry=self._client.host,
                )
            size = min(size, self._body.size - upload.offset)
            before = upload.offset
            upload.send(self._body.part(before, size), in_chunks=True)
            falls += upload.offset < mark
            mark = max(mark, upload.offset)
            short += upload.offset < before + size
            if upload.offset <= stuck or falls > _MOST_FALLS or short > _MOST_SHORT:
                raise UploadLost("the registry repeatedly accepts less than was sent")
            if upload.offset < before + size:
                stuck = upload.offset
            self._sent(upload.offset)
        self._save(upload.state)

    def _wait(self, error: RegistryError, tried: int) -> float | None:
        """Return how long to wait before going on, or None where that would not help."""
        waiting = self._client.waiting
        usual = waiting.patience.before(tried, waiting.clock)
        if isinstance(error, RegistryBusy):
            asked = usual if error.wait is None else error.wait
            return asked if asked <= waiting.patience.longest else None
        if isinstance(error, RegistryUnreachable):
            return usual if is_passing(error) else None
        is_over_soon = isinstance(error, UploadLost) or error.answered in _PASSING
        return usual if is_over_soon or (error.answered or 0) >= 500 else None

    def _falls_back(self, error: RegistryError, reached: int) -> bool:
        """Choose another way where a registry does not take this one; return whether there is one."""
        if error.answered == _TOO_LARGE:
            smaller = next((one for one in self._fallbacks if self._way is not Way.CHUNKED or one < self._chunk), None)
            if smaller is None:
                return False
            self._way, self._chunk = Way.CHUNKED, smaller
            return True
        if self._way is Way.CHUNKED and not self._was_refused and self._takes_no_chunks(error, reached):
            self._was_refused = True
            self._way = Way.MONOLITHIC
            return True
        return False

    def _takes_no_chunks(self, error: RegistryError, reached: int) -> bool:
        """Return whether a refusal is of chunks as such: of the first one, or of any behind those before."""
        if error.answered not in _NOT_SO or isinstance(error, RegistryUnreachable):
            return False
        if not reached:
            return True
        if reached >= self._body.size or error.answered >= 500:
            return False
        # A session may be lost once; where every one ends behind the same chunk, that is how the registry is.
        before, self._ended = self._ended, reached
        return before == reached or not isinstance(error, UploadLost)

    def _is_there(self) -> bool:
        try:
            return self._client.has_blob(self._repository, self._digest)
        except RegistryUnreachable:
            return False

    def _resumed(self, upload: Upload | None, error: RegistryError) -> Upload | None:
        """Return the session to go on with, or None where a new one is needed."""
        if upload is None or isinstance(error, UploadLost) or self._way is not Way.CHUNKED:
            return None
        try:
            upload.ask()
        except RegistryError:
            return None
        return upload


def push_bytes(client: RegistryClient, repository: str, content: bytes, digest: Digest) -> None:
    """Send a small blob that is in memory, unless it is there: a config, or an empty one."""
    if not client.has_blob(repository, digest):
        try:
            client.start_upload(repository).commit(digest, BytesBody(content))
        except (RegistryUnreachable, UploadLost):
            if not client.has_blob(repository, digest):
                client.start_upload(repository).commit(digest, BytesBody(content))


def is_missing(error: RegistryError | NotInRegistry) -> bool:
    """Return whether an answer to whether a blob is there means that it is not, for somebody who may push.

    Some registries refuse to look into a repository that is not there yet.
    """
    return isinstance(error, NotInRegistry | RegistryDenied)
