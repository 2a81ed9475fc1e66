"""All rows of a store at once, and what would become of them: a plan works on this as a removal works on a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidTimestamp
from orlop.model.digest import ChainID, DiffID
from orlop.service.space.indexed import indexed_images
from orlop.service.space.remove import Ground
from orlop.store.images import PINNED, USED
from orlop.store.leases import EVERYTHING, LEFT
from orlop.store.references import reference_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orlop.model.digest import Digest, ImageID
    from orlop.model.reference import Reference
    from orlop.store.blobs.store import StoredSize
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

    ``blobs`` are the stored forms of each layer's content; ``sizes`` those of their files, ``toc_sizes`` those of
    the layers' tables of contents. ``leases`` count for each digest, as text, the leases that name it; ``dead`` is what
    leases of ended processes among them hold, in the order in which it is dropped.
    """

    images: Mapping[ImageID, KnownImage]
    chains: Mapping[ChainID, ChainRow]
    blobs: Mapping[DiffID, Sequence[Digest]]
    sizes: Mapping[Digest, StoredSize]
    toc_sizes: Mapping[DiffID, StoredSize]
    leases: Counter[str]
    dead: Sequence[Sequence[Digest]]
    indexed: Mapping[ImageID, Collection[Reference | None]]
    """The images that an index needs, with the tags of such indexes, see `indexed_images`."""

    @property
    def stored(self) -> int:
        """The bytes of all blobs and tables of contents."""
        return sum(one.size for sizes in (self.sizes, self.toc_sizes) for one in sizes.values())

    def files_of(self, diff_id: DiffID) -> Iterator[StoredSize]:
        """Yield the sizes of the files that hold a layer's content, and its table of contents."""
        if diff_id in self.blobs:
            yield self.toc_sizes[diff_id]
            yield from (self.sizes[digest] for digest in self.blobs[diff_id])


def take_inventory(store: Store, rows: Rows) -> Inventory:
    """Read all rows, and the sizes of all files, inside a block of reading or writing. Nothing is changed."""
    blobs: dict[DiffID, list[Digest]] = {}
    for diff_id, blob in rows.contents():
        forms = blobs.setdefault(diff_id, [])
        if blob is not None:
            forms.append(blob.digest)
    sizes = {digest: store.blobs.size_of(digest) for forms in blobs.values() for digest in forms}
    toc_sizes = {diff_id: store.blobs.toc_size_of(diff_id) for diff_id in blobs}
    chains = {row.chain_id: row for row in rows.chains()}
    return Inventory(_images(rows), chains, blobs, sizes, toc_sizes, *_leases(store, rows), indexed_images(rows))


def _images(rows: Rows) -> dict[ImageID, KnownImage]:
    names: dict[ImageID, list[tuple[Reference, int]]] = {}
    for one in rows.references():
        names.setdefault(one.image, []).append((reference_of(one), one.updated))
    used = rows.metadata_of_all(USED)
    pinned = rows.metadata_of_all(PINNED)
    found: dict[ImageID, KnownImage] = {}
    for row in rows.image_rows(listed_only=False):
        given = tuple(names.get(row.id, ()))
        last = _time(used.get(row.id))
        if last is None:
            # It came before such times were kept: its names say when, else only its config does.
            last = max((time for _, time in given), default=row.created[0] * SECOND + row.created[1])
        found[row.id] = KnownImage(row, given, last, row.id in pinned)
    return found


def _time(value: bytes | None) -> int | None:
    from orlop.model.timestamp import Timestamp  # noqa: PLC0415 - few commands look at times of use

    if value is None:
        return None
    try:
        moment = Timestamp.parse(value.decode("utf-8", "replace"))
    except InvalidTimestamp:
        return None
    return moment.unix * SECOND + moment.nanosecond


