"""The collector over PostgreSQL while others write between its statements, against what a store needs by its tables.

Others do at random what loads, pushes, removals, leases and other collectors do. What a write of the collector takes is
compared with what nothing needed when it got the lock, worked out from the tables alone, again and again until nothing
is added. When all is quiet what is left is just what is needed.
"""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.model.store_url import StoreURL
from orlop.store.remote import remote_store
from orlop.store.rows import unneeded as unneeded_rows
from orlop.store.rows.image_facts import image_facts
from orlop.store.rows.judging import chain_of
from orlop.store.rows.metadata import EVERYTHING, BlobRow, ChainRow, DiffRow, ManifestRow, ReferenceRow, TopRow
from orlop.store.rows.postgres.passing import PassingRows
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.upkeep import gc
from orlop.store.upkeep.gc import collect_garbage
from tests import engines
from tests.property.test_graph import ABSENT, INDEX, MANIFEST, entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.leases import Hold
    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows

SEEDS: Final = 10
KINDS: Final = ("chain", "diff", "manifest", "blob")
TABLES: Final = {
    "image": "id, chain",
    "chain": "id, parent, diff",
    "diff": "id",
    "diff_blob": "diff, blob",
    "blob": "digest",
    "manifest": "digest",
    "image_manifest": "image, manifest",
    "edge": "parent, role, child",
    "top": "digest",
    "lease": "lease, digest",
}
Tables = dict[str, list[tuple[Any, ...]]]


def tables(rows: PostgresRows) -> Tables:
    return {table: rows.rows(f"SELECT {columns} FROM {table}") for table, columns in TABLES.items()}


def there(found: Tables) -> set[tuple[str, str]]:
    """Everything that may go, with its kind."""
    return {(kind, row[0]) for kind in KINDS for row in found[kind]}


def needed(found: Tables, is_alive: Callable[[str], bool]) -> set[tuple[str, str]]:
    """What of it something needs."""
    held = {digest for lease, digest in found["lease"] if is_alive(lease)}
    manifests = {digest for (digest,) in found["manifest"]}
    tops = {digest for (digest,) in found["top"]}
    if str(EVERYTHING) in held:
        return there(found)
    chains = {chain for _, chain in found["image"]} | held
    documents = tops | held | {manifest for _, manifest in found["image_manifest"]}
    before = -1
    while before != len(chains) + len(documents):
        before = len(chains) + len(documents)
        chains |= {parent for chain, parent, _ in found["chain"] if chain in chains}
        documents |= {child for parent, role, child in found["edge"] if role == "child" and parent in documents}
        documents |= {parent for parent, role, child in found["edge"] if role == "subject" and child in documents}
    if not tops <= manifests:
        documents |= manifests
    contents = {diff for chain, _, diff in found["chain"] if chain in chains} | held
    blobs = {blob for diff, blob in found["diff_blob"] if diff in contents} | held
    blobs |= {child for parent, _, child in found["edge"] if parent in documents}
    named = [("chain", chains), ("diff", contents), ("manifest", documents), ("blob", blobs)]
    return {(kind, one) for kind, all_of in named for one in all_of} & there(found)


