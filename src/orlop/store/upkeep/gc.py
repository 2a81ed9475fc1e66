"""Garbage: what a crash has left in a store, and what nothing in it references.

All of it is found and taken away in one write, so under the write lock. Content gets its name and its rows inside one
write, so that under the lock a file without a row is nobody's. What a living owner holds a lease on stays, and nothing
else gets any grace: no age, no waiting time.

The order matters:

1. The database must be sound; nothing is garbage because of a row that is wrong.
2. Unfinished files are listed before the living owners are: an owner that begins in between then counts as alive, and
   its files are not on the list.
3. Rows of dead leases go. From here on the rows alone say what is needed.
4. Trash is looked at before more of it is made. What a row still names goes back to its place: its removal was not
   committed.
5. Unfinished files of dead owners go, then files that no row names, unless somebody holds everything: a backup brings
   files before their rows.
6. Chains that no image, chain or lease needs go, from the top down; with each its content, if it was the last to need
   it, and the blobs and tables of that content. Manifests go that came with no image.

Files go after the commit, so a crash leaves them in ``trash/`` for the next collection. A dry run does the same in a
write that is undone: it reports what a collection would take, not an estimate.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from orlop.store.leases import EVERYTHING, LEFT
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import DiffID, Digest
    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows
    from orlop.streams.directory import Entry

_UNFINISHED: Final = (".part", ".part-journal", ".part-wal", ".part-shm")


@dataclass(frozen=True, slots=True)
class Garbage:
    """A thing that nothing needs.

    ``kind`` is one of ``lease``, ``layer`` (a chain), ``content`` (a diff ID), ``blob``, ``toc``, ``manifest``,
    ``unfinished``, ``trash`` and ``stray``; ``subject`` is its digest, name or path; ``size`` is the bytes that its
    file gives back to the disk, 0 where it has none or another name; ``reason`` says why it goes, for people.
    """

    kind: str
    subject: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class GcReport:
    """What went from the store at ``root``, or what would go where ``dry_run`` is set."""

    root: str
    dry_run: bool
    garbage: tuple[Garbage, ...]

    @property
    def freed(self) -> int:
        """The bytes of all files that went."""
        return sum(one.size for one in self.garbage)


def collect_garbage(store: Store, *, dry_run: bool = False) -> GcReport:
    """See `orlop.service.ImageService.gc`."""
    store.require_writable()
    return store.with_reserve(partial(_collected, store, dry_run=dry_run))


def _collected(store: Store, *, dry_run: bool) -> GcReport:
    # Nothing is garbage because of a row that is wrong.
    store.metadata.require_sound()
    collection = _Collection(store, dry_run=dry_run)
    with suppress(_Undone), store.metadata.write() as rows:
        collection.run(rows)
        if dry_run:
            raise _Undone
    return GcReport(store.root, dry_run, tuple(collection.found))


class _Undone(Exception):
    """Ends a write whose changes were only made to see what follows from them."""


class _Collection:
    """One collection under way, inside a write; the files go when it is durable."""

    def __init__(self, store: Store, *, dry_run: bool) -> None:
        self._store = store
        self._dry_run = dry_run
        self.found: list[Garbage] = []

    def run(self, rows: WritableRows) -> None:
        # Files are listed before their owners: an owner that begins now is not taken for a dead one.
        unfinished = self._files("ingest")
        alive = self._store.leases.alive(sweep=not self._dry_run)
        self._leases(rows, alive)
        # What is left is looked at before more of it is made.
        self._trash(rows)
        for entry in unfinished:
            if entry.name.partition(".")[0] not in alive:
                self._file(rows, "unfinished", entry, "the process that wrote it has died")
        self._database(rows, alive)
        # Who holds everything may bring files before their rows, as a backup does.
        if not any(EVERYTHING in rows.lease_digests(name) for name in rows.leases()):
            self._strays(rows)
            self._content(rows, rows.prune_blobs(), ())
        self._layers(rows)
        self._manifests(rows)

    def _leases(self, rows: WritableRows, alive: set[str]) -> None:
        for name in rows.leases():
            if name not in alive:
                rows.delete_lease(name)
                if name != LEFT:
                    self._tell("lease", name, "its owner has died")

    def _layers(self, rows: WritableRows) -> None:
        for top in rows.loose_chains():
            gone, blobs, diffs = rows.prune_chain(top)
            for chain in gone:
                self._tell("layer", str(chain.chain_id), "no image, layer or lease needs it")
            self._content(rows, blobs, diffs)
        for diff_id in rows.loose_diffs():
            freed = rows.prune_diff(diff_id)
            if freed is not None:
                self._tell("content", str(diff_id), "no layer or lease needs it")
                self._content(rows, freed, [diff_id])

    def _content(self, rows: WritableRows, blobs: Sequence[Digest], diffs: Sequence[DiffID]) -> None:
        files = self._store.blobs
        for digest in blobs:
            self._tell("blob", str(digest), "no layer needs it", size=files.size_of(digest).freed)
        for diff_id in diffs:
            self._tell("toc", str(diff_id), "its layer goes", size=files.toc_size_of(diff_id).freed)
        if not self._dry_run:
            files.remove(rows, blobs)
            files.remove_tocs(rows, diffs)

    def _manifests(self, rows: WritableRows) -> None:
        for digest in rows.prune_manifests():
            self._tell("manifest", str(digest), "it came with no image that is there")

    def _trash(self, rows: WritableRows) -> None:
        """Take what was on its way out; what a crash kept from coming back comes back."""
        for aside, home in self._store.blobs.trash(rows):
            if home is None:
                self._file(rows, "trash", aside, "its removal was interrupted")
        if not self._dry_run:
            self._store.blobs.put_back(rows)

    def _strays(self, rows: WritableRows) -> None:
        files = self._store.blobs
        blobs, tocs, others = files.strays(rows)
        for entry in sorted([*map(files.file, blobs), *map(files.toc_file, tocs), *others], key=attrgetter("path")):
            self._file(rows, "stray", entry, "no row names it")

    def _database(self, rows: WritableRows, alive: set[str]) -> None:
        # Copies are made under the write lock, so that nobody is at one, or have the lease of who makes them as a name.
        for entry in self._files(""):
            is_part = entry.name.startswith("metadata.db.") and entry.name.endswith(_UNFINISHED)
            if is_part and alive.isdisjoint(entry.name.split(".")):
                self._file(rows, "unfinished", entry, "the process that wrote it has died")

    def _files(self, folder: str) -> list[Entry]:
        root = self._store.directory
        with explaining("read", os.path.join(root.path, folder)):
            names = (root / folder if folder else root).names()
        return [root.place(f"{folder}/{name}" if folder else name) for name in names]

    def _file(self, rows: WritableRows, kind: str, entry: Entry, reason: str) -> None:
        """Take a file that no row names; what is a directory, or went meanwhile, is left alone."""
        with explaining("read", entry.path):
            state = entry.state()
        if state is not None and not stat.S_ISDIR(state.st_mode):
            self._tell(kind, entry.path, reason, size=state.st_size if state.st_nlink == 1 else 0)
            if not self._dry_run:
                self._store.blobs.remove_stray(rows, entry)

    def _tell(self, kind: str, subject: str, reason: str, *, size: int = 0) -> None:
        self.found.append(Garbage(kind, subject, size, reason))
