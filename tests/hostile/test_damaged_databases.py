"""Databases by strangers, which a repair reads: pages in many places, long values in many rows, very many trees."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from orlop import stores
from orlop.store.rows.sqlite.damage.pages import tree_roots
from orlop.store.rows.sqlite.damage.roots import lay_out, stray_rows
from tests.growing import growth, spent
from tests.unit.damage import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE: Final = 4096
_SECONDS: Final = 20
_MEMORY: Final = 256 << 20


def varint(number: int) -> bytes:
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(0x80 | number & 0x7F)
    return bytes(reversed(parts))


def record(*values: str | bytes | None) -> bytes:
    """Return a record as SQLite writes it, without what lies on other pages."""
    sizes = (0 if one is None else 12 + 2 * len(one) + isinstance(one, str) for one in values)
    head = b"".join(map(varint, sizes))
    body = b"".join(one.encode() if isinstance(one, str) else one or b"" for one in values)
    return varint(len(head) + 1) + head + body


def leaf(records: Sequence[bytes]) -> bytes:
    """Return a page with some rows of a table."""
    return _page(13, [varint(len(one)) + varint(number) + one for number, one in enumerate(records, 1)])


def long_leaf(name: str, size: int, begins: int) -> bytes:
    """Return a page with a row that has a long value, most of which lies on other pages."""
    head = varint(13 + 2 * len(name)) + varint(12 + 2 * size) + bytes(3)
    begun = varint(len(head) + 1) + head + name.encode()
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (len(begun) + size - least) % (PAGE - 4)
    local = local if local <= PAGE - 35 else least
    here = begun + b"{}".ljust(local - len(begun))
    return _page(13, [varint(len(begun) + size) + varint(1) + here + begins.to_bytes(4, "big")])


def inner(below: Sequence[int]) -> bytes:
    """Return a page that leads to others."""
    *others, last = below
    return _page(5, [page.to_bytes(4, "big") + varint(number) for number, page in enumerate(others, 1)], last)


def _page(kind: int, cells: Sequence[bytes], last: int | None = None) -> bytes:
    content = bytearray(PAGE)
    begin, end = 8 if last is None else 12, PAGE
    for number, cell in enumerate(cells):
        end -= len(cell)
        content[end : end + len(cell)] = cell
        content[begin + 2 * number : begin + 2 * number + 2] = end.to_bytes(2, "big")
    content[0] = kind
    content[3:7] = len(cells).to_bytes(2, "big") + end.to_bytes(2, "big")
    if last is not None:
        content[8:12] = last.to_bytes(4, "big")
    return bytes(content)


def name(number: int) -> str:
    return f"sha256:{number:064x}"


def shared_pages(first: int) -> list[bytes]:
    """Return pages each of which leads to the one before, hundreds of times."""
    few = leaf([record(name(number), b"{}", None, None, None) for number in range(20)])
    return [few, *(inner([first + depth] * 400) for depth in range(5))]


def shared_value(first: int) -> list[bytes]:
    """Return a value of some megabytes, and rows all of which have it."""
    pages = 1000
    parts = [(first + one + 1 if one + 1 < pages else 0).to_bytes(4, "big") + b" " * (PAGE - 4) for one in range(pages)]
    rows = [long_leaf(name(number), pages * (PAGE - 4) - PAGE, first) for number in range(390)]
    return [*parts, *rows, inner(range(first + pages, first + pages + len(rows)))]


def loop(first: int) -> list[bytes]:
    """Return pages that lead to each other."""
    return [inner([first + 1] * 3), inner([first] * 3), inner([first, first + 1, first + 2])]


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    fill(root, data)
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


@pytest.mark.sampled(8)
@pytest.mark.parametrize("way", ["they are a table", "the schema is lost", "nothing leads to them"])
@pytest.mark.parametrize("attack", [shared_pages, shared_value, loop])
def test_no_database_makes_a_repair_read_more_than_it_holds(root, attack, way):
    """A repair reads "no more than it can hold"."""
    path = root / "metadata.db"
    with closing(sqlite3.connect(path)) as database:
        ((table,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'image'")
    content = bytearray(path.read_bytes())
    first = len(content) // PAGE + 1
    pages = attack(first)
    content += b"".join(pages)
    content[28:32] = (len(content) // PAGE).to_bytes(4, "big")
    if way != "the schema is lost":
        content[(table - 1) * PAGE : table * PAGE] = pages[-1] if way == "they are a table" else bytes(PAGE)
    else:
        content[100:PAGE] = bytes(PAGE - 100)
    path.write_bytes(content)
    blobs = {one.name for one in (root / "blobs" / "sha256").iterdir()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reports: list[stores.FsckReport] = []
    assert spent(lambda: reports.append(stores.fsck(root, repair=True))) < _SECONDS
    (report,) = reports
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < _MEMORY
    assert any(one.kind == "database" for one in report.repairs)
    assert {one.name for one in (root / "blobs" / "sha256").iterdir()} == blobs


@pytest.mark.sampled(6, daily=False)
@pytest.mark.parametrize("look", [lay_out, lambda path, page: stray_rows(path, page, tree_roots(path, page))])
def test_twice_as_many_trees_take_twice_as_long(root, look):
    """SQLite reads the schema once, "so that many trees are looked at with one connection"."""
    path = root / "metadata.db"
    whole = path.read_bytes()

    def looked(trees: int) -> float:
        rows = (
            leaf([record(name(3 * tree + one), b"{}", None, None, None) for one in range(3)]) for tree in range(trees)
        )
        path.write_bytes(whole + b"".join(rows))
        return spent(lambda: look(str(path), PAGE))

    assert growth(looked, 1500, 3000, below=3, least=0.1) < 3
