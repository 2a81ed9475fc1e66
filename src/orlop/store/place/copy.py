"""Copies of a whole store, consistent while others write to it.

A copy begins with all rows of one moment. At the same moment, under the write lock, a lease on everything begins: what
the rows name stays until its bytes are copied, whoever removes images meanwhile.
"""

from __future__ import annotations

import io
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import StorageError, StoreDamaged, StoreInUse, TargetExists
from orlop.store.blobs.places import blob_folders, blob_name, make_room_for, toc_name
from orlop.store.blobs.progress import BlobProgress
from orlop.store.leases import EVERYTHING
from orlop.store.local import local_store, unsafe_at
from orlop.store.place.new_root import new_root, part_name, remove_tree, require_free, target_of
from orlop.store.place.tables import is_whole
from orlop.store.trust import DATABASE
from orlop.store.upkeep.lost_rows import require_refreshable
from orlop.store.upkeep.quarantine import Quarantine
from orlop.streams.directory import Directory, ForeignFile
from orlop.streams.files import CHUNK, SHARED, NewFile, explained, explaining, remove_leftover
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.model.progress import Progress
    from orlop.store.leases import Hold
    from orlop.store.place.new_root import NewRoot
    from orlop.store.root import Store
    from orlop.store.rows.file import FileSnapshot
    from orlop.store.rows.metadata import BlobRow, DiffRow
    from orlop.store.rows.snapshot import SavedRows
    from orlop.streams.directory import Entry
    from orlop.streams.files import Modes

_WORKERS: Final = 4
_MARK: Final = "backup"
"""A file in a store that says whose backup it is."""

_LONGEST_MARK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy holds: its ``root``, the number of ``images`` and ``blobs``, the ``size`` of all blobs in bytes.

    ``added`` is how many bytes of blobs were not there before; what is moved within a file system adds none.
    """

    root: str
    images: int
    blobs: int
    size: int
    added: int


def copy_store(
    store: Store,
    target: str | os.PathLike[str],
    *,
    link: bool = False,
    allow_network: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """See `orlop.stores.copy`."""
    path = target_of(store.root, target)
    _require_safe(path, allow_network=allow_network)
    return _copied(store, path, link=link, progress=progress)


def back_up_store(
    store: Store,
    target: str | os.PathLike[str],
    *,
    link: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """See `orlop.stores.backup`."""
    path = target_of(store.root, target)
    _require_safe(path, allow_network=allow_network)
    if not Directory(path).is_there(DATABASE):
        try:
            return _copied(store, path, link=link, progress=progress, mark=True)
        except TargetExists:
            # Another backup may have been faster.
            if not Directory(path).is_there(DATABASE):
                raise
    kept = partial(local_store, path, create=False, allow_network=allow_network, allow_foreign=allow_foreign)
    return _refreshed(store, path, kept, link=link, progress=progress)


def move_store(
    store: Store,
    target: str | os.PathLike[str],
    *,
    allow_network: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """See `orlop.stores.move`. The store is closed afterwards."""
    path = target_of(store.root, target)
    _require_safe(path, allow_network=allow_network)
    root = os.path.realpath(store.root)
    with store.files.rows.alone() as snapshot:
        if store.leases.others():
            msg = f"the store at {store.root} is in use by another program; wait until it ends"
            raise StoreInUse(msg)
        require_free(path)
        snapshot.require_sound()
        needs = snapshot.needs()
        try:
            old, new = _named(root), _named(path)
            old.rename(new)
        except OSError:
            # Mostly because it is another file system; what else is wrong shows when it is copied.
            return _moved_far(store, root, snapshot, path, progress)
        with explaining("write", path):
            new.directory.sync()
            old.directory.sync()
        return _report(path, needs, 0)


def _named(path: str) -> Entry:
    """Return a store's directory as a name in the one above."""
    return Directory(os.path.dirname(path)).at(os.path.basename(path))


def backup_source(root: Directory) -> str | None:
    """Return the root of the store that a store is a backup of, if it is one."""
    mark = root.at(_MARK)
    with explaining("read", mark.path):
        try:
            descriptor = mark.open()
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return os.fsdecode(file.read(_LONGEST_MARK)).rstrip("\n")


