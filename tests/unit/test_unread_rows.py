"""What rows named that a repair could not read stays, whoever removes or copies, until the user lets go of it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

import orlop
from orlop import stores
from orlop.cli.main import run
from orlop.errors import DatabaseDamaged, ImageNotFound
from orlop.streams.directory import Entry
from tests.crash.pace import PACE, first
from tests.unit.damage import ask, copied, fill, parent_and_child, rows_of, sql

PAGE: Final = 4096


def _trees(path: Path) -> dict[str, list[int]]:
    """Return the pages of each tree of a database, by its name."""
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        roots = database.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    return {name: list(_below(content, root)) for name, root in (("sqlite_schema", 1), *roots)}


def _below(content: bytes, page: int) -> list[int]:
    start = (page - 1) * PAGE
    head = start + (100 if page == 1 else 0)
    found = [page]
    if content[head] in {2, 5}:
        count = int.from_bytes(content[head + 3 : head + 5], "big")
        cells = (int.from_bytes(content[at : at + 2], "big") for at in range(head + 12, head + 12 + 2 * count, 2))
        below = [int.from_bytes(content[start + cell : start + cell + 4], "big") for cell in cells]
        for one in (*below, int.from_bytes(content[head + 8 : head + 12], "big")):
            found += _below(content, one)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with images of several kinds, all of whose rows are in one file."""
    root = tmp_path_factory.mktemp("whole") / "root"
    fill(root, Path(__file__).parents[1] / "data")
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


def _spoiled(whole: Path, root: Path, page: int) -> Path:
    copied(whole, root)
    with (root / "metadata.db").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(bytes(PAGE))
    return root


