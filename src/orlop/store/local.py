"""A store in a directory: the one place that composes SQLite and local files.

A directory is looked at before anything is opened in it: whether it is a store, whose it is, and whether locks hold
there. Opening costs the same for every size: nothing is read or checked.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext, suppress
from functools import partial

from orlop.errors import PermissionDenied, ReadOnlyStore, StoreDamaged, StoreNotFound, UnsafeFileSystem
from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.blobs.files import FileBlobStore
from orlop.store.files import LocalFiles
from orlop.store.leases import Leases
from orlop.store.owners import FileOwners
from orlop.store.root import Store
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.trust import BLOBS_ON_DEMAND, DATABASE, DIRECTORIES, INCOMING, PARTIAL, distrust, second_name, survey
from orlop.streams.directory import Directory, ForeignFile
from orlop.streams.files import PRIVATE, SHARED, explaining, make_directories
from orlop.streams.filesystems import file_system_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orlop.errors import StorageError
    from orlop.model.limits import Limits
    from orlop.streams.directory import Entry
    from orlop.streams.files import Modes

# SQLite takes a file of one byte for an empty one.
_NO_ROWS = 1
UNFINISHED = "rows.db"
"""What the database is called in a store that is not yet whole, or no longer."""
_OF_A_NEW_ONE = frozenset(("lost+found", "write.lock", PARTIAL, INCOMING, *DIRECTORIES))
_WITHOUT_ROWS = frozenset(("leases", "ingest", "trash", PARTIAL, INCOMING))
"""Directories that may have files of a store that has no rows: what ends a command leaves them behind."""
_HEX = "0123456789abcdef"
_LEAST_DIGITS = 16
"""Hex digits of the shortest name that a store makes up, see `owners`."""


def local_store(
    root: str | os.PathLike[str],
    *,
    create: bool = True,
    group: int | None = None,
    allow_network: bool = False,
    allow_foreign: bool = False,
    mending: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    now: Callable[[], int] = time.time_ns,
) -> Store:
    """Open the store in a directory, or make one.

    A root that is not there is made; one that cannot be written, or lies where locks may not hold, is opened for
    reading. The store may be shared between threads, and used after a fork.

    Args:
        root: its directory.
        create: make a store where there is none.
        group: the number of a group whose members may do everything in a store that is made here. Without one it is
            for its owner alone. One that is there stays as it is.
        allow_network: write on network and FUSE file systems too: safe if one machine at a time uses it.
        allow_foreign: write also where another user owns the store, or everybody may write in it.
        mending: open also a store that has something else in the place of a directory, or a damaged database, as
            fsck does.
        limits: what an archive or a layer may ask for that comes in.
        now: the clock, in nanoseconds since 1970.

    Raises:
        StoreNotFound: there is no store, and none was to be made.
        UnsafeFileSystem: none is made on a network or FUSE file system.
        PermissionDenied, ReadOnlyStore, NoSpace, StorageError: it can be neither opened nor made.
    """
    place = _Place(os.path.abspath(os.fspath(root)))
    with explaining("open", place.root):
        place.prepare(
            create=create, group=group, allow_network=allow_network, allow_foreign=allow_foreign, mending=mending
        )
    directory, modes = place.directory, place.modes
    rows = SQLiteMetadata(
        directory, refusal=place.refusal, modes=modes, wary=not mending, beginning=place.require_no_content
    )
    leases = Leases(rows, FileOwners(directory, modes=modes), now=now)
    blobs = FileBlobStore(directory, leases, modes=modes)
    files = LocalFiles(directory, modes, blobs, rows)
    store = Store(rows, blobs, leases=leases, files=files, root=place.root, limits=limits, now=now)
    try:
        if place.refusal is None:
            # What looks for damage finds it later.
            with explaining("open", place.root), suppress(ForeignFile, StoreDamaged) if mending else nullcontext():
                store.recover()
            rows.keep_reserve()
        if group is not None:
            with rows.read():
                pass  # the database is made for the group before anybody else makes it for himself
    except BaseException:
        rows.end()
        blobs.close()
        raise
    return store


class _Place:
    """A directory on its way to be a store: looked at, or made one."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.directory = Directory(root)
        self.modes: Modes = PRIVATE
        self.refusal: Callable[[], StorageError] | None = None

    def prepare(
        self, *, create: bool, group: int | None, allow_network: bool, allow_foreign: bool, mending: bool
    ) -> None:
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            msg = f"{self.root} is not a directory; give another root"
            raise StoreDamaged(msg)
        is_there = os.path.isdir(self.root)
        if is_there and not os.access(self.root, os.R_OK | os.X_OK):
            msg = f"cannot open the store at {self.root}: permission denied; check who owns it or give another root"
            raise PermissionDenied(msg)
        found = survey(self.directory, directories=not mending) if is_there else {}
        state = found.get(DATABASE)
        refusal = None if allow_network else unsafe_at(self.root)
        if state is not None and state.st_size > _NO_ROWS:
            # What the database allows its group, everything does.
            self.modes = SHARED if state.st_mode & 0o020 else PRIVATE
            self.refusal = self._refusal_of(found, allow_foreign=allow_foreign, mending=mending) or refusal
        elif is_there and self._has_lost_its_database():
            # With a new one, everything would be garbage.
            raise self._without_rows("is missing" if state is None else "is empty")
        elif not create:
            msg = f"there is no store at {self.root}; check the root that was given"
            raise StoreNotFound(msg)
        elif refusal is not None:
            raise refusal()
        elif is_there and not allow_foreign and (why := distrust(self.directory, found, shared=group is not None)):
            raise ReadOnlyStore(why)
        else:
            with explaining("make a store at", self.root):
                self._make(group)

    def _refusal_of(
        self, found: Mapping[str, os.stat_result], *, allow_foreign: bool, mending: bool
    ) -> Callable[[], StorageError] | None:
        """Return what makes the error of writing to a store that is there, if it is not to be written."""
        why = second_name(self.directory, found)
        if why is None and not allow_foreign:
            why = distrust(self.directory, found, shared=self.modes is SHARED, mending=mending)
        if not (os.access(self.root, os.W_OK) and os.access(self._path(DATABASE), os.W_OK)):
            why = f"cannot change the store at {self.root}: it is read-only; use a root that can be written"
        return None if why is None else partial(ReadOnlyStore, why)

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def require_no_content(self) -> None:
        """Raise `StoreDamaged` where there is content, whose database has no tables: nobody puts any there before."""
        if self._has_begun():
            raise self._without_rows("holds nothing")

    def _without_rows(self, how: str) -> StoreDamaged:
        msg = f"{self._path(DATABASE)} {how}, but its blobs are there"
        return StoreDamaged(f"{msg}; restore it from a backup, or give another root")

    def _has_lost_its_database(self) -> bool:
        """Return whether there is content, and nothing that says what it is."""
        # Blobs come after the rows, also where somebody is just making the store.
        return self._has_begun() and not _has_content(self.directory.at(DATABASE))

    def _has_begun(self) -> bool:
        """Return whether there is content. A store in the making has none yet."""
        with explaining("open", self.root):
            return self.directory.at(UNFINISHED).state() is None and _has_files(self.directory)

    def _make(self, group: int | None) -> None:
        make_directories(self.root)
        self._refuse_foreign(self.directory.names())
        if group is not None:
            self.modes = SHARED
            _share(self.directory, group)
        for name in DIRECTORIES:
            made = self.directory.make_room(name, self.modes.directory)
            if group is not None:
                # What an interrupted attempt left may be another's.
                _share(made, group)

    def _refuse_foreign(self, names: Iterable[str]) -> None:
        """Refuse a directory in which anything is that a store in the making does not have: a collection removes files.

        Files come after the rows, also where somebody is just making the store. So the database is looked at last.
        """
        # These names, and not those that are there by now: somebody else may be making the store.
        others = (name for name in names if name not in _OF_A_NEW_ONE and not name.startswith(DATABASE))
        if not (any(others) or _has_others(self.directory)):
            return
        if _has_content(self.directory.at(DATABASE)) and self.directory.at(UNFINISHED).state() is None:
            return
        msg = f"{self.root} is not empty and holds no store; give an empty or a new directory"
        raise StoreDamaged(msg)


