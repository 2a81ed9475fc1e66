"""Names in PostgreSQL that have lost what they mean: no removal takes what may have been of that."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import orlop
from orlop.cli.main import run
from orlop.model.digest import ChainID, ImageID
from orlop.model.store_url import StoreURL
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.postgres.tables import HAS_LOST_IMAGES, HAS_LOST_TOPS
from tests import engines
from tests.postgres import database, make_older, opened, sql, tag
from tests.unit.artifacts import chart
from tests.unit.images_made import image, layer
from tests.unit.layouts import Layout, named
from tests.unit.served import served
from tests.unit.test_remote_store import direct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.service.image_service import ImageService

BASE, OWN, TOP = (layer((name, name.encode())) for name in ("base", "own", "top"))
LOST, ABOVE = "lost:1", "above:1"
CHART, OTHER = "example.com/chart:1", "example.com/other:1"
_OF_LOST = "= (SELECT image FROM reference WHERE name LIKE '%/lost')"
LOSSES = {
    "a row": f"DELETE FROM image WHERE id {_OF_LOST}",
    "a row where no link is checked": f"""SET session_replication_role = replica;
        DELETE FROM image_metadata WHERE image {_OF_LOST}; DELETE FROM image_labels WHERE image {_OF_LOST};
        DELETE FROM image WHERE id {_OF_LOST}""",
}


def _asked(url: str, statement: str) -> list[tuple[Any, ...]]:
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        found = connection.execute(f"SET search_path TO orlop; {statement}".encode())
        while found.nextset():
            pass
        return found.fetchall() if found.description else []


def _kept(url: str) -> set[str]:
    """Return what a store keeps: contents, and the objects in the bucket that are theirs."""
    kept = _asked(
        url, "SELECT digest FROM blob UNION SELECT id FROM chain WHERE depth < 3 UNION SELECT name FROM object"
    )
    return {digest for (digest,) in kept}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of an image, and of another one that is built on it."""
    found = engines.placed(monkeypatch, tmp_path)
    monkeypatch.setenv("ORLOP_ROOT", found)
    with orlop.open(found) as images:
        for layers, name in (((BASE, OWN), LOST), ((BASE, OWN, TOP), ABOVE)):
            images.load(io.BytesIO(image(*layers, tag=name)))
    return found


def _id(images: ImageService) -> ImageID:
    return images.inspect(ABOVE).image.id


def _replaced(images: ImageService) -> None:
    before = str(_id(images))
    images.load(io.BytesIO(image(layer(("new", b"new")), tag=ABOVE)))
    images.remove(before)


def _released(images: ImageService) -> None:
    store = images._store
    chains = [ChainID.unchecked(str(row.chain_id)) for row in _chains(images) if row.depth == 3]
    held = [store.layers.get(chain) for chain in chains]
    store.images.delete(_id(images))
    for one in held:
        store.layers.release(one)


def _chains(images: ImageService) -> list[Any]:
    with images._store.metadata.read() as rows:
        return rows.chains()


def _over_http(images: ImageService, folder: Path) -> None:
    with served(images, folder) as client:
        assert client.ask("DELETE", f"/images/{ABOVE}").status == 200


