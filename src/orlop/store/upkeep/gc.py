"""Garbage: what a crash has left in a store, and what nothing in it references.

What the rows do not need is looked for before the write lock is taken, and so while others go on: the look is at all
rows. Under the lock each thing that was found is looked at once more, and goes if it still is not needed, which costs
what goes and not what is kept. Where much goes it goes in several writes, between which others write. What becomes
garbage after the look goes with a later collection.

Files are looked for under the lock: content gets its name and its rows inside one write, so that a file without a row
is nobody's. What a living owner holds a lease on stays, and nothing else gets any grace: no age, no waiting time.

The order matters:

1. The database must be sound; nothing is garbage because of a row that is wrong.
2. The rows are looked through for what nothing but leases of the dead needs, in a view of one moment.
3. Under the lock, unfinished files are listed before the living owners are: an owner that begins in between then counts
   as alive, and its files are not on the list.
4. Rows of dead leases go. From here on the rows alone say what is needed. Where a repair has lost rows they do not:
   then what they do not name stays, until it is released (`lost_rows`).
5. Trash is looked at before more of it is made. What a row still names goes back to its place: its removal was not
   committed.
6. Unfinished files of dead owners go, and files that no row names, unless somebody holds everything: a backup brings
   files before their rows. The files stay as well where blobs are missing that rows name: the rows may be another
   store's.
7. Manifests and indexes go that nothing reaches, then blobs that nothing needs.
8. Chains that no image, chain or lease needs go, from the top down; with each its content, if it was the last to need
   it, and the blobs and tables of that content.

Files go after the commit, so a crash leaves them in ``trash/`` for the next collection. What others are still reading
in a store beyond this machine goes with a later one. A dry run changes nothing, and finds out from the rows of one
moment what would go. Beyond one machine it takes no lock; beside files it has to, as theirs come before their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.model.digest import Digest
from orlop.model.logger import Logger
from orlop.store.blobs.incoming import LIFE
from orlop.store.graph.garbage import falling, unneeded
from orlop.store.leases import EVERYTHING, LEFT
from orlop.store.rows.metadata import LOST_ROWS
from orlop.store.upkeep.lost_rows import ADVICE, has_lost_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.model.digest import ChainID, DiffID
    from orlop.store.blobs.store import Leftover
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows, WritableRows
    from orlop.store.rows.unneeded import Falling, Unneeded

_log = Logger(__name__)
_SECOND: Final = 1_000_000_000
_KINDS: Final = (
    *("lease", "trash", "unfinished", "partial", "stray"),
    *("layer", "content", "blob", "toc", "manifest"),
)
"""In the order in which they are reported, whatever the order in which they go."""
_AT_ONCE: Final = 256
"""How many things go in one write at most, with what goes with each."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A thing that nothing needs.

    ``kind`` is one of ``lease``, ``layer`` (a chain), ``content`` (a diff ID), ``blob``, ``toc``, ``manifest``,
    ``unfinished``, ``partial`` (what came of a layer that broke off), ``trash`` and ``stray``; ``subject`` is its
    digest, name or path; ``size`` is the bytes that its file gives back to the disk, 0 where it has none or another
    name; ``reason`` says why it goes, for people.
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


def collect_garbage(store: Store, *, release: bool = False, dry_run: bool = False) -> GcReport:
    """See `orlop.service.ImageService.gc`."""
    store.require_writable()
    return store.with_reserve(partial(_collected, store, release=release, dry_run=dry_run))


def _collected(store: Store, *, release: bool, dry_run: bool) -> GcReport:
    # Nothing is garbage because of a row that is wrong.
    store.metadata.require_sound()
    collection = _Collection(store, release=release)
    if dry_run:
        collection.foresee()
    else:
        collection.collect()
        store.blobs.reclaim()
    found = sorted(collection.found, key=lambda one: (_KINDS.index(one.kind), one.subject))
    return GcReport(store.root, dry_run, tuple(found))


