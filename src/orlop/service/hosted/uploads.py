"""Uploads: blobs on their way into a repository, in one request or in many, of this server or of the next.

An upload is begun, appended to any number of times, and finished under its digest, or cancelled. How far it is, its
file says (`orlop.store.blobs.incoming`); what was hashed so far is remembered, and read again only after a restart. A
request that breaks off has appended what came of it. A blob that is finished is in the store, synced, and its
repository holds it for a day; a layer has been looked through by then, so that its image only needs rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from orlop.archive.members import begins_like_layer
from orlop.errors import (
    BodyTooLarge,
    DigestMismatch,
    IntegrityError,
    InvalidDigest,
    InvalidInput,
    InvalidRange,
    LimitExceeded,
    NoSpace,
    QuotaExceeded,
    UploadNotFound,
)
from orlop.model.digest import Digest
from orlop.model.limits import NO_LIMITS
from orlop.service.hosted.ahead import LAYERS, Ahead, looked_through
from orlop.service.hosted.damage import Damage
from orlop.store.blobs.incoming import LIFE, IncomingIngest
from orlop.store.blobs.ingest import IngestedBlob, IngestedLayer, ingest_blob, ingest_layer
from orlop.store.rows.metadata import BlobRow
from orlop.streams.compression import detect
from orlop.streams.files import CHUNK, explaining
from orlop.streams.meter import Meter
from orlop.streams.pipeline import Fanout
from orlop.streams.tar_entry import BLOCK

if TYPE_CHECKING:
    from orlop.service.hosted.ahead import Taken
    from orlop.service.hosted.repository import Repository
    from orlop.store.blobs.incoming import IncomingFiles
    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows
    from orlop.streams.files import NewFile

ALGORITHMS: Final = ("sha256", "sha512")
"""By which digests blobs may be kept."""
AT_ONCE: Final = CHUNK // 4
"""How many bytes of an upload are handed on at once: some wait at each step, and many uploads come at once."""
_DEPTH: Final = 2
"""How many pieces wait to be written, and to be hashed."""
KEPT: Final = LIFE
"""For how many seconds a blob is kept that no manifest names."""
_MOST_UPLOADS: Final = 10_000
_REMEMBERED: Final = 1000
_SECOND: Final = 1_000_000_000
_RECOUNT: Final = 60
_CROWDED: Final = 600
"""For how many seconds uploads stay that nobody continues, where there is no room for others."""


class Readable(Protocol):
    """Anything that returns bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How large a blob may be for whoever sends it, and how many bytes the request has, where it says so.

    ``exact`` is how many the body must have in the end, or nothing of it is kept.
    """

    most: int | None = None
    length: int | None = None
    exact: int | None = None

    def check_come(self, size: int) -> None:
        """Check how many bytes have come of a body that has ended. Raises `InvalidInput`."""
        if self.exact is not None and size != self.exact:
            raise InvalidInput(f"{size} bytes came, and not the {self.exact} that the Content-Range announced")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


class Uploads:
    """The uploads to a store's repositories. Threads may share it; two requests for one upload wait for each other.

    Args:
        store: where to.
        most: how many bytes a blob may have, if they are bounded.
        damage: what is known of files that are damaged.
    """

    def __init__(self, store: Store, *, most: int | None = None, damage: Damage | None = None) -> None:
        self._store = store
        self._damage = damage or Damage(store)
        self._ahead = Ahead(store)
        self._most = most
        self._guard = threading.Lock()
        self._hashes: OrderedDict[str, tuple[str, int, _Hash]] = OrderedDict()
        self._count = 0
        self._counted = 0.0

    @property
    def _files(self) -> IncomingFiles:
        return self._store.incoming

    def begin(self, repository: Repository, *, algorithm: str = "sha256", who: str = "") -> str:
        """Begin an upload, and return its key.

        Args:
            repository: where the blob is to be.
            algorithm: of the digest that it will be asked to have, where that is known.
            who: whose it is; nobody else can go on with it.

        Raises:
            QuotaExceeded: too many are under way. StorageError: it cannot be kept.
        """
        self._store.require_writable()
        check_algorithm(algorithm)
        self._require_room()
        about = {"repository": repository.key, "algorithm": algorithm, "who": who}
        return self._files.begin(json.dumps(about).encode())

    def _require_room(self) -> None:
        """Remove what nobody continues, now and then, and see that there are not too many."""
        now = self._store.now() / _SECOND
        with self._guard:
            # A look at very many takes a while, and whoever comes in vain comes often.
            if now - self._counted >= (1 if self._count >= _MOST_UPLOADS else _RECOUNT):
                self._remove_before(now - LIFE)
                if self._count >= _MOST_UPLOADS:
                    self._remove_before(now - _CROWDED)
                self._counted = now
            if self._count >= _MOST_UPLOADS:
                raise QuotaExceeded(f"{_MOST_UPLOADS} uploads are under way; finish or cancel some, or try again later")
            self._count += 1

    def _remove_before(self, moment: float) -> None:
        """Remove uploads that nobody has continued since a moment, and count those that stay."""
        for entry in self._files.expired(moment):
            self._files.remove(entry.name.partition(".")[0])
        self._count = len(self._files.keys())

    def count(self) -> int:
        """Return how many uploads are neither finished nor over, whoever takes them."""
        return len(self._files.keys())

    def reached(self, repository: Repository, key: str, *, who: str = "") -> int:
        """Return how many bytes have come of an upload. Raises `UploadNotFound`."""
        self._algorithm(repository, key, who)
        size = self._files.size(key)
        if size is None:
            raise _unknown(key)
        return size

    def append(
        self,
        repository: Repository,
        key: str,
        source: Readable,
        *,
        start: int | None = None,
        bound: Bound | None = None,
        who: str = "",
    ) -> int:
        """Append bytes to an upload, as far as they come, and return how many it has then.

        Args:
            repository: whose upload it is.
            key: of the upload.
            source: the bytes, read to their end.
            start: where they belong, if they say so.
            bound: how many there may be.
            who: whose it is.

        Raises:
            UploadNotFound: there is no such upload. InvalidRange: they do not come next; none is read. BodyTooLarge,
                InvalidInput: there are too many, or others than announced; none is kept, and the upload can go on.
                StoreInUse: another request does not end. NoSpace: the disk is full; none is kept. StorageError: they
                cannot be kept.
        """
        algorithm = self._algorithm(repository, key, who)
        with self._files.taken(key) as file:
            if file is None:
                raise _unknown(key)
            self._append(file, key, algorithm, source, start=start, bound=bound or Bound())
            return file.size

    def finish(
        self,
        repository: Repository,
        key: str,
        digest: Digest,
        source: Readable,
        *,
        start: int | None = None,
        bound: Bound | None = None,
        who: str = "",
    ) -> int:
        """Append the last bytes, if there are any, and keep the blob under its digest; return its size.

        Takes and raises what `append` does.

        Raises:
            DigestMismatch: it has another digest; the upload is over. InvalidDigest: no blob is kept under it.
        """
        self._algorithm(repository, key, who)
        check_algorithm(digest.algorithm)
        with self._files.taken(key) as file:
            if file is None:
                raise _unknown(key)
            self._append(file, key, digest.algorithm, source, start=start, bound=bound or Bound())
            size = file.size
            taken = self._ahead.end(key, size)
            try:
                found = self._digest(file, key, digest.algorithm, taken)
                if found != digest:
                    raise DigestMismatch(f"what was uploaded has the digest {found}, not {digest}; upload it again")
                self._keep(repository, file, digest, taken)
            except (InvalidInput, IntegrityError):
                self._forget(key)
                raise
            finally:
                if taken is not None:
                    taken.discard()
            self._forget(key)
            return size

    def cancel(self, repository: Repository, key: str, *, who: str = "") -> None:
        """End an upload, and forget what came of it. Raises `UploadNotFound`."""
        self._algorithm(repository, key, who)
        with self._files.taken(key) as file:
            if file is None:
                raise _unknown(key)
            self._forget(key)

    def _algorithm(self, repository: Repository, key: str, who: str) -> str:
        """Return by what an upload is hashed, after a look whose it is."""
        about = self._files.about(key)
        try:
            known = None if about is None else json.loads(about)
        except ValueError:
            known = None
        if not isinstance(known, dict) or known.get("repository") != repository.key or known.get("who") != who:
            # Whether another one has such an upload is nobody's business.
            raise _unknown(key)
        algorithm = known.get("algorithm")
        return algorithm if algorithm in ALGORITHMS else ALGORITHMS[0]

    # Bytes.

    def _append(
        self, file: NewFile, key: str, algorithm: str, source: Readable, *, start: int | None, bound: Bound
    ) -> None:
        before = file.size
        if start is not None and start != file.size:
            raise InvalidRange(
                f"the upload has {file.size} bytes, so what comes next begins there, not at {start}", reached=file.size
            )
        most = min((one for one in (self._most, bound.most) if one is not None), default=None)
        _check_size(file.size + (bound.length or 0), most)
        try:
            self._extend(file, key, algorithm, source, most)
            bound.check_come(file.size - before)
        except (BodyTooLarge, NoSpace, InvalidInput):
            # It cannot be finished like this, and must not fill the disk for a day.
            self._forget_hash(key)
            self._ahead.give_up(key)
            file.cut(before)
            raise

    def _extend(self, file: NewFile, key: str, algorithm: str, source: Readable, most: int | None) -> None:
        def write(data: bytes) -> None:
            _check_size(file.size + len(data), most)
            file.write(data)

        first = source.read(AT_ONCE)
        if not first:
            return
        second = source.read(AT_ONCE)
        # What is followed is hashed there, and what is small need not be.
        came = self._ahead.follow(key, file, algorithm) if second or file.size else None
        if came is not None:
            for chunk in chain((first, second), iter(partial(source.read, AT_ONCE), b"")):
                write(chunk)
                came()
            return
        hashing = self._hash(file, key, algorithm)
        # What is written and not hashed, where this breaks off, is read again.
        self._forget_hash(key)
        if not second:
            write(first)
            hashing.update(first)
        else:
            with Fanout(write, hashing.update, depth=_DEPTH) as out:
                out.put(first)
                out.put(second)
                while chunk := source.read(AT_ONCE):
                    out.put(chunk)
                out.close()
        self._remember(key, algorithm, file.size, hashing)

    def _digest(self, file: NewFile, key: str, algorithm: str, taken: Taken | None) -> Digest:
        """Return the digest of all that a file has, which whoever has taken it knows."""
        if taken is not None and taken.blob.digest.algorithm == algorithm and taken.blob.size == file.size:
            return taken.blob.digest
        return Digest(algorithm, self._hash(file, key, algorithm).hexdigest())

    def _hash(self, file: NewFile, key: str, algorithm: str) -> _Hash:
        """Return the hash of all that a file has."""
        with self._guard:
            known = self._hashes.get(key)
        if known is not None and known[:2] == (algorithm, file.size):
            return known[2]
        hashing = hashlib.new(algorithm)
        done = 0
        with explaining("read", file.entry.path):
            while chunk := os.pread(file.descriptor, CHUNK, done):
                hashing.update(chunk)
                done += len(chunk)
        self._remember(key, algorithm, done, hashing)
        return hashing

    def _remember(self, key: str, algorithm: str, size: int, hashing: _Hash) -> None:
        with self._guard:
            self._hashes[key] = (algorithm, size, hashing)
            self._hashes.move_to_end(key)
            while len(self._hashes) > _REMEMBERED:
                self._hashes.popitem(last=False)

    def _forget_hash(self, key: str) -> None:
        with self._guard:
            self._hashes.pop(key, None)

    def _forget(self, key: str) -> None:
        """Forget an upload that is locked, or over."""
        self._forget_hash(key)
        self._ahead.give_up(key)
        self._files.remove(key)
        with self._guard:
            self._count -= 1

    # What is finished.

    def _keep(self, repository: Repository, file: NewFile, digest: Digest, taken: Taken | None) -> None:
        """Make a blob of an upload that is complete, and keep it in its repository."""
        if self._is_there(repository, digest, file):
            return
        store = self._store
        if taken is None or taken.blob.digest != digest:
            taken = _looked_through(store, file, digest)
        try:
            taken.sync()
            with store.metadata.write() as rows:
                self._damage.set_aside(digest, rows.blob(digest))
                if isinstance(taken, IngestedLayer):
                    taken.publish(rows)
                else:
                    taken.publish_blob(rows)
                protect(store, rows, repository, digest)
        finally:
            taken.discard()
        self._damage.was_hashed(digest)
        # What fills the disk must not take what removing things needs.
        store.metadata.keep_reserve()

    def _is_there(self, repository: Repository, digest: Digest, file: NewFile) -> bool:
        """Return whether the store has a blob already, byte for byte; then its repository holds it, too."""
        with self._store.metadata.read() as rows:
            row = rows.blob(digest)
        if row is None or row.size != file.size or self._damage.differs(row, file):
            return False
        with self._store.metadata.write() as rows:
            row = rows.blob(digest)
            if row is None or not self._store.blobs.has(row):
                return False
            protect(self._store, rows, repository, digest)
        return True


def protect(store: Store, rows: WritableRows, repository: Repository, *digests: Digest) -> None:
    """Keep some blobs in a repository for a day, inside a write, though no manifest names them."""
    layers = [diff_id for digest in digests for diff_id in rows.diffs_of(digest)]
    store.leases.keep(rows, repository.key, [*digests, *layers], KEPT)


def check_algorithm(algorithm: str) -> None:
    """Check that blobs can be kept by a kind of digests. Raises `InvalidDigest`."""
    if algorithm not in ALGORITHMS:
        raise InvalidDigest(f"{algorithm!r} is not a known digest algorithm; use {' or '.join(ALGORITHMS)}")


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise BodyTooLarge(f"the blob has more than {most} bytes, which this server does not take")


def _looked_through(store: Store, file: NewFile, digest: Digest) -> Taken:
    """Return what an upload is: a layer where it looks like one and is one, otherwise a blob."""
    with explaining("read", file.entry.path):
        first = os.pread(file.descriptor, BLOCK, 0)
    if not store.is_local:
        try:
            return looked_through(store, _Reader(file), first, digest.algorithm)
        except LimitExceeded:
            # As a blob it may have any size.
            return ingest_blob(_Reader(file), store.blobs, meter=Meter(NO_LIMITS), algorithm=digest.algorithm)
    content = IncomingIngest(store.files.blobs, file, digest)
    if digest.algorithm == LAYERS and first and begins_like_layer(first):
        try:
            return ingest_layer(_Reader(file), store.blobs, meter=Meter(store.limits), content=content)
        except InvalidInput:
            # An artifact may be anything, and so may be what is damaged or beyond a limit.
            content = IncomingIngest(store.files.blobs, file, digest)
    return IngestedBlob(BlobRow(digest, file.size, detect(first).name.lower()), content)


class _Reader:
    """Reads a file from its beginning, whoever else is at work in it."""

    def __init__(self, file: NewFile) -> None:
        self._file = file
        self._position = 0

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        with explaining("read", self._file.entry.path):
            data = os.pread(self._file.descriptor, n, self._position)
        self._position += len(data)
        return data


def _unknown(key: str) -> UploadNotFound:
    return UploadNotFound(f"there is no upload {key[:64]!r}; begin a new one")
