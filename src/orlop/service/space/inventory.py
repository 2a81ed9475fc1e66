"""All rows of a store at once, and what would become of them: a plan works on this as a removal works on a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidTimestamp
from orlop.model.digest import DiffID
from orlop.service.space.remove import Ground
from orlop.store.graph.remains import Remains
from orlop.store.graph.snapshot import take_snapshot
from orlop.store.images import USED
from orlop.store.leases import LEFT
from orlop.store.references import reference_of, suffix_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orlop.model.digest import ChainID, Digest, ImageID
    from orlop.model.reference import Reference
    from orlop.store.blobs.store import StoredSize
    from orlop.store.graph.snapshot import Snapshot
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ChainRow, ImageRow, Rows

SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image with its names, each with the time at which it was given; ``used`` is when it was last used.

    Times are in nanoseconds since 1970.
    """

    row: ImageRow
    names: tuple[tuple[Reference, int], ...]
    used: int
    pinned: bool

    @property
    def references(self) -> tuple[Reference, ...]:
        """Its names, sorted."""
        return tuple(name for name, _ in self.names)

    @property
    def created(self) -> int:
        """When its config says that it was made."""
        return self.row.created[0] * SECOND + self.row.created[1]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store holds, read at one moment.

    ``blobs`` are the stored forms of each layer's content; ``sizes`` the sizes of the files of all blobs, of layers or
    not, and ``toc_sizes`` those of the layers' tables of contents. ``dead`` is what leases of ended processes hold, in
    the order in which it is dropped.
    """

    found: Snapshot
    images: Mapping[ImageID, KnownImage]
    chains: Mapping[ChainID, ChainRow]
    blobs: Mapping[DiffID, Sequence[Digest]]
    sizes: Mapping[Digest, StoredSize]
    toc_sizes: Mapping[DiffID, StoredSize]
    dead: Sequence[Digest]
    indexed: Mapping[ImageID, frozenset[Reference | None]]
    """The images to which an index with a name leads, with such names beside its own.

    None stands for a name that no removal of images takes away: an address in a layout, a row of a cache, the digest of
    an index that is not an image, or a tag that is not an image's.
    """

    @property
    def stored(self) -> int:
        """The bytes of all blobs and tables of contents."""
        return sum(one.size for sizes in (self.sizes, self.toc_sizes) for one in sizes.values())

    @property
    def astray(self) -> list[str]:
        """The names that point to images that are not there, sorted."""
        lost = [rows for image_id, rows in self.found.references.items() if image_id not in self.images]
        return sorted(f"{one.name}{one.suffix}" for rows in lost for one in rows)

    def files_of(self, diff_id: DiffID) -> Iterator[StoredSize]:
        """Yield the sizes of the files that hold a layer's content, and its table of contents."""
        if diff_id in self.blobs:
            yield self.toc_sizes[diff_id]
            yield from (self.sizes[digest] for digest in self.blobs[diff_id])


def take_inventory(store: Store, rows: Rows) -> Inventory:
    """Read all rows, and the sizes of all files, inside a block of reading or writing. Nothing is changed."""
    found = take_snapshot(rows)
    blobs: dict[DiffID, list[Digest]] = {diff_id: [] for diff_id in found.diff_ids}
    for number, blob in found.forms:
        blobs[found.diff_ids[number]].append(blob.digest)
    stored = dict.fromkeys(blob.digest for blob in (*(form for _, form in found.forms), *found.opaque))
    images = _images(found, rows)
    return Inventory(
        found,
        images,
        chains={row.chain_id: row for row in sorted(found.stacks.rows, key=lambda row: str(row.chain_id))},
        blobs=blobs,
        sizes=store.blobs.sizes_of(stored),
        toc_sizes={
            diff_id: size for diff_id, size in store.blobs.sizes_of(blobs).items() if isinstance(diff_id, DiffID)
        },
        dead=_dead(store, found),
        indexed=_indexed(found, images),
    )


def _images(found: Snapshot, rows: Rows) -> dict[ImageID, KnownImage]:
    used = rows.metadata_of_all(USED)
    images: dict[ImageID, KnownImage] = {}
    for row in found.images:
        given = tuple((reference_of(one), one.updated) for one in found.references.get(row.id, ()))
        last = _time(used.get(row.id))
        if last is None:
            # It came before such times were kept: its names say when, else only its config does.
            last = max((time for _, time in given), default=row.created[0] * SECOND + row.created[1])
        images[row.id] = KnownImage(row, given, last, row.id in found.pinned)
    return images


def _indexed(found: Snapshot, images: Mapping[ImageID, KnownImage]) -> dict[ImageID, frozenset[Reference | None]]:
    below = found.documents.indexed()
    if not below:
        return {}
    references = {
        (one.name, one.suffix): reference_of(one)
        for image_id, rows in found.references.items()
        if image_id in images
        for one in rows
    }
    return {
        image_id: frozenset(map(references.get, below[str(image_id)])).difference(image.references)
        for image_id, image in images.items()
        if str(image_id) in below
    }


