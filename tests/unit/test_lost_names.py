"""Releases of single things where a name has lost its image or its manifest: what may have been of that stays."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import stores
from orlop.errors import DatabaseDamaged
from tests.unit.artifacts import chart
from tests.unit.damage import ask, blobs, sql
from tests.unit.images_made import image, layer
from tests.unit.layouts import Layout, named
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE, OWN, TOP = (layer((name, name.encode())) for name in ("base", "own", "top"))
CHART, OTHER = "example.com/chart:1", "example.com/other:1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of an image that another one is built on, and whose row is lost; its name is still there."""
    root = tmp_path / "store"
    with orlop.open(root) as images:
        for layers, tag in (((BASE, OWN), "lost:1"), ((BASE, OWN, TOP), "above:1")):
            images.load(io.BytesIO(image(*layers, tag=tag)))
    ((lost,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/lost'")
    tables = ("image_manifest", "image_labels", "image_metadata")
    sql(root, *(f"DELETE FROM {table} WHERE image = '{lost}'" for table in tables))
    sql(root, f"DELETE FROM image WHERE id = '{lost}'")
    return root


def _http(root: Path, method: str, path: str) -> None:
    with orlop.open(root) as images, served(images, root.parent) as client:
        assert client.ask(method, path).status < 300


def _replaced(images: Any) -> None:
    before = str(images.inspect("above:1").image.id)
    images.load(io.BytesIO(image(layer(("new", b"new")), tag="above:1")))
    images.remove(before)


RELEASES: dict[str, Callable[[Any], object]] = {
    "remove": lambda images: images.remove("above:1"),
    "remove by ID": lambda images: images.remove(str(images.inspect("above:1").image.id), force=True),
    "replaced and removed": _replaced,
    "prune": lambda images: images.prune(all=True),
}


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_layers_that_a_lost_image_may_have_stay(root, release):
    before = {path.name for path in blobs(root)}
    with orlop.open(root) as images:
        release(images)
    assert {path.name for path in blobs(root)} >= before
    assert ask(root, "SELECT count(*) FROM chain WHERE depth <= 3") >= [(3,)]
    # Whoever knows that it is lost takes the name away, or brings the image again.
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(BASE, OWN, tag="lost:1")))
        images.gc()
        assert len(images.inspect("lost:1").image.rootfs.diff_ids) == 2
    assert len(before - {path.name for path in blobs(root)}) == 1


def test_layers_that_a_lost_image_may_have_stay_where_another_is_removed_over_http(root):
    before = {path.name for path in blobs(root)}
    _http(root, "DELETE", "/images/above:1")
    assert {path.name for path in blobs(root)} == before


def test_blobs_that_have_lost_their_rows_with_the_image_stay(root, caplog):
    with orlop.open(root) as images:
        images.remove("above:1")
    before = {path.name for path in blobs(root)}
    sql(root, "PRAGMA foreign_keys=OFF", *(f"DELETE FROM {table}" for table in ("diff_blob", "chain", "diff", "blob")))
    with orlop.open(root) as images:
        for dry_run in (True, False):
            assert images.gc(dry_run=dry_run).freed == 0
    assert {path.name for path in blobs(root)} == before
    assert "has lost what it means" in caplog.text
    with orlop.open(root) as images:
        images.remove("lost:1")
        images.gc()
    assert not blobs(root)


def test_a_dry_run_tells_what_stays_for_a_lost_image(root):
    with orlop.open(root) as images:
        report = images.prune(all=True, dry_run=True)
    assert report.freed == 0


def test_blobs_that_a_lost_manifest_may_have_stay(tmp_path):
    root = tmp_path / "store"
    layout = Layout()
    layout.top(chart(layout) | named(CHART), chart(layout, annotations={"a": "b"}) | named(OTHER))
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.pack()))
    before = {path.name for path in blobs(root)}
    ((lost,),) = ask(root, f"SELECT digest FROM top WHERE name || suffix = '{CHART}'")
    sql(root, f"DELETE FROM edge WHERE parent = '{lost}'", f"DELETE FROM manifest WHERE digest = '{lost}'")
    with orlop.open(root) as images:
        images.remove(OTHER)
    assert {path.name for path in blobs(root)} == before
    with orlop.open(root) as images:
        images.remove(CHART)
        images.gc()
    assert not blobs(root)


def test_an_earlier_backup_stays_as_it_is_where_a_name_has_lost_its_image(tmp_path, root):
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(BASE, OWN, tag="lost:1")))
    stores.backup(root, tmp_path / "backup")
    ((lost,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/lost'")
    sql(root, f"DELETE FROM image_labels WHERE image = '{lost}'", f"DELETE FROM image_metadata WHERE image = '{lost}'")
    sql(root, f"DELETE FROM image WHERE id = '{lost}'")
    with pytest.raises(DatabaseDamaged, match=r"a name of the store .* has lost what it means") as caught:
        stores.backup(root, tmp_path / "backup")
    assert "\n" not in str(caught.value)
    with orlop.open(tmp_path / "backup") as images:
        assert str(images.inspect("lost:1").image.id) == lost
    # A new one takes what is there.
    stores.backup(root, tmp_path / "another")


@pytest.mark.parametrize("count", [1, 2])
def test_what_an_image_of_an_index_had_goes_as_the_image_store_deletes_it(tmp_path, count):
    layout = Layout()
    platforms = [layout.image(name, architecture=name, platform=True) for name in ("amd64", "arm64")[:count]]
    layout.top(layout.index(*platforms) | named("example.com/app:1"))
    with orlop.open(tmp_path / "store") as images:
        images.load(io.BytesIO(layout.pack()))
        assert len(blobs(tmp_path / "store")) >= count
        with images._store.metadata.read() as rows:
            ids = list(rows.image_ids())
        assert len(ids) == count
        for one in ids:
            images._store.images.delete(one)
    assert blobs(tmp_path / "store") == []


def test_a_collection_says_why_nothing_goes_while_a_name_has_lost_its_image(root, caplog):
    with orlop.open(root) as images:
        images.remove("above:1")
        for dry_run in (True, False):
            caplog.clear()
            assert images.gc(dry_run=dry_run).freed == 0
            assert caplog.text.count("has lost what it means") == 1
        caplog.clear()
        images.remove("lost:1")
        assert images.gc().freed > 0
    assert "has lost" not in caplog.text
