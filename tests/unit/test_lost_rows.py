"""Rows that are lost, and what still tells of them: nothing is removed for want of one."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.store.rows.sqlite.damage.check import PARTIAL, has_lost_rows, integrity_faults
from tests.unit.artifacts import chart
from tests.unit.damage import ask, blobs, found, sql
from tests.unit.images_made import image, layer
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

ONE, BOTH, CHART = "example.com/one:1", "example.com/both:1", "example.com/chart:1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of an image, an index of two platforms, and an artifact."""
    layout = Layout()
    platforms = [layout.image("both", of, architecture=of, platform=True) for of in ("amd64", "arm64")]
    layout.top(layout.image("one", **named(ONE)), layout.index(*platforms, **named(BOTH)), chart(layout) | named(CHART))
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.pack()))
    return tmp_path / "root"


def names(root: Path) -> list[tuple[object, ...]]:
    return ask(root, "SELECT name, suffix, image FROM reference ORDER BY name, suffix")


@pytest.mark.parametrize("name", [ONE, BOTH])
@pytest.mark.parametrize("words", [["prune", "-f"], ["prune", "--dry-run"], ["gc"], ["images"], ["df"]], ids=" ".join)
def test_an_image_whose_tag_is_lost_is_not_taken_for_nameless(root, name, words, capsys):
    repository, _, tag = name.rpartition(":")
    before = {path.name for path in blobs(root)}
    sql(root, f"DELETE FROM reference WHERE name = '{repository}' AND suffix = ':{tag}'")
    assert run(["--root", str(root), *words]) == 6
    assert {path.name for path in blobs(root)} == before
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("name", [ONE, BOTH])
def test_a_lost_tag_is_recorded_again(root, name):
    before = names(root)
    sql(root, f"DELETE FROM reference WHERE name || suffix = '{name}'")
    assert found(stores.fsck(root).damage) == [("name-lost", name)]
    report = stores.fsck(root, repair=True)
    assert [(one.kind, one.subject) for one in report.repairs] == [("name-lost", name)]
    assert stores.fsck(root).damage == ()
    assert names(root) == before


def test_a_lost_tag_of_an_index_means_one_of_its_images_where_no_digest_tells_which(root):
    sql(root, f"DELETE FROM reference WHERE name = '{BOTH[:-2]}'")
    assert stores.fsck(root, repair=True).damage == ()
    with orlop.open(root) as images:
        assert images.inspect(BOTH).image.architecture == "amd64"


def test_what_a_name_led_to_stays_where_its_manifest_is_lost(root, capsys):
    ((digest,),) = ask(root, f"SELECT digest FROM top WHERE name || suffix = '{CHART}'")
    before = {path.name for path in blobs(root)}
    sql(root, f"DELETE FROM edge WHERE parent = '{digest}'", f"DELETE FROM manifest WHERE digest = '{digest}'")
    assert found(stores.fsck(root).damage) == [("name-dangling", CHART)]
    for words in (["gc"], ["prune", "-f"]):
        assert run(["--root", str(root), *words]) == 0
    assert {path.name for path in blobs(root)} == before
    # Whoever knows that it is lost takes the name away.
    capsys.readouterr()
    assert run(["--root", str(root), "rmi", CHART]) == 0
    assert capsys.readouterr().out == f"Untagged: {CHART}\n"
    assert stores.fsck(root).damage == ()
    assert run(["--root", str(root), "gc"]) == 0
    assert {path.name for path in blobs(root)} < before


