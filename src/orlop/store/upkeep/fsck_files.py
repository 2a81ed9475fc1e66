"""What is wrong with a store's files, without reading them: what is missing, of another size or mode, or nobody's."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.model.digest import DiffID, Digest
from orlop.store.blobs.places import blob_name, toc_name
from orlop.store.leases import EVERYTHING, LEFT
from orlop.store.trust import BLOBS_ON_DEMAND, DIRECTORIES, INCOMING, PARTIAL, QUARANTINE, UPLOADS
from orlop.store.upkeep.problem import DAMAGE, NOTE, Problem
from orlop.streams.directory import ForeignFile, kind_of
from orlop.streams.files import SHARED, explaining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

    Look = Callable[[Rows], Iterable[Problem]]

_ON_DEMAND: Final = (*BLOBS_ON_DEMAND, QUARANTINE, PARTIAL, UPLOADS, INCOMING)
_BLOBS: Final = ("blobs/sha256", *BLOBS_ON_DEMAND)
_ROOM: Final = {*DIRECTORIES, *_ON_DEMAND}
_FILES: Final = ("write.lock", "backup", "lost+found")
_DATABASE: Final = "metadata.db"
_BITS: Final = 0o7777


class FilesLook:
    """One look at the files of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root, self._modes, self._blobs, _ = store.files
        # What is shared belongs to the group of the store's directory.
        self._group = self._root.state().st_gid if self._modes is SHARED else None

    def suspects(self) -> Iterator[Look]:
        """Yield what looks again at each thing that seems wrong, as others may just have been at work on it."""
        store = self._store
        with store.metadata.read() as rows:
            # What is not a digest has no file: that is told of the rows.
            blobs = [row for row in rows.blobs() if row.digest.is_valid]
            diff_ids = [diff_id for diff_id in rows.diff_ids() if diff_id.is_valid]
        for name in (*DIRECTORIES, *_ON_DEMAND):
            if any(self._directory(name)):
                yield partial(self._again, self._directory, name)
        for name in self._names(""):
            if name == "write.lock" or name.startswith(_DATABASE):
                yield partial(self._again, self._own_file, name)
        for row in blobs:
            if any(self._blob_file(row.digest, row.size)):
                yield partial(self._blob, row.digest)
        for diff_id in diff_ids:
            if any(self._toc_file(diff_id)):
                yield partial(self._toc, diff_id)
        known = {f"blobs/{row.digest.algorithm}/{row.digest.hex}" for row in blobs}
        known |= {f"toc/sha256/{diff_id.hex}.zst" for diff_id in diff_ids}
        for folder in ("", "blobs", *_BLOBS, "toc", "toc/sha256"):
            for name in self._names(folder):
                if name not in known and not self._belongs(name):
                    yield partial(self._stray, name)
        if any(self._set_aside(QUARANTINE)):
            yield partial(self._again, self._set_aside, QUARANTINE)
        for folder in ("ingest", "trash", "leases", PARTIAL, INCOMING):
            for name in self._names(folder):
                if not self._is_file(name):
                    yield partial(self._stray, name)
        if not store.read_only:
            # Who lives is seen only by trying to lock what the owners hold.
            with store.metadata.read() as rows:
                left = any(self._leftovers(rows))
            if left:
                yield self._leftovers

    @staticmethod
    def _again(look: Callable[[str], Iterable[Problem]], name: str, _: Rows) -> Iterable[Problem]:
        return look(name)

    # Directories.

    def _directory(self, name: str) -> Iterator[Problem]:
        path, state = self._path(name), self._state(name)
        if state is None:
            if name not in _ON_DEMAND:
                yield Problem(DAMAGE, "directory-missing", path, f"the directory {path} is missing")
        elif not stat.S_ISDIR(state.st_mode):
            yield Problem(DAMAGE, "directory-missing", path, f"{path} is {kind_of(state)}, not a directory")
        else:
            yield from self._mode(path, state, self._modes.directory)

    def _own_file(self, name: str) -> Iterator[Problem]:
        path, state = self._path(name), self._state(name)
        if state is not None and stat.S_ISREG(state.st_mode):
            yield from self._mode(path, state, self._modes.file)

    # Blobs and tables of contents.

    def _blob(self, digest: Digest, rows: Rows) -> Iterator[Problem]:
        row = rows.blob(digest)
        if row is not None:
            yield from self._blob_file(digest, row.size)

    def _blob_file(self, digest: Digest, size: int) -> Iterator[Problem]:
        path, state = self._blobs.path(digest), self._state(blob_name(digest))
        if state is None:
            message = f"the blob {digest} is missing from {path}; load its image again"
            yield Problem(DAMAGE, "blob-missing", str(digest), message)
        elif not stat.S_ISREG(state.st_mode):
            message = f"the blob {path} is {kind_of(state)}, not a file; load its image again"
            yield Problem(DAMAGE, "blob-no-file", str(digest), message)
        else:
            if state.st_size != size:
                message = f"the blob {path} has {state.st_size} bytes instead of {size}; load its image again"
                yield Problem(DAMAGE, "blob-size", str(digest), message)
            yield from self._mode(path, state, self._modes.content)

    def _toc(self, diff_id: DiffID, rows: Rows) -> Iterator[Problem]:
        if rows.diff(diff_id) is not None:
            yield from self._toc_file(diff_id)

    def _toc_file(self, diff_id: DiffID) -> Iterator[Problem]:
        path, state = self._blobs.toc_file(diff_id).path, self._state(toc_name(diff_id))
        if state is None:
            message = f"the table of contents of the layer {diff_id} is missing; it can be made again from the layer"
            yield Problem(NOTE, "toc-missing", str(diff_id), message)
        elif not stat.S_ISREG(state.st_mode):
            message = (
                f"the table of contents {path} is {kind_of(state)}, not a file; it can be made again from the layer"
            )
            yield Problem(DAMAGE, "toc-damaged", str(diff_id), message)
        else:
            yield from self._mode(path, state, self._modes.file)

    # What belongs to nothing, or was left.

    def _belongs(self, name: str) -> bool:
        """Return whether something that is neither a blob nor a table is a part of every store."""
        if name in _ROOM or name in _FILES:
            return True
        return name.startswith(_DATABASE) and self._is_file(name)

    def _stray(self, name: str, rows: Rows) -> Iterator[Problem]:
        path = self._path(name)
        folder, _, base = name.rpartition("/")
        if self._state(name) is None:
            return
        digest = Digest(folder.rpartition("/")[2], base)
        if folder in _BLOBS and rows.blob(digest) is not None:
            return
        # Who holds everything may bring files before their rows, as a backup does.
        if folder in {*_BLOBS, "toc/sha256"} and any(EVERYTHING in rows.lease_digests(name) for name in rows.leases()):
            return
        hex_digits, _, suffix = base.partition(".")
        if folder == "toc/sha256" and suffix == "zst" and rows.diff(DiffID("sha256", hex_digits)) is not None:
            return
        message = f"{path} belongs to nothing; it may be removed"
        if folder in _BLOBS and rows.edges_to(digest):
            message = f"{path} is what a manifest names, and has no row; run `orlop fsck --repair`, which records it"
        yield Problem(NOTE, "stray", path, message)

    def _set_aside(self, folder: str) -> Iterator[Problem]:
        for name in self._names(folder):
            path = self._path(name)
            yield Problem(NOTE, "quarantined", path, f"{path} was set aside by a repair, and is of no use to the store")

    def _leftovers(self, rows: Rows) -> Iterator[Problem]:
        # What is there is listed before the owners: an owner that begins now is not taken for a dead one.
        ingests, leases = self._names("ingest"), rows.leases()
        copies = [leftover.key for leftover in self._store.files.unfinished_rows()]
        try:
            alive = self._store.leases.alive(sweep=False)
        except OrlopError:
            return  # the directory itself is wrong, which is told
        for name in (*ingests, *copies):
            path = self._path(name)
            # An owner that has just ended has taken its files away before.
            if alive.isdisjoint(os.path.basename(name).split(".")) and self._is_file(name) and self._state(name):
                message = f"{path} was left by a process that died; orlop gc removes it"
                yield Problem(NOTE, "unfinished", path, message)
        for name in leases:
            # What has become loose while it was held has no owner, and waits for the next removal.
            if name != LEFT and not self._store.leases.is_alive(name, alive):
                message = f"the lease {name} was left by a process that died; orlop gc removes it"
                yield Problem(NOTE, "lease-dead", name, message)

    # What they all ask.

    def _path(self, name: str) -> str:
        return os.path.join(self._store.root, name)

    def _state(self, name: str) -> os.stat_result | None:
        with explaining("read", self._path(name)):
            try:
                return self._root.place(name).state()
            except ForeignFile:
                return None

    def _is_file(self, name: str) -> bool:
        state = self._state(name)
        # What went meanwhile is nobody's problem.
        return state is None or stat.S_ISREG(state.st_mode)

    def _names(self, folder: str) -> list[str]:
        """Return the names in a directory, from the root on, sorted; none where there is no such directory."""
        root = self._root
        with explaining("read", self._path(folder)):
            try:
                names = (root.room(folder) if folder else root).names()
            except (FileNotFoundError, ForeignFile):
                return []
        return [f"{folder}/{name}" if folder else name for name in names]

    def _mode(self, path: str, state: os.stat_result, mode: int) -> Iterator[Problem]:
        found = stat.S_IMODE(state.st_mode)
        if self._store.read_only:
            return  # whoever only reads it may do so because its owner wants that
        if found != mode:
            message = f"{path} has the mode {found & _BITS:04o} instead of {mode:04o}"
            yield Problem(NOTE, "mode-wrong", path, message)
        elif self._group is not None and state.st_gid != self._group:
            message = f"{path} belongs to the group {state.st_gid} instead of {self._group}, which shares the store"
            yield Problem(NOTE, "mode-wrong", path, message)