def _copied(
    store: Store,
    path: str,
    *,
    link: bool,
    progress: Progress | None,
    mark: bool = False,
    alone: FileSnapshot | None = None,
) -> CopyReport:
    """Copy into a new root; with a snapshot of a store that nobody else can use, also see that the copy is right."""
    with new_root(path, store.files.modes, _group(store)) as new:
        with _kept_rows(store, new.rows, alone) as saved:
            copied = _copy_all(store, saved, partial(_put_in, new), link=link, progress=progress)
            for diff in saved.diffs:
                _copy_toc(store, new, diff)
            if saved.lost_some:
                _copy_unnamed(store, new, saved)
        if mark:
            _write_mark(store, new)
        if alone is not None:
            Quarantine(store.files).copy_to(new.directory)
        new.complete(store.files.rows.beside(new.rows)[1:])
        if alone is not None:
            _require_right(new)
        new.publish()
    return _report(path, saved, copied)


def _report(path: str, saved: SavedRows, added: int) -> CopyReport:
    return CopyReport(path, saved.images, len(saved.blobs), sum(blob.size for blob in saved.blobs), added)


def _require_safe(path: str, *, allow_network: bool) -> None:
    refusal = None if allow_network else unsafe_at(path)
    if refusal is not None:
        raise refusal()


def _moved_far(store: Store, root: str, snapshot: FileSnapshot, path: str, progress: Progress | None) -> CopyReport:
    """Move to another file system: copy, verify, then remove, all while nobody else can use the store."""
    report = _copied(store, path, link=False, progress=progress, alone=snapshot)
    old = _named(root)
    aside = old.named(part_name())
    try:
        old.rename(aside)
    except OSError:
        # The root of a file system stays where it is; its content goes.
        aside = old
    left = remove_tree(aside)
    if left is not None:
        what = explained(left, "remove", left.filename or aside.path)
        msg = f"the store is at {path} now, but not all of the old one is gone; remove {aside.path} yourself: {what}"
        raise StorageError(msg) from left
    return report


def _require_right(new: NewRoot) -> None:
    from orlop.store.upkeep.fsck import look  # noqa: PLC0415 - only where a store is moved
    from orlop.store.upkeep.problem import DAMAGE  # noqa: PLC0415 - as above

    with local_store(new.path, create=False, allow_network=True, mending=True) as copy:
        damage = [problem for problem in look(copy, settled=True).problems if problem.level == DAMAGE]
    if damage:
        msg = f"the copy at {new.target.path} is not right, and the store stays where it is: {damage[0].message}"
        raise StoreDamaged(msg)


def _refreshed(
    store: Store, path: str, opened: Callable[[], Store], *, link: bool, progress: Progress | None
) -> CopyReport:
    """Bring an earlier backup up to date: blobs come, the rows change at once, blobs go."""
    with Directory(path) as directory:
        source = backup_source(directory)
    if source != os.path.realpath(store.root):
        what = "a store, but no backup" if source is None else f"the backup of {source}"
        msg = f"{path} holds {what}; name a new directory, or the backup of {store.root}"
        raise TargetExists(msg)
    with opened() as kept:
        kept.require_writable()
        require_refreshable(store)
        kept.leases.alive()
        kept.blobs.sweep_ingests()
        # Not in a directory below: SQLite finds the files that it makes beside it by their paths.
        directory, database = kept.files.directory, kept.files.rows
        rows = directory.at(f"metadata.db.{kept.leases.name()}.part")
        brought: list[Entry] = []
        try:
            with kept.leases.hold([EVERYTHING]), _kept_rows(store, rows, None) as saved:
                added = _copy_all(store, saved, partial(_put_beside, kept, brought), link=link, progress=progress)
                for diff in saved.diffs:
                    _refresh_toc(store, kept, brought, diff)
                with explaining("write", path):
                    for folder in blob_folders(directory):
                        directory.room(folder).sync()
                database.replace(rows)
        except BaseException:
            with suppress(Exception):  # the first error is the one to show
                _take_back(kept, brought)
            raise
        finally:
            for leftover in (rows, *database.beside(rows)):
                remove_leftover(leftover)
        _remove_strays(kept)
    return _report(path, saved, added)