def unsafe_at(path: str) -> Callable[[], StorageError] | None:
    """Return what makes the error of writing at a path, where that is on a network or FUSE file system."""
    found = file_system_of(path)
    if found is None or not found.is_network:
        return None
    msg = (
        f"cannot write in {path}: it lies on {found.type}, where several machines would damage the database;"
        " take a local root, or allow it (--allow-network-fs, allow_network=True) if only one machine uses it"
    )
    return partial(UnsafeFileSystem, msg)


def _share(directory: Directory, group: int) -> None:
    os.fchown(directory.descriptor, -1, group)
    os.fchmod(directory.descriptor, SHARED.directory)


def _has_files(root: Directory) -> bool:
    for folder in ("blobs/sha256", *BLOBS_ON_DEMAND):
        with suppress(FileNotFoundError, ForeignFile):
            if not root.room(folder).is_empty():
                return True
    return False


def _has_others(root: Directory) -> bool:
    """Return whether the directories of a store have anything in them but each other, and what comes before rows."""
    known = {*DIRECTORIES, *BLOBS_ON_DEMAND, PARTIAL, INCOMING}
    for folder in known:
        with suppress(FileNotFoundError, ForeignFile):
            for name in root.room(folder).names():
                if f"{folder}/{name}" not in known and not (folder in _WITHOUT_ROWS and _is_made_up(name)):
                    return True
    return False


def _is_made_up(name: str) -> bool:
    """Return whether a name is one that a store gives: a number or a digest in hex digits, and what it is for."""
    stem = name.partition(".")[0].rpartition("-")[2]
    return len(stem) >= _LEAST_DIGITS and not stem.strip(_HEX)


def _has_content(file: Entry) -> bool:
    state = file.state()
    return state is not None and state.st_size > _NO_ROWS
