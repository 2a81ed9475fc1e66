"""The graph of what is needed, against the documents themselves, and against the rows when things go one by one."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.graph.documents import Documents
from orlop.store.graph.garbage import unneeded
from orlop.store.graph.indexed import is_indexed
from orlop.store.graph.needs import Need, needs_of
from orlop.store.graph.remains import Remains
from orlop.store.graph.snapshot import take_snapshot
from orlop.store.rows.judging import chain_of
from orlop.store.rows.metadata import (
    EVERYTHING,
    BlobRow,
    ChainRow,
    DiffRow,
    ManifestRow,
    ReferenceRow,
    TopRow,
    only_leased,
)
from orlop.store.rows.speaking import SPOKEN_OF
from orlop.store.rows.sqlite.memory import MemoryMetadata
from tests.crash import pace

if TYPE_CHECKING:
    from orlop.store.rows.metadata import Rows, WritableRows

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NAME = "docker.io/library/a"
ABSENT = [str(Digest.of(b"absent %d" % number)) for number in range(2)]


@dataclass
class World:
    """What is in a store, as it was put there."""

    images: dict[str, str | None] = field(default_factory=dict)
    """The IDs of images, with the chains that they stand on."""
    chains: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    diffs: dict[str, list[str]] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    came: set[tuple[str, str]] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    tops: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    for _ in range(draw(st.integers(1, 4))):
        diff = str(Digest.of(b"diff %d" % draw(st.integers(0, 3))))
        parent = draw(st.sampled_from([None, *world.chains]))
        world.chains[chain_of(parent, diff)] = (parent, diff)
        world.diffs.setdefault(diff, [])
    world.diffs.setdefault(str(Digest.of(b"diff 9")), [])
    world.blobs = {str(Digest.of(b"blob %d" % number)) for number in range(6)}
    for forms in world.diffs.values():
        forms.extend(sorted(draw(st.sets(st.sampled_from(sorted(world.blobs)), min_size=1, max_size=2))))
    for number in range(draw(st.integers(0, 3))):
        world.images[str(Digest.of(config(number)))] = draw(st.sampled_from([None, *world.chains]))
    contents = st.sampled_from([*sorted(world.blobs), *world.images])
    for number in range(draw(st.integers(0, 7))):
        there = [*world.documents, *ABSENT]
        document: dict[str, Any] = {"schemaVersion": 2, "annotations": {"number": str(number)}}
        if draw(st.booleans()):
            listed = draw(st.lists(st.sampled_from(there), max_size=3))
            document["manifests"] = [entry(one, draw(st.sampled_from([None, *listed]))) for one in listed]
        else:
            document["config"] = {"digest": draw(contents)}
            document["layers"] = [{"digest": one} for one in draw(st.lists(contents, max_size=2))]
        if draw(st.integers(0, 2)) == 0:
            document["subject"] = entry(draw(st.sampled_from(there)), None)
        digest = str(Digest.of(json.dumps(document).encode()))
        world.documents[digest] = document
        if world.images:
            came = draw(st.sets(st.sampled_from(sorted(world.images)), max_size=2))
            # The manifest of an image comes with no other one, whose removal would not take it along.
            own = document.get("config", {}).get("digest")
            world.came |= {(one, digest) for one in came if own not in world.images or one == own}
    if world.images:
        for suffix in draw(st.sets(st.sampled_from([":1", ":2", ":3", f"@{ABSENT[0]}"]))):
            world.names[suffix] = draw(st.sampled_from(sorted(world.images)))
    for suffix in draw(st.sets(st.sampled_from([":1", ":2", ":4", ":5"]))) if world.documents else ():
        world.tops[suffix] = draw(st.sampled_from(sorted(world.documents)))
    things = [*world.documents, *world.blobs, *world.chains, *world.diffs]
    world.held = draw(st.sets(st.sampled_from(things), max_size=1) | st.sets(st.sampled_from([str(EVERYTHING)])))
    return world


def entry(digest: str, speaks_of: str | None) -> dict[str, Any]:
    """An entry of an index, which may say of which other one it speaks, in BuildKit's older form."""
    said = {} if speaks_of is None else {"annotations": {SPOKEN_OF: speaks_of}}
    return {"mediaType": MANIFEST, "digest": digest, "size": 1} | said