class Others:
    """What else uses the store: a process that loads, pushes, removes and holds, one that has died, and time."""

    def __init__(self, chosen: random.Random, store: Store) -> None:
        self.chosen = chosen
        self.store = store
        self.holds: list[Hold] = []
        self.number = 0

    def one(self, found: list[Any]) -> Any:
        return self.chosen.choice(found) if found else None

    def act(self) -> None:
        """Do one thing."""
        verbs = [self.load, self.load, self.push, self.push, self.push, self.blob, self.name, self.name, self.unname]
        verbs += [self.remove, self.hold, self.hold, self.release, self.release, self.die, self.keep, self.drop]
        self.chosen.choice(verbs)()

    def load(self) -> None:
        """A layer on another one, perhaps in two forms, with an image or for a moment without."""
        with self.store.metadata.write() as rows:
            below = self.one([None, *rows.chains()])
            parent = None if below is None else below.chain_id
            number = self.chosen.randrange(5)
            diff = DiffID.of(b"diff %d" % number)
            for form in self.chosen.sample([number, number + 5], self.chosen.choice([1, 1, 2])):
                rows.put_diff(DiffRow(diff, 1, 1, 1), BlobRow(Digest.of(b"blob %d" % form), 1, "gzip"))
            chain = ChainID.parse(chain_of(None if parent is None else str(parent), str(diff)))
            depth = 1 if below is None else below.depth + 1
            rows.put_chain(ChainRow(chain, parent, diff, depth, depth))
            if self.chosen.randrange(3):
                self.put_image(rows, self.one([chain, *(row.chain_id for row in rows.chains())]))

    def put_image(self, rows: WritableRows, top: ChainID) -> None:
        number = self.chosen.randrange(9)
        layers: list[str] = []
        current = rows.chain(top)
        while current is not None:
            layers.insert(0, str(current.diff_id))
            current = None if current.parent is None else rows.chain(current.parent)
        written = json.dumps({"rootfs": {"type": "layers", "diff_ids": layers}, "author": str(number)}).encode()
        stands, seconds, nanoseconds, labels = image_facts(written)
        image = ImageID.of(written)
        assert stands == str(top)
        rows.put_image(image, written, chain_id=top, created=(seconds, nanoseconds), labels=labels)
        rows.put_reference(ReferenceRow("a.test/i", f":{number}", image, 1))

    def blob(self) -> None:
        with self.store.metadata.write() as rows:
            rows.put_blob(BlobRow(Digest.of(b"blob %d" % self.chosen.randrange(10)), 1, "gzip"))

    def push(self) -> None:
        """A manifest, an index or something about others, perhaps before what it names."""
        self.number += 1
        with self.store.metadata.write() as rows:
            known = [*map(str, rows.manifest_digests()), *ABSENT]
            document: dict[str, Any] = {"schemaVersion": 2, "annotations": {"n": str(self.chosen.randrange(40))}}
            images = [str(row.id) for row in rows.image_rows(listed_only=False)]
            own = None
            if self.chosen.randrange(2):
                document["manifests"] = [entry(self.one(known), None) for _ in range(self.chosen.randrange(4))]
            else:
                blobs = [str(Digest.of(b"blob %d" % number)) for number in range(10)]
                own = self.one([*images, *blobs[:3]])
                document["config"] = {"digest": own}
                document["layers"] = [{"digest": one} for one in self.chosen.sample(blobs, 2)]
            if self.chosen.randrange(2):
                document["subject"] = entry(self.one(known), None)
            raw = json.dumps(document).encode()
            kind = INDEX if "manifests" in document else MANIFEST
            came = [Digest.parse(own)] if own in images and self.chosen.randrange(2) else []
            digest = Digest.of(raw)
            rows.put_manifest(ManifestRow(digest, kind, raw), came)
            if self.chosen.randrange(3) == 0:
                rows.put_top(TopRow("cache:a.test/b", f":{self.chosen.randrange(6)}", digest, 1))

    def name(self) -> None:
        with self.store.metadata.write() as rows:
            found = self.one(rows.manifest_digests())
            if found is not None:
                rows.put_top(TopRow("cache:a.test/b", f":{self.chosen.randrange(6)}", found, 1))

    def unname(self) -> None:
        with self.store.metadata.write() as rows:
            found = self.one(rows.tops())
            if found is not None:
                rows.delete_top(found.name, found.suffix)
                rows.prune_freed()

    def remove(self) -> None:
        with self.store.metadata.write() as rows:
            found = self.one(list(rows.image_rows(listed_only=False)))
            if found is not None:
                rows.delete_references([(row.name, row.suffix) for row in rows.references(found.id)])
                rows.delete_image(found.id)
                if found.chain_id is not None and self.chosen.randrange(2):
                    rows.prune_chain(found.chain_id)

    def drop(self) -> None:
        with self.store.metadata.write() as rows:
            found = self.one(rows.manifest_digests())
            if found is not None:
                rows.drop_manifest(found)

    def hold(self) -> None:
        with self.store.metadata.read() as rows:
            things = [*rows.manifest_digests(), *rows.diff_ids(), *(row.chain_id for row in rows.chains())]
            things += [row.digest for row in rows.blobs()] + [Digest.parse(one) for one in ABSENT]
        wanted = [EVERYTHING] if self.chosen.randrange(3) == 0 else [self.one(things), self.one(things)]
        self.holds.append(self.store.leases.hold([Digest.wrap(one) for one in wanted if one is not None]))

    def release(self) -> None:
        if self.holds:
            self.holds.pop(self.chosen.randrange(len(self.holds))).release()

    def die(self) -> None:
        """Somebody dies who has held something."""
        with self.store.metadata.write() as rows:
            found = self.one([*rows.manifest_digests(), *rows.diff_ids(), EVERYTHING])
            rows.put_lease(f"dead {self.chosen.randrange(3)}", [Digest.wrap(found)])

    def keep(self) -> None:
        """Something is kept for a repository until a time that has passed, or has not."""
        until = self.chosen.choice([600, 600 * 10**10])
        with self.store.metadata.write() as rows:
            found = self.one(rows.blobs())
            if found is not None:
                rows.put_lease(f"until-{until}-a.test/b", [found.digest])

    def rest(self) -> None:
        """Release everything."""
        while self.holds:
            self.holds.pop().release()
        with self.store.metadata.write() as rows:
            for lease in rows.leases():
                rows.delete_lease(lease)