def _blobs(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs" / "sha256").iterdir()}


def _is_held(root: Path) -> bool:
    return [one.kind for one in stores.fsck(root, quick=True).problems].count("held") == 1


@pytest.mark.sampled(4)
def test_no_page_of_a_database_takes_a_blob_with_it(whole, tmp_path):
    """Where pages of a database are lost, "whoever has lost rows holds everything"."""
    names, rows = _blobs(whole), rows_of(whole)
    step = min(PACE, 4)
    pages = [(page, tree) for tree, pages in _trees(whole / "metadata.db").items() for page in pages]
    pages = pages[first("unread rows", step) :: step]
    held = gone = 0
    for page, tree in pages:
        root = _spoiled(whole, tmp_path / f"page-{page}", page)
        stores.fsck(root, repair=True)
        if not _is_held(root):
            assert rows_of(root) == rows, tree
            continue
        held += 1
        with orlop.open(root) as images:
            images.gc()
            for everything in (False, True):
                with pytest.raises(DatabaseDamaged, match=r"not read all rows.*nothing is pruned.*gc --release"):
                    images.prune(all=everything)
            for one in images.images(all=True):
                with suppress(ImageNotFound):
                    images.remove(str(one.id), force=True)
            images.gc()
            assert _blobs(root) == names, tree
        stores.fsck(root, repair=True)
        assert _is_held(root)
        with orlop.open(root) as images:
            # A name that has lost what it means holds all of it until it is removed, whoever lets go of the rest.
            for (name,) in ask(root, "SELECT name || suffix FROM reference UNION SELECT name || suffix FROM top"):
                with suppress(ImageNotFound):
                    images.remove(str(name))
            assert images.gc(release=True, dry_run=True).freed > 0
            assert _blobs(root) == names
            images.gc(release=True)
            images.prune(all=True)
        assert _blobs(root) < names, tree
        gone += not _blobs(root)
        assert not _is_held(root)
    assert held > len(pages) // 4
    assert gone > held // 2


@pytest.fixture
def held(whole: Path, tmp_path: Path) -> Path:
    """Return a store that has lost a page of a table, by a repair."""
    (page,) = _trees(whole / "metadata.db")["diff_blob"][:1]
    root = _spoiled(whole, tmp_path / "root", page)
    stores.fsck(root, repair=True)
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("DELETE FROM blob WHERE digest NOT IN (SELECT blob FROM diff_blob)")
    (root / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"whose row is lost")
    return root


@pytest.mark.sampled(4)
@pytest.mark.parametrize("act", [stores.copy, stores.backup, stores.move])
@pytest.mark.parametrize("far", [False, True])
def test_what_is_held_goes_along_with_the_store(held, tmp_path, act, far, monkeypatch):
    """ "A copy of the store brings what no row names, too, and the lease with it"."""
    names = _blobs(held)
    if far:
        monkeypatch.setattr(Entry, "rename", _refused(Entry.rename, held))
    act(held, tmp_path / "other")
    assert _blobs(tmp_path / "other") == names
    assert _is_held(tmp_path / "other")
    with orlop.open(tmp_path / "other") as images:
        images.gc()
        assert _blobs(tmp_path / "other") == names
        images.gc(release=True)
    assert "0" * 64 not in _blobs(tmp_path / "other")
    assert not _is_held(tmp_path / "other")


def _refused(rename, root):
    """Return a rename that fails for a store as a whole, as between two file systems."""

    def renamed(self: Entry, target: Entry) -> None:
        if self.path == str(root) and target.name == "other":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(self, target)

    return renamed


def test_an_earlier_backup_is_not_replaced_by_what_a_repair_could_save(whole, tmp_path):
    """An earlier backup "may have more, and stays as it is"."""
    root = copied(whole, tmp_path / "root")
    stores.backup(root, tmp_path / "backup")
    before = (tmp_path / "backup" / "metadata.db").read_bytes()
    (page,) = _trees(root / "metadata.db")["diff_blob"][:1]
    shutil.rmtree(root)
    _spoiled(whole, root, page)
    stores.fsck(root, repair=True)
    with pytest.raises(DatabaseDamaged, match=r"may have more, and stays as it is; .*gc --release"):
        stores.backup(root, tmp_path / "backup")
    assert (tmp_path / "backup" / "metadata.db").read_bytes() == before
    with orlop.open(root) as images:
        images.gc(release=True)
    stores.backup(root, tmp_path / "backup")


def test_the_commands_say_what_is_held_and_how_to_let_go_of_it(held, capsys):
    assert run(["--root", str(held), "gc"]) == 0
    assert "content that no row needs stays; load or pull what is missing" in capsys.readouterr().err
    assert run(["--root", str(held), "prune", "-f"]) == 6
    assert "orlop gc --release" in capsys.readouterr().err
    run(["--root", str(held), "fsck"])
    assert "note: a repair could not read all rows, so content that no row needs is held;" in capsys.readouterr().out
    assert run(["--root", str(held), "gc", "--release", "--dry-run"]) == 0
    assert "what a repair has held is let go" in capsys.readouterr().out
    assert _is_held(held)
    assert run(["--root", str(held), "gc", "--release"]) == 0
    assert not _is_held(held)
    assert run(["--root", str(held), "prune", "-f"]) == 0


def test_an_earlier_database_holds_what_later_writes_may_have_named(whole, tmp_path):
    """The blobs of later writes may be among those which an earlier database does not need."""
    root = copied(whole, tmp_path / "root")
    with orlop.open(root) as images:
        images.tag("example/tiny:1.0", "later:1")
    for suffix in ("", "-wal", "-shm"):
        (root / f"metadata.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(whole / "metadata.db", root / "metadata.db")
    stores.fsck(root, repair=True)
    assert _is_held(root)


def test_a_parent_that_is_lost_holds_what_it_may_have_named(whole, tmp_path):
    """Where rows tell of parents or manifests that are lost, "these named content as well"."""
    root = copied(whole, tmp_path / "root")
    parent, _ = parent_and_child(root)
    sql(root, f"DELETE FROM reference WHERE image = '{parent}'", f"DELETE FROM image WHERE id = '{parent}'")
    stores.fsck(root, repair=True)
    assert _is_held(root)
