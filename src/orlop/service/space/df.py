"""``df``: what the disk of a store is used for, and what would come free."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import OrlopError
from orlop.model.digest import ALGORITHMS, DiffID, Digest
from orlop.service.listing.summaries import ImageSummary
from orlop.store.blobs.incoming import LIFE
from orlop.store.graph.needs import NOBODY, Need, joint, needs_of
from orlop.store.graph.snapshot import take_snapshot
from orlop.store.layers import compression_of
from orlop.store.leases import LEFT
from orlop.store.place.disk import (
    BLOB,
    DATABASE,
    OTHER,
    QUARANTINED,
    TOC,
    TRASH,
    UNFINISHED,
    files_at,
    files_below,
    objects_of,
)
from orlop.store.references import reference_of
from orlop.store.trust import INCOMING, PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.store.graph.needs import Needs
    from orlop.store.graph.snapshot import Snapshot
    from orlop.store.place.disk import StoredFile
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

KINDS: Final = (BLOB, TOC, DATABASE, UNFINISHED, TRASH, QUARANTINED, OTHER)
"""The kinds of files, in the order in which a `DiskUsage` has them."""

_SECOND: Final = 1_000_000_000
_PARTS: Final = (".part", ".part-journal")
_TOC_SUFFIX: Final = ".zst"


@dataclass(frozen=True, slots=True)
class ImageDiskUsage:
    """What one image takes.

    ``shared_size`` is the bytes of the files in those of its layers that other listed images stand on too, and
    ``unique_size`` in those that they do not. ``freed`` is the bytes that the disk gets back when this image alone is
    removed, with its nameless parents: stored layers, and their tables, that no other image has. ``dangling`` says
    whether pruning removes it: neither it nor an image whose parent it is has a tag or is ``pinned``.
    """

    summary: ImageSummary
    shared_size: int
    freed: int
    dangling: bool
    pinned: bool

    @property
    def unique_size(self) -> int:
        """The bytes of the files in layers that it has for itself."""
        return self.summary.size - self.shared_size


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """Layers in their place, by the bytes of the files in them, as daemons count.

    There are ``total`` of them; ``active`` ones are needed by images that stay, or by somebody at work. ``size`` is the
    bytes of all; ``image_size`` of those that images have; ``shared`` of those that several listed images have, and
    ``unique`` of those that one has; ``dangling`` of those that go when dangling images are pruned.
    """

    total: int
    active: int
    size: int
    image_size: int
    shared: int
    unique: int
    dangling: int


@dataclass(frozen=True, slots=True)
class FileUsage:
    """Files of one ``kind``, in bytes as the system gives their lengths (``st_size``), not in blocks.

    The kinds are ``blob`` (stored layers, of one ``compression``: ``none``, ``gzip``, ``zstd``, or nothing where that
    is not known), ``toc`` (their tables of contents), ``database`` (with its log and with copies that migrations
    left), ``unfinished`` (on their way in), ``trash`` (on their way out), ``quarantine`` (set aside by a repair), and
    ``other``.

    There are ``total`` of them, of ``size`` bytes. ``active`` ones are needed or at work. ``garbage`` is the bytes that
    collecting garbage frees, ``dangling`` what pruning dangling images frees beside that. A file with a second name, as
    in a copy that shares files, frees nothing.
    """

    kind: str
    compression: str | None
    total: int
    active: int
    size: int
    garbage: int
    dangling: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What the disk of the store at ``root`` is used for.

    ``images`` are those that are listed, newest first, and ``intermediate`` is the number of further ones, which only
    serve as parents. ``files`` has every kind of files in the same order each time, that of blobs once for each
    compression; every file of the store is in one of them.
    """

    root: str
    images: tuple[ImageDiskUsage, ...]
    intermediate: int
    layers: LayerUsage
    files: tuple[FileUsage, ...]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(one.size for one in self.files)

    @property
    def garbage(self) -> int:
        """The bytes that collecting garbage frees."""
        return sum(one.garbage for one in self.files)

    @property
    def dangling(self) -> int:
        """The bytes that pruning dangling images frees beside that."""
        return sum(one.dangling for one in self.files)


