"""Pruning of random stores: the plan is what happens, what happens is what the rules say, and the bytes are true.

`ORLOP_LONG=1` makes it run for minutes.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop import errors
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.service.image_service import ImageService
from orlop.store.leases import EVERYTHING
from orlop.store.local import local_store
from tests.crash import pace

if TYPE_CHECKING:
    from orlop.model.digest import ChainID, ImageID
    from orlop.service.space.prune import PruneReport

LONG = bool(os.environ.get("ORLOP_LONG"))
SECOND = 10**9
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
NAMES = [f"{name}{suffix}" for name in ("a", "b/c") for suffix in (":1", ":2", ":3", f"@{Digest.of(b'manifest')}")]


@cache
def layer(number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(f"file{number}")
        member.size = 100 * number
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    return out.getvalue()


@dataclass(frozen=True)
class Sketch:
    """An image to be made: its layers' numbers, and what is known of it beside."""

    layers: tuple[int, ...]
    created: int
    label: bool
    parent: int | None
    pinned: bool
    used: int | None
    names: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Rules:
    """What a pruning is asked for."""

    all: bool
    keep_last: int | None
    filters: tuple[str, ...]
    max_size: float | None


GOING = {"dangling", "all", "old", "quota", "along"}
TIMES = st.integers(1, 6)
SKETCHES = st.lists(
    st.builds(
        Sketch,
        layers=st.lists(st.integers(1, 4), max_size=3).map(tuple),
        created=TIMES,
        label=st.booleans(),
        parent=st.none() | st.integers(0, 5),
        pinned=st.sampled_from((True, False, False, False)),
        used=st.none() | TIMES,
        names=st.lists(st.tuples(st.sampled_from(NAMES), TIMES), max_size=3, unique_by=lambda name: name[0]).map(tuple),
    ),
    max_size=8,
)
RULES = st.builds(
    Rules,
    all=st.booleans(),
    keep_last=st.none() | st.integers(1, 2),
    filters=st.lists(st.sampled_from(("until=3", "label=x", "label!=x", "dangling=false")), max_size=2).map(tuple),
    max_size=st.none() | st.floats(0, 1),
)
# Whose lease, what it holds, and whether its owner lives: layers by number, else an image's chain.
HOLDS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(("chain", "diff", "all", "chain", "diff")), st.integers(0, 5)), max_size=2
)