def _leases(store: Store, rows: Rows) -> tuple[Counter[str], list[list[Digest]]]:
    held = rows.protected()
    # Where nothing can be written nobody else's locks can be tried; then all count as those of the living.
    alive = set(held) if store.read_only or not held else store.leases.alive(sweep=False)
    counts = Counter(str(digest) for digests in held.values() for digest in digests)
    is_alive = store.leases.is_alive
    return counts, [digests for name, digests in held.items() if name == LEFT or not is_alive(name, alive)]


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
        self._leases = Counter(inventory.leases)
        # What refers to a chain, a content and a blob: images and chains above; chains; contents.
        self._on_chain = Counter(
            image.row.chain_id for image in inventory.images.values() if image.row.chain_id is not None
        )
        self._on_chain.update(row.parent for row in inventory.chains.values() if row.parent is not None)
        self._on_diff = Counter(row.diff_id for row in inventory.chains.values())
        self._on_blob = Counter(digest for forms in inventory.blobs.values() for digest in forms)
        self.chains = dict(inventory.chains)
        """The layers that would be left."""
        self.diffs = dict.fromkeys(inventory.blobs)
        """The layers' contents that would be left."""
        self.left = inventory.stored
        """The bytes of the blobs and tables of contents that would be left."""
        self.freed = 0
        """The bytes that the disk would get back."""
        self.freed_by: dict[ChainID, int] = {}
        """Those of them that went with each layer."""

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._names

    def names(self, image_id: ImageID) -> Sequence[Reference]:
        """Return the names that an image would have."""
        # They may go while the caller goes through them.
        return tuple(self._names.get(image_id, ()))

    def untag(self, reference: Reference, image_id: ImageID) -> None:
        """Take one of its names from an image."""
        self._names[image_id].pop(reference, None)

    def has_children(self, image_id: ImageID) -> bool:
        """Return whether an image would be another's parent."""
        return self._children[image_id] > 0

    def parent(self, image_id: ImageID) -> ImageID | None:
        """Return an image's parent."""
        return self._parents[image_id]

    def may_go_along(self, image_id: ImageID) -> bool:
        """Return whether an image would be there, and may go with its last child."""
        return image_id in self._names and not self._all.images[image_id].pinned

    def delete(self, image_id: ImageID) -> Iterable[ChainID]:
        """Take an image away, and return the layers that would go with it."""
        del self._names[image_id]
        parent = self._parents.pop(image_id)
        if parent is not None:
            self._children[parent] -= 1
        chain_id = self._all.images[image_id].row.chain_id
        if chain_id is None:
            return []
        self._on_chain[chain_id] -= 1
        return self._release(chain_id)

    def drop_dead(self) -> list[ChainID]:
        """Drop the leases of ended processes, and return the layers that would go for it."""
        gone: list[ChainID] = []
        for digests in self._all.dead:
            self._leases.subtract(map(str, digests))
            for digest in digests:
                everything = digest == EVERYTHING
                for chain_id in self._loose_chains() if everything else [ChainID.wrap(digest)]:
                    gone += self._release(chain_id)
                for diff_id in self._loose_diffs() if everything else [DiffID.wrap(digest)]:
                    self._release_diff(diff_id)
        return gone

    def is_held(self, digest: Digest) -> bool:
        """Return whether a lease names this layer or content, or everything."""
        return self._leases[str(digest)] > 0 or self._leases[str(EVERYTHING)] > 0

    def _release(self, chain_id: ChainID) -> list[ChainID]:
        """Take a layer away, and those below it, as far as nothing needs them."""
        gone: list[ChainID] = []
        current: ChainID | None = chain_id
        while current is not None and current in self.chains:
            if self._on_chain[current] > 0 or self.is_held(current):
                break
            row = self.chains.pop(current)
            gone.append(current)
            self._on_diff[row.diff_id] -= 1
            self.freed_by[current] = self._release_diff(row.diff_id)
            current = row.parent
            if current is not None:
                self._on_chain[current] -= 1
        return gone

    def _release_diff(self, diff_id: DiffID) -> int:
        """Take a layer's content away if nothing needs it, and return the bytes that this frees."""
        if diff_id not in self.diffs or self._on_diff[diff_id] > 0 or self.is_held(diff_id):
            return 0
        del self.diffs[diff_id]
        gone = [self._all.toc_sizes[diff_id]]
        for digest in self._all.blobs[diff_id]:
            self._on_blob[digest] -= 1
            if self._on_blob[digest] == 0:
                gone.append(self._all.sizes[digest])
        freed = sum(file.freed for file in gone)
        self.freed += freed
        self.left -= sum(file.size for file in gone)
        return freed

    def _loose_chains(self) -> list[ChainID]:
        return sorted(chain_id for chain_id in self.chains if self._on_chain[chain_id] == 0)

    def _loose_diffs(self) -> list[DiffID]:
        return sorted(diff_id for diff_id in self.diffs if self._on_diff[diff_id] == 0)
