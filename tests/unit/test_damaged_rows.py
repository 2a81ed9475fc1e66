"""Rows that are damaged: a reader deletes nothing, and nothing is removed, copied or backed up because of them."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.cli.main import run
from orlop.store.rows.sqlite import doubts
from orlop.store.rows.sqlite.tables import SCHEMA, itself
from orlop.store.rows.values import COLUMNS
from orlop.streams.compression import Compression
from tests.unit.artifacts import chart
from tests.unit.damage import ask, blobs, flip, found, sql, tocs
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

A, B = "example.com/shared:a", "example.com/shared:b"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two images on one lower layer, with names, manifests and a backup of it."""
    place = tmp_path_factory.mktemp("made")
    layout = Layout()
    layout.top(layout.image("below", "one", **named(A)), layout.image("below", "two", **named(B)))
    with orlop.open(place / "root") as images:
        images.load(io.BytesIO(layout.pack()))
    stores.backup(place / "root", place / "backup")
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of its own; the backup is of the store where this lies."""
    place = tmp_path / "place"
    shutil.copytree(made, place)
    (place / "backup" / "backup").write_text(f"{place / 'root'}\n")
    return place


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every database for one that is too large to be looked through before it is used."""
    monkeypatch.setattr(doubts, "SMALL", 0)


def lie(root: Path, index: str, key: str | None = None, *, number: int | None = None) -> None:
    """Change a key in an index, so that its entry is not found: what a flipped bit does.

    With a ``number`` only that one of several entries of the key is changed.
    """
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (index,)).fetchall()
        ((size,),) = database.execute("PRAGMA page_size").fetchall()
    path = root / "metadata.db"
    content = bytearray(path.read_bytes())
    start = (page - 1) * size
    part = bytes(content[start : start + size])
    wanted = (key or "sha256:").encode()
    where, count = part.find(wanted), 0
    while where >= 0:
        if number in {None, count}:
            # A digit of the key, or the last one of all keys.
            content[start + where + len(wanted) - 1] ^= 4
        where, count = part.find(wanted, where + 1), count + 1
    path.write_bytes(bytes(content))


