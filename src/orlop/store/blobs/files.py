"""Layers as files: written under a temporary name, published under their digest, read back verified.

A file is in one of these places, and moves between them only by ``rename``, which is one step:

- ``ingest/<lease>.<number>``: on its way in. Its name means nothing, and it is garbage once its lease is dead.
- ``partial/<algorithm>-<hex>``: on its way in from far away, and kept for another try (`orlop.store.blobs.partial`).
- ``blobs/<algorithm>/<hex>`` or ``toc/sha256/<hex>.zst``: complete, and on disk before it got its name. Of another
  algorithm than sha256 the folder is made with the first blob.
- ``trash/<what it was>.<random>``: on its way out.

Files and rows change together, although no transaction spans both. The order is what makes it safe:

- `publish` renames inside the write, and the directory is synced before the rows commit. So a row never names a file
  that a loss of power could take away. Where the write is undone, the name goes again; where a commit failed in a way
  that may yet come back, it stays, and is a stray for `gc`.
- `remove` renames to ``trash/`` inside the write, and unlinks after the commit. Where the write is undone, the file
  gets its name back.
- A crash between these steps leaves a file in ``trash/``. If a row still names its content, the removal was not
  committed, and `put_back` restores it; if none does, a later removal unlinks it.

What must never happen: a committed row whose file is missing, or a file that goes because of one index that is damaged.
Whatever goes is asked for among the rows themselves before the commit (`orlop.store.rows.sqlite.going`).

`FileBlobStore` is the seam of `blobs.store` over a directory. What follows its first half is for callers that ask
for what only local files can do (`orlop.store.files`): where a blob lies, new files that share bytes with others, what
is aside.
"""

from __future__ import annotations

import io
import itertools
import os
import stat
from collections import deque
from contextlib import suppress
from functools import partial
from operator import attrgetter

from orlop.errors import ContentNotFound, InvalidDigest, SizeMismatch
from orlop.store.blobs.places import blob_folders, blob_name, make_room_for, toc_name
from orlop.store.blobs.store import BlobStore, Ingest, Leftover, StoredSize
from orlop.store.trust import INCOMING, PARTIAL
from orlop.streams.directory import ForeignFile
from orlop.streams.files import PRIVATE, NewFile, explained, explaining, remove_unlocked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO, ClassVar, Final

    from _typeshed import WriteableBuffer

    from orlop.model.digest import DiffID, Digest
    from orlop.store.blobs.partial import PartialFiles
    from orlop.store.blobs.store import Spool
    from orlop.store.leases import Leases
    from orlop.store.rows.metadata import BlobRow, Metadata, Rows, WritableRows
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes


_SUFFIX: Final = {"blobs": "", "toc": ".zst"}
_RESTING: Final = 32
"""How many files may be on their way to the disk at once."""