@contextmanager
def _kept_rows(store: Store, file: Entry, alone: FileSnapshot | None) -> Iterator[SavedRows]:
    """Save all rows of one moment, verified, and keep what they name for a block.

    Raises:
        DatabaseDamaged: they are damaged, or contradict each other or what is hashed.
    """
    mode, database = store.files.modes.file, store.files.rows
    if alone is not None:
        alone.write(file, mode=mode)
        yield database.finish(file)
        return
    if store.read_only:
        # Who reads from a store that cannot be written has nobody to be protected from.
        with database.snapshot() as snapshot:
            snapshot.write(file, mode=mode)
        yield database.finish(file)
        return
    store.leases.alive()  # sweeps up what dead processes left
    with ExitStack() as view:
        # A full disk takes no more than the lease.
        hold, snapshot = store.with_reserve(partial(_begun, store, view))
        with hold:
            snapshot.write(file, mode=mode)
            # The log grows as long as anybody looks at this moment.
            view.close()
            yield database.finish(file)


def _begun(store: Store, view: ExitStack) -> tuple[Hold, FileSnapshot]:
    """Hold everything of the moment of a snapshot, which lasts as long as the view; what was begun before ends."""
    view.close()
    with store.leases.handing_over() as holds, store.metadata.write():
        holds.append(store.leases.hold([EVERYTHING]))
        return holds[0], view.enter_context(store.files.rows.snapshot())


def _copy_all(
    store: Store,
    saved: SavedRows,
    put: Callable[..., int],
    *,
    link: bool,
    progress: Progress | None,
) -> int:
    """Copy blobs and return the number of bytes that came."""

    def task(blob: BlobRow, check: Callable[[], None]) -> int:
        return put(store, blob, BlobProgress(blob, progress, check), link=link)

    workers = min(_WORKERS, len(os.sched_getaffinity(0)))
    return sum(in_parallel([partial(task, blob) for blob in saved.blobs], workers=workers))


def _put_in(new: NewRoot, store: Store, blob: BlobRow, tell: BlobProgress, *, link: bool) -> int:
    make_room_for(new.directory, blob.digest, new.modes.directory)
    target = new.directory.place(blob_name(blob.digest))
    if link and _linked(store, blob, target, new.modes.content):
        tell.done()
        return 0
    with NewFile(target, shown=new.target.path) as file:
        _fill(file, store, blob, tell)
        file.set_mode(new.modes.content)
        file.sync()
        file.close()
    tell.done()
    return blob.size


def _put_beside(
    kept: Store, brought: list[Entry], store: Store, blob: BlobRow, tell: BlobProgress, *, link: bool
) -> int:
    if kept.blobs.has(blob):
        tell.exists()
        return 0
    kept.files.blobs.make_room_for(blob.digest)
    target = kept.files.blobs.file(blob.digest)
    with explaining("read", target.path):
        if target.state() is None:
            brought.append(target)
    # A file of the wrong size is replaced by a rename, as a link cannot do it.
    if link and _linked(store, blob, target, kept.files.modes.content):
        tell.done()
        return 0
    with kept.files.blobs.new() as file:
        _fill(file, store, blob, tell)
        file.sync()
        with kept.metadata.write() as rows:
            kept.files.blobs.publish(rows, file, blob.digest)
    tell.done()
    return blob.size


def _linked(store: Store, blob: BlobRow, target: Entry, mode: int) -> bool:
    """Return a blob's file one more name, if it may have one and is what it should be by its size and mode."""
    source = store.files.blobs.file(blob.digest)
    with suppress(OSError):
        state = source.state()
        if _is_blob(state, blob, mode):
            source.link(target)
            if _is_blob(target.state(), blob, mode):
                return True
            target.unlink()
    return False


def _is_blob(state: os.stat_result | None, blob: BlobRow, mode: int) -> bool:
    return (
        state is not None
        and stat.S_ISREG(state.st_mode)
        and state.st_size == blob.size
        and stat.S_IMODE(state.st_mode) == mode
    )