def df(store: Store) -> DiskUsage:
    """See `orlop.service.ImageService.df`."""
    # Who lives before or after the look is at work: nothing that just comes, or is given back, seems left over.
    living = _living(store)
    files = list(files_below(store.files.directory)) if store.is_local else []
    with store.metadata.read() as rows:
        found = take_snapshot(rows)
        if not store.is_local:
            files = list(objects_of(store.blobs, rows))
    living |= found.leases.keys() - {LEFT} if store.read_only else _living(store)
    living |= {name for name in found.leases if store.leases.is_alive(name, living)}
    needs = needs_of(found, [digest for name in found.leases.keys() & living for digest in found.leases[name]])
    look = _Look(store, found, needs, living)
    look.count([*files, *(files_at(store.files.directory) if store.is_local else ())])
    return DiskUsage(
        root=store.root,
        images=tuple(_images(found, needs, look.freed)),
        intermediate=needs.listed.count(False),
        layers=_layers(found, needs),
        files=look.sums(),
    )


def _living(store: Store) -> set[str]:
    """Return the leases whose owners live, which is seen only where their locks can be tried."""
    return set() if store.read_only else store.leases.alive(sweep=False)


class _Recorded(NamedTuple):
    """What the rows know about a file; ``owner`` is the number of the only image that has it, or marks that none is.

    The need is nothing where no command takes the file though nobody needs it.
    """

    need: Need | None
    owner: int = NOBODY
    compression: str | None = None


@dataclass(slots=True)
class _Sum:
    """What is counted of one kind of files."""

    total: int = 0
    active: int = 0
    size: int = 0
    garbage: int = 0
    dangling: int = 0

    def add(self, file: StoredFile, need: Need | None) -> None:
        self.total += 1
        self.size += file.size
        if need is Need.ACTIVE:
            self.active += 1
        elif need is Need.DANGLING:
            self.dangling += file.freed
        elif need is Need.NOTHING:
            self.garbage += file.freed


