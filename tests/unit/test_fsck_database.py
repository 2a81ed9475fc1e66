"""A damaged database: fsck finds it, a repair brings back what is not hit, and what it cannot bring back it says."""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.store.rows.corrected import corrected
from orlop.store.rows.judging import digest_of
from orlop.store.rows.sqlite import connections as opening
from orlop.store.rows.sqlite.damage.rebuild import DatabaseRepair
from orlop.store.rows.sqlite.tables import SCHEMA_VERSION
from orlop.store.rows.values import COLUMNS
from tests.crash.pace import DAY, LONG
from tests.unit.damage import ask, copied, kinds, sql
from tests.unit.layouts import Layout, named
from tests.unit.test_sqlite_log import LEAVE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FLIPS = 4096 * 8 if LONG else 1


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "root")


def images(root: Path) -> dict[str, tuple[list[str], bytes]]:
    """Every image, with its names and as it is saved."""
    found: dict[str, tuple[list[str], bytes]] = {}
    with orlop.open(root) as store:
        for image in list(store.image_store.ids()):
            out = io.BytesIO()
            store.save([str(image)], out)
            found[str(image)] = ([], out.getvalue())
        for listed in store.images(all=True):
            found[str(listed.id)][0].extend(sorted(map(str, listed.references)))
    return found


def rows(root: Path) -> dict[str, list[str]]:
    """All rows of a store but what is told of the past."""
    return {
        table: sorted(map(repr, ask(root, f"SELECT * FROM {table}")))
        for table in COLUMNS
        if table not in {"event", "lease"}
    }


def flip_bit(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes((byte ^ 1 << bit,)))


class TestWhatDoesNotBelongThere:
    TRIGGER = "CREATE TRIGGER evil AFTER UPDATE ON reference BEGIN UPDATE reference SET image = old.image; END"

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize(
        "statement",
        [
            TRIGGER,
            "CREATE VIEW reference_view AS SELECT * FROM reference",
            "CREATE INDEX more ON reference (updated)",
            "DROP INDEX image_chain",
            "DROP TRIGGER parent_gone",
            "CREATE TABLE notes (text)",
        ],
    )
    def test_every_command_refuses_and_a_repair_removes_it(self, whole, root, statement):
        before = rows(root)
        sql(root, statement)
        with pytest.raises(errors.DatabaseDamaged, match="fsck --repair"), orlop.open(root) as store:
            store.images()
        report = stores.fsck(root)
        assert "schema" in kinds(report.damage)
        report = stores.fsck(root, repair=True)
        assert report.state == "repaired"
        assert stores.fsck(root).damage == ()
        assert rows(root) == before

    def test_one_that_comes_while_a_program_works_stops_its_next_step(self, root):
        with orlop.open(root) as store:
            name = str(store.images()[0].references[0])
            sql(root, self.TRIGGER)
            for act in (store.images, lambda: store.tag(name, "other:name")):
                with pytest.raises(errors.DatabaseDamaged, match="evil"):
                    act()
            sql(root, "DROP TRIGGER evil")
            store.tag(name, "other:name")

    def test_a_table_of_somebody_else_is_kept_aside(self, root):
        sql(root, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")
        stores.fsck(root, repair=True)
        (kept,) = (root / "quarantine").iterdir()
        with closing(sqlite3.connect(kept)) as database:
            assert database.execute("SELECT text FROM notes").fetchone() == ("mine",)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO reference VALUES (CAST(x'646f636b6572ff' AS TEXT), ':1', 'sha256:', 1)",
        "UPDATE image_metadata SET key = CAST(x'ff' AS TEXT) WHERE key = 'parent'",
        "INSERT INTO event (time, kind, action, actor, attributes) VALUES (1, 'image', 'tag', 'x', 'no document')",
        "INSERT INTO event (time, kind, action, actor, attributes) VALUES (1, CAST(x'c3' AS TEXT), '', '', '{}')",
        "INSERT INTO event VALUES (9223372036854775807, 1, 'image', 'tag', 'x', '{}')",
        "INSERT INTO event VALUES (-1, 1, 'image', 'tag', 'x', '{}')",
        "UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'event'",
        "UPDATE sqlite_sequence SET seq = 'many' WHERE name = 'event'",
        "UPDATE image SET config = substr(config, 2)",
        "UPDATE manifest SET media_type = CAST(x'ff41' AS TEXT)",
        "INSERT INTO lease VALUES (CAST(x'ff' AS TEXT), 'sha256:')",
    ],
)
def test_what_a_column_cannot_hold_is_found_and_ends_no_look(root, statement):
    sql(root, statement)
    for quick in (True, False):
        report = stores.fsck(root, quick=quick)
        if not quick or "config" not in statement:
            assert report.damage, statement
    stores.fsck(root, repair=True)
    assert "value-invalid" not in kinds(stores.fsck(root).damage)