class FileBlobStore(BlobStore):
    """Files below a root: ``blobs/<algorithm>/<hex>``, as in an OCI image layout, and their tables of contents."""

    def __init__(self, root: Directory, leases: Leases, *, modes: Modes = PRIVATE) -> None:
        self._root = root
        self._modes = modes
        self._leases = leases
        self._numbers = itertools.count()
        self._resting: deque[NewFile] = deque()

    def open_unverified(self, blob: BlobRow) -> BinaryIO:
        """Return the raw bytes, see `BlobStore.open_unverified`."""
        file = self.file(blob.digest)
        path = file.path
        try:
            descriptor = file.open()
        except ForeignFile as error:
            msg = f"{error}, and load its image again"
            raise ContentNotFound(msg) from error
        except FileNotFoundError as error:
            msg = f"the blob {blob.digest} is missing from {path}; load its image again"
            raise ContentNotFound(msg) from error
        except OSError as error:
            raise explained(error, "read", path) from error
        size = os.fstat(descriptor).st_size
        if size == blob.size:
            return _BlobFile(path, descriptor)
        os.close(descriptor)
        msg = f"the blob {path} has {size} bytes instead of {blob.size}; load its image again"
        raise SizeMismatch(msg)

    def _read_range(self, blob: BlobRow, start: int, size: int) -> bytes:
        with self.open_unverified(blob) as file, explaining("read", self.path(blob.digest)):
            return os.pread(file.fileno(), size, start)

    named_early: ClassVar[bool] = True

    def begin(self, algorithm: str = "sha256") -> Ingest:
        """Begin to write content to a file in ``ingest/``."""
        return _FileIngest(self, algorithm)

    def resume(
        self, digest: Digest, *, check: Callable[[], None] | None = None, metadata: Metadata | None = None
    ) -> Ingest:
        """Go on with the file of a digest in ``partial/``, see `BlobStore.resume`."""
        from orlop.store.blobs.partial import PartialIngest  # noqa: PLC0415 - only where content comes from far away

        file = self._partial.take(digest, check)
        if metadata is not None and file.size == 0 and self._partial.restore(self.file(digest), file, digest, metadata):
            file = self._partial.take(digest, check)
        return PartialIngest(self, file, digest, self._publish_partial)

    def _publish_partial(self, rows: WritableRows, file: NewFile, digest: Digest) -> None:
        """Rename a file of ``partial/`` to its digest; where the write is undone, it goes back there."""
        self.publish(rows, file, digest, undo=partial(self._partial.take_back, digest))

    def partials(self) -> Iterable[Leftover]:
        """Return the files in ``partial/`` that nobody writes."""
        return [one for _, file in self._partial.unlocked() if (one := leftover_of(file))]

    def free_partials(self, *, most: int, before: float) -> int:
        """Remove files in ``partial/`` that nobody writes, see `BlobStore.free_partials`."""
        return self._partial.free(most, before)

    @property
    def _partial(self) -> PartialFiles:
        from orlop.store.blobs.partial import PartialFiles  # noqa: PLC0415 - as above

        return PartialFiles(self._root, self._modes)

    def spool(self, *, near: str | None = None) -> Spool:
        """Begin to keep bytes in a file in ``ingest/``, on the way to the disk where it may be moved to a place."""
        from orlop.store.blobs.file_spool import FileSpool, is_beside  # noqa: PLC0415 - listing images keeps none

        return FileSpool(self.new(), lasts=near is not None and is_beside(self._root.descriptor, near))

    def sweep_ingests(self) -> None:
        """Remove unfinished files whose owner has ended."""
        # The files are listed before the owners: an owner that begins now is not taken for a dead one.
        with explaining("write", os.path.join(self._root.path, "ingest")):
            names = (self._root / "ingest").names()
            alive = self._leases.alive() if names else set()
            for name in names:
                if name.partition(".")[0] not in alive:
                    _unlink(self._root.place(f"ingest/{name}"))

    # Keeping.

    def has(self, blob: BlobRow) -> bool:
        """Return whether the bytes are there, by their size."""
        file = self.file(blob.digest)
        with explaining("read", file.path):
            state = file.state()
        return state is not None and stat.S_ISREG(state.st_mode) and state.st_size == blob.size

    def is_missing(self, digest: Digest) -> bool:
        """Return whether no file has the name of a digest: a write gives it before its rows are there."""
        file = self.file(digest)
        with explaining("read", file.path):
            return file.state() is None

    def digests(self) -> Iterable[Digest]:
        """Return the digests of all files in ``blobs/``."""
        return [digest for _, digest in self._named("blobs") if digest is not None]

    def tocs(self) -> Iterable[DiffID]:
        """Return the layers of all files in ``toc/``."""
        from orlop.model.digest import DiffID  # noqa: PLC0415 - only where a store is looked through

        return [DiffID.wrap(digest) for _, digest in self._named("toc") if digest is not None]

    def size_of(self, digest: Digest) -> StoredSize:
        """Return the size of a blob's file; one that is missing has none."""
        return _size(self.file(digest))

    def toc_size_of(self, diff_id: DiffID) -> StoredSize:
        """Return the size of the file of a layer's table of contents; one that is missing has none."""
        return _size(self.toc_file(diff_id))

    def remove(self, rows: WritableRows, digests: Iterable[Digest]) -> None:
        """Move files aside at once, then unlink or restore them as the write of the rows ends."""
        for digest in digests:
            self._set_aside(rows, self.file(digest), f"{digest.algorithm}-{digest.hex}")

    def remove_tocs(self, rows: WritableRows, diff_ids: Iterable[DiffID]) -> None:
        """Remove tables of contents in the same way."""
        for diff_id in diff_ids:
            self._set_aside(rows, self.toc_file(diff_id), f"toc-{diff_id.algorithm}-{diff_id.hex}")

    def _set_aside(self, rows: WritableRows, file: Entry, kind: str) -> None:
        # A name of its own: the same content may come and go again before this file is unlinked.
        aside = self._root.place(f"trash/{kind}.{os.urandom(8).hex()}")
        with explaining("remove", file.path):
            state = file.state()
            if state is None or stat.S_ISDIR(state.st_mode):
                return  # a directory is none of the store's files
            try:
                file.rename(aside)
            except FileNotFoundError:
                return
        rows.after_rollback(partial(aside.rename, file))
        rows.after_commit(partial(_unlink, aside))

    def needs_recovery(self) -> bool:
        """Return whether ``trash/`` holds anything: the work of a process at this moment, or what a crash left."""
        with explaining("read", os.path.join(self._root.path, "trash")), suppress(FileNotFoundError):
            return not (self._root / "trash").is_empty()
        return False  # fsck tells what is wrong

    def put_back(self, rows: Rows) -> None:
        """Put back, inside a write, what is in ``trash/`` and has a row: its removal was undone."""
        for aside, home in self.set_aside(rows):
            if home is not None:
                with suppress(FileNotFoundError):
                    aside.rename(home)

    def sweep_trash(self, rows: WritableRows) -> None:
        """Finish, inside a write, what a crash interrupted: what a row names goes back, anything else goes.

        Only what removes things does this. A command that reads puts back, and leaves the rest.
        """
        if self.needs_recovery():
            self.put_back(rows)
            for aside, _ in self.set_aside(rows):
                self.remove_stray(rows, aside)

    # Tables of contents, and what no row names.

    def open_toc(self, diff_id: DiffID) -> BinaryIO | None:
        """Return a layer's table of contents, if its file can be read."""
        file = self.toc_file(diff_id)
        try:
            return _BlobFile(file.path, file.open())
        except OSError:
            return None

    def unfinished(self) -> Iterable[Leftover]:
        """Return the files in ``ingest/``; the first part of a name is that of the owner."""
        with explaining("read", os.path.join(self._root.path, "ingest")):
            names = (self._root / "ingest").names()
        files = (self._root.place(f"ingest/{name}") for name in names)
        return [one._replace(owner=file.name.partition(".")[0]) for file in files if (one := leftover_of(file))]

    def trash(self, rows: Rows) -> Iterable[Leftover]:
        """Return the files in ``trash/`` that have no row to go back to."""
        return [one for file, home in self.set_aside(rows) if home is None and (one := leftover_of(file))]

    def strays(self, rows: Rows) -> Iterable[Leftover]:
        """Return the files in ``blobs/`` and ``toc/`` that no row names."""
        blobs, tocs, others = self.unnamed(rows)
        files = sorted([*map(self.file, blobs), *map(self.toc_file, tocs), *others], key=attrgetter("path"))
        return [one for file in files if (one := leftover_of(file))]

    def clear(self, rows: WritableRows, leftover: Leftover) -> None:
        """Remove a file that no row names, see `BlobStore.clear`."""
        self.remove_stray(rows, self._root.place(leftover.key))

    def close(self) -> None:
        """Release the directory; a file on its way in opens it again."""
        self._root.close()

    # What only local files can do.

    def file(self, digest: Digest) -> Entry:
        """Return where a blob lies or would lie. Raises `InvalidDigest`."""
        return self._root.place(blob_name(digest))

    def toc_file(self, diff_id: DiffID) -> Entry:
        """Return where a layer's table of contents lies or would lie. Raises `InvalidDigest`."""
        return self._root.place(toc_name(diff_id))

    def path(self, digest: Digest) -> str:
        """Return the path of `file`, for messages."""
        return self.file(digest).path

    def is_there(self, folder: str, name: str) -> bool:
        """Return whether anything has a name in a folder below the root."""
        file = self._root.place(f"{folder}/{name}")
        with explaining("read", file.path):
            return file.state() is not None

    def new(self) -> NewFile:
        """Return a file in ``ingest/`` whose name says which lease it belongs to."""
        file = NewFile(self._root.place(f"ingest/{self._leases.name()}.{next(self._numbers)}"))
        if self._modes is not PRIVATE:
            try:
                file.set_mode(self._modes.file)
            except BaseException:
                file.discard()
                raise
        return file

    def rest(self, file: NewFile) -> None:
        """Release a file that is written and waits for its name, as very many may.

        They go to disk in the background, a few at a time: each holds a descriptor until it is there.
        """
        file.rest()
        self._resting.append(file)
        while len(self._resting) > _RESTING:
            self._resting.popleft().wait()

    def publish(
        self, rows: WritableRows, file: NewFile, digest: Digest, *, undo: Callable[[Entry], object] | None = None
    ) -> None:
        """Rename a synced file to its digest; the name is on disk before the rows are.

        Where the write is undone, the file goes, or ``undo`` gets it. One whose name was there before stays: its row
        may have been lost.
        """
        target = self.file(digest)
        if rows.blob(digest) is None and self.is_missing(digest):
            rows.after_rollback(partial(undo or _unlink, target), if_sure=True)
        file.set_mode(self._modes.content)
        self.make_room_for(digest)
        file.publish(target)
        # The names of all blobs of a write go to disk together, before its rows.
        rows.before_commit(self._sync_blob_names)

    def make_room_for(self, digest: Digest) -> None:
        """Make the folder of a blob, which is not there as long as nothing is named by its algorithm."""
        make_room_for(self._root, digest, self._modes.directory)

    def publish_toc(self, rows: WritableRows, file: NewFile, diff_id: DiffID) -> None:
        """Put a synced table of contents in its place; the name is on disk before the rows are."""
        target = self.toc_file(diff_id)
        if rows.diff(diff_id) is None:
            rows.after_rollback(partial(_unlink, target), if_sure=True)
        file.publish(target)
        rows.before_commit(self._sync_toc_names)

    def _sync_blob_names(self) -> None:
        for folder in blob_folders(self._root):
            self._sync_names(folder)

    def _sync_toc_names(self) -> None:
        self._sync_names("toc/sha256")

    def _sync_names(self, folder: str) -> None:
        with explaining("write", os.path.join(self._root.path, folder)):
            self._root.room(folder).sync()

    def unnamed(self, rows: Rows) -> tuple[list[Digest], list[DiffID], list[Entry]]:
        """Return the blobs and the tables of contents that have no row, and the files that are neither."""
        from orlop.model.digest import DiffID  # noqa: PLC0415 - only where a store is looked through

        blobs, tocs = (tuple(self._named(folder)) for folder in ("blobs", "toc"))
        return (
            [digest for _, digest in blobs if digest is not None and rows.blob(digest) is None],
            [diff_id for _, one in tocs if one is not None and rows.diff(diff_id := DiffID.wrap(one)) is None],
            [file for file, digest in (*blobs, *tocs) if digest is None],
        )

    def _named(self, folder: str) -> Iterator[tuple[Entry, Digest | None]]:
        """Yield each file of a folder with the digest that its name says, or nothing where it says none."""
        from orlop.model.digest import Digest  # noqa: PLC0415 - as above

        suffix = _SUFFIX[folder]
        for room in blob_folders(self._root) if folder == "blobs" else (f"{folder}/sha256",):
            with explaining("read", os.path.join(self._root.path, room)):
                names = self._root.room(room).names()
            for name in names:
                digest = Digest(os.path.basename(room), name.removesuffix(suffix))
                is_named = digest.is_valid and name.endswith(suffix)
                yield self._root.place(f"{room}/{name}"), digest if is_named else None

    def remove_stray(self, rows: WritableRows, file: Entry) -> None:
        """Remove a file that no row names in the same way; one in ``trash/`` is there already."""
        if file.folder in {PARTIAL, INCOMING}:
            rows.after_commit(partial(remove_unlocked, file))
            return
        if file.folder == "trash":
            digest = _set_aside_as(file.name)
            # What came back meanwhile, under its own name, is needed; this file is not.
            if digest is not None and self._home(rows, digest) is None:
                _will_go(rows, digest)
            rows.after_commit(partial(_unlink, file))
            return
        digest = _stray_as(f"{file.folder}/{file.name}")
        if digest is not None:
            _will_go(rows, digest)
        self._set_aside(rows, file, "stray")

    def set_aside(self, rows: Rows) -> Iterator[tuple[Entry, Entry | None]]:
        """Yield each file in ``trash/``, and where it has to go back to, if it has."""
        with explaining("read", os.path.join(self._root.path, "trash")):
            names = (self._root / "trash").names()
        for name in names:
            aside = self._root.place(f"trash/{name}")
            digest = _set_aside_as(name)
            with explaining("read", aside.path):
                home = self._home(rows, digest) if digest is not None and aside.is_file() else None
                is_free = home is not None and home.state() is None
            yield aside, home if is_free else None

    def _home(self, rows: Rows, digest: Digest) -> Entry | None:
        """Return where content lies, if a row still names it."""
        from orlop.model.digest import DiffID  # noqa: PLC0415 - only after a crash

        if isinstance(digest, DiffID):
            return None if rows.diff(digest) is None else self.toc_file(digest)
        return None if rows.blob(digest) is None else self.file(digest)