def test_the_layers_of_a_name_stay_where_its_image_is_lost(tmp_path, capsys):
    root = tmp_path / "store"
    base = layer(("a", b"first"))
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(base, tag="below:1")))
        images.load(io.BytesIO(image(base, layer(("b", b"second")), tag="above:1")))
    ((lost,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/above'")
    before = {path.name for path in blobs(root)}
    sql(
        root,
        *(
            f"DELETE FROM {table} WHERE image = '{lost}'"
            for table in ("image_manifest", "image_labels", "image_metadata")
        ),
        f"DELETE FROM image WHERE id = '{lost}'",
    )
    assert ("name-dangling", "docker.io/library/above:1") in found(stores.fsck(root).damage)
    for words in (["gc"], ["prune", "-f"]):
        assert run(["--root", str(root), *words]) == 0
        assert {path.name for path in blobs(root)} == before
    # Whoever knows that it is lost takes the name away.
    capsys.readouterr()
    assert run(["--root", str(root), "rmi", "above:1"]) == 0
    assert run(["--root", str(root), "gc"]) == 0
    assert len(blobs(root)) == len(before) - 1


def test_a_blob_that_a_lease_holds_stays_where_its_row_is_lost(root):
    layers = "SELECT child FROM edge WHERE role = 'layer' AND child NOT IN (SELECT blob FROM diff_blob)"
    ((digest,),) = ask(root, layers)
    with orlop.open(root) as images:
        images.remove(CHART)
    # Such a lease lasts until a time of its own, as that of what is pushed does.
    sql(root, f"INSERT INTO lease VALUES ('until-9000000000-x', '{digest}')")
    path = root / "blobs" / str(digest).replace(":", "/")
    path.write_bytes(b"a chart")
    with orlop.open(root) as images:
        images.gc()
    assert path.exists()


def another() -> bytes:
    layout = Layout()
    return layout.top(chart(layout, b"another") | named("example.com/another:1")).pack()


def load(root: Path, archive: bytes) -> None:
    with orlop.open(root) as images:
        images.load(io.BytesIO(archive))


def another_image() -> bytes:
    layout = Layout()
    return layout.top(layout.image("another", **named("example.com/another:1"))).pack()


def page_of(path: Path, table: str) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((size,),) = database.execute("PRAGMA page_size").fetchall()
    return (page - 1) * size, size


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("table", "change", "rows"),
    [
        ("image_metadata", lambda images: images.pin(ONE), "SELECT image, key FROM image_metadata ORDER BY 1, 2"),
        (
            "top",
            lambda images: images.load(io.BytesIO(another())),
            "SELECT name, suffix, digest FROM top ORDER BY 1, 2",
        ),
        (
            "reference",
            lambda images: images.tag(ONE, "new:1"),
            "SELECT name, suffix, image FROM reference ORDER BY 1, 2",
        ),
    ],
)
def test_a_page_that_has_lost_a_row_is_known_by_its_index_which_gives_the_row_back(root, table, change, rows, capsys):
    path = root / "metadata.db"
    at, size = page_of(path, table)
    earlier = path.read_bytes()[at : at + size]
    with orlop.open(root) as images:
        change(images)
    after = ask(root, rows)
    assert page_of(path, table) == (at, size)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(earlier)
    for words in (["prune", "-f"], ["gc"]):
        assert run(["--root", str(root), *words]) == 6
    capsys.readouterr()
    assert stores.fsck(root, repair=True).damage == ()
    assert ask(root, rows) == after


def test_each_index_of_some_rows_is_compared_with_its_table(root):
    partial = ask(root, "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE '% WHERE %'")
    assert sorted((table, index, str(sql).split(" WHERE ")[1]) for table, index, sql in partial) == sorted(PARTIAL)


@pytest.mark.parametrize(
    ("of", "change"),
    [
        ("image_heads", lambda root: load(root, another_image())),
        (
            "image_children",
            lambda root: sql(root, "INSERT INTO image_metadata SELECT id, 'parent', CAST(id AS BLOB) FROM image"),
        ),
        ("image_pinned", lambda root: sql(root, "INSERT INTO image_metadata SELECT id, 'pinned', x'' FROM image")),
    ],
)
def test_a_row_that_only_an_index_of_some_rows_has_is_found_whatever_sqlite_says(root, of, change):
    ((table, index, rows),) = (one for one in PARTIAL if one[1] == of)
    path = root / "metadata.db"
    at, size = page_of(path, table)
    earlier = path.read_bytes()[at : at + size]
    change(root)
    assert page_of(path, table) == (at, size)
    with closing(sqlite3.connect(path)) as database:
        assert not has_lost_rows(database, table, index, rows)
        assert integrity_faults(database) == []
    with path.open("r+b") as file:
        file.seek(at)
        file.write(earlier)
    with closing(sqlite3.connect(path)) as database:
        assert has_lost_rows(database, table, index, rows)
        assert integrity_faults(database)


@pytest.mark.parametrize("what", ["its own manifest", "the index"])
@pytest.mark.parametrize("words", [["prune", "-f"], ["gc"]], ids=" ".join)
def test_an_image_of_an_index_stays_where_what_it_came_with_is_lost(root, words, what):
    ((image,),) = ask(root, "SELECT id FROM image WHERE id NOT IN (SELECT image FROM reference WHERE suffix GLOB ':*')")
    own = f"SELECT parent FROM edge WHERE role = 'config' AND child = '{image}'"
    sql(
        root,
        f"DELETE FROM image_manifest WHERE image = '{image}' AND manifest {'' if what[0] == 'i' else 'NOT'} IN ({own})",
    )
    before = {path.name for path in blobs(root)}
    assert run(["--root", str(root), *words]) in {0, 6}
    assert {path.name for path in blobs(root)} == before
    assert stores.fsck(root, repair=True).damage == ()
    with orlop.open(root) as images:
        assert {str(one.id) for one in images.images(all=True)} >= {image}
        images.prune()
    assert {path.name for path in blobs(root)} == before


@pytest.mark.parametrize("words", [[], ["tag", BOTH, "example.com/kept:1"]], ids=["loaded", "tagged"])
def test_a_tag_of_an_index_without_images_gets_one_that_comes_by_another_name(tmp_path, words):
    root, layout = tmp_path / "root", Layout()
    index = layout.index(*(layout.image("both", of, architecture=of, platform=True) for of in ("amd64", "arm64")))
    bare, blob = Layout().top(index | named(BOTH)), "blobs/" + index["digest"].replace(":", "/")
    bare.files[blob] = layout.files[blob]
    layout.top(index | named(ONE))
    with orlop.open(root) as images:
        images.load(io.BytesIO(bare.pack()))
    assert not words or run(["--root", str(root), *words]) == 0
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.pack()))
    assert stores.fsck(root).damage == ()
    assert run(["--root", str(root), "gc"]) == 0
    assert ("example.com/both", ":1") in {name[:2] for name in names(root)}


@pytest.mark.parametrize("target", ["*", "../..", "sha256:0", "sha256:" + "0" * 64 + "\n", ""])
@pytest.mark.parametrize(("table", "column"), [("reference", "image"), ("top", "digest")])
def test_a_name_of_what_is_no_digest_is_a_value_that_none_writes(root, table, column, target):
    before = {path.name for path in blobs(root)}
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute(f"UPDATE {table} SET {column} = ? WHERE name = 'example.com/chart'", (target,))
        changed = database.execute("SELECT changes()").fetchone()
        if changed == (0,):
            database.execute(f"UPDATE {table} SET {column} = ?", (target,))
    assert {one.kind for one in stores.fsck(root).damage} == {"value-invalid"}
    report = stores.fsck(root, repair=True)
    assert report.damage == ()
    # What the name meant nobody can tell: nothing goes for that.
    assert "held" in {one.kind for one in report.problems}
    assert run(["--root", str(root), "gc"]) == 0
    assert {path.name for path in blobs(root)} == before