class _Collection:
    """One collection under way; the files go when its writes are durable."""

    def __init__(self, store: Store, *, release: bool) -> None:
        self._store = store
        self._release = release
        self._write: WritableRows | None = None
        """The write that takes what is found; in a dry run there is none, and nothing is changed."""
        self._has_strays = False
        self._ended: set[str] = set()
        self.found: list[Garbage] = []

    def collect(self) -> None:
        """Take all garbage."""
        first, *others = self.look().parts(_AT_ONCE)
        with self._store.metadata.write() as rows:
            self._write = rows
            self._begin(rows)
            self._take(rows, first)
        for part in others:
            with self._store.metadata.write() as rows:
                self._write = rows
                self._take(rows, part)

    def foresee(self) -> None:
        """Find what `collect` would take; nobody waits for that where all that is asked is in one view of the rows."""
        # Files get their names before their rows: beside a writer some would seem to be nobody's.
        with self._store.metadata.write() if self._store.is_local else self._store.metadata.read() as rows:
            garbage = self._look(rows, self._store.leases.alive(sweep=False))
            self._begin(rows)
            self._tell_all(garbage, falling(rows, garbage, ended=self._ended))

    def look(self) -> Unneeded:
        """Return what nothing but leases of the dead needs, and note whether there are files that no row names."""
        alive = self._store.leases.alive()
        with self._store.metadata.read() as rows:
            return self._look(rows, alive)

    def _look(self, rows: Rows, alive: set[str]) -> Unneeded:
        self._has_strays = any(True for _ in self._store.blobs.strays(rows))
        self._ended = set(self._dead(rows, alive))
        return unneeded(rows, ended=self._ended)

    def _begin(self, rows: Rows) -> None:
        """Take what a crash has left."""
        # Files are listed before their owners: an owner that begins now is not taken for a dead one.
        unfinished = self._store.blobs.unfinished()
        alive = self._store.leases.alive(sweep=self._write is not None)
        self._leases(rows, alive)
        if self._is_for_lost_rows(rows):
            what = "a repair could not read all rows of %s, so content that no row needs stays; %s"
            _log.warning(what, self._store.root, ADVICE)
        has_lost = rows.has_lost_meaning()
        if has_lost:
            what = "a name in %s has lost what it means, so what nothing else needs stays; `orlop fsck` tells which"
            _log.warning(what, self._store.root)
        # What is left is looked at before more of it is made.
        self._trash(rows)
        for leftover in unfinished:
            if leftover.owner not in alive:
                self._clear("unfinished", leftover, "the process that wrote it has died")
        for leftover in self._store.blobs.partials():
            self._clear("partial", leftover, "its pull was interrupted; a new one would go on with it")
        self._uploads()
        self._database(alive)
        # Who holds everything may bring files before their rows, as a backup does.
        if self._has_strays and not has_lost and not self._is_held(rows, EVERYTHING):
            self._strays(rows)

    def _is_for_lost_rows(self, rows: Rows) -> bool:
        """Return whether everything is held for rows that were lost, and goes on to be."""
        return not self._release and has_lost_rows(rows)

    def _is_held(self, rows: Rows, digest: Digest) -> bool:
        return not self._ended.issuperset(rows.leases_of(digest))

    def _take(self, rows: WritableRows, garbage: Unneeded) -> None:
        """Take what was found and is not needed even now."""
        manifests = rows.forget_manifests(garbage.manifests) if garbage.manifests else ()
        self._content(rows, rows.forget_blobs(garbage.blobs), ())
        for top in garbage.chains:
            gone, blobs, diffs = rows.prune_chain(top)
            self._tell_layers(chain.chain_id for chain in gone)
            self._content(rows, blobs, diffs)
        for diff_id in garbage.contents:
            freed = rows.prune_diff(diff_id)
            if freed is not None:
                self._tell("content", str(diff_id), "no layer or lease needs it")
                self._content(rows, freed, [diff_id])
        self._tell_manifests(manifests)

    def _content(self, rows: WritableRows, blobs: Sequence[Digest], diffs: Sequence[DiffID]) -> None:
        self._tell_content(blobs, diffs)
        self._store.blobs.remove(rows, blobs)
        self._store.blobs.remove_tocs(rows, diffs)

    def _tell_all(self, garbage: Unneeded, gone: Falling) -> None:
        self._tell_layers(gone.chains)
        for diff_id in garbage.contents:
            self._tell("content", str(diff_id), "no layer or lease needs it")
        self._tell_content(gone.blobs, gone.contents)
        self._tell_manifests(garbage.manifests)

    def _dead(self, rows: Rows, alive: set[str]) -> Iterable[str]:
        return (
            name
            for name in rows.leases()
            if (self._release and name == LOST_ROWS) or not self._store.leases.is_alive(name, alive)
        )

    def _leases(self, rows: Rows, alive: set[str]) -> None:
        for name in self._dead(rows, alive):
            if self._write is not None:
                self._write.delete_lease(name)
            if name == LOST_ROWS:
                self._tell("lease", name, "what a repair has held is let go")
            elif name != LEFT:
                self._tell("lease", name, "its owner has died, or its time has passed")

    def _tell_layers(self, chains: Iterable[ChainID]) -> None:
        for chain_id in chains:
            self._tell("layer", str(chain_id), "no image, layer or lease needs it")

    def _tell_content(self, blobs: Sequence[Digest], diffs: Sequence[DiffID]) -> None:
        sizes = self._store.blobs.sizes_of([*blobs, *diffs])
        for digest in blobs:
            self._tell("blob", str(digest), "no layer and no manifest needs it", size=sizes[digest].freed)
        for diff_id in diffs:
            self._tell("toc", str(diff_id), "its layer goes", size=sizes[diff_id].freed)

    def _tell_manifests(self, gone: Iterable[Digest]) -> None:
        for digest in gone:
            self._tell("manifest", str(digest), "no name, image or other content leads to it")

    def _trash(self, rows: Rows) -> None:
        """Take what was on its way out; what a crash kept from coming back comes back."""
        for leftover in () if self._is_for_lost_rows(rows) else self._store.blobs.trash(rows):
            self._clear("trash", leftover, leftover.why or "its removal was interrupted")
        if self._write is not None:
            self._store.blobs.put_back(rows)

    def _strays(self, rows: Rows) -> None:
        strays = [one for one in self._store.blobs.strays(rows) if not self._is_named(rows, one)]
        if strays and self._has_lost_blobs(rows):
            what = "%s lacks blobs that its rows name, so what no row names stays; run `orlop fsck`"
            _log.warning(what, self._store.root)
            return
        for leftover in strays:
            self._clear("stray", leftover, "no row names it")

    def _has_lost_blobs(self, rows: Rows) -> bool:
        """Return whether rows name blobs that are not there, as those of another store, or of an older backup, do."""
        return self._store.blobs.lacks_any(rows)

    def _uploads(self) -> None:
        if self._store.is_local:
            before = self._store.now() / _SECOND - LIFE
            for leftover in self._store.files.expired_uploads(before):
                self._clear("unfinished", leftover, "a push was interrupted, and nobody went on with it")

    def _database(self, alive: set[str]) -> None:
        # Copies are made under the write lock, so that nobody is at one, or have the lease of who makes them as a name.
        for leftover in self._store.files.unfinished_rows() if self._store.is_local else ():
            if alive.isdisjoint(leftover.key.split(".")):
                self._clear("unfinished", leftover, "the process that wrote it has died")

    def _clear(self, kind: str, leftover: Leftover, reason: str) -> None:
        """Take what no row names."""
        self._tell(kind, leftover.subject, reason, size=leftover.size)
        if self._write is not None:
            self._store.blobs.clear(self._write, leftover)

    def _tell(self, kind: str, subject: str, reason: str, *, size: int = 0) -> None:
        self.found.append(Garbage(kind, subject, size, reason))

    def _is_named(self, rows: Rows, stray: Leftover) -> bool:
        """Return whether a manifest or a lease names a file that has no row."""
        folder, algorithm, name = (*stray.key.split("/"), "", "")[:3]
        digest = Digest(algorithm, name)
        return folder == "blobs" and digest.is_valid and bool(rows.edges_to(digest) or self._is_held(rows, digest))