def settle(root: Path) -> None:
    """Carry the log into the database."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def state(root: Path) -> dict[str, object]:
    """What a store holds: rows, as their tables have them, blobs, tables of contents."""
    held: dict[str, object] = {path.name: path.read_bytes() for path in [*blobs(root), *tocs(root)]}
    tables = ("image", "image_metadata", "reference", "chain", "diff", "blob", "diff_blob", "image_manifest")
    return held | {table: ask(root, f"SELECT * FROM {table} NOT INDEXED") for table in tables}


def chain_of(root: Path, name: str) -> str:
    suffix = name.rpartition(":")[2]
    ((chain,),) = ask(root, f"SELECT chain FROM image JOIN reference ON image = id WHERE suffix = ':{suffix}'")
    return str(chain)


COMMANDS = {
    "images": ["images"],
    "save": ["save", "-o", "{}/saved.tar", B],
    "tag": ["tag", B, "new:1"],
    "rmi": ["rmi", A],
    "gc": ["gc"],
    "gc dry": ["gc", "--dry-run"],
    "prune": ["prune", "-f"],
    "prune dry": ["prune", "--dry-run"],
    "image prune": ["image", "prune", "-f"],
    "df": ["df"],
    "info": ["store", "info"],
    "copy": ["store", "copy", "{}/copy"],
    "backup": ["store", "backup", "{}/fresh"],
    "refresh": ["store", "backup", "{}/backup"],
    "move": ["store", "move", "{}/moved"],
}
OF_ALL = ("gc", "gc dry", "prune", "prune dry", "image prune", "copy", "backup", "refresh", "move")
"""The commands that act on all rows at once: a database of any size is looked through for them."""


def command(place: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = run(["--root", str(place / "root"), *(word.replace("{}", str(place)) for word in words)])
    return status, capsys.readouterr().err


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_lying_index_is_noticed_and_nothing_goes(place, name, capsys):
    lie(place / "root", "image_chain", chain_of(place / "root", B))
    before, kept = state(place / "root"), state(place / "backup")
    status, said = command(place, *COMMANDS[name], capsys=capsys)
    assert (status, said.count("\n")) == (6, 1), said
    assert "orlop fsck --repair" in said
    assert "backup" in said
    assert state(place / "root") == before
    assert state(place / "backup") == kept
    assert {path.name for path in place.iterdir()} == {"root", "backup"}


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("name", OF_ALL)
def test_what_acts_on_all_rows_looks_through_a_database_of_any_size(place, name, capsys):
    lie(place / "root", "image_chain", chain_of(place / "root", B))
    before, kept = state(place / "root"), state(place / "backup")
    status, said = command(place, *COMMANDS[name], capsys=capsys)
    assert (status, said.count("\n")) == (6, 1), said
    assert state(place / "root") == before
    assert state(place / "backup") == kept
    assert {path.name for path in place.iterdir()} == {"root", "backup"}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("verb", ["save", "load", "images"])
def test_who_reads_deletes_nothing_whatever_an_index_says(place, verb, capsys):
    lie(place / "root", "image_chain")
    before = {path.name for path in blobs(place / "root")}
    words = {"save": ["save", "-o", "{}/saved.tar", B], "load": ["load", "-i", "{}/saved.tar"], "images": ["images"]}
    if verb == "load":
        assert command(place, *words["save"], capsys=capsys)[0] == 0
    assert command(place, *words[verb], capsys=capsys)[0] == 0
    assert {path.name for path in blobs(place / "root")} >= before


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "index",
    ["image_chain", "chain_parent", "chain_diff", "diff_blob_blob", "reference_image", "image_manifest_manifest"],
)
def test_a_removal_asks_the_rows_themselves(place, index, capsys):
    root = place / "root"
    # One that shares its lower layer, all of its layers, its manifest, and has a second name.
    assert command(place, "tag", A, "example.com/second:1", capsys=capsys)[0] == 0
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    lie(root, index)
    needed = {path.name for path in blobs(root)}
    before = state(root)
    for name in (A, "example.com/second:1"):
        status, said = command(place, "rmi", name, capsys=capsys)
        assert status in {0, 6}, said
        if status == 6:
            assert state(root).keys() == before.keys()
    sql(root, "REINDEX")
    with orlop.open(root) as images:
        out = io.BytesIO()
        for image in images.images():
            images.save([str(image.id)], out)
    assert {path.name for path in blobs(root)} <= needed


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("number", [0, 1])
def test_what_two_need_stays_whatever_an_index_says_as_one_of_them_goes(tmp_path, number, capsys):
    root, layout = tmp_path / "root", Layout()
    shared = layout.blob(b"shared", "application/octet-stream")
    layout.top(
        *(chart(layout, name.encode(), layers=[shared]) | named(f"example.com/{name}:1") for name in ("one", "other"))
    )
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.pack()))
    settle(root)
    lie(root, "edge_child", shared["digest"], number=number)
    command(tmp_path, "rmi", "example.com/one:1", capsys=capsys)
    assert shared["digest"].partition(":")[2] in names(root)


@pytest.mark.usefixtures("large")
def test_what_a_lease_holds_stays_whatever_an_index_says(tmp_path, capsys):
    root, layout = tmp_path / "root", Layout()
    held = chart(layout)
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.top(held | named("example.com/one:1")).pack()))
    ((digest,),) = ask(root, "SELECT child FROM edge WHERE role = 'layer'")
    sql(root, f"INSERT INTO lease VALUES ('until-9000000000-x', '{digest}')")
    settle(root)
    lie(root, "lease_digest", str(digest))
    assert command(tmp_path, "rmi", "example.com/one:1", capsys=capsys)[0] == 6
    assert str(digest).partition(":")[2] in names(root)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_itself_is_read_and_none_of_its_indexes(table):
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in SCHEMA:
            database.execute(statement)
        columns = [one.name for one in COLUMNS[table]]
        for asked in ("total(1)", *columns, ", ".join(columns)):
            ((*_, plan),) = database.execute(f"EXPLAIN QUERY PLAN SELECT {asked} FROM {itself(table)}").fetchall()
            assert plan == f"SCAN {table}"


@pytest.mark.usefixtures("large")
def test_what_an_intact_config_names_is_needed_whatever_the_rows_between_say(place, capsys):
    root = place / "root"
    # The upper layer of one image no longer stands on the lower one: that is the other's alone now.
    sql(root, f"UPDATE chain SET parent = NULL WHERE id = '{chain_of(root, B)}'")
    before = state(root).keys()
    status, said = command(place, "rmi", A, capsys=capsys)
    assert status == 6, said
    assert state(root).keys() == before
    sql(root, "PRAGMA user_version")
    assert found(stores.fsck(root).damage)


def test_a_backup_that_fails_late_leaves_the_older_one_as_it_was(place, capsys):
    layout = Layout()
    layout.top(layout.image("new", "newer", **named("example.com/new:1")))
    with orlop.open(place / "root") as images:
        images.load(io.BytesIO(layout.pack()))
        (damaged, *_) = (path for path in blobs(place / "root") if path not in blobs(place / "backup"))
    # One blob of the new image comes, the other cannot.
    names = {path.name for path in blobs(place / "backup")}
    damaged = max(path for path in blobs(place / "root") if path.name not in names)
    flip(damaged)
    kept = state(place / "backup")
    status, said = command(place, "store", "backup", "{}/backup", capsys=capsys)
    assert status == 6, said
    assert state(place / "backup") == kept
    assert not list((place / "backup" / "ingest").iterdir())


def test_a_row_of_a_layer_that_contradicts_its_table_of_contents_is_not_copied(place, capsys):
    sql(place / "root", "UPDATE diff SET entries = entries + 1")
    kept = state(place / "backup")
    for verb, target in (("copy", "copy"), ("backup", "fresh"), ("backup", "backup")):
        status, said = command(place, "store", verb, f"{{}}/{target}", capsys=capsys)
        assert (status, "orlop fsck --repair" in said) == (6, True), said
    assert state(place / "backup") == kept
    assert {path.name for path in place.iterdir()} == {"root", "backup"}


@pytest.mark.parametrize(
    ("statement", "refused", "allowed"),
    [
        ("UPDATE image SET created = 5 WHERE id = '{}'", ["images", "df"], ["save", "rmi other"]),
        ("INSERT INTO image_labels VALUES ('{}', '{{}}')", ["images"], ["rmi other"]),
        ("UPDATE image SET head = 0", ["images"], ["save"]),
        ("UPDATE chain SET size = size + 1", ["images", "df"], []),
    ],
)
def test_an_answer_that_would_show_a_wrong_row_is_refused(place, statement, refused, allowed, capsys):
    root = place / "root"
    ((image,),) = ask(root, "SELECT image FROM reference WHERE suffix = ':a'")
    sql(root, statement.format(image))
    assert stores.fsck(root).damage
    words = {**COMMANDS, "rmi other": ["rmi", B]}
    for name in refused:
        assert command(place, *words[name], capsys=capsys)[0] == 6
    for name in allowed:
        assert command(place, *words[name], capsys=capsys)[0] == 0, name


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("value", ["CAST(x'ff00fe' AS TEXT)", "CAST(x'c328' AS TEXT)"])
@pytest.mark.parametrize(("table", "column"), [("reference", "name"), ("image_labels", "labels"), ("event", "actor")])
def test_text_that_is_not_utf_8_is_damage(place, table, column, value, capsys):
    root = place / "root"
    sql(root, "INSERT OR IGNORE INTO image_labels SELECT id, '{}' FROM image LIMIT 1")
    sql(root, f"UPDATE OR IGNORE {table} SET {column} = {value}")
    for name in ("images", "df", "gc"):
        status, said = command(place, *COMMANDS[name], capsys=capsys)
        assert status in {0, 6}, said
    with orlop.open(root) as images, pytest.raises(errors.DatabaseDamaged, match="UTF-8"):
        images.events() if table == "event" else list(images.listed_images())


def test_events_that_are_no_json_are_damage(place):
    sql(place / "root", "UPDATE event SET attributes = '{'")
    with orlop.open(place / "root") as images, pytest.raises(errors.DatabaseDamaged):
        images.events()


@pytest.mark.parametrize(
    ("statement", "name"), [("UPDATE blob SET size = size + 1", "info"), ("UPDATE blob SET compression = 'gzyp'", "df")]
)
def test_an_answer_about_a_blob_that_its_file_contradicts_is_refused(place, statement, name, capsys):
    sql(place / "root", statement)
    assert command(place, *COMMANDS[name], capsys=capsys)[0] == 6


class TestACompressionThatDoesNotExist:
    @pytest.fixture
    def wrong(self, place: Path) -> Path:
        sql(place / "root", "UPDATE blob SET compression = 'zst$'")
        return place

    def test_no_copy_is_made_of_it(self, wrong, capsys):
        for name in ("copy", "backup", "refresh", "move", "gc"):
            assert command(wrong, *COMMANDS[name], capsys=capsys)[0] == 6, name
        assert {path.name for path in wrong.iterdir()} == {"root", "backup"}

    def test_a_repair_asks_the_blob(self, made, wrong):
        assert stores.fsck(wrong / "root", repair=True).state == "repaired"
        assert stores.fsck(wrong / "root").damage == ()
        assert state(wrong / "root") == state(made / "root")

    def test_all_that_exist_may_be_recorded(self, place):
        for one in Compression:
            sql(place / "root", f"UPDATE blob SET compression = '{one.value}'")
            assert "blob-wrong" not in {found.kind for found in stores.fsck(place / "root", quick=True).damage}


def names(root: Path) -> set[str]:
    return {path.name for path in blobs(root)}


@pytest.mark.sampled(4)
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE OR IGNORE diff_blob SET blob = (SELECT min(blob) FROM diff_blob)",
        "UPDATE diff_blob SET blob = (SELECT max(blob) FROM diff_blob) WHERE blob = (SELECT min(blob) FROM diff_blob)",
        "UPDATE blob SET compression = 'none' WHERE digest = (SELECT min(blob) FROM diff_blob)",
    ],
)
@pytest.mark.parametrize("name", OF_ALL)
def test_a_blob_that_cannot_be_the_layer_it_is_recorded_as_keeps_all_where_it_is(place, statement, name, capsys):
    root = place / "root"
    before, kept = names(root), state(place / "backup")
    sql(root, statement)
    status, said = command(place, *COMMANDS[name], capsys=capsys)
    assert (status, "orlop fsck --repair" in said) == (6, True), said
    assert (names(root), state(place / "backup")) == (before, kept)


def test_forms_that_were_recorded_wrongly_are_recorded_again(place):
    root = place / "root"
    before = ask(root, "SELECT * FROM diff_blob ORDER BY diff, blob")
    sql(root, "UPDATE OR IGNORE diff_blob SET blob = (SELECT min(blob) FROM diff_blob)")
    assert stores.fsck(root, repair=True).damage == ()
    assert ask(root, "SELECT * FROM diff_blob ORDER BY diff, blob") == before


@pytest.mark.parametrize("name", ["prune", "prune dry", "image prune"])
def test_no_image_is_pruned_for_want_of_a_name_that_leads_nowhere(place, name, capsys):
    root = place / "root"
    sql(root, f"UPDATE reference SET image = 'sha256:{'0' * 64}' WHERE suffix = ':a'")
    sql(root, "DELETE FROM reference WHERE suffix GLOB '@*'")
    before = names(root)
    status, said = command(place, *COMMANDS[name], capsys=capsys)
    assert status == 6
    assert A in said
    assert names(root) == before
    assert command(place, "rmi", A, capsys=capsys)[0] == 0
    assert command(place, *COMMANDS[name], capsys=capsys)[0] == 0


@pytest.mark.parametrize("words", [["images"], ["images", "-a"], ["images", "-q"]])
def test_a_list_with_a_name_that_nobody_can_ask_for_is_refused(place, words, capsys):
    sql(place / "root", "UPDATE reference SET suffix = 'latest' WHERE suffix = ':a'")
    assert command(place, *words, capsys=capsys)[0] == 6


@pytest.mark.parametrize("verb", ["inspect", "history"])
def test_an_image_whose_layers_are_gone_is_not_shown_without_them(place, verb, capsys):
    sql(place / "root", "PRAGMA foreign_keys=OFF", f"DELETE FROM chain WHERE id = '{chain_of(place / 'root', A)}'")
    assert command(place, verb, A, capsys=capsys)[0] == 6
    assert command(place, verb, B, capsys=capsys)[0] == 0


def test_a_wrong_word_about_a_table_of_contents_is_not_copied(place, capsys):
    sql(place / "root", "UPDATE diff SET partial = 'nobody knows'")
    assert command(place, *COMMANDS["copy"], capsys=capsys)[0] == 6


@pytest.mark.parametrize("statement", ["UPDATE blob SET size = -1", "UPDATE diff SET entries = -1"])
def test_a_move_that_fails_has_moved_nothing(place, statement, capsys):
    sql(place / "root", statement)
    status, _ = command(place, *COMMANDS["move"], capsys=capsys)
    assert (status == 0, (place / "moved").exists(), (place / "root").exists()) in {
        (True, True, False),
        (False, False, True),
    }


@pytest.mark.parametrize("size", [512, 8192, 65536])
def test_a_backup_has_pages_of_its_own_size(place, size, capsys):
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute(f"PRAGMA page_size={size}")
        database.execute("VACUUM")
    assert command(place, "tag", B, "new:1", capsys=capsys)[0] == 0
    status, said = command(place, *COMMANDS["refresh"], capsys=capsys)
    assert status == 0, said
    assert ask(place / "backup", "SELECT * FROM reference") == ask(place / "root", "SELECT * FROM reference")
    assert stores.fsck(place / "backup").damage == ()


def test_a_database_of_another_encoding_is_refused_and_left_as_it_is(place, capsys):
    path = place / "root" / "metadata.db"
    with closing(sqlite3.connect(path)) as database:
        statements, version = list(database.iterdump()), database.execute("PRAGMA user_version").fetchone()[0]
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA encoding='UTF-16le'")
        database.executescript("\n".join([*statements, f"PRAGMA user_version={version};"]))
    (place / "root" / "write.lock").write_bytes(b"")
    before = path.read_bytes()
    for name in ("images", "gc", "copy"):
        assert command(place, *COMMANDS[name], capsys=capsys)[0] == 6, name
    assert path.read_bytes() == before
    # Nothing of it can be read, and without rows all blobs would be garbage.
    assert stores.fsck(place / "root", repair=True).damage
    with closing(sqlite3.connect(path)) as database:
        assert list(database.iterdump()) == statements
    assert command(place, *COMMANDS["images"], capsys=capsys)[0] == 6


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM diff_blob WHERE diff = (SELECT min(diff) FROM diff_blob)",
        "UPDATE OR IGNORE diff_blob SET blob = (SELECT min(blob) FROM diff_blob)",
        "UPDATE blob SET compression = 'none' WHERE digest = (SELECT min(blob) FROM diff_blob)",
    ],
)
def test_what_all_layers_take_is_not_told_where_their_forms_are_recorded_wrongly(place, statement, capsys):
    sql(place / "root", statement)
    assert command(place, *COMMANDS["df"], capsys=capsys)[0] == 6
    assert command(place, "images", capsys=capsys)[0] == 0


@pytest.mark.parametrize("words", [("store", "copy", "{}/copied"), ("store", "backup", "{}/another")])
def test_a_copy_holds_the_layers_that_a_name_which_has_lost_its_image_may_have_had(place, words, data, capsys):
    with orlop.open(place / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    with closing(sqlite3.connect(place / "root" / "metadata.db")) as database, database:
        database.execute("PRAGMA foreign_keys=ON")
        database.execute("DELETE FROM image WHERE id IN (SELECT image FROM reference)")
    status, said = command(place, *words, capsys=capsys)
    assert status == 0, said
    made = place / words[-1].removeprefix("{}/")
    assert {path.name for path in blobs(made)} == {path.name for path in blobs(place / "root")} != set()
    for table in ("chain", "diff", "diff_blob", "blob"):
        assert ask(made, f"SELECT * FROM {table}") == ask(place / "root", f"SELECT * FROM {table}"), table


@pytest.mark.parametrize("digest", [f"sha256:{'0' * 64}"])
@pytest.mark.parametrize("words", [("store", "copy", "{}/copied"), ("store", "backup", "{}/another")])
def test_a_copy_holds_what_a_name_that_has_lost_its_manifest_may_have_named(place, words, digest, capsys):
    layout = Layout()
    layout.top(chart(layout) | named("example.com/chart:1"))
    with orlop.open(place / "root") as images:
        images.load(io.BytesIO(layout.pack()))
    sql(place / "root", f"UPDATE top SET digest = '{digest}' WHERE name = 'example.com/chart' AND suffix = ':1'")
    # No collection takes it either.
    assert command(place, "gc", capsys=capsys)[0] == 0
    status, said = command(place, *words, capsys=capsys)
    assert status == 0, said
    made = place / words[-1].removeprefix("{}/")
    assert {path.name for path in blobs(made)} == {path.name for path in blobs(place / "root")}
    for table in ("manifest", "edge", "blob"):
        assert ask(made, f"SELECT * FROM {table}") == ask(place / "root", f"SELECT * FROM {table}"), table
