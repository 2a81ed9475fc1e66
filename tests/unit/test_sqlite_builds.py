"""Libraries that were built with other defaults: other sizes of pages, and foreign keys that are checked unasked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import stores
from orlop.store.rows.sqlite.damage import salvage
from orlop.store.rows.sqlite.tables import SCHEMA, SCHEMA_VERSION
from tests.unit.damage import images_of

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
    assert salvage.page_size(str(store / "metadata.db")) == page
    destroy_schema(store, page, keeps_header=False)
    assert salvage.page_size(str(store / "metadata.db")) == page


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