RELEASES: dict[str, Callable[[ImageService, Path], object]] = {
    "remove": lambda images, _: images.remove(ABOVE),
    "remove by ID": lambda images, _: images.remove(str(_id(images)), force=True),
    "replaced and removed": lambda images, _: _replaced(images),
    "prune": lambda images, _: images.prune(all=True),
    "collection": lambda images, _: (images.remove(ABOVE), images.gc()),
    "image store": lambda images, _: images._store.images.delete(_id(images)),
    "layer store": lambda images, _: _released(images),
    "command": lambda *_: run(["rmi", ABOVE]) == 0 or pytest.fail("rmi"),
    "HTTP": _over_http,
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("loss", LOSSES)
def test_layers_that_a_lost_image_may_have_stay(
    url: str, tmp_path: Path, loss: str, release: Callable[[ImageService, Path], object]
) -> None:
    before = _kept(url)
    _asked(url, LOSSES[loss])
    with orlop.open(url) as images:
        release(images, tmp_path)
    assert _kept(url) >= before
    # Whoever knows that it is lost brings the image again, or takes the name away.
    with orlop.open(url) as images:
        images.load(io.BytesIO(image(BASE, OWN, tag=LOST)))
        images.gc()
        assert len(images.inspect(LOST).image.rootfs.diff_ids) == 2
        images.remove(LOST)
        images.prune(all=True)
        images.gc()
    assert _asked(url, "SELECT id FROM chain") == []
    assert orlop.stores.fsck(url).problems == ()


def test_blobs_that_a_lost_manifest_may_have_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = engines.placed(monkeypatch, tmp_path)
    layout = Layout()
    layout.top(chart(layout) | named(CHART), chart(layout, annotations={"a": "b"}) | named(OTHER))
    with orlop.open(url) as images:
        images.load(io.BytesIO(layout.pack()))
    before = _kept(url)
    _asked(url, f"DELETE FROM manifest WHERE digest = (SELECT digest FROM top WHERE name || suffix = '{CHART}')")
    with orlop.open(url) as images:
        images.remove(OTHER)
    assert _kept(url) == before
    with orlop.open(url) as images:
        images.remove(CHART)
        images.gc()
    assert _kept(url) == set()


# The marks.

MEANS = "sha256:" + "0" * 64
CHANGES = {
    "image": (
        "INSERT INTO image VALUES ('{0}', 'c', NULL, 1, 1)",
        "UPDATE image SET id = 'other' WHERE id = '{0}'",
        "UPDATE image SET id = '{0}' WHERE id = 'other'",
        "DELETE FROM image WHERE id = '{0}'",
        "INSERT INTO image VALUES ('{0}', 'c', NULL, 1, 1)",
        "TRUNCATE image CASCADE",
        "UPDATE reference SET lost = false",
        "INSERT INTO image VALUES ('another', 'c', NULL, 1, 1)",
        "UPDATE reference SET image = 'another'",
        "DELETE FROM reference",
    ),
    "manifest": (
        "INSERT INTO manifest VALUES ('{0}', 'm', 'c')",
        "UPDATE manifest SET digest = 'other' WHERE digest = '{0}'",
        "UPDATE manifest SET digest = '{0}' WHERE digest = 'other'",
        "DELETE FROM manifest WHERE digest = '{0}'",
        "INSERT INTO manifest VALUES ('{0}', 'm', 'c')",
        "TRUNCATE manifest CASCADE",
        "UPDATE top SET lost = false",
        "INSERT INTO manifest VALUES ('another', 'm', 'c')",
        "UPDATE top SET digest = 'another'",
        "DELETE FROM top",
    ),
}


@pytest.mark.parametrize("mode", ["origin", "replica"])
@pytest.mark.parametrize("table", CHANGES)
def test_a_mark_follows_from_every_change_of_either_table(table: str, mode: str) -> None:
    url = database()
    names = "reference" if table == "image" else "top"
    sql(url, f"INSERT INTO {names} VALUES ('a', ':1', '{MEANS}', 1), ('b', ':1', '{MEANS}', 1)")
    said = []
    for change in ("SELECT 1", *CHANGES[table]):
        sql(url, f"SET session_replication_role = {mode}; {change.format(MEANS)}")
        (lost,) = sql(url, f"SELECT count(*) > 0 FROM {names} WHERE lost")[0]
        (scanned,) = sql(url, HAS_LOST_IMAGES if names == "reference" else HAS_LOST_TOPS)[0]
        assert lost is scanned, change
        said.append(lost)
    assert said == [True, False, True, False, True, False, True, True, True, False, False]


def test_an_older_store_gets_its_marks_as_it_is_upgraded() -> None:
    url = database()
    with opened(url) as metadata:
        tag(metadata, "1")
        with metadata.write() as rows:
            rows.put_image(ImageID.of(b"[]"), b"[]", chain_id=None, created=(1, 1))
            rows.put_reference(ReferenceRow("docker.io/library/a", ":2", ImageID.of(b"[]"), 1))
    with psycopg.connect(url, autocommit=True) as connection:
        make_older(connection, 5)
    with opened(url) as metadata:
        metadata.update()
    assert sql(url, "SELECT suffix, lost FROM reference ORDER BY 1") == [(":1", True), (":2", False)]