class World:
    """A store made by sketches, and those who hold something in it."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self.time = 0
        self.store = stack.enter_context(local_store(root, now=lambda: self.time * SECOND))
        self.images = ImageService(self.store)
        self._other = stack.enter_context(local_store(root))

    def make(self, sketches: list[Sketch], holds: list[tuple[bool, str, int]]) -> None:
        made: list[ImageID] = []
        with self.store.metadata.write() as rows:
            for number, sketch in enumerate(sketches):
                made.append(self._image(number, sketch))
                image = made[-1]
                if sketch.parent is not None and sketch.parent < number:
                    self.store.images.set_parent(image, made[sketch.parent])
                if sketch.pinned:
                    self.images.pin(str(image))
                if sketch.used is not None:
                    self.time = sketch.used
                    self.store.images.set_last_used(image)
                for name, self.time in sketch.names:
                    self.store.references.set(Reference.parse(name), image)
            chains = [row.chain_id for row in rows.chains()]
            diffs = rows.diff_ids()
            self.time = 10
        for lives, what, pick in holds if chains else ():
            digest = {"all": EVERYTHING, "chain": chains[pick % len(chains)], "diff": diffs[pick % len(diffs)]}[what]
            if lives:
                self._other.leases.hold([digest])
            else:
                with self.store.metadata.write() as rows:
                    rows.put_lease("dead", [digest])

    def _image(self, number: int, sketch: Sketch) -> ImageID:
        diff_ids: list[str] = []
        handles = []
        below: ChainID | None = None
        for one in sketch.layers:
            handles.append(self.store.layers.register(io.BytesIO(layer(one)), below))
            below = handles[-1].chain_id
            diff_ids.append(str(handles[-1].diff_id))
        config = {
            "created": f"1970-01-01T00:00:0{sketch.created}Z",
            "author": str(number),
            "config": {"Labels": {"x": "y"}} if sketch.label else {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        image = self.store.images.create(json.dumps(config).encode())
        for handle in handles:
            self.store.layers.release(handle)
        return image

    def prune(self, rules: Rules, *, max_size: int | None, dry_run: bool = False) -> PruneReport:
        return self.images.prune(
            all=rules.all, filters=rules.filters, keep_last=rules.keep_last, max_size=max_size, dry_run=dry_run
        )

    def files(self) -> int:
        return sum(
            path.stat().st_size for name in ("blobs", "toc") for path in (self.root / name).rglob("*") if path.is_file()
        )

    def ids(self) -> set[ImageID]:
        return set(self.store.images.ids())

    def parents(self) -> dict[ImageID, ImageID | None]:
        return {image: self.store.images.get_parent(image) for image in self.ids()}

    def names(self) -> dict[str, ImageID]:
        with self.store.metadata.read() as rows:
            return {f"{row.name}{row.suffix}": row.image for row in rows.references()}

    def newest(self, number: int) -> dict[str, ImageID]:
        """The names of the newest images of each repository."""
        kept: dict[str, ImageID] = {}
        with self.store.metadata.read() as rows:
            tags = [row for row in rows.references() if row.suffix.startswith(":")]
            created = {row.id: row.created for row in rows.image_rows(listed_only=False)}
        for name in {row.name for row in tags}:
            here = sorted(
                (row for row in tags if row.name == name), key=lambda row: (row.updated, created[row.image], row.image)
            )
            last = list(dict.fromkeys(row.image for row in reversed(here)))[:number]
            kept |= {f"{row.name}{row.suffix}": row.image for row in here if row.image in last}
        return kept


def check(world: World, rules: Rules) -> None:
    before, stored = world.ids(), world.files()
    names, parents = world.names(), world.parents()
    untouched = {image.id for image in world.images.pinned()}
    newest = {} if rules.keep_last is None else world.newest(rules.keep_last)
    max_size = None if rules.max_size is None else int(stored * rules.max_size)
    try:
        plan = world.prune(rules, max_size=max_size, dry_run=True)
    except errors.QuotaExceeded:
        with pytest.raises(errors.QuotaExceeded):
            world.prune(rules, max_size=max_size)
        assert (world.ids(), world.files(), world.names()) == (before, stored, names)
        return
    assert (world.ids(), world.files(), world.names()) == (before, stored, names)
    report = world.prune(rules, max_size=max_size)

    # "Plan and deed are the same."
    assert (report.lines, report.images, report.layers) == (plan.lines, plan.images, plan.layers)
    assert (report.reclaimed, report.freed, report.stored) == (plan.reclaimed, plan.freed, plan.stored)
    after = world.ids()
    assert {image.id for image in report.images} == before
    assert {image.id for image in report.images if not image.goes} == after
    assert {str(image) for image in before - after} <= set(report.deleted)
    assert all(image.goes is (image.reason in GOING) for image in report.images)
    with world.store.metadata.read() as rows:
        left = {row.chain_id for row in rows.chains()}
    assert {one.chain_id for one in report.layers if not one.goes} == left

    # "The sum is true."
    assert (report.stored, report.left, report.stored - report.freed) == (stored, world.files(), world.files())
    assert sum(one.freed for one in report.layers) == report.freed
    assert max_size is None or world.files() <= max_size

    # "Nothing referenced or pinned goes."
    now = world.names()
    assert untouched <= after
    assert {name: image for name, image in names.items() if image in untouched}.items() <= now.items()
    assert newest.items() <= now.items()
    assert set(now.values()) <= after
    assert all(parents[image] in {None, *after} for image in after)
    for image in after:
        chain = world.store.images.get(image).rootfs.chain_id()
        assert chain is None or chain in left
    for one in report.images:
        if one.reason in {"newer", "labels"}:
            assert not one.untagged

    # Once is enough.
    assert world.prune(rules, max_size=max_size, dry_run=True).lines == ()
    if max_size is not None:
        by_use(plan, parents)


def by_use(plan: PruneReport, parents: dict[ImageID, ImageID | None]) -> None:
    """What went for the quota was not used after anything that stays and could have gone."""
    used = {image.id: image.last_used for image in plan.images if image.reason not in {"dangling", "all", "old"}}
    for image, last in list(used.items()):
        above = parents[image]
        while above is not None:
            used[above] = max(last, used.get(above, 0))
            above = parents[above]
    gone = [used[image.id] for image in plan.images if image.reason == "quota"]
    fits = [used[image.id] for image in plan.images if image.reason == "fits"]
    assert max(gone, default=0) <= min(fits, default=99 * SECOND)


def world_of(sketches: list[Sketch], holds: list[tuple[bool, str, int]], stack: ExitStack) -> World:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-prune-", dir=MEMORY))
    world = World(Path(folder) / "root", stack)
    world.make(sketches, holds)
    return world


EXAMPLES = settings(
    max_examples=2000 if LONG else pace.examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.sampled(2)
@EXAMPLES
@given(sketches=SKETCHES, holds=HOLDS, rules=RULES)
def test_a_plan_is_what_happens_and_frees_what_it_says(
    sketches: list[Sketch], holds: list[tuple[bool, str, int]], rules: Rules
) -> None:
    with ExitStack() as stack:
        check(world_of(sketches, holds, stack), rules)


FAMILY = st.lists(
    st.builds(
        Sketch,
        layers=st.lists(st.integers(1, 6), max_size=3).map(tuple),
        created=TIMES,
        label=st.just(value=False),
        parent=st.none() | st.integers(0, 3),
        pinned=st.sampled_from((False, False, False, False, False, True)),
        used=TIMES,
        names=st.lists(
            st.tuples(st.sampled_from(NAMES), TIMES), min_size=1, max_size=2, unique_by=lambda name: name[0]
        ).map(tuple),
    ),
    min_size=3,
    max_size=8,
)


@pytest.mark.sampled(3)
@EXAMPLES
@given(sketches=FAMILY, share=st.floats(0.2, 0.95))
def test_a_quota_takes_what_was_not_used_for_longest_and_no_more_than_it_must(
    sketches: list[Sketch], share: float
) -> None:
    with ExitStack() as stack:
        world = world_of(sketches, [], stack)
        max_size = int(world.files() * share)
        first = world.images.prune(dry_run=True)
        # Another count says the same.
        assert world.images.df().dangling == first.freed
        dangling = {image.id for image in first.images if image.goes}
        try:
            plan = world.images.prune(max_size=max_size, dry_run=True)
        except errors.QuotaExceeded:
            # Only what is pinned is left, and what pinned images are made from.
            pins = world.images.pinned()
            assert pins
            world.images.prune(all=True)
            assert world.files() > max_size
            return
        # Not one image less would do.
        assert world.images.prune(max_size=plan.left, dry_run=True) == plan
        quota = [image for image in plan.images if image.reason == "quota"]
        with world.store.metadata.read() as rows:
            chains = {row.chain_id: row for row in rows.chains()}
        gone = {image.id for image in plan.images if image.goes}
        parents = world.parents()
        diffs = {one.diff_id for one in plan.layers if not one.goes}
        for image in plan.images:
            if not image.goes:
                assert not image.untagged or image.id in {one.id for one in first.images if one.untagged}
        for image in quota:
            # What goes frees something: itself, or what goes because it does.
            current: ImageID | None = image.id
            freed = False
            while current is not None and current in gone:
                chain = world.store.images.get(current).rootfs.chain_id()
                while chain is not None:
                    freed |= chains[chain].diff_id not in diffs
                    chain = chains[chain].parent
                current = parents[current]
            assert freed
        assert {image.id for image in quota} | dangling <= gone
        check(world, Rules(all=False, keep_last=None, filters=(), max_size=share))