class _FileIngest(Ingest):
    """Content in a new file."""

    def __init__(self, blobs: FileBlobStore, algorithm: str) -> None:
        super().__init__(blobs, algorithm)
        self._files = blobs
        self._file = blobs.new()

    def _append(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> None:
        """Put the file on disk in the background, and release it."""
        self._files.rest(self._file)

    def sync(self) -> None:
        """Wait until the file is on disk."""
        self._file.sync()

    def _publish(self, rows: WritableRows, digest: Digest) -> None:
        self._files.publish(rows, self._file, digest)

    def commit_toc(self, rows: WritableRows, diff_id: DiffID) -> None:
        """Make the file the table of contents of a layer, see `Ingest.commit_toc`."""
        self._files.publish_toc(rows, self._file, diff_id)

    def discard(self) -> None:
        """Remove the file."""
        self._file.discard()


def leftover_of(file: Entry) -> Leftover | None:
    """Return a file as something that no row names; nothing where it went meanwhile, or is a directory."""
    with explaining("read", file.path):
        state = file.state()
    if state is None or stat.S_ISDIR(state.st_mode):
        return None
    key = f"{file.folder}/{file.name}" if file.folder else file.name
    return Leftover(key, file.path, state.st_size if state.st_nlink == 1 else 0)


def _set_aside_as(name: str) -> Digest | None:
    """Return what a file in ``trash/`` was by its name: a blob, or as a diff ID a table of contents."""
    kind = name.partition(".")[0]
    return _digest_of(kind.removeprefix("toc-").replace("-", ":", 1), toc=kind.startswith("toc-"))


def _stray_as(path: str) -> Digest | None:
    """Return what a file is by its path below the root, in the same way."""
    folder, algorithm, name = (*path.split(os.sep), "", "")[:3]
    return _digest_of(f"{algorithm}:{name.removesuffix('.zst')}", toc=folder == "toc")


def _digest_of(text: str, *, toc: bool) -> Digest | None:
    from orlop.model.digest import DiffID, Digest  # noqa: PLC0415 - only where a store is looked through

    try:
        return DiffID.parse(text) if toc else Digest.parse(text)
    except InvalidDigest:
        return None


def _will_go(rows: WritableRows, digest: Digest) -> None:
    from orlop.model.digest import DiffID  # noqa: PLC0415 - as above

    if isinstance(digest, DiffID):
        rows.will_go(contents=[digest])
    else:
        rows.will_go(blobs=[digest])


def _size(file: Entry) -> StoredSize:
    with explaining("read", file.path):
        state = file.state()
    if state is None:
        return StoredSize(0, 0)
    return StoredSize(state.st_size, state.st_size if state.st_nlink == 1 else 0)


class _BlobFile(io.FileIO):
    """A file that is read, and whose errors are explained."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        super().__init__(descriptor)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes."""
        with explaining("read", self._path):
            return super().read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer as far as possible, and return the number of bytes."""
        with explaining("read", self._path):
            return super().readinto(buffer)

    def close(self) -> None:
        """Release the file."""
        with explaining("read", self._path):
            super().close()


def _unlink(entry: Entry) -> None:
    """Remove a file; a directory is none of the store's, and stays."""
    with suppress(FileNotFoundError, IsADirectoryError):
        entry.unlink()
