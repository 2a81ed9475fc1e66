"""The schema of a store in PostgreSQL: whatever somebody has changed there is named, refused and put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import orlop
from orlop.cli.main import run
from orlop.errors import DatabaseDamaged
from orlop.model.store_url import StoreURL
from orlop.store.rows.postgres.tables import STEPS
from tests import engines
from tests.postgres import database, make_older, opened, sql, tag
from tests.unit.damage import fill
from tests.unit.test_remote_store import direct

if TYPE_CHECKING:
    from pathlib import Path

_FUNCTION = """CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER {0} BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION public.nothing()"""
CHANGED: dict[str, tuple[str, str]] = {
    "a trigger of somebody": (_FUNCTION.format("blob"), "the trigger blob of the table blob is not of this version"),
    "an odd name": (_FUNCTION.format("blob").replace("TRIGGER blob", 'TRIGGER "a"";B"'), 'the trigger a";B of the'),
    "a rule": ("CREATE RULE keep AS ON DELETE TO diff DO INSTEAD NOTHING", "the rule keep of the table diff is not"),
    "a trigger that is off": (
        "ALTER TABLE image DISABLE TRIGGER image_moved",
        "the trigger image_moved of the table image is off",
    ),
    "a trigger that one mode has not": (
        "ALTER TABLE top ENABLE TRIGGER top_marked",
        "the trigger top_marked of the table",
    ),
    "no trigger": (
        "DROP TRIGGER manifest_moved ON manifest",
        "the trigger manifest_moved of the table manifest is missing",
    ),
    "no function": (
        "DROP FUNCTION mark_reference CASCADE",
        "the trigger reference_marked of the table reference is mis",
    ),
    "another function": (
        """CREATE OR REPLACE FUNCTION mark_top() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$""",
        "the trigger top_marked of the table top is not what this version makes",
    ),
    "a trigger with a condition": (
        """DROP TRIGGER top_marked ON top; CREATE TRIGGER top_marked BEFORE INSERT OR UPDATE ON top FOR EACH ROW
        WHEN (false) EXECUTE FUNCTION mark_top(); ALTER TABLE top ENABLE ALWAYS TRIGGER top_marked""",
        "the trigger top_marked of the table top is not what this version makes",
    ),
    "all triggers off": (
        "ALTER TABLE diff_blob DISABLE TRIGGER ALL",
        "the links of the table diff_blob are not enforced",
    ),
    "no link": (
        "ALTER TABLE chain DROP CONSTRAINT chain_diff_fkey",
        "the constraint chain_diff_fkey of the table chain is missing",
    ),
    "no key, nor what leads to it": ("ALTER TABLE diff DROP CONSTRAINT diff_pkey CASCADE", "the constraint diff_pkey"),
    "no key of two": (
        "ALTER TABLE edge DROP CONSTRAINT edge_pkey",
        "the constraint edge_pkey of the table edge is mis",
    ),
    "no test": (
        "ALTER TABLE store DROP CONSTRAINT store_one_check",
        "the constraint store_one_check of the table store",
    ),
    "two of one key": (
        "ALTER TABLE object DROP CONSTRAINT object_key_key",
        "the constraint object_key_key of the table",
    ),
    "a test of somebody": (
        "ALTER TABLE event ADD CONSTRAINT few CHECK (number < 100)",
        "the constraint few of the table event is not of this version",
    ),
    "no index": ("DROP INDEX reference_lost", "the index reference_lost of the table reference is missing"),
    "no function of documents": ("DROP FUNCTION mentioned CASCADE", "the function mentioned is missing"),
    "a function that finds nothing": (
        """CREATE OR REPLACE FUNCTION mentioned(document bytea) RETURNS text[] LANGUAGE sql IMMUTABLE
        AS $$ SELECT '{}'::text[] $$""",
        "the function mentioned is not what this version makes",
    ),
    "a function of another type": (
        """DROP FUNCTION mentioned CASCADE;
        CREATE FUNCTION mentioned(document bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '' $$""",
        "the function mentioned is not what this version makes",
    ),
    "no index of what is mentioned": (
        "DROP INDEX image_mentions",
        "the index image_mentions of the table image is missing",
    ),
    "an index that does not count": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'edge_child'::regclass",
        "the index edge_child of the table edge is not what this version makes",
    ),
    "an index that forbids less": (
        "DROP INDEX upload_name; CREATE INDEX upload_name ON upload (name)",
        "the index upload_name of the table upload is not what this version makes",
    ),
    "an index that forbids more": (
        "CREATE UNIQUE INDEX one_of_each ON diff_blob (diff)",
        "the index one_of_each of the table diff_blob is not of this version",
    ),
    "an index of other columns": (
        "DROP INDEX edge_child; CREATE INDEX edge_child ON edge (child)",
        "the index edge_child of the table edge is not what this version makes",
    ),
    "an index that forbids other rows": (
        "DROP INDEX upload_name; CREATE UNIQUE INDEX upload_name ON upload (name, key) WHERE name <> ''",
        "the index upload_name of the table upload is not what this version makes",
    ),
    "an index that takes two names for one": (
        "CREATE UNIQUE INDEX names ON top (lower(name), suffix)",
        "the index names of the table top is not of this version",
    ),
    "a link that takes rows with it": (
        """ALTER TABLE diff_blob DROP CONSTRAINT diff_blob_blob_fkey; ALTER TABLE diff_blob ADD CONSTRAINT
        diff_blob_blob_fkey FOREIGN KEY (blob) REFERENCES blob (digest) ON DELETE CASCADE""",
        "the constraint diff_blob_blob_fkey of the table diff_blob is not what this version makes",
    ),
    "a link that leads elsewhere": (
        """CREATE TABLE other (id text COLLATE "C" PRIMARY KEY); ALTER TABLE chain DROP CONSTRAINT chain_diff_fkey;
        ALTER TABLE chain ADD CONSTRAINT chain_diff_fkey FOREIGN KEY (diff) REFERENCES other (id)""",
        "the constraint chain_diff_fkey of the table chain is not what this version makes",
    ),
    "a link that is checked late": (
        "ALTER TABLE chain ALTER CONSTRAINT chain_diff_fkey DEFERRABLE INITIALLY DEFERRED",
        "the constraint chain_diff_fkey of the table chain is not what this version makes",
    ),
    "a key of more columns": (
        "ALTER TABLE top DROP CONSTRAINT top_pkey; ALTER TABLE top ADD PRIMARY KEY (name, suffix, digest)",
        "the constraint top_pkey of the table top is not what this version makes",
    ),
    "a test of nothing": (
        """ALTER TABLE store DROP CONSTRAINT store_one_check;
        ALTER TABLE store ADD CONSTRAINT store_one_check CHECK (true)""",
        "the constraint store_one_check of the table store is not what this version makes",
    ),
    "another default": (
        "ALTER TABLE doomed ALTER since SET DEFAULT '-infinity'",
        "the default of the column since of the table doomed is not what this version makes",
    ),
    "no default": (
        "ALTER TABLE upload ALTER name DROP DEFAULT",
        "the default of the column name of the table upload is missing",
    ),
    "a trigger for another column": (
        """DROP TRIGGER image_moved ON image;
        CREATE TRIGGER image_moved AFTER INSERT OR DELETE OR UPDATE OF chain ON image
        FOR EACH ROW EXECUTE FUNCTION mark_names_of_image(); ALTER TABLE image ENABLE ALWAYS TRIGGER image_moved""",
        "the trigger image_moved of the table image is not what this version makes",
    ),
    "an heir": (
        "CREATE TABLE public.more () INHERITS (blob)",
        "the table blob counts the rows of public.more as its own",
    ),
    "a table that is not logged": ("ALTER TABLE lease SET UNLOGGED", "the table lease is not logged"),
    "tables that are not logged": (
        "; ".join(
            f"ALTER TABLE {table} SET UNLOGGED"
            for table in ("diff_blob", "chain", "diff", "edge", "image_manifest", "manifest")
        ),
        "the table diff is not logged",
    ),
    "a table that hides rows": ("ALTER TABLE top ENABLE ROW LEVEL SECURITY", "the table top hides rows by policies"),
    "a column without": ("ALTER TABLE chain ALTER depth DROP NOT NULL", "the column depth of the table chain is not"),
}
"""What somebody does to a schema, and what is said of it."""
NULLS = {
    "image": ("config", "created", "created_ns", "head"),
    "image_labels": ("labels",),
    "reference": ("image", "updated", "lost"),
    "blob": ("size", "compression"),
    "diff": ("size", "content_size", "entries"),
    "chain": ("size", "depth"),
    "manifest": ("media_type", "content"),
    "edge": ("child", "media_type", "size"),
    "top": ("digest", "updated"),
    "event": ("time", "kind", "action", "actor", "attributes"),
    "store": ("ttl", "epoch", "last_event"),
    "object": ("size",),
}
"""Columns whose values somebody may take away, once he has allowed that."""
LOST: dict[str, tuple[str, str]] = {
    "no column": ("ALTER TABLE event DROP COLUMN actor", "the column actor of the table event is missing"),
    "a type": (
        "ALTER TABLE blob ALTER size TYPE numeric",
        "the column size of the table blob is not what this version",
    ),
    "an order": (
        """ALTER TABLE lease ALTER digest TYPE text COLLATE "POSIX" """,
        "the column digest of the table lease is not what this version makes",
    ),
    "no table": ("DROP TABLE lease", "the table lease is missing"),
    "a view": ("ALTER TABLE lease RENAME TO kept; CREATE VIEW lease AS SELECT * FROM kept", "the table lease is not"),
}
"""What takes something away that nobody can bring back."""
LEFT_ALONE = (
    """CREATE TABLE mine (a int PRIMARY KEY CHECK (a > 0), b int UNIQUE, c text REFERENCES blob ON DELETE CASCADE)""",
    "CREATE UNLOGGED TABLE fast (a int); ALTER TABLE fast ENABLE ROW LEVEL SECURITY",
    "CREATE RULE keep AS ON DELETE TO mine DO INSTEAD NOTHING; CREATE VIEW seen AS SELECT * FROM blob",
    _FUNCTION.format("mine") + "; ALTER TABLE mine DISABLE TRIGGER ALL",
    "CREATE MATERIALIZED VIEW kept AS SELECT * FROM blob; CREATE UNIQUE INDEX quick ON kept (digest)",
    "CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE part PARTITION OF parts DEFAULT",
    "CREATE FUNCTION here() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE counted",
    "ALTER TABLE event ADD COLUMN note text DEFAULT 'none'; COMMENT ON TABLE event IS 'what happened'",
    # Indexes that forbid nothing, as they lie there while the server makes others anew, or where it was kept from that.
    "CREATE INDEX more ON event (time); CREATE UNIQUE INDEX image_pkey_ccnew ON image (id)",
    "CREATE UNIQUE INDEX wide ON top (digest, suffix DESC, name) INCLUDE (updated)",
    """CREATE UNIQUE INDEX "odd ON ""one" ON upload (name) WHERE name <> ''""",
    "CREATE INDEX edge_child_ccnew ON edge (child, role)",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE '%_ccnew'",
    # How tables are stored, watched and handed on.
    "CREATE STATISTICS known ON digest, size FROM blob; ALTER TABLE blob ALTER digest SET STATISTICS 500",
    "ALTER TABLE blob SET (fillfactor = 70); CLUSTER blob USING blob_pkey",
    "ALTER INDEX edge_child SET (fillfactor = 70)",
    "REINDEX SCHEMA orlop",
    "ALTER TABLE edge REPLICA IDENTITY FULL; CREATE PUBLICATION all_of_it FOR ALL TABLES",
    "ALTER TABLE chain DROP CONSTRAINT chain_diff_fkey",
    "ALTER TABLE chain ADD CONSTRAINT chain_diff_fkey FOREIGN KEY (diff) REFERENCES diff (id) NOT VALID",
)
"""What an administrator may do, and what somebody else may have in the schema."""


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("change", "said"), CHANGED.values(), ids=CHANGED)
def test_a_change_of_the_schema_is_named_refused_and_put_right(change: str, said: str) -> None:
    url = database()
    with opened(url) as metadata:
        tag(metadata, "1")
        sql(url, change)
        for verify in (False, True):
            found = metadata.problems(verify=verify)
            assert {one.kind for one in found if not one.kind.startswith("name")} == {"schema"}
            assert any(one.message.startswith(said) for one in found), found
        with pytest.raises(DatabaseDamaged, match=r"cannot be trusted: the .*fsck --repair"):
            metadata.require_sound()
        with metadata.write():
            assert metadata.mender().put_shape_right()
        assert [one for one in metadata.problems(verify=True) if one.kind == "schema"] == []
        metadata.require_sound()
        # The marks are right as well, and go on to be.
        sql(url, "INSERT INTO image VALUES ('another', 'c', NULL, 1, 1); UPDATE reference SET image = 'another'")
        sql(url, "SET session_replication_role = replica; DELETE FROM image")
        assert sql(url, "SELECT lost FROM reference") == [(True,)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("change", "said"), LOST.values(), ids=LOST)
def test_what_is_lost_of_the_schema_is_named_and_refused(change: str, said: str) -> None:
    url = database()
    with opened(url) as metadata:
        sql(url, change)
        found = metadata.problems(verify=True)
        assert {one.kind for one in found} == {"schema"}
        assert any(one.message.startswith(said) for one in found), found
        with pytest.raises(DatabaseDamaged):
            metadata.require_sound()
        with metadata.write():
            assert metadata.mender().put_shape_right() == []
            assert metadata.mender().put_values_right() == []


@pytest.mark.parametrize("version", [*STEPS, max(STEPS) + 1])
def test_the_schema_of_a_store_of_any_age_is_right(version: int) -> None:
    url = database()
    with psycopg.connect(url, autocommit=True) as connection:
        make_older(connection, version)
    with opened(url) as metadata:
        metadata.update()
        assert metadata.problems(verify=True) == []
        for change in LEFT_ALONE:
            sql(url, change)
        assert metadata.problems(verify=True) == []
        metadata.require_sound()


def test_what_another_function_indexed_is_indexed_again() -> None:
    url = database()
    with opened(url) as metadata:
        sql(url, CHANGED["a function that finds nothing"][0])
        digest = f"sha256:{'5' * 64}"
        sql(url, "INSERT INTO image VALUES ('one', %s, NULL, 1, 1)", f'"{digest}"'.encode())
        asked = """SELECT id FROM image WHERE mentioned(config) COLLATE "C" @> ARRAY[%s]"""
        assert sql(url, asked, digest) == []
        with metadata.write():
            metadata.mender().put_shape_right()
        assert sql(url, asked, digest) == [("one",)]


def test_who_does_not_own_the_tables_finds_what_is_wrong() -> None:
    url = database()
    sql(
        url,
        "CREATE ROLE looker LOGIN; GRANT USAGE ON SCHEMA orlop TO looker",
    )
    sql(url, "GRANT SELECT ON ALL TABLES IN SCHEMA orlop TO looker; ALTER TABLE image DISABLE TRIGGER image_moved")
    try:
        with opened(make_conninfo(url, user="looker")) as metadata:
            assert [one.subject for one in metadata.problems(verify=False)] == ["image.image_moved"]
    finally:
        sql(url, "DROP OWNED BY looker; DROP ROLE looker")


def test_commands_refuse_a_changed_schema_and_a_repair_puts_it_right(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = engines.placed(monkeypatch, tmp_path)
    fill(url, data)  # type: ignore[arg-type]  # a store by its name
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        change = (
            b"SET search_path TO orlop; ALTER TABLE image DISABLE TRIGGER ALL; ALTER TABLE manifest DISABLE TRIGGER ALL"
        )
        connection.execute(change)
        for words in (("gc",), ("image", "prune", "-a", "-f"), ("store", "copy", str(tmp_path / "copied")), ("fsck",)):
            capsys.readouterr()
            assert run(("--root", url, *words)) == 6, words
        assert not (tmp_path / "copied").exists()
        # What went meanwhile left no mark behind it; the repair sets it.
        connection.execute("DELETE FROM image WHERE id = (SELECT max(image) FROM reference)")
        orlop.stores.fsck(url, repair=True)
        assert connection.execute("SELECT count(*) > 0 FROM reference WHERE lost").fetchone() == (True,)
    assert "schema" not in {one.kind for one in orlop.stores.fsck(url).problems}
    with orlop.open(url) as images:
        images.gc()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("table", NULLS)
def test_values_that_are_none_are_found_and_put_right(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    url = engines.placed(monkeypatch, tmp_path)
    fill(url, data)  # type: ignore[arg-type]  # as above
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute("SET search_path TO orlop; SET session_replication_role = replica")
        blobs = {name for (name,) in connection.execute("SELECT digest FROM blob").fetchall()}
        for column in NULLS[table]:
            connection.execute(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL".encode())
            one = f"(SELECT ctid FROM {table} ORDER BY ctid::text LIMIT 1)"
            connection.execute(f"UPDATE {table} SET {column} = NULL WHERE ctid = {one}".encode())
        assert run(("--root", url, "gc")) == 6
        assert {one.kind for one in orlop.stores.fsck(url).problems} == {"schema"}
        orlop.stores.fsck(url, repair=True)
        left = {one.kind for one in orlop.stores.fsck(url).damage}
        assert left <= {"config-damaged", "manifest-damaged", "name-dangling"}
        if not left:
            assert run(("--root", url, "gc")) == 0
        assert {name for (name,) in connection.execute("SELECT digest FROM blob").fetchall()} == blobs