def test_a_store_that_cannot_count_any_further_is_damaged_and_not_full(root):
    with orlop.open(root) as images:
        name = images.images()[0].references[0]
    sql(root, "UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'event'")
    with orlop.open(root) as images, pytest.raises(errors.DatabaseDamaged, match="cannot be trusted"):
        images.tag(name, "other:name")
    assert stores.fsck(root, repair=True).state == "repaired"
    with orlop.open(root) as images:
        images.tag(name, "other:name")
        assert 0 < images.last_event() < 1000


def test_an_index_that_misses_an_entry_is_made_again_in_place(whole, root):
    before = rows(root)
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, '(chain)', '(head)') WHERE name = 'image_chain'")
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("REINDEX image_chain")
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, '(head)', '(chain)') WHERE name = 'image_chain'")
    assert kinds(stores.fsck(root).damage) == ["database"]
    report = stores.fsck(root, repair=True)
    assert report.state == "repaired"
    assert "all indexes were made again" in report.repairs[0].message
    assert rows(root) == before
    assert not (root / "quarantine").exists()


def test_a_wrong_bit_of_a_document_is_put_right_by_its_digest(root):
    before = rows(root)
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        for table, key, column in (("image", "id", "config"), ("manifest", "digest", "content")):
            for name, content in database.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                damaged = content[:40] + bytes((content[40] ^ 16,)) + content[41:]
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (damaged, name))
                assert corrected(damaged, name) == content
    assert {"config-damaged", "manifest-damaged"} <= set(kinds(stores.fsck(root).damage))
    assert stores.fsck(root, repair=True).state == "repaired"
    assert rows(root) == before
    assert corrected(b"some document", digest_of(b"some documents")) is None


def test_an_empty_log_is_not_kept(root, monkeypatch):
    flip_bit(root / "metadata.db", 4096 * 9, 3)
    locked = DatabaseRepair._is_locked

    def leave_a_log(repair, database):
        # As a program does that has looked at the database just before.
        (root / "metadata.db-wal").touch()
        return locked(repair, database)

    monkeypatch.setattr(DatabaseRepair, "_is_locked", leave_a_log)
    assert stores.fsck(root, repair=True).state == "repaired"
    assert [path.name.rpartition(".")[0] for path in (root / "quarantine").iterdir()] == ["metadata.db"]


@pytest.mark.sampled(3)
def test_one_that_somebody_has_open_is_not_replaced(root):
    flip_bit(root / "metadata.db", 4096 * 9, 3)
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA user_version").fetchone()
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        script = "import sys\nfrom orlop import stores, errors\ntry: stores.fsck(sys.argv[1], repair=True)\n"
        script += "except errors.StoreInUse: sys.exit(5)"
        done = subprocess.run([sys.executable, "-c", script, root], check=False, timeout=60)
    assert done.returncode == 5


