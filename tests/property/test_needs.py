"""Who needs what in a store, against what is left when images go one by one."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from orlop.model.digest import ChainID, DiffID, ImageID
from orlop.store.graph.documents import Documents
from orlop.store.graph.needs import needs_of
from orlop.store.graph.snapshot import Snapshot
from orlop.store.graph.stacks import Stacks
from orlop.store.leases import EVERYTHING
from orlop.store.rows.metadata import ChainRow, ImageRow, ReferenceRow
from orlop.store.rows.sqlite.memory import MemoryMetadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orlop.model.digest import Digest


with closing(MemoryMetadata()) as _metadata, _metadata.read() as _rows:
    NO_DOCUMENTS = Documents(_rows)


def hexes(number: int) -> str:
    return f"{number:064x}"


def image_id(number: int) -> ImageID:
    return ImageID("sha256", hexes(number))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Small stores: trees of layers, trees of images on some of them, names and pins."""
    chains: list[ChainRow] = []
    for number in range(draw(st.integers(2, 6))):
        parent = draw(st.sampled_from([None, *chains]))
        size, depth = (0, 0) if parent is None else (parent.size, parent.depth)
        diff = DiffID("sha256", hexes(100 + draw(st.integers(0, 5))))
        chain = ChainID("sha256", hexes(number))
        below = None if parent is None else parent.chain_id
        chains.append(ChainRow(chain, below, diff, size + draw(st.integers(0, 3)), depth + 1))
    images: list[ImageRow] = []
    references: dict[ImageID, list[ReferenceRow]] = {}
    for number in range(draw(st.integers(3, 7))):
        stack = draw(st.sampled_from([None, *chains]))
        # A parent may be missing.
        above = draw(st.sampled_from([None, image_id(99), *(row.id for row in images)]))
        image = image_id(number)
        images.append(ImageRow(image, stack.chain_id if stack else None, (0, 0), stack.size if stack else 0, above))
        suffixes = draw(st.sampled_from([(), (), (":a",), (f"@sha256:{hexes(0)}",), (":a", ":b")]))
        if suffixes:
            references[image] = [ReferenceRow("example.com/a", suffix, image, 0) for suffix in suffixes]
    diffs = sorted({row.diff_id for row in chains} | draw(st.sets(st.just(DiffID("sha256", hexes(999))))))
    return Snapshot(
        images=tuple(images),
        references=references,
        pinned=frozenset(draw(st.sampled_from([(), (image_id(98),), *((row.id,) for row in images)]))),
        stacks=Stacks(chains),
        diff_ids=tuple(diffs),
        forms=(),
        opaque=(),
        documents=NO_DOCUMENTS,
        leases={},
    )


def pruned(found: Snapshot) -> set[ImageID]:
    """Those that go when whatever has no tag, no pin and no child goes, again and again."""
    gone: set[ImageID] = set()
    while True:
        left = [row for row in found.images if row.id not in gone]
        parents = {row.parent for row in left}
        loose = {
            row.id
            for row in left
            if row.id not in parents | found.pinned
            and not any(name.suffix.startswith(":") for name in found.references.get(row.id, ()))
        }
        if not loose:
            return gone
        gone |= loose


def left(found: Snapshot, without: Collection[ImageID], protected: Iterable[Digest] = ()) -> set[Digest]:
    """The chains and contents that are needed when some images are gone."""
    held = {str(digest) for digest in protected}
    if str(EVERYTHING) in held:
        return set(everything(found))
    chains = {row.chain_id: row for row in found.stacks.rows}
    needed: set[Digest] = set()
    starts = [row.chain_id for row in found.images if row.id not in without]
    for start in [*starts, *(chain for chain in chains if str(chain) in held)]:
        current = start
        while current is not None:
            needed |= {current, chains[current].diff_id}
            current = chains[current].parent
    return needed | {diff_id for diff_id in found.diff_ids if str(diff_id) in held}


def everything(found: Snapshot) -> list[Digest]:
    return [*(row.chain_id for row in found.stacks.rows), *found.diff_ids]


@given(snapshots(), st.data())
def test_what_pruning_and_collecting_garbage_leave_is_what_is_needed(found: Snapshot, data: st.DataObject) -> None:
    choice = [*(row.chain_id for row in found.stacks.rows), *found.diff_ids, EVERYTHING]
    protected = data.draw(st.lists(st.sampled_from(choice), max_size=3))
    needs = needs_of(found, protected)
    dangling = pruned(found)
    assert list(needs.active) == [row.id not in dangling for row in found.images]
    now, after = left(found, (), protected), left(found, dangling, protected)
    said = [*needs.chains, *needs.diffs]
    for thing, need in zip(everything(found), said, strict=True):
        assert need == (thing in now) + (thing in after)
    assert needs.everything == (EVERYTHING in protected)
    of_images = left(found, ())
    assert list(needs.in_images) == [row.chain_id in of_images for row in found.stacks.rows]


@given(snapshots())
def test_an_owner_is_the_image_whose_removal_frees_a_thing(found: Snapshot) -> None:
    needs = needs_of(found, ())
    owners = dict(zip(found.diff_ids, needs.owners, strict=True))
    children = Counter(row.parent for row in found.images)
    rows = {row.id: row for row in found.images}
    for number, row in enumerate(found.images):
        going = {row.id}
        # "its nameless parents too": as far as nothing else has them.
        above = rows.get(row.parent) if row.parent is not None else None
        stay = found.references.keys() | found.pinned
        while above is not None and above.id not in stay and children[above.id] == 1:
            going.add(above.id)
            above = rows.get(above.parent) if above.parent is not None else None
        kept = left(found, going)
        freed = {thing for thing in left(found, ()) - kept if not isinstance(thing, ChainID)}
        owned = {thing for thing, owner in owners.items() if owner == number}
        if row.id in stay or children[row.id] != 1:
            assert owned == freed
        else:
            # It goes with its child.
            assert not owned


@given(snapshots())
def test_a_size_is_shared_where_several_listed_images_stand_on_a_layer(found: Snapshot) -> None:
    needs = needs_of(found, ())
    parents = {row.parent for row in found.images}
    assert list(needs.listed) == [row.id not in parents or row.id in found.references for row in found.images]
    stacks = {row.chain_id: row for row in found.stacks.rows}
    users: Counter[ChainID] = Counter()

    def stack(top: ChainID | None) -> list[ChainRow]:
        layers = []
        while top is not None:
            layers.append(stacks[top])
            top = stacks[top].parent
        return layers

    for row, listed in zip(found.images, needs.listed, strict=True):
        users.update(layer.chain_id for layer in stack(row.chain_id) if listed)
    assert list(needs.users) == [users[row.chain_id] for row in found.stacks.rows]
    for top, shared in zip(stacks, found.stacks.shared_sizes(needs.users), strict=True):
        expected = 0
        for layer in stack(top):
            own = layer.size - (0 if layer.parent is None else stacks[layer.parent].size)
            expected += own if users[layer.chain_id] > 1 else 0
        assert shared == expected