def beside(monkeypatch: pytest.MonkeyPatch, chosen: random.Random, others: Others, store: Store, third: Store) -> None:
    """Others act between the statements of a look and before each write of the collector, whose writes are checked."""
    depth = [0]
    asked = PassingRows.rows

    def act() -> None:
        if depth[0] == 0:
            depth[0] += 1
            for _ in range(chosen.choice([0, 0, 0, 1, 2])):
                others.act()
            if chosen.randrange(12) == 0:
                collect_garbage(third, dry_run=chosen.randrange(3) == 0)
            depth[0] -= 1

    def between(self: PassingRows, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        if not (isinstance(self, PostgresRows) and self.writable) and store.metadata.in_block():
            act()
        return asked(self, statement, values)

    def is_alive(lease: str) -> bool:
        if lease.startswith("until-"):
            return len(lease.split("-")[1]) > 10
        return lease in {others.store.leases._name, store.leases._name, third.leases._name} - {""}

    def checked(opened: Store) -> None:
        write = opened.metadata.write

        @contextmanager
        def writing() -> Iterator[PostgresRows]:
            act()
            with write() as rows:
                assert isinstance(rows, PostgresRows)
                before = tables(rows)
                yield rows
                rows.sending.flush()
                gone = there(before) - there(tables(rows))
                assert not gone & needed(before, is_alive)

        monkeypatch.setattr(opened.metadata, "write", writing)

    checked(store)
    checked(third)
    monkeypatch.setattr(PassingRows, "rows", between)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_needed_stays_whatever_others_do(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = random.Random(seed)
    monkeypatch.setattr(gc, "_AT_ONCE", chosen.choice([1, 2, 5, 256]))
    monkeypatch.setattr(unneeded_rows, "_DOCUMENTS", chosen.choice([1, 3]))
    url = StoreURL.parse(engines.new_url(), engines.variables())
    with remote_store(url) as store, remote_store(url) as other, remote_store(url) as third:
        others = Others(chosen, other)
        for _ in range(6):
            for _ in range(chosen.randrange(25)):
                others.act()
            if chosen.randrange(2):
                others.rest()
            with monkeypatch.context() as patch:
                beside(patch, chosen, others, store, third)
                collect_garbage(store)
        others.rest()
        others.die()
        told = collect_garbage(store, dry_run=True).garbage
        assert sorted(told, key=str) == sorted(collect_garbage(store).garbage, key=str)
        with store.metadata.read() as rows:
            left = tables(rows)  # type: ignore[arg-type]
        assert there(left) == needed(left, lambda _: True)
