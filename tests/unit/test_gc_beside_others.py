"""Garbage is looked for while others go on: what they come to need stays, they need not wait, and memory is bounded."""

from __future__ import annotations

import json
import re
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings

from orlop.errors import DatabaseDamaged
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.model.store_url import StoreURL
from orlop.service.space.prune import prune
from orlop.store.graph.garbage import falling, unneeded
from orlop.store.local import local_store
from orlop.store.remote import remote_store
from orlop.store.rows import unneeded as unneeded_rows
from orlop.store.rows.metadata import EVERYTHING, BlobRow, ChainRow, DiffRow, ManifestRow, TopRow
from orlop.store.rows.postgres.passing import PassingRows
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.rows import Rows
from orlop.store.rows.unneeded import Unneeded
from orlop.store.upkeep import gc
from orlop.store.upkeep.gc import collect_garbage
from orlop.store.upkeep.lost_rows import has_lost_rows, hold_for_lost_rows
from tests import engines
from tests.crash import pace
from tests.postgres import opened, sql
from tests.property.test_graph import INDEX, MANIFEST, fill, found_in, kept, worlds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.root import Store
    from orlop.store.rows.metadata import WritableRows

PARTS: Final = 2
LAYER = DiffID.of(b"layer")
CHAIN = ChainID.wrap(LAYER)
BLOB = BlobRow(Digest.of(b"blob"), 4, "none")
CONFIG = b'{"created": "1970-01-01T00:00:01.000000001Z", "rootfs": {"type": "layers", "diff_ids": ["%s"]}}' % (
    str(LAYER).encode()
)


def document(**fields: Any) -> ManifestRow:
    raw = json.dumps({"schemaVersion": 2, **fields}).encode()
    return ManifestRow(Digest.of(raw), INDEX if "manifests" in fields else MANIFEST, raw)


def entry(digest: Digest) -> dict[str, Any]:
    return {"mediaType": MANIFEST, "digest": str(digest), "size": 1}


CHILD = document(config=entry(BLOB.digest), layers=[])
TOP = document(manifests=[entry(CHILD.digest)])
ABOUT = document(config=entry(BLOB.digest), layers=[], subject=entry(CHILD.digest))
ABSENT = Digest.of(b"absent")
ROUND = (
    document(manifests=[entry(CHILD.digest)], subject=entry(CHILD.digest)),
    document(manifests=[entry(ABSENT)], subject=entry(ABSENT)),
)
"""Indexes that what they list leads to."""


def put_garbage(rows: WritableRows) -> None:
    """Put a layer that no image has, and an index with a child, which something is about, that has no name."""
    rows.put_diff(DiffRow(LAYER, 1, 1, 1), BlobRow(Digest.wrap(LAYER), 1, "none"))
    rows.put_chain(ChainRow(CHAIN, None, LAYER, 1, 1))
    rows.put_blob(BLOB)
    for row in (CHILD, TOP, ABOUT):
        rows.put_manifest(row, [])