class _Look:
    """One look at the files of a store, by what its rows said."""

    def __init__(self, store: Store, found: Snapshot, needs: Needs, living: Iterable[str]) -> None:
        self._store = store
        self._everything = needs.everything
        self._living = frozenset(living)
        self._partial = {one.key for one in store.blobs.partials()}
        expired = store.files.expired_uploads(store.now() / _SECOND - LIFE) if store.is_local else ()
        self._expired = {one.key for one in expired}
        self._sums: dict[tuple[str, str | None], _Sum] = {(kind, None): _Sum() for kind in KINDS}
        self.freed = [0] * len(found.images)
        # By the names that their files have.
        self._blobs: dict[str, _Recorded] = {}
        for number, blob in found.forms:
            owner, name = needs.owners[number], blob.digest.hex
            need = needs.of_blob(blob.digest, needs.diffs[number])
            known = self._blobs.get(name)
            if known is not None and known.need is not None:
                need, owner = max(need, known.need), joint(owner, known.owner)
            compression_of(blob)
            self._blobs[name] = _Recorded(need, owner, blob.compression)
        for blob in found.opaque:
            self._blobs[blob.digest.hex] = _Recorded(needs.of_blob(blob.digest), compression=blob.compression)
        self._tocs = {
            f"{diff_id.hex}{_TOC_SUFFIX}": _Recorded(need, owner)
            for diff_id, need, owner in zip(found.diff_ids, needs.diffs, needs.owners, strict=True)
        }

    def count(self, files: Sequence[StoredFile]) -> None:
        """Count files, each by how much it is needed."""
        present = {file.name for file in files if file.kind in {BLOB, TOC}}
        unknown: list[StoredFile] = []
        for file in files:
            kind = file.kind
            if kind in {BLOB, TOC}:
                recorded = (self._blobs if kind == BLOB else self._tocs).get(file.name)
                if recorded is None:
                    unknown.append(file)
                else:
                    self._add(file, recorded)
            elif kind == TRASH:
                self._add(file, _Recorded(Need.ACTIVE if self._comes_back(file, present) else Need.NOTHING))
            else:
                self._add(file, _Recorded(self._plain_need(file)))
        if unknown:
            for file, recorded in self._look_again(unknown):
                self._add(file, recorded)

    def _add(self, file: StoredFile, recorded: _Recorded) -> None:
        key = (file.kind, recorded.compression)
        if key not in self._sums:
            self._sums[key] = _Sum()
        self._sums[key].add(file, recorded.need)
        if recorded.owner >= 0:
            self.freed[recorded.owner] += file.freed

    def sums(self) -> tuple[FileUsage, ...]:
        """Return what was counted of each kind."""
        sums = dict(self._sums)
        if not sums[BLOB, None].total and any(kind == BLOB and compression is not None for kind, compression in sums):
            del sums[BLOB, None]
        order = sorted(sums, key=lambda key: (KINDS.index(key[0]), key[1] is None, key[1] or ""))
        return tuple(
            FileUsage(kind, compression, one.total, one.active, one.size, one.garbage, one.dangling)
            for kind, compression in order
            for one in [sums[kind, compression]]
        )

    def _comes_back(self, file: StoredFile, present: set[str]) -> bool:
        """Return whether what is on its way out is still recorded, and in its place no more: its removal is undone."""
        name = file.name.partition(".")[0]
        home = name.rpartition("-")[2]
        if name == f"toc-sha256-{home}":
            home += _TOC_SUFFIX
            return home in self._tocs and home not in present
        return name in {f"{one}-{home}" for one in ALGORITHMS} and home in self._blobs and home not in present

    def _plain_need(self, file: StoredFile) -> Need | None:
        if file.kind == QUARANTINED:
            return None
        if file.folder == INCOMING:
            return Need.NOTHING if f"{file.folder}/{file.name}" in self._expired else Need.ACTIVE
        if file.folder == PARTIAL:
            key = f"{file.folder}/{file.name}" if self._store.is_local else file.name
            return Need.NOTHING if key in self._partial else Need.ACTIVE
        if file.kind == UNFINISHED or file.folder == "leases":
            # Who lives is seen only by trying to lock what the owners hold.
            living = self._store.read_only or file.name.partition(".")[0] in self._living
            return Need.ACTIVE if living else Need.NOTHING
        return Need.NOTHING if file.kind == DATABASE and file.name.endswith(_PARTS) else Need.ACTIVE

    def _look_again(self, unknown: Sequence[StoredFile]) -> list[tuple[StoredFile, _Recorded]]:
        """Judge files whose rows were not there: under the write lock, since somebody may just be making them."""
        if not self._store.read_only:
            try:
                with self._store.metadata.write() as rows:
                    return list(self._strays(rows, unknown))
            except OrlopError:
                pass  # on a full disk, for one, it can be told all the same
        with self._store.metadata.read() as rows:
            return list(self._strays(rows, unknown))

    def _strays(self, rows: Rows, unknown: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, _Recorded]]:
        for file in unknown:
            compression = None
            if file.kind == BLOB:
                digest = Digest(file.folder.rpartition("/")[2], file.name)
                row = rows.blob(digest)
                compression = None if row is None else row.compression
                stays = bool(rows.diffs_of(digest) or rows.edges_to(digest))
            else:
                stays = rows.diff(_diff_id(file)) is not None
            # What went meanwhile is not counted.
            if self._is_there(file):
                need = Need.ACTIVE if stays or self._everything else Need.NOTHING
                yield file, _Recorded(need, compression=compression)

    def _is_there(self, file: StoredFile) -> bool:
        if self._store.is_local:
            return self._store.files.blobs.is_there(file.folder, file.name)
        blobs = self._store.blobs
        if file.kind == BLOB:
            return bool(blobs.size_of(Digest(file.folder.rpartition("/")[2], file.name)).size)
        return bool(blobs.toc_size_of(_diff_id(file)).size)


def _diff_id(file: StoredFile) -> DiffID:
    # What has another suffix names no content.
    return DiffID("sha256", file.name.removesuffix(_TOC_SUFFIX) if file.name.endswith(_TOC_SUFFIX) else "")


def _images(found: Snapshot, needs: Needs, freed: Sequence[int]) -> Iterator[ImageDiskUsage]:
    shared = found.stacks.shared_sizes(needs.users)
    for number, row in enumerate(found.images):
        if needs.listed[number]:
            references = tuple(reference_of(one) for one in found.references.get(row.id, ()))
            top = found.stacks.number(row.chain_id)
            yield ImageDiskUsage(
                ImageSummary(row.id, references, row.created[0], row.size, row.parent, row.created[1]),
                shared_size=0 if top is None else shared[top],
                freed=freed[number],
                dangling=not needs.active[number],
                pinned=row.id in found.pinned,
            )


def _layers(found: Snapshot, needs: Needs) -> LayerUsage:
    own = found.stacks.own_sizes()
    return LayerUsage(
        total=len(own),
        active=sum(need is Need.ACTIVE for need in needs.chains),
        size=sum(own),
        image_size=sum(compress(own, needs.in_images)),
        shared=sum(size for size, users in zip(own, needs.users, strict=True) if users > 1),
        unique=sum(size for size, users in zip(own, needs.users, strict=True) if users == 1),
        dangling=sum(size for size, need in zip(own, needs.chains, strict=True) if need is Need.DANGLING),
    )