def config(number: int) -> bytes:
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": []}, "author": str(number)}).encode()


def fill(rows: WritableRows, world: World) -> None:
    for diff, forms in world.diffs.items():
        for form in forms:
            rows.put_diff(DiffRow(DiffID.parse(diff), 1, 1, 1), BlobRow(Digest.parse(form), 1, "none"))
    for blob in world.blobs:
        rows.put_blob(BlobRow(Digest.parse(blob), 1, "none"))
    depths: dict[str | None, int] = {None: 0}
    for chain, (parent, diff) in world.chains.items():
        depth = depths[chain] = depths[parent] + 1
        above = None if parent is None else ChainID.parse(parent)
        rows.put_chain(ChainRow(ChainID.parse(chain), above, DiffID.parse(diff), depth, depth))
    for number, (image, top) in enumerate(world.images.items()):
        stands = None if top is None else ChainID.parse(top)
        rows.put_image(Digest.parse(image), config(number), chain_id=stands, created=(number, 0))
    for digest, document in world.documents.items():
        images = [Digest.parse(image) for image, came in world.came if came == digest]
        kind = INDEX if "manifests" in document else MANIFEST
        rows.put_manifest(ManifestRow(Digest.parse(digest), kind, json.dumps(document).encode()), images)
    for suffix, image in world.names.items():
        rows.put_reference(ReferenceRow(NAME, suffix, ImageID.parse(image), 1))
    for suffix, digest in world.tops.items():
        rows.put_top(TopRow(NAME, suffix, Digest.parse(digest), 1))
    if world.held:
        rows.put_lease("lease", map(Digest.unchecked, sorted(world.held)))


# The same, worked out from the documents alone, again and again until nothing is added.


def children(document: dict[str, Any]) -> set[str]:
    return {one["digest"] for one in document.get("manifests", ())}


def mentioned(document: dict[str, Any]) -> set[str]:
    found = children(document) | {one["digest"] for one in document.get("layers", ())}
    return found | {document[key]["digest"] for key in ("config", "subject") if key in document}


def reached(world: World, roots: set[str]) -> set[str]:
    found = set(roots)
    before: set[str] = set()
    while before != found:
        before = set(found)
        for digest, document in world.documents.items():
            if digest in found:
                found |= children(document)
            if document.get("subject", {}).get("digest") in found:
                found.add(digest)
    return found


def kept(world: World) -> dict[str, set[str]]:
    """What is needed, by its kind."""
    if str(EVERYTHING) in world.held:
        needed = {"chains": set(world.chains), "contents": set(world.diffs)}
        return needed | {"manifests": set(world.documents), "blobs": set(world.blobs)}
    chains = {chain for chain in [*world.images.values(), *world.held] if chain in world.chains}
    for _ in world.chains:
        chains |= {parent for chain in chains if (parent := world.chains[chain][0]) is not None}
    contents = {world.chains[chain][1] for chain in chains} | (world.held & world.diffs.keys())
    manifests = reached(world, {*world.tops.values(), *(digest for _, digest in world.came), *world.held})
    manifests &= world.documents.keys()
    blobs = {form for diff in contents for form in world.diffs[diff]} | world.held
    blobs = blobs.union(*(mentioned(world.documents[digest]) for digest in manifests)) & world.blobs
    return {"chains": chains, "contents": contents, "manifests": manifests, "blobs": blobs}


def found_in(rows: Rows) -> dict[str, set[str]]:
    return {
        "chains": {str(row.chain_id) for row in rows.chains()},
        "contents": {str(diff_id) for diff_id in rows.diff_ids()},
        "manifests": {str(digest) for digest in rows.manifest_digests()},
        "blobs": {str(row.digest) for row in rows.blobs()},
    }


EXAMPLES = settings(max_examples=pace.examples(100), deadline=None)