def _time(value: bytes | None) -> int | None:
    from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - few commands look at times of use

    if value is None:
        return None
    try:
        moment = Timestamp.parse(value.decode("utf-8", "replace"))
    except InvalidTimestamp:
        return None
    return moment.unix * SECOND + moment.nanosecond


def _dead(store: Store, found: Snapshot) -> list[Digest]:
    # Where nothing can be written nobody else's locks can be tried; then all count as those of the living.
    held = found.leases
    alive = set(held) if store.read_only or not held else store.leases.alive(sweep=False)
    is_alive = store.leases.is_alive
    dead = [digests for name, digests in held.items() if name == LEFT or not is_alive(name, alive)]
    return [digest for digests in dead for digest in digests]


class PlannedGround(Ground):
    """What a store would be like after a removal: the rules of the rows, in memory.

    Args:
        inventory: what there is now; it stays as it is.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._all = inventory
        self._names = {image_id: dict.fromkeys(image.references) for image_id, image in inventory.images.items()}
        self._parents = {image_id: image.row.parent for image_id, image in inventory.images.items()}
        self._children = Counter(parent for parent in self._parents.values() if parent is not None)
        self._remains = Remains(inventory.found)
        self._weighed = (0, 0)
        self._untagged: set[Reference | None] = set()
        self.left = inventory.stored
        """The bytes of the blobs and tables of contents that would be left."""
        self.freed = 0
        """The bytes that the disk would get back."""
        self.freed_by: dict[ChainID, int] = {}
        """Those of them that went with each layer."""

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._names

    @property
    def chains(self) -> Collection[ChainID]:
        """The layers that would be left."""
        return self._remains.chains

    @property
    def contents(self) -> Collection[DiffID]:
        """The layers' contents that would be left."""
        return self._remains.contents

    def names(self, image_id: ImageID) -> Sequence[Reference]:
        """Return the names that an image would have."""
        # They may go while the caller goes through them.
        return tuple(self._names.get(image_id, ()))

    def has_names(self, image_id: ImageID) -> bool:
        """Return whether an image would have a name."""
        return bool(self._names.get(image_id))

    def untag(self, references: Sequence[Reference], image_id: ImageID, *, told: bool = True) -> None:
        """Take some of its names from an image; a plan tells nothing."""
        del told
        for reference in references:
            self._names[image_id].pop(reference, None)
            self._untagged.add(reference)
            self._remains.untag(reference.name, suffix_of(reference))
        self._weigh()

    def has_children(self, image_id: ImageID) -> bool:
        """Return whether an image would be another's parent."""
        return self._children[image_id] > 0

    def parent(self, image_id: ImageID) -> ImageID | None:
        """Return an image's parent."""
        return self._parents[image_id]

    def may_go_along(self, image_id: ImageID) -> bool:
        """Return whether an image would be there, and may go with its last child."""
        if image_id not in self._names or self._all.images[image_id].pinned:
            return False
        return self._untagged.issuperset(self._all.indexed.get(image_id, ()))

    def delete(self, image_id: ImageID) -> Iterable[ChainID]:
        """Take an image away, and return the layers that would go with it."""
        del self._names[image_id]
        parent = self._parents.pop(image_id)
        if parent is not None:
            self._children[parent] -= 1
        return self._gone(self._remains.delete(image_id, self._all.images[image_id].row.chain_id))

    def drop_dead(self) -> list[ChainID]:
        """Drop the leases of ended processes, and return the layers that would go for it."""
        return self._gone(self._remains.drop(self._all.dead))

    def is_held(self, digest: Digest) -> bool:
        """Return whether a lease names this layer or content, or everything."""
        return self._remains.is_held(digest)

    def took_blobs(self) -> set[ImageID]:
        """Return the images whose documents led to a blob that went."""
        documents, losing = self._all.found.documents, self._remains.losing()
        if not losing:
            return set()
        meant = {(top.name, top.suffix) for top in documents.tops if str(top.digest) in losing}
        return {
            image_id
            for image_id, image in self._all.images.items()
            if not losing.isdisjoint(documents.came.get(str(image_id), ()))
            or any((name.name, suffix_of(name)) in meant for name in image.references)
        }

    def _gone(self, layers: Iterator[ChainID]) -> list[ChainID]:
        gone: list[ChainID] = []
        for chain_id in layers:
            gone.append(chain_id)
            self.freed_by[chain_id] = self._weigh()
        self._weigh()
        return gone

    def _weigh(self) -> int:
        """Count the files of what went since the last call, and return the bytes that this frees."""
        contents, blobs = self._weighed
        gone = [self._all.toc_sizes[diff_id] for diff_id in self._remains.gone_contents[contents:]]
        gone += [self._all.sizes[digest] for digest in self._remains.gone_blobs[blobs:]]
        self._weighed = (len(self._remains.gone_contents), len(self._remains.gone_blobs))
        freed = sum(file.freed for file in gone)
        self.freed += freed
        self.left -= sum(file.size for file in gone)
        return freed