@pytest.mark.parametrize("is_replaced", [True, False])
def test_what_fails_on_a_database_that_was_just_replaced_is_done_again(root, monkeypatch, is_replaced):
    before = images(root)
    connected = opening._connected
    failed: list[object] = []

    def connect(file, timeout):
        if failed:
            return connected(file, timeout)
        failed.append(file)
        if is_replaced:
            shutil.copy(file.path, root / "new")
            (root / "new").rename(file.path)
        raise errors.StorageError("disk I/O error")

    monkeypatch.setattr(opening, "_connected", connect)
    if is_replaced:
        assert images(root) == before
    else:
        with orlop.open(root) as store, pytest.raises(errors.StorageError, match="disk I/O error"):
            store.images()


def pages(path: Path, chance: Random, flips: int, page: int = 4096, first: int = 0) -> list[tuple[int, int]]:
    """Places in every page of a file: some in its head, where all of the page depends on it, some anywhere."""
    found = []
    for start in range(first, path.stat().st_size - page + 1, page):
        if flips > page:
            found += [(start + at, bit) for at in range(page) for bit in range(8)]
            continue
        found += [(start + chance.randrange(40), chance.randrange(8)) for _ in range(flips)]
        found += [(start + chance.randrange(page), chance.randrange(8)) for _ in range(flips)]
    return found