@pytest.mark.sampled(3)
@EXAMPLES
@given(worlds())
def test_what_is_unneeded_goes_and_leaves_just_what_is_needed(world: World) -> None:
    with closing(MemoryMetadata()) as metadata:
        with metadata.write() as rows:
            fill(rows, world)
        with metadata.write() as rows:
            garbage = unneeded(rows)
            assert set(rows.forget_manifests(garbage.manifests)) == set(garbage.manifests)
            assert set(rows.forget_blobs(garbage.blobs)) == set(garbage.blobs)
            for chain in garbage.chains:
                assert rows.prune_chain(chain)[0]
            for diff_id in garbage.contents:
                assert rows.prune_diff(diff_id) is not None
        with metadata.read() as rows:
            assert found_in(rows) == kept(world)
            assert unneeded(rows) == type(garbage)()


@pytest.mark.sampled(3)
@EXAMPLES
@given(worlds(), st.data())
def test_what_would_be_left_is_what_the_rows_leave(world: World, data: st.DataObject) -> None:
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        remains = Remains(take_snapshot(rows))
        for image in data.draw(st.permutations(sorted(world.images)))[:2]:
            names = [row.suffix for row in rows.references() if str(row.image) == image]
            for suffix in data.draw(st.permutations(names)):
                remains.untag(NAME, suffix)
                rows.delete_reference(NAME, suffix)
                left(remains, rows)
            row = rows.image_row(Digest.parse(image))
            assert row is not None
            gone = list(remains.delete(row.id, row.chain_id))
            rows.delete_image(row.id)
            if row.chain_id is not None:
                chains, blobs, _ = rows.prune_chain(row.chain_id)
                assert gone == [chain.chain_id for chain in chains]
                assert {str(blob) for blob in blobs} <= set(map(str, remains.gone_blobs))
            left(remains, rows)
        metadata_before = found_in(rows)
        assert {str(one) for one in remains.gone_contents}.isdisjoint(metadata_before["contents"])


def left(remains: Remains, rows: WritableRows) -> None:
    rows.prune_freed()
    found = found_in(rows)
    assert {str(chain) for chain in remains.chains} == found["chains"]
    assert {str(diff_id) for diff_id in remains.contents} == found["contents"]
    assert set(remains.documents) == found["manifests"]
    assert set(remains.blobs) == found["blobs"]


def documented(world: World, **document: Any) -> str:
    """Add a document to a world, and return its digest."""
    document = {"schemaVersion": 2} | document
    digest = str(Digest.of(json.dumps(document).encode()))
    world.documents[digest] = document
    return digest


def without_first_image(world: World) -> Remains:
    """Remove the first image of a world from rows and from what would be left, and check that they agree."""
    image = next(iter(world.images))
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        remains = Remains(take_snapshot(rows))
        assert list(remains.delete(ImageID.parse(image), None)) == []
        rows.delete_image(Digest.parse(image))
        left(remains, rows)
    return remains


def test_an_attestation_of_the_older_form_is_planned_to_go_with_its_image() -> None:
    one, two = (str(Digest.of(config(number))) for number in range(2))
    statement, other = (str(Digest.of(b"blob %d" % number)) for number in range(2))
    world = World(images={one: None, two: None}, blobs={statement, other})
    first, second = (documented(world, config={"digest": image}, layers=[]) for image in (one, two))
    about_first = documented(world, config={"digest": statement}, layers=[])
    about_second = documented(world, config={"digest": other}, layers=[])
    entries = [entry(first, None), entry(second, None), entry(about_first, first), entry(about_second, second)]
    index = documented(world, manifests=entries)
    world.came = {(one, first), (one, about_first), (two, second), (two, about_second), (one, index), (two, index)}
    remains = without_first_image(world)
    assert set(remains.documents) == {second, about_second, index}
    assert [str(blob) for blob in remains.gone_blobs] == [statement]


def test_what_refers_to_a_manifest_that_goes_is_planned_to_go_whatever_that_refers_to() -> None:
    image = str(Digest.of(config(0)))
    world = World(images={image: None})
    base = documented(world, manifests=[])
    own = documented(world, config={"digest": image}, layers=[], subject=entry(base, None))
    documented(world, manifests=[], subject=entry(own, None))
    world.came = {(image, own)}
    assert set(without_first_image(world).documents) == {base}


