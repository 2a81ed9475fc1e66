"""What an intact config, manifest or index names is needed, whatever the rows between say, in both databases."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import orlop
from orlop.errors import DatabaseDamaged
from orlop.model.digest import ImageID
from orlop.model.store_url import StoreURL
from orlop.store.rows.naming import ANYTHING, mentioned, mentions_any
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.mentions import WHICH_IMAGES, WHICH_MANIFESTS
from orlop.store.rows.sqlite import doubts
from tests import engines
from tests.postgres import database, opened
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, Layout, layer_tar, named, sha256
from tests.unit.test_remote_store import direct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, AGAIN, C = "example.com/a:1", "example.com/b:1", "example.com/b:again", "example.com/c:1"
ONE, TWO, THREE, BOTH = (f"example.com/{name}:1" for name in ("one", "two", "three", "both"))


def _meant(name: str, column: str = "digest", table: str = "top") -> str:
    return f"(SELECT {column} FROM {table} WHERE name || suffix = '{name}')"


def _layer(name: str, column: str = "id") -> str:
    return f"(SELECT {column} FROM chain WHERE id = (SELECT chain FROM image WHERE id = {_image(name)}))"


def _image(name: str) -> str:
    return _meant(name, "image", "reference")


ELSE = f"'{sha256(b'else')}'"
CHANGES: dict[str, tuple[str, str]] = {
    "no lower layer": (f"UPDATE chain SET parent = NULL WHERE id = {_layer(B)}", A),
    "another lower layer": (f"UPDATE chain SET parent = {_layer(C)} WHERE id = {_layer(B)}", A),
    "another content": (f"UPDATE chain SET diff = {_layer(C, 'diff')} WHERE id = {_layer(A)}", A),
    "no layers": (f"UPDATE image SET chain = NULL WHERE id = {_image(B)}", AGAIN),
    "other layers": (f"UPDATE image SET chain = {_layer(C)} WHERE id = {_image(B)}", AGAIN),
    "another blob": (f"UPDATE edge SET child = {ELSE} WHERE role = 'layer' AND parent = {_meant(ONE)}", TWO),
    "no blob": (f"DELETE FROM edge WHERE role = 'layer' AND parent = {_meant(ONE)}", TWO),
    "another child": (f"UPDATE edge SET child = {ELSE} WHERE role = 'child' AND child = {_meant(THREE)}", THREE),
    "no child": (f"DELETE FROM edge WHERE role = 'child' AND child = {_meant(THREE)}", THREE),
    "another subject": (
        f"UPDATE edge SET child = {_meant(BOTH)} WHERE role = 'subject' AND child = {_meant(ONE)}",
        BOTH,
    ),
}
"""What somebody changes, and what is removed then that would take what is not its own."""


def _made() -> bytes:
    """Images on a common layer, charts of the same content, one in an index, and a signature."""
    layout = Layout()
    one, two, three = chart(layout, b"same"), chart(layout, b"same", annotations={"a": "b"}), chart(layout, b"three")
    both = layout.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [three]}, INDEX)
    layout.top(
        *(layout.image("below", name, **named(tag)) for name, tag in (("a", A), ("b", B))),
        layout.image("below", "b", architecture="arm64", **named(AGAIN)),
        layout.image("other", **named(C)),
        *(one | named(ONE), two | named(TWO), three | named(THREE), both | named(BOTH), signature(layout, one)),
    )
    return layout.pack()


@dataclass
class Place:
    """A store by its name, and how to run a statement past orlop that no link is checked for."""

    name: str
    ask: Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store with what is made above."""
    if request.param == "postgres":
        name = engines.placed(monkeypatch, tmp_path)
        url = StoreURL.parse(name, engines.variables())

        def ask(statement: str) -> list[tuple[Any, ...]]:
            with direct(url) as connection:
                connection.execute("SET session_replication_role = replica; SET search_path TO orlop")
                found = connection.execute(statement.encode())
                return found.fetchall() if found.description else []

        made = Place(name, ask)
    else:
        # Every database is taken for one that is too large to be looked through before it is used.
        monkeypatch.setattr(doubts, "SMALL", 0)
        made = Place(str(tmp_path / "root"), partial(_ask_sqlite, tmp_path / "root" / "metadata.db"))
    with orlop.open(made.name) as images:
        images.load(io.BytesIO(_made()))
    return made


def _ask_sqlite(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def _held(place: Place) -> set[str]:
    tables = (("chain", "id"), ("diff", "id"), ("blob", "digest"), ("manifest", "digest"), ("image", "id"))
    return {f"{table} {key}" for table, column in tables for (key,) in place.ask(f"SELECT {column} FROM {table}")}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("change", "name"), CHANGES.values(), ids=CHANGES)
