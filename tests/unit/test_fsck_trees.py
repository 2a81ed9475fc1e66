"""A page in the midst of a tree is lost: what lies below it is told by what it holds, and comes back."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from orlop.store.rows.values import COLUMNS
from tests.unit.damage import ask, copied, layout
from tests.unit.layouts import packed

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 512
"""So small that most tables have inner pages."""
INNER = (2, 5)
TOLD = {"event", "lease"}
"""Tables that only tell of the past."""


@pytest.fixture(scope="module")
def deep(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables have inner pages."""
    root = copied(whole, tmp_path_factory.mktemp("deep") / "root")
    with orlop.open(root) as images:
        for number in range(16):
            name = f"example.com/deep-{number}:1"
            images.load(io.BytesIO(layout(name, "below", f"own {number}", compress=bool(number % 2))))
            images.pin(name)
            # What was removed leaves free pages, and must not come back.
            images.load(io.BytesIO(layout("example.com/gone:1", "below", f"gone {number}", compress=False)))
            images.remove("example.com/gone:1")
            images.import_image(io.BytesIO(packed({f"imported {number}": b"x"})), changes=[f"LABEL number={number}"])
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        for statement in ("journal_mode=DELETE", f"page_size={PAGE}"):
            database.execute(f"PRAGMA {statement}")
        database.execute("VACUUM")
    return root


def rows(root: Path) -> dict[str, set[tuple[object, ...]]]:
    return {table: set(ask(root, f"SELECT * FROM {table}")) for table in COLUMNS if table not in TOLD}


def zero(root: Path, page: int) -> bytes:
    """Lose a page, and return what was on it."""
    with (root / "metadata.db").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        lost = file.read(PAGE)
        file.seek((page - 1) * PAGE)
        file.write(bytes(PAGE))
    return lost


def inner_pages(root: Path, table: str) -> list[int]:
    """Return the pages of a table that lead to others, its root first."""
    data = (root / "metadata.db").read_bytes()
    (waiting,) = ask(root, f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")
    pages = [page for page in waiting if isinstance(page, int)]
    for page in pages:
        content = data[(page - 1) * PAGE : page * PAGE]
        if content[0] in INNER:
            pages += _below(content)
    return [page for page in pages if data[(page - 1) * PAGE] in INNER]


def _below(content: bytes) -> list[int]:
    count = int.from_bytes(content[3:5], "big")
    cells = [int.from_bytes(content[at : at + 2], "big") for at in range(12, 12 + 2 * count, 2)]
    return [int.from_bytes(content[at : at + 4], "big") for at in (*cells, 8)]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("table", sorted(set(COLUMNS) - TOLD))
def test_the_rows_below_a_page_that_is_lost_come_back(deep, tmp_path, table):
    before = rows(deep)
    pages = inner_pages(deep, table)
    assert pages
    for page in dict.fromkeys([pages[0], pages[-1]]):
        root = copied(deep, tmp_path / f"root-{page}")
        lost = zero(root, page)
        assert stores.fsck(root).damage
        assert stores.fsck(root, repair=True).damage == ()
        after = rows(root)
        assert {name: after[name] for name in after if name != table} == {
            name: before[name] for name in before if name != table
        }
        # Of a row that began on the page itself another tree may know the key, and nothing else.
        assert {row[:2] for row in after[table]} <= {row[:2] for row in before[table]}
        assert all(str(row[0])[:28].encode() in lost for row in before[table] ^ after[table])
        assert len(before[table] - after[table]) <= PAGE // 72
        if table != "image_metadata":
            assert {row[:2] for row in after[table]} == {row[:2] for row in before[table]}