def _fill(file: NewFile, store: Store, blob: BlobRow, tell: BlobProgress) -> None:
    """Copy a blob's bytes, all verified before the last one is written."""
    with store.blobs.open_unverified(blob) as source:
        cloned = file.clone(source.fileno())
    with store.blobs.open(blob) as reader:
        for chunk in reader.chunks():
            if not cloned:
                file.write(chunk)
            tell(len(chunk))


def _copy_toc(store: Store, new: NewRoot, diff: DiffRow) -> None:
    content = _toc(store, diff)
    if content is not None:
        with NewFile(new.directory.place(toc_name(diff.diff_id)), shown=new.target.path) as file:
            file.set_mode(new.modes.file)
            file.write(content)
            file.sync()
            file.close()


def _refresh_toc(store: Store, kept: Store, brought: list[Entry], diff: DiffRow) -> None:
    content = _toc(store, diff)
    toc = kept.files.blobs.toc_file(diff.diff_id)
    with explaining("read", kept.root):
        is_there = toc.is_file()
    if content is not None and not is_there:
        brought.append(toc)
        with kept.blobs.begin() as ingest:
            ingest.write(content)
            ingest.sync()
            with kept.metadata.write() as rows:
                ingest.commit_toc(rows, diff.diff_id)


def _copy_unnamed(store: Store, new: NewRoot, saved: SavedRows) -> None:
    """Copy the blobs that no row names, as they are: a lost row may have named them."""
    for digest in set(store.blobs.digests()) - {blob.digest for blob in saved.blobs}:
        source = store.files.blobs.file(digest)
        make_room_for(new.directory, digest, new.modes.directory)
        with (
            explaining("read", source.path),
            suppress(FileNotFoundError, ForeignFile),
            os.fdopen(source.open(), "rb") as content,
            NewFile(new.directory.place(blob_name(digest)), shown=new.target.path) as file,
        ):
            while chunk := content.read(CHUNK):
                file.write(chunk)
            file.set_mode(new.modes.content)
            file.sync()
            file.close()


def _toc(store: Store, diff: DiffRow) -> bytes | None:
    """Read a table of contents, by which the layer's row is verified; one that is missing can be made again."""
    toc = store.files.blobs.toc_file(diff.diff_id)
    content = None
    with explaining("read", toc.path), suppress(FileNotFoundError, ForeignFile), os.fdopen(toc.open(), "rb") as file:
        content = file.read()
    if content is not None:
        is_whole(io.BytesIO(content), diff, store.files.rows.damaged)
    return content


def _write_mark(store: Store, new: NewRoot) -> None:
    _mark(new.directory, new.modes, os.path.realpath(store.root), shown=new.target.path)


def leave_mark(kept: Store, source: str) -> None:
    """Note in the directory of a store that it is the backup of another one, durably."""
    _mark(kept.files.directory, kept.files.modes, source, shown=kept.root)
    with explaining("write", kept.root):
        kept.files.directory.sync()


def _mark(directory: Directory, modes: Modes, source: str, *, shown: str) -> None:
    with NewFile(directory.at(_MARK), shown=shown) as mark:
        mark.set_mode(modes.file)
        mark.write(f"{source}\n".encode("utf-8", "surrogateescape"))
        mark.sync()
        mark.close()


def _take_back(kept: Store, brought: list[Entry]) -> None:
    """Remove what a failed attempt brought to a backup, unless somebody else may rely on it."""
    files = kept.files.blobs
    with kept.metadata.lock(), kept.metadata.read() as rows:
        if not kept.leases.others():
            strays, tocs, _ = files.unnamed(rows)
            unnamed = {*map(files.file, strays), *map(files.toc_file, tocs)}
            for file in unnamed.intersection(brought):
                remove_leftover(file)


def _remove_strays(kept: Store) -> None:
    """Remove the files that no row names any more, now that the rows are others."""
    files = kept.files.blobs
    with kept.metadata.read() as rows:
        found = files.needs_recovery() or any(files.unnamed(rows)[:2])
    if found:
        with kept.metadata.write() as rows:
            files.sweep_trash(rows)
            blobs, tocs, _ = files.unnamed(rows)
            rows.will_go(blobs=blobs, contents=tocs)
            files.remove(rows, blobs)
            files.remove_tocs(rows, tocs)


def _group(store: Store) -> int | None:
    return store.files.directory.state().st_gid if store.files.modes is SHARED else None
