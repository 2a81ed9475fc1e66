"""Libraries that were built with other defaults: other sizes of pages, and foreign keys that are checked unasked."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.store.rows.sqlite.damage.pages import page_size
from orlop.store.rows.sqlite.tables import SCHEMA, SCHEMA_VERSION
from tests.unit.damage import blobs, fill, images_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (512, 1024, 4096, 8192, 65536)
HEADER = 100
"""The bytes of page 1 before the page itself begins."""


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    """A store of three images, with nobody at work in it."""
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
    return root


def lay_out_anew(root: Path, page: int) -> None:
    """Replace the database of a store by one with pages of a size, laid out as a library with that default does it."""
    old = root.parent / "old.db"
    (root / "metadata.db").rename(old)
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as new:
        new.execute(f"PRAGMA page_size={page}")
        for statement in SCHEMA:
            new.execute(statement)
        new.execute("ATTACH ? AS old", (str(old),))
        tables = new.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
        for (table,) in tables.fetchall():
            new.execute(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM old.{table}")
        ((number,),) = new.execute("PRAGMA old.application_id")
        new.execute("DETACH old")
        new.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        new.execute(f"PRAGMA application_id={number}")
        assert new.execute("PRAGMA page_size").fetchall() == [(page,)]


def destroy_schema(root: Path, page: int, *, keeps_header: bool) -> None:
    """Fill the first page with zeros."""
    with (root / "metadata.db").open("r+b") as file:
        kept = HEADER if keeps_header else 0
        file.seek(kept)
        file.write(bytes(page - kept))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("keeps_header", [True, False])
@pytest.mark.parametrize("page", SIZES)
def test_a_lost_schema_is_made_again_whatever_the_size_of_pages(store, page, keeps_header):
    before = images_of(store)
    lay_out_anew(store, page)
    assert images_of(store) == before
    destroy_schema(store, page, keeps_header=keeps_header)
    assert stores.fsck(store, repair=True).damage == ()
    assert images_of(store) == before


@pytest.mark.parametrize("page", SIZES)
def test_the_size_of_pages_is_known_by_how_they_look(store, page):
    lay_out_anew(store, page)
    assert page_size(str(store / "metadata.db")) == page
    destroy_schema(store, page, keeps_header=False)
    assert page_size(str(store / "metadata.db")) == page


def vacuum(root: Path) -> None:
    """Pack a database: the trees of all indexes come behind those of all tables."""
    sql_outside(root, "VACUUM")


def upgrade(root: Path) -> None:
    """Bring a database of the first schema up to date: newer tables and indexes come behind all others."""
    found = sql_outside(root, "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%edge%'")
    newer = ["TABLE edge", "TABLE top", "INDEX image_pinned", *(f"TRIGGER {name}" for (name,) in found)]
    sql_outside(root, *(f"DROP {one}" for one in reversed(newer)), "PRAGMA user_version=1")
    with orlop.open(root) as images:
        images.pin("example/tiny:1.0")


def remove(root: Path) -> None:
    """Leave pages that were used once, and hold what was removed."""
    with orlop.open(root) as images:
        images.remove("example/tiny:1.0", force=True)


def sql_outside(root: Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements that need to stand outside of transactions, and return what the last one answers."""
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        answers = [database.execute(statement).fetchall() for statement in statements]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return answers[-1]


@pytest.mark.sampled(18)
@pytest.mark.parametrize("keeps_header", [True, False])
@pytest.mark.parametrize("page", [None, 512, 1024, 65536])
@pytest.mark.parametrize("change", [vacuum, upgrade, remove], ids=lambda change: change.__name__)
def test_a_lost_schema_is_made_again_wherever_its_trees_begin(data, tmp_path, change, page, keeps_header):
    root = tmp_path / "root"
    fill(root, data)
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    if page is not None:
        lay_out_anew(root, page)
    change(root)
    before = rows_of(root)
    destroy_schema(root, page or 4096, keeps_header=keeps_header)
    assert stores.fsck(root, repair=True).damage == ()
    assert rows_of(root) == before


def test_a_repair_works_where_foreign_keys_are_checked_by_default(store, monkeypatch):
    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = opened(*args, **options)
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    before, opened = images_of(store), sqlite3.connect
    destroy_schema(store, 4096, keeps_header=True)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        assert stores.fsck(store, repair=True).damage == ()
    assert images_of(store) == before


@pytest.mark.parametrize("size", [1, HEADER, 4096, 8192])
def test_a_database_of_which_nothing_can_be_read_is_kept_with_its_blobs(store, size, capsys):
    before = {path.name for path in blobs(store)}
    os.truncate(store / "metadata.db", size)
    content = (store / "metadata.db").read_bytes()
    assert run(["--root", str(store), "fsck", "--repair"]) == 6
    assert "restore it from a backup" in "".join(capsys.readouterr())
    for words in (["gc"], ["prune", "-f"], ["images"]):
        # One byte is what SQLite takes for an empty database, which is not opened at all.
        assert run(["--root", str(store), *words]) == (7 if size == 1 else 6)
    assert (store / "metadata.db").read_bytes() == content
    assert {path.name for path in blobs(store)} == before