@pytest.mark.parametrize("listed", [ABSENT[:1], []])
def test_what_refers_to_a_missing_child_of_an_index_stays_with_the_index(listed: list[str]) -> None:
    """It came with an image which goes, and lists the child as well, or not."""
    image = str(Digest.of(config(0)))
    world = World(images={image: None})
    about = documented(world, manifests=[entry(one, None) for one in listed], subject=entry(ABSENT[0], None))
    index = documented(world, manifests=[entry(ABSENT[0], None)])
    world.came, world.tops = {(image, about)}, {":1": index}
    assert set(without_first_image(world).documents) == {about, index} == kept(world)["manifests"]


@pytest.mark.sampled(3)
@EXAMPLES
@given(worlds())
def test_an_index_with_a_name_is_seen_from_below_and_from_above(world: World) -> None:
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        indexed = Documents(rows).indexed()
        for image in world.images:
            below = {digest for one, digest in world.came if one == image}
            expected = set()
            for suffix, top in world.tops.items():
                under: set[str] = set()
                for _ in world.documents:
                    for digest in under | {top}:
                        under |= children(world.documents.get(digest, {}))
                if under & below:
                    expected.add((NAME, suffix))
            assert indexed.get(image, set()) == expected
            assert is_indexed(rows, Digest.parse(image)) == bool(expected)


@pytest.mark.sampled(3)
@EXAMPLES
@given(worlds())
def test_a_blob_dangles_where_pruning_and_a_collection_take_it(world: World) -> None:
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        found = take_snapshot(rows)
        needs = needs_of(found, [Digest.unchecked(one) for one in world.held])
        numbers = {str(diff_id): number for number, diff_id in enumerate(found.diff_ids)}
        now = kept(world)["blobs"]
        for row, stays in zip(found.images, needs.active, strict=True):
            if not stays:
                for name in rows.references(row.id):
                    rows.delete_reference(name.name, name.suffix)
                rows.delete_image(row.id)
        after = World(**vars(world))
        after.documents = {one: world.documents[one] for one in map(str, rows.manifest_digests())}
        there = {str(one) for one in rows.image_ids()}
        after.images = {image: chain for image, chain in world.images.items() if image in there}
        after.came = {pair for pair in world.came if pair[0] in there and pair[1] in after.documents}
        after.tops = {row.suffix: str(row.digest) for row in rows.tops()}
        later = kept(after)["blobs"]
        for blob in sorted(world.blobs):
            by_layers = [needs.diffs[numbers[diff]] for diff, forms in world.diffs.items() if blob in forms]
            need = needs.of_blob(Digest.parse(blob), max(by_layers, default=Need.NOTHING))
            assert need == (blob in now) + (blob in later)


@pytest.mark.sampled(3)
@EXAMPLES
@given(worlds())
def test_what_only_leases_keep_is_told_one_by_one_and_all_at_once(world: World) -> None:
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        stands = {parent for parent, _ in world.chains.values()} | set(world.images.values())
        loose = {chain for chain in world.chains if chain not in stands}
        loose |= {diff for diff in world.diffs if diff not in {one for _, one in world.chains.values()}}
        each = [Digest.parse(one) for one in [*world.chains, *world.diffs]]
        assert {str(one) for one in only_leased(rows, each)} == loose
        assert {str(one) for one in only_leased(rows, [EVERYTHING])} == loose


class CountedEdges(dict[str, list[str]]):
    """Children of documents, which counts how often it is asked."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def asked_for_names_of_nested_indexes(depth: int) -> int:
    world = World(images={str(Digest.of(config(0))): None})
    below: list[str] = []
    for number in range(depth):
        document = {"number": number, "manifests": [{"digest": one} for one in below]}
        below = [str(Digest.of(json.dumps(document).encode()))]
        world.documents[below[0]] = document
        world.tops[f":{depth - number}"] = below[0]
    world.came = {(next(iter(world.images)), next(iter(world.documents)))}
    with closing(MemoryMetadata()) as metadata, metadata.write() as rows:
        fill(rows, world)
        documents = Documents(rows)
        documents._children = counted = CountedEdges(documents._children)
        names = documents.indexed()[next(iter(world.images))]
    assert len(names) == depth - 1
    return counted.asked


def test_the_names_of_nested_indexes_cost_what_the_indexes_do() -> None:
    assert asked_for_names_of_nested_indexes(200) <= 2.2 * asked_for_names_of_nested_indexes(100)
