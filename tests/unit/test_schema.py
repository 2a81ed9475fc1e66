"""Databases of other schemas: older ones are brought up to date whole or not at all, newer ones are left alone."""

from __future__ import annotations

import logging
import os
import re
import resource
import runpy
import signal
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import orlop
from orlop import errors, stores
from orlop.store.local import local_store
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.rows.sqlite.rows import SQLiteRows
from orlop.store.rows.sqlite.schema import CURRENT, Schema, lay_out, version_of
from orlop.streams.directory import Directory

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
RELEASED = sorted(SCHEMAS.glob("*.sql"))
DUMP = runpy.run_path(str(SCHEMAS / "dump.py"))


def more(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE blob ADD COLUMN seen INTEGER NOT NULL DEFAULT 0")


def rebuild(connection: sqlite3.Connection) -> None:
    # A table that others refer to is made anew: only foreign keys that are not checked meanwhile allow that.
    connection.execute("CREATE TABLE better (digest TEXT PRIMARY KEY NOT NULL, media_type TEXT, content BLOB)")
    connection.execute("INSERT INTO better SELECT digest, media_type, content FROM manifest")
    connection.execute("DROP TABLE manifest")
    connection.execute("ALTER TABLE better RENAME TO manifest")


LATER = Schema(CURRENT.version + 2, CURRENT.statements, {CURRENT.version: more, CURRENT.version + 1: rebuild})


def dump(path: Path) -> tuple[int, list[str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0], list(database.iterdump())


@pytest.fixture
def root(tmp_path):
    DUMP["fill"](tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def rows_of():
    def read(root, schema=LATER, *, read_only=False):
        metadata = SQLiteMetadata(
            Directory(str(root)), refusal=errors.ReadOnlyStore if read_only else None, schema=schema
        )
        try:
            with metadata.read() as rows:
                return sorted(rows.image_rows(listed_only=False), key=lambda row: row.id)
        finally:
            metadata.close()

    return read


def test_an_older_database_is_brought_up_to_date_and_kept_beside(root, rows_of, caplog):
    before = rows_of(root, CURRENT)
    old = dump(root / "metadata.db")
    with caplog.at_level(logging.WARNING, "orlop"):
        assert rows_of(root) == before
    kept = root / f"metadata.db.schema-{CURRENT.version}"
    assert str(kept) in caplog.text
    assert dump(root / "metadata.db")[0] == CURRENT.version + 2
    assert dump(kept) == old
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in root.iterdir() if path.name.endswith(".part")] == []
    caplog.clear()
    assert rows_of(root) == before
    assert not caplog.records


def test_update_says_what_it_did(root):
    metadata = SQLiteMetadata(Directory(str(root)), schema=LATER)
    assert metadata.update() == (CURRENT.version, str(root / f"metadata.db.schema-{CURRENT.version}"))
    assert metadata.update() == (CURRENT.version + 2, None)
    metadata.close()


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE lease")
    connection.execute("no SQL at all")


def dangle(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO image_metadata VALUES ('sha256:nobody', 'a', x'00')")


@pytest.mark.parametrize(
    ("step", "kind", "told"),
    [(fail, errors.StorageError, "syntax error"), (dangle, errors.StoreDamaged, "refer to missing ones")],
)
def test_a_step_that_fails_leaves_the_database_as_it_was(root, rows_of, step, kind, told):
    before = dump(root / "metadata.db")
    with pytest.raises(kind, match=told):
        rows_of(root, replace(LATER, steps={CURRENT.version: more, CURRENT.version + 1: step}))
    assert dump(root / "metadata.db") == before
    assert rows_of(root)


def test_a_copy_that_finds_no_room_leaves_nothing_of_itself(root, rows_of):
    before, names = dump(root / "metadata.db"), {path.name for path in root.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow fails as on a full disk, for an ordinary user as well.
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    try:
        with pytest.raises(errors.OrlopError):
            rows_of(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {path.name for path in root.iterdir() if ".schema-" in path.name} == set()
    assert {path.name for path in root.iterdir()} <= names | {"metadata.db-wal", "metadata.db-shm"}
    assert dump(root / "metadata.db") == before
    assert rows_of(root)


def test_a_copy_that_was_killed_is_told_and_goes(root, rows_of):
    parts = [root / f"metadata.db.schema-{CURRENT.version}.part{end}" for end in ("", "-journal")]
    for part in parts:
        part.write_bytes(b"half of it")
        part.chmod(0o600)
    other = root / "metadata.db.0123456789abcdef.part"
    other.touch(0o600)
    told = [problem.subject for problem in stores.fsck(root).problems if problem.kind == "unfinished"]
    assert sorted(told) == sorted(str(path) for path in (*parts, other))
    with orlop.open(root) as images:
        images.gc()
    assert not any(path.exists() for path in (*parts, other))
    assert stores.fsck(root).problems == ()


def test_who_reads_during_an_upgrade_sees_the_moment_before_it_and_is_refused_afterwards(root, rows_of):
    before = rows_of(root, CURRENT)
    older = SQLiteMetadata(Directory(str(root)))
    with older.read() as rows:
        assert sorted(rows.image_rows(listed_only=False), key=lambda row: row.id) == before
        newer = SQLiteMetadata(Directory(str(root)), schema=LATER)
        assert newer.update()[0] == CURRENT.version
        newer.close()
        assert sorted(rows.image_rows(listed_only=False), key=lambda row: row.id) == before
    with pytest.raises(errors.StoreTooNew, match="upgrade"), older.read() as rows:
        list(rows.image_rows(listed_only=False))
    older.close()
    assert rows_of(root) == before


def test_where_no_way_leads_nothing_is_touched(root, rows_of):
    before = {path.name for path in root.iterdir()}
    with pytest.raises(errors.StoreDamaged, match="the orlop that wrote it"):
        rows_of(root, replace(LATER, steps={}))
    assert {path.name for path in root.iterdir()} == before
    assert dump(root / "metadata.db")[0] == CURRENT.version


def test_an_older_database_that_may_not_be_written_is_read(root, rows_of):
    before = (root / "metadata.db").read_bytes()
    assert rows_of(root, read_only=True) == rows_of(root, CURRENT)
    assert (root / "metadata.db").read_bytes() == before
    metadata = SQLiteMetadata(Directory(str(root)), refusal=errors.ReadOnlyStore, schema=LATER)
    with pytest.raises(errors.ReadOnlyStore):
        metadata.update()


def test_a_program_that_was_there_before_writes_no_more(root):
    metadata = SQLiteMetadata(Directory(str(root)))
    with metadata.write():
        pass
    newer = SQLiteMetadata(Directory(str(root)), schema=LATER)
    newer.update()
    newer.close()
    with pytest.raises(errors.StoreTooNew, match="upgrade"), metadata.write():
        pass
    metadata.close()


def test_several_at_once_take_each_step_once(root):
    started = threading.Barrier(6)
    taken = []

    def count(connection: sqlite3.Connection) -> None:
        taken.append(threading.get_ident())
        more(connection)

    def work() -> None:
        metadata = SQLiteMetadata(Directory(str(root)), schema=schema)
        started.wait()
        with metadata.read() as rows:
            assert isinstance(rows, SQLiteRows)
        metadata.close()

    schema = replace(LATER, steps={CURRENT.version: count, CURRENT.version + 1: rebuild})
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert dump(root / "metadata.db")[0] == LATER.version


def restored(text: str, root: Path) -> Path:
    local_store(root).close()
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.executescript(text)
    return root


@pytest.mark.parametrize("path", [None, *RELEASED], ids=lambda path: "now" if path is None else path.stem)
def test_every_schema_leads_to_this_one(root, tmp_path, path):
    text = DUMP["dump"](root) if path is None else path.read_text()
    with local_store(restored(text, tmp_path / "restored")) as store:
        assert len(store.images.map()) == 3
        assert len(store.layers.map()) > 3
        with store.metadata.write() as rows:
            assert rows.leases() == ["0123456789abcdef"]
            assert [len(rows.manifests(image)) for image in store.images.ids()].count(1) == 1
    version, lines = dump(tmp_path / "restored" / "metadata.db")
    assert version == CURRENT.version
    shapes = [re.sub(r"\s+", " ", line) for line in lines if line.startswith("CREATE")]
    # However a database came to this schema, it has the shape of a new one.
    assert sorted(shapes) == sorted(re.sub(r"\s+", " ", f"{statement};") for statement in CURRENT.statements)
    for table in re.findall(r"CREATE TABLE (\w+)", "".join(CURRENT.statements)):
        assert any(line.startswith(f'INSERT INTO "{table}"') for line in lines), table


def test_versions_have_steps_between_them():
    assert sorted(CURRENT.steps) == list(range(1, CURRENT.version))
    assert {int(path.stem) for path in RELEASED} <= set(range(1, CURRENT.version + 1))
    assert os.access(SCHEMAS / "dump.py", os.R_OK)


@pytest.mark.parametrize("moment", range(4))
def test_a_database_that_is_laid_out_meanwhile_is_no_damage(tmp_path, moment):
    path = tmp_path / "metadata.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as first, closing(sqlite3.connect(path)) as second:
        first.execute("PRAGMA journal_mode=WAL")
        said: list[str] = []

        def lay_out_then(statement: str) -> None:
            said.append(statement)
            if len(said) == moment + 1:
                lay_out(second, str(path))

        first.set_trace_callback(lay_out_then)
        assert version_of(first, str(path)) in {0, CURRENT.version}
        first.set_trace_callback(None)