@pytest.fixture(params=["a directory", "beyond one machine"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two openings of one store."""
    if request.param == "a directory":
        with local_store(tmp_path / "root") as one, local_store(tmp_path / "root") as other:
            yield one, other
    else:
        url = StoreURL.parse(engines.new_url(), engines.variables())
        with remote_store(url) as one, remote_store(url) as other:
            yield one, other


def names_the_index(rows: WritableRows) -> None:
    rows.put_top(TopRow("example.com/a", ":1", TOP.digest, 1))


def names_the_child(rows: WritableRows) -> None:
    rows.put_top(TopRow("example.com/a", ":1", CHILD.digest, 1))


def stands_on_the_layer(rows: WritableRows) -> None:
    rows.put_image(ImageID.of(CONFIG), CONFIG, chain_id=CHAIN, created=(1, 1))


def names_the_blob(rows: WritableRows) -> None:
    row = document(config=entry(BLOB.digest), layers=[], annotations={"an": "other"})
    rows.put_manifest(row, [])
    rows.put_top(TopRow("example.com/a", ":2", row.digest, 1))


MEANWHILE: dict[Callable[[WritableRows], None], set[str]] = {
    names_the_index: {"layer", "content", "toc", "blob layer"},
    names_the_child: {"layer", "content", "toc", "blob layer", "index"},
    stands_on_the_layer: {"index", "child", "about", "blob"},
    names_the_blob: {"layer", "content", "toc", "blob layer", "index", "child", "about"},
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("change", MEANWHILE, ids=lambda change: change.__name__)
def test_what_others_come_to_need_after_the_look_stays(
    places: tuple[Store, Store], change: Callable[[WritableRows], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = places
    with store.metadata.write() as rows:
        put_garbage(rows)
    found = unneeded

    def look(rows: Rows, **options: Any) -> Any:
        garbage = found(rows, **options)
        assert garbage.chains == (CHAIN,)
        assert set(garbage.manifests) == {CHILD.digest, TOP.digest, ABOUT.digest}
        late.append(change)
        return garbage

    late: list[Callable[[WritableRows], None]] = []
    begin = gc._Collection.look

    def looked(self: Any) -> Any:
        garbage = begin(self)
        with other.metadata.write() as rows:
            late.pop()(rows)
        return garbage

    monkeypatch.setattr(gc, "unneeded", look)
    monkeypatch.setattr(gc._Collection, "look", looked)
    collect_garbage(store)
    monkeypatch.undo()
    expected = MEANWHILE[change]
    with store.metadata.read() as now:
        left = {
            "layer": now.chain(CHAIN),
            "content": now.diff(LAYER),
            "blob layer": now.blob(Digest.wrap(LAYER)),
            "index": now.manifest(TOP.digest),
            "child": now.manifest(CHILD.digest),
            "about": now.manifest(ABOUT.digest),
            "blob": now.blob(BLOB.digest),
        }
    assert {name for name, row in left.items() if row is None} == expected - {"toc"}
    collect_garbage(store)
    with store.metadata.read() as now:
        assert unneeded(now) == Unneeded()


def test_who_begins_to_hold_everything_after_the_look_loses_nothing(
    places: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = places
    with store.metadata.write() as rows:
        put_garbage(rows)
    look = gc._Collection.look
    held = []

    def looked(self: Any) -> Any:
        garbage = look(self)
        held.append(other.leases.hold([EVERYTHING]))
        return garbage

    monkeypatch.setattr(gc._Collection, "look", looked)
    assert collect_garbage(store).garbage == ()


def test_nobody_waits_for_a_look(places: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of another opening begins and ends while the rows are looked through."""
    store, other = places
    found = unneeded

    def look(rows: Rows, **options: Any) -> Any:
        with other.metadata.write() as others:
            put_garbage(others)
        return found(rows, **options)

    monkeypatch.setattr(gc, "unneeded", look)
    collect_garbage(store)
    monkeypatch.undo()
    assert {one.kind for one in collect_garbage(store).garbage} > {"layer", "blob", "manifest"}


def test_much_goes_in_parts_and_all_of_it(places: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents that share children go, whichever part they are in."""
    monkeypatch.setattr(gc, "_AT_ONCE", PARTS)
    monkeypatch.setattr(unneeded_rows, "_DOCUMENTS", 1)
    store, _ = places
    children = [document(config=entry(BLOB.digest), layers=[], annotations={"a": str(one)}) for one in range(5)]
    tops = [document(manifests=[entry(children[one].digest), entry(children[4].digest)]) for one in range(4)]
    with store.metadata.write() as rows:
        put_garbage(rows)
        for row in (*children, *tops, *ROUND):
            rows.put_manifest(row, [])
    with store.metadata.read() as now:
        parts = list(unneeded(now).parts(PARTS))
    assert len(parts) > 5
    told = collect_garbage(store, dry_run=True).garbage
    report = collect_garbage(store).garbage
    assert sorted((one.kind, one.subject) for one in report) == sorted((one.kind, one.subject) for one in told)
    assert len({one.subject for one in report if one.kind == "manifest"}) == len(children) + len(tops) + 5
    with store.metadata.read() as now:
        assert found_in(now) == {"chains": set(), "contents": set(), "manifests": set(), "blobs": set()}
    assert collect_garbage(store).garbage == ()


# What the server tells by itself.


@pytest.mark.sampled(2)
def test_what_lost_rows_may_have_named_stays_in_every_store_until_it_is_let_go(places: tuple[Store, Store]) -> None:
    store, other = places
    with store.metadata.write() as rows:
        put_garbage(rows)
        hold_for_lost_rows(rows)
    assert not [one for one in collect_garbage(other).garbage if one.kind != "lease"]
    with pytest.raises(DatabaseDamaged, match="nothing is pruned"):
        prune(other, all=True)
    assert collect_garbage(other, release=True, dry_run=True).garbage
    with store.metadata.read() as rows:
        assert has_lost_rows(rows)
        assert unneeded(rows) == Unneeded()
    released = {one.kind for one in collect_garbage(other, release=True).garbage}
    assert {"lease", "manifest", "layer"} <= released
    with store.metadata.read() as rows:
        assert not has_lost_rows(rows)
    assert not collect_garbage(store).garbage


@pytest.fixture(scope="module")
def one_database() -> Iterator[Any]:
    from tests.postgres import database

    with opened(database()) as metadata:
        yield metadata


class _Undone(Exception):
    """Ends a write whose changes nobody is to see."""


@pytest.mark.sampled(4)
@settings(max_examples=pace.examples(60), deadline=None)
@given(world=worlds())
def test_the_server_tells_what_the_graph_tells(one_database: Any, world: Any) -> None:
    with suppress(_Undone), one_database.write() as rows:
        fill(rows, world)
        told, without = unneeded(rows), unneeded(rows, ended=["lease"])
        goes, goes_without = falling(rows, told), falling(rows, without, ended=["lease"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unneeded_rows, "_DOCUMENTS", 1)
            patch.setattr(PostgresRows, "unneeded", Rows.unneeded)
            patch.setattr(PostgresRows, "falling", Rows.falling)
            assert (unneeded(rows), unneeded(rows, ended=["lease"])) == (told, without)
            assert (falling(rows, told), falling(rows, without, ended=["lease"])) == (goes, goes_without)
        before = found_in(rows)
        for part in told.parts(2):
            rows.forget_manifests(part.manifests)
            rows.forget_blobs(part.blobs)
            for chain in part.chains:
                rows.prune_chain(chain)
            for diff_id in part.contents:
                rows.prune_diff(diff_id)
        assert found_in(rows) == kept(world)
        gone = {kind: before[kind] - left for kind, left in kept(world).items()}
        assert gone.pop("manifests") == set(map(str, told.manifests))
        assert gone == {kind: set(map(str, getattr(goes, kind))) for kind in ("chains", "contents", "blobs")}
        raise _Undone


def test_a_dry_run_waits_for_no_writer() -> None:
    """Beyond one machine it ends while another process holds the lock, and reports what goes."""
    url = StoreURL.parse(engines.new_url(), engines.variables())
    with remote_store(url) as store, remote_store(url) as other:
        with store.metadata.write() as rows:
            put_garbage(rows)
            rows.put_lease("dead", [CHAIN, EVERYTHING])
        with suppress(_Undone), other.metadata.write() as rows:
            names_the_index(rows)
            told = collect_garbage(store, dry_run=True).garbage
            raise _Undone
        assert {one.kind for one in told} == {"lease", "layer", "blob", "toc", "manifest"}
        assert sorted(told, key=str) == sorted(collect_garbage(store).garbage, key=str)


_ID = "'sha256:' || encode(sha256((%s || number)::bytea), 'hex')"


def _texts(kind: str) -> str:
    return _ID.replace("%s", f"'{kind}'")


def filling(first: int, last: int, *, depth: int = 50) -> Iterator[str]:
    """Yield the statements that put images beside each other, so many on one parent, with all that belongs to each."""
    series = f"FROM generate_series({first}, {last}) AS number"
    image, layer, manifest, extra = map(_texts, ("image", "layer", "manifest", "extra"))
    parent = _texts("image").replace("number", "(number - 1)")
    yield f"INSERT INTO blob SELECT {layer}, 1, 'none' {series}"
    yield f"INSERT INTO blob SELECT {extra}, 1, 'none' {series}"
    yield f"INSERT INTO object SELECT {layer}, 'l' || number, 1 {series}"
    yield f"INSERT INTO object SELECT {extra}, 'e' || number, 1 {series}"
    yield f"INSERT INTO object SELECT 'toc:' || {layer}, 't' || number, 1 {series}"
    yield f"INSERT INTO diff SELECT {layer}, 1, 1, 1 {series}"
    yield f"INSERT INTO diff_blob SELECT {layer}, {layer} {series}"
    yield f"INSERT INTO chain SELECT {layer}, NULL, {layer}, 1, 1 {series}"
    head = f"number = {last} OR (number + 1) % {depth} = 0"
    yield f"INSERT INTO image SELECT {image}, 'c', {layer}, number, 0, {head} {series}"
    above = f"number > {first} AND number % {depth} > 0"
    yield f"INSERT INTO image_metadata SELECT {image}, 'parent', ({parent})::bytea {series} WHERE {above}"
    yield f"INSERT INTO manifest SELECT {manifest}, 'm', 'c' {series}"
    yield f"INSERT INTO image_manifest SELECT {image}, {manifest} {series}"
    yield f"INSERT INTO edge SELECT {manifest}, 'config', 0, {image}, '', 1 {series}"
    yield f"INSERT INTO edge SELECT {manifest}, 'layer', 0, {layer}, '', 1 {series}"
    yield f"INSERT INTO edge SELECT {manifest}, 'layer', 1, {extra}, '', 1 {series}"
    yield f"INSERT INTO reference SELECT 'r.test/a', ':' || number, {image}, 1 {series}"
    yield f"INSERT INTO top SELECT 'r.test/a', ':' || number, {manifest}, 1 {series}"


@pytest.mark.sampled(4)
def test_a_collection_takes_memory_for_what_goes_and_not_for_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes from the server is the same, however many images stay."""
    url = StoreURL.parse(engines.new_url(), engines.variables())
    conninfo = f"host={url.host} dbname={url.database} user={url.user}"
    came = [0]
    rows_of = PassingRows.rows

    def counted(self: PassingRows, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        found = rows_of(self, statement, values)
        came[0] += len(found)
        return found

    monkeypatch.setattr(PassingRows, "rows", counted)
    measured = []
    first = 1
    with remote_store(url) as store:
        for last in (100, 3000, 6000):
            for statement in filling(first, last):
                sql(conninfo, statement)
            sql(conninfo, "ANALYZE")
            first = last + 1
            with store.metadata.write() as rows:
                put_garbage(rows)
            came[0] = 0
            tracemalloc.start()
            report = collect_garbage(store)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert {one.kind for one in report.garbage} == {"layer", "toc", "blob", "manifest"}
            measured.append((came[0], peak))
        with store.metadata.read() as now:
            assert now.counts()["images"] == 6000
    # The first one imports and connects as well.
    assert measured[1][0] == measured[2][0] < 100
    assert measured[2][1] < measured[1][1] + 100_000, measured


@pytest.mark.sampled(3)
def test_circles_of_parents_are_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the images of a circle and those below it come from the server."""
    from orlop.store.rows.postgres.check import ROOTLESS, parent_loops
    from tests.postgres import database

    conninfo = database()
    for statement in filling(1, 3000):
        sql(conninfo, statement)
    sql(conninfo, "VACUUM ANALYZE")
    plan = "\n".join(line for (line,) in sql(conninfo, f"EXPLAIN {ROOTLESS}"))
    # Whatever the depth, each step down asks the index.
    assert re.search(r"Index .*Scan using image_children", plan), plan
    circle = sorted(str(Digest.of(b"image%d" % number)) for number in (10, 11, 12))
    with opened(conninfo) as metadata, metadata.read() as rows:
        assert isinstance(rows, PostgresRows)
        assert parent_loops(rows) == []
    sql(conninfo, "UPDATE image_metadata SET value = %s WHERE image = %s", *_pair(12, 10))
    came: list[tuple[Any, ...]] = []
    rows_of = PassingRows.rows

    def noted(self: PassingRows, *asked: Any) -> list[tuple[Any, ...]]:
        found = rows_of(self, *asked)
        came.extend(found)
        return found

    monkeypatch.setattr(PassingRows, "rows", noted)
    with opened(conninfo) as metadata, metadata.read() as rows:
        assert isinstance(rows, PostgresRows)
        assert [sorted(loop) for loop in parent_loops(rows)] == [circle]
    assert {row[0] for row in came} == {str(Digest.of(b"image%d" % number)) for number in range(10, 50)}


def _pair(parent: int, child: int) -> tuple[bytes, str]:
    return str(Digest.of(b"image%d" % parent)).encode(), str(Digest.of(b"image%d" % child))


def test_the_server_knows_a_digest_as_the_library_does() -> None:
    """Whatever of it a quick test can tell."""
    from orlop.store.rows.postgres.check import NO_DIGEST
    from tests.postgres import database

    digits = "0123456789abcdef" * 8
    valid = [f"sha256:{digits[:64]}", f"sha384:{digits[:96]}", f"sha512:{digits}"]
    texts = [
        *(one for text in valid for one in (text, text[:-1], f"{text}0", f"{text}\n", text.upper(), f" {text}")),
        *(f"sha256:{digits[:63]}{last}" for last in ("g", "A", " ", "\n", "é", ":")),
        *(f"sha256:{first}{digits[:63]}" for first in ("g", "-", " ")),
        *("", "*", "sha256:", f"sha384:{digits[:64]}", f"sha255:{digits[:64]}", f"SHA256:{digits[:64]}"),
    ]
    asked = f"SELECT one, {NO_DIGEST.format('one')} FROM unnest(%s::text[]) AS one"
    told = dict(sql(database(), asked, texts))
    assert {one for one, is_none in told.items() if not is_none} == set(valid)
    assert told.keys() == set(texts)
    assert all(Digest.unchecked(one).is_valid is not is_none for one, is_none in told.items() if ":" in one)
