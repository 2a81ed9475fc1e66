"""Values in PostgreSQL that types do not rule out and no store has: none answers by them, and a repair ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import DatabaseDamaged
from orlop.model.store_url import StoreURL
from tests import engines
from tests.crash.pace import turn
from tests.unit.test_remote_store import direct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.model.reference import Reference
    from orlop.service.image_service import ImageService

LABELLED = "example/tiny:1.0"
MOST = 2**63 - 1


def _sizes(images: ImageService) -> object:
    return [one.size for one in images.images()]


def _saved(images: ImageService) -> object:
    return b"".join(bytes(chunk) for chunk in images.save_chunks([LABELLED]))


def _labels(images: ImageService) -> object:
    return list(images.images(filters=["label=no such label"]))


def _events(images: ImageService) -> object:
    return images.events()


AN_OBJECT = "name = (SELECT min(name) FROM object WHERE left(name, 4) <> 'toc:')"

WRONG: dict[str, tuple[str, Callable[[ImageService], object] | None]] = {
    "size of a blob": ("UPDATE blob SET size = -1", _saved),
    "size of a layer": ("UPDATE diff SET size = -1", None),
    "size of what a layer holds": ("UPDATE diff SET content_size = -2", None),
    "number of entries": ("UPDATE diff SET entries = -1", None),
    "size of a chain": ("UPDATE chain SET size = -1", _sizes),
    "depth of a chain": ("UPDATE chain SET depth = 0", None),
    "descriptor": ("UPDATE chain SET descriptor = '[1'", None),
    "position": ("UPDATE edge SET position = -1 - position", None),
    "size of an edge": ("UPDATE edge SET size = -1", None),
    "labels": ("UPDATE image_labels SET labels = '3'", _labels),
    "deep labels": ("UPDATE image_labels SET labels = repeat('[', 100000)", _labels),
    "attributes": ("UPDATE event SET attributes = 'no JSON'", _events),
    "number of an event": ("UPDATE event SET number = -number", None),
    "a last number": (f"UPDATE event SET number = {MOST} WHERE number = (SELECT min(number) FROM event)", None),
    "number of the last event": ("UPDATE store SET last_event = 1", None),
    "a number of the last event after which none comes": (f"UPDATE store SET last_event = {MOST}", None),
    "time of sessions": ("UPDATE store SET ttl = 'NaN'", None),
    "endless time of sessions": ("UPDATE store SET ttl = 'Infinity'", None),
    "epoch": (f"UPDATE store SET epoch = {MOST}", None),
    **{
        f"name of an object: {name!r}": (f"UPDATE object SET name = E'{name}' WHERE {AN_OBJECT}", None)
        for name in ("", "words", "sha256:0", "toc:words", f"sha256:{'0' * 63}\\x1b")
    },
    **{
        f"key of an object: {key!r}": (f"UPDATE object SET key = E'{key}' WHERE {AN_OBJECT}", None)
        for key in ("", "../../x", "a\\x1bb", "A" * 32)
    },
    "key of a table of contents": ("UPDATE object SET key = '' WHERE name = (SELECT max(name) FROM object)", None),
    "key of an upload": ("INSERT INTO upload VALUES (E'\\x1b', 'nobody')", None),
    "key of what is to go": ("INSERT INTO doomed VALUES (E'\\x1b', '', 1)", None),
    "key of what goes": ("INSERT INTO deleting VALUES (E'\\x1b', '')", None),
}
"""What is wrong, how it comes about, and who must not answer by it."""


@pytest.fixture
def url(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = engines.placed(monkeypatch, tmp_path)
    with orlop.open(found) as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return found


def test_what_no_column_can_hold_is_named_refused_and_mended(url: str) -> None:
    with orlop.open(url) as images:
        listed = [(one.id, one.size) for one in images.images()]
        saved = _saved(images)
    for number, (name, (statement, ask)) in enumerate(WRONG.items()):
        if not turn(number, "values of PostgreSQL"):
            continue
        with direct(StoreURL.parse(url, engines.variables())) as connection:
            connection.execute("SET session_replication_role = replica")
            assert connection.execute(f"SET search_path TO orlop; {statement}".encode()) is not None
        if ask is not None:
            with orlop.open(url) as images, pytest.raises(DatabaseDamaged):
                ask(images)
        # What is JSON only for lists follows from the configs.
        kind = "image-wrong" if "image_labels" in statement else "value-invalid"
        assert {one.kind for one in orlop.stores.fsck(url).damage} == {kind}, name
        if kind == "value-invalid":
            with orlop.open(url) as images, pytest.raises(DatabaseDamaged):
                images.prune()
        repaired = orlop.stores.fsck(url, repair=True)
        assert kind in {one.kind for one in repaired.repairs}, name
        assert not orlop.stores.fsck(url).damage, name
        with orlop.open(url) as images:
            assert [(one.id, one.size) for one in images.images()] == listed, name
            assert _saved(images) == saved, name
            images.tag(LABELLED, "example/again:1")
            images.remove("example/again:1")


@pytest.mark.parametrize("target", ["*", "../..", "sha256:0", f"sha256:{'0' * 64}x"])
@pytest.mark.parametrize(("table", "column"), [("reference", "image"), ("top", "digest")])
def test_a_name_of_what_is_no_digest_is_taken_out_and_everything_held(
    url: str, table: str, column: str, target: str
) -> None:
    if not turn(len(target), "names without a digest"):
        return
    with orlop.open(url) as images:
        listed = {one.id for one in images.images(all=True)}
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        if table == "top":
            connection.execute("INSERT INTO orlop.top VALUES ('r.test/a', ':1', 'none', 1)")
        changed = connection.execute(f"UPDATE orlop.{table} SET {column} = %s".encode(), (target,))
        assert changed.rowcount > 0
    assert {one.kind for one in orlop.stores.fsck(url, quick=True).damage} == {"value-invalid"}
    repaired = orlop.stores.fsck(url, repair=True)
    assert (repaired.damage, {one.kind for one in repaired.notes}) == ((), {"held"})
    with orlop.open(url) as images:
        with pytest.raises(DatabaseDamaged, match="could not read all rows"):
            images.prune()
        assert {one.id for one in images.images(all=True)} == listed


@pytest.mark.parametrize(
    "statement", ["UPDATE store SET version = -1", "UPDATE store SET version = 0", "DELETE FROM store"]
)
def test_a_store_of_no_version_is_damaged(url: str, statement: str) -> None:
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute(f"SET search_path TO orlop; {statement}".encode())
    with pytest.raises(DatabaseDamaged, match="its table store says"), orlop.open(url) as images:
        list(images.images())
    with pytest.raises(DatabaseDamaged, match="its table store says"):
        orlop.stores.init(url)


@pytest.mark.parametrize("size", [3, 0, -1, 10**12])
def test_a_wrong_size_of_an_object_is_told_and_the_bucket_puts_it_right(url: str, size: int) -> None:
    with orlop.open(url) as images:
        saved = _saved(images)
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute("UPDATE orlop.object SET size = %s WHERE name NOT LIKE 'toc%%'", (size,))
    assert {one.kind for one in orlop.stores.fsck(url).damage} == {"blob-wrong"}
    repaired = orlop.stores.fsck(url, repair=True)
    assert {one.kind for one in repaired.repairs} == {"blob-wrong"}
    assert orlop.stores.fsck(url).problems == ()
    with orlop.open(url) as images:
        assert _saved(images) == saved


@pytest.mark.parametrize("statement", ["UPDATE diff SET content_size = {}", "UPDATE chain SET size = {}"])
def test_sizes_whose_sum_no_column_can_hold_are_named_refused_and_mended(url: str, statement: str) -> None:
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute(f"SET search_path TO orlop; {statement.format(MOST)}".encode())
    assert "chain-wrong" in {one.kind for one in orlop.stores.fsck(url, quick=True).damage}
    with orlop.open(url) as images, pytest.raises(DatabaseDamaged):
        images.gc()
    orlop.stores.fsck(url, repair=True)
    assert orlop.stores.fsck(url).problems == ()
    with orlop.open(url) as images:
        images.gc()


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM object WHERE {AN_OBJECT}",
        f"UPDATE object SET name = 'sha256:{'0' * 64}' WHERE {AN_OBJECT}",
        f"UPDATE object SET key = '{'0' * 32}' WHERE {AN_OBJECT}",
    ],
)
def test_a_blob_whose_object_is_known_by_nothing_or_by_another_name_is_kept_again(url: str, statement: str) -> None:
    with orlop.open(url) as images:
        images.remove("example/imported:latest")
        saved = b"".join(images.save_chunks([one.familiar for one in _tags(images)]))
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute(f"SET search_path TO orlop; {statement}".encode())
    with orlop.open(url) as images:
        images.gc()
    assert {one.kind for one in orlop.stores.fsck(url).damage} == {"blob-missing"}
    repaired = orlop.stores.fsck(url, repair=True)
    assert "blob-missing" in {one.kind for one in repaired.repairs}
    assert repaired.damage == ()
    with orlop.open(url) as images:
        assert b"".join(images.save_chunks([one.familiar for one in _tags(images)])) == saved
        images.gc()
    assert orlop.stores.fsck(url).problems == ()


def _tags(images: ImageService) -> list[Reference]:
    return sorted(name for one in images.images() for name in one.references if name.tag)