def test_a_removal_takes_nothing_that_an_intact_document_names(place: Place, change: str, name: str) -> None:
    place.ask(change)
    before = _held(place)
    with orlop.open(place.name) as images, pytest.raises(DatabaseDamaged, match="fsck --repair"):
        images.remove(name)
    assert _held(place) == before
    orlop.stores.fsck(place.name, repair=True)
    with orlop.open(place.name) as images:
        images.remove(name)


def test_what_is_only_mentioned_goes(place: Place) -> None:
    """A label of an image names the content of another one, as annotations name the image that one is built on."""
    layout = Layout()
    layers = [digest for (digest,) in place.ask("SELECT id FROM diff UNION SELECT digest FROM blob")]
    noted = chart(layout, b"noted", annotations={"of": " ".join(layers)})
    layout.top(noted | named("example.com/noted:1"))
    with orlop.open(place.name) as images:
        images.load(io.BytesIO(layout.pack()))
        for name in (A, B, AGAIN, C, ONE, TWO, BOTH, THREE):
            images.remove(name)
    assert place.ask("SELECT id FROM chain") == []
    left = place.ask("SELECT digest FROM blob")
    assert len(left) == 2
    assert {digest for (digest,) in left}.isdisjoint(layers)


def test_a_digest_is_found_that_is_written_with_escapes(place: Place) -> None:
    layout = Layout()
    tar = layer_tar("below"), layer_tar("b")
    document = {"architecture": "arm", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [*map(sha256, tar)]}}
    config = json.dumps(document).replace('"sha256:', '"\\u0073ha256\\u003A').encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(config, CONFIG),
        "layers": [layout.blob(one, LAYER) for one in tar],
    }
    layout.top(layout.document(manifest, MANIFEST) | named("example.com/escaped:1"))
    with orlop.open(place.name) as images:
        images.load(io.BytesIO(layout.pack()))
        assert len(images.inspect("example.com/escaped:1").image.rootfs.diff_ids) == 2
        images.remove(AGAIN)
    place.ask(f"UPDATE image SET chain = NULL WHERE id = {_image('example.com/escaped:1')}")
    before = _held(place)
    with orlop.open(place.name) as images, pytest.raises(DatabaseDamaged, match="fsck --repair"):
        images.remove(B)
    assert _held(place) == before


# The function of the server.

PIECES = (b"sha256:", b"sha384:", b"sha512:", b"sha", b"256:", b":", b"0a" * 64, b"1b" * 48, b"2c" * 32, b"f", b"g")
ESCAPES = (b"\\", b"\\u00", b"\\u003", b"\\u0026", b"3a", b"61", b"A", b"\0", b"\xff", b"\n", b'"')


def test_the_server_finds_all_that_a_document_mentions() -> None:
    chance = Random(1)
    documents = [b"{" + b"".join(chance.choices((*PIECES, *ESCAPES), k=chance.randrange(12))) for _ in range(500)]
    with psycopg.connect(database(), options="-c search_path=orlop") as connection:
        for document in documents:
            (found,) = connection.execute("SELECT mentioned(%s)", (document,)).fetchone() or ([],)
            expected = mentioned(document)
            assert expected <= set(found), document
            assert (ANYTHING in expected) == (ANYTHING in found), document
            assert all(mentions_any({one})(document) for one in expected), document
        connection.rollback()


def test_the_server_asks_its_index() -> None:
    with psycopg.connect(database(), options="-c search_path=orlop") as connection:
        for which, index in ((WHICH_IMAGES, "image_mentions"), (WHICH_MANIFESTS, "manifest_mentions")):
            for count in (1, 5000):
                digests = [sha256(b"%d" % number) for number in range(count)]
                plan = connection.execute(f"EXPLAIN {which}".encode(), (digests, digests)).fetchall()
                assert any(f"Bitmap Index Scan on {index}" in line for (line,) in plan), plan


def test_who_may_write_rows_may_run_the_function_in_a_database_that_takes_it_from_all() -> None:
    url = database(empty=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        PostgresMetadata.make(url)
        connection.execute("CREATE ROLE only_writes LOGIN; GRANT USAGE ON SCHEMA orlop TO only_writes")
        try:
            connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop TO only_writes")
            with opened(make_conninfo(url, user="only_writes")) as metadata, metadata.write() as rows:
                rows.put_image(ImageID.of(b"{}"), b"{}", chain_id=None, created=(0, 0))
            assert connection.execute("SELECT count(*) FROM orlop.image").fetchone() == (1,)
        finally:
            connection.execute("DROP OWNED BY only_writes; DROP ROLE only_writes")