@pytest.fixture(scope="module")
def store(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, with nobody at work in it."""
    root = tmp_path_factory.mktemp("small") / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
        images.load(data / "other-tools" / "skopeo-oci-archive.tar")
    return root


def brought_back(
    base: Path, place: Path, name: str, flips: list[tuple[int, int]], tell: Callable[[str, object], None]
) -> None:
    """Flip each bit in a copy; see that what is not found changes nothing, and that a repair brings back everything."""
    target = place / "flipped"
    before = images(copied(base, place / "before"))
    count = {"flips": 0, "found": 0, "the same again": 0}
    lost: list[str] = []
    for at, bit in flips:
        shutil.rmtree(target, ignore_errors=True)
        copied(base, target)
        flip_bit(target / name, at, bit)
        count["flips"] += 1
        damage = stores.fsck(target).damage
        if damage:
            count["found"] += 1
            report = stores.fsck(target, repair=True)
            assert report.damage == (), (at, bit, report)
            assert stores.fsck(target).damage == (), (at, bit)
            lost += [one.message for one in report.problems if one.kind == "lost"]
        after = images(target)
        assert {image: saved for image, (_, saved) in after.items() if image in before} == {
            image: saved for image, (_, saved) in before.items()
        }, (at, bit, damage)
        count["the same again"] += after == before
        for image, (names, _) in before.items():
            # A name may be lost, or be another one, only where its bytes were hit.
            assert len(set(names) - set(after[image][0])) <= bool(damage), (at, bit, damage)
    print(name, count, lost)
    tell("counted", f"flips: {name}: " + ", ".join(f"{word} {number}" for word, number in count.items()))
    assert count["found"] > len(flips) // 20


@pytest.mark.sampled(4)
def test_after_a_flip_in_any_page_of_the_database_everything_comes_back(store, tmp_path, record_property):
    flips = pages(store / "metadata.db", Random(DAY), _FLIPS)
    brought_back(store, tmp_path, "metadata.db", flips[:: 1 if LONG else 4], record_property)


@pytest.mark.sampled(3)
def test_after_a_flip_in_any_frame_of_the_log_everything_comes_back(data, tmp_path, record_property):
    root = tmp_path / "root"
    archive = data / "dockerd-20.10-overlay2" / "parent-child.tar"
    subprocess.run([sys.executable, "-c", LEAVE, root, archive], check=True, timeout=60)
    chance = Random(DAY)
    log = root / "metadata.db-wal"
    flips = pages(log, chance, _FLIPS, 4120, 32)
    brought_back(root, tmp_path, "metadata.db-wal", flips[:: 1 if LONG else 6], record_property)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("bit", [0, 1, 4, 15, 16, 31])
def test_a_bit_that_flips_in_the_version_makes_no_database_newer_or_older(whole, root, bit):
    before = rows(whole)
    version = (SCHEMA_VERSION ^ (1 << bit)) - (1 << 32 if bit == 31 else 0)
    sql(root, f"PRAGMA user_version = {version}")
    with pytest.raises(errors.DatabaseDamaged), orlop.open(root) as store:
        store.images()
    assert stores.fsck(root, repair=True).damage == ()
    assert rows(root) == before


@pytest.mark.sampled(2)
@pytest.mark.parametrize("by", [":", "@"])
@pytest.mark.parametrize("kind", ["image", "index"])
def test_an_image_gets_back_the_manifest_that_its_name_means(tmp_path: Path, kind: str, by: str) -> None:
    made = Layout()
    if kind == "image":
        top = made.image("one")
    else:
        top = made.index(*[made.image(arch, architecture=arch, platform=True) for arch in ("amd64", "arm64")])
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(made.top(top | named("docker.io/example/app:1")).pack()))
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        links = database.execute("SELECT * FROM image_manifest").fetchall()
    lost = [f"DELETE FROM {table} WHERE suffix NOT GLOB '{by}*'" for table in ("reference", "top")]
    sql(root, "DELETE FROM image_manifest", *lost)
    assert "edges-wrong" in kinds(stores.fsck(root).damage)
    assert stores.fsck(root, repair=True).state == "repaired"
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        found = database.execute("SELECT * FROM image_manifest").fetchall()
    assert set() < set(found) <= set(links)
    assert kind == "index" or found == links
    assert stores.fsck(root).damage == ()


def kinds_of(root: Path) -> set[str]:
    return {problem.kind for problem in stores.fsck(root).problems}


SIZES = [(table, column.name) for table in COLUMNS for column in COLUMNS[table] if column.kind in {"size", "count"}]


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("table", "column"), SIZES, ids=[".".join(one) for one in SIZES])
def test_a_number_below_zero_is_damage_that_a_repair_mends(root: Path, tmp_path: Path, table: str, column: str) -> None:
    before = images(root)
    which = "WHERE number = (SELECT min(number) FROM event)" if table == "event" else ""
    sql(root, f"UPDATE {table} SET {column} = -1 - {column} {which}")
    assert "value-invalid" in kinds_of(root)
    with pytest.raises(errors.DatabaseDamaged):
        stores.copy(root, tmp_path / "copy")
    stores.fsck(root, repair=True)
    assert images(root) == before
    assert kinds_of(root) <= {"held", "quarantined"}


def test_labels_that_are_nested_too_deeply_are_damage_that_a_repair_mends(root: Path) -> None:
    before = images(root)
    with orlop.open(root) as store:
        image = str(next(iter(store.image_store.ids())))
    sql(root, f"INSERT OR REPLACE INTO image_labels VALUES ('{image}', '{'[' * 5000}')")
    assert "image-wrong" in kinds_of(root) or "value-invalid" in kinds_of(root)
    stores.fsck(root, repair=True)
    assert images(root) == before


@pytest.mark.parametrize("name", ["metadata.db.repair.part", "metadata.db.salvage.part"])
@pytest.mark.parametrize("victim", ["absent", "empty", "database"])
def test_a_link_in_the_place_of_a_working_copy_is_not_followed(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, victim: str
) -> None:
    """Who shares a store may damage its database, and put links where the repair of another one will write."""
    outside = tmp_path / "outside"
    if victim == "database":
        shutil.copyfile(whole / "metadata.db", outside)
    elif victim == "empty":
        outside.touch(mode=0o600)
    before = (outside.read_bytes(), outside.stat().st_mode) if outside.exists() else None
    sql(root, "UPDATE blob SET size = -1")
    copy_of = DatabaseRepair._copy

    def swapped(repair: DatabaseRepair, database: int, target: str) -> None:
        copy_of(repair, database, target)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(outside)

    monkeypatch.setattr(DatabaseRepair, "_copy", swapped)
    with pytest.raises(errors.StorageError, match="symbolic link"):
        stores.fsck(root, repair=True)
    assert ((outside.read_bytes(), outside.stat().st_mode) if outside.exists() else None) == before
    monkeypatch.undo()
    assert stores.fsck(root, repair=True).damage == ()
