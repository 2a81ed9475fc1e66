"""What checks a store in which processes met or died: it says nothing of one that is right, and finds the rest."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from contextlib import closing

import pytest

from orlop.model.reference import Reference
from orlop.store.local import local_store
from tests.invariants import broken


def layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    with local_store(tmp_path / "root") as store:
        held = store.layers.register(io.BytesIO(layer("a")))
        config = {"rootfs": {"type": "layers", "diff_ids": [str(held.diff_id)]}}
        parent, child = (store.images.create(json.dumps(config | {"author": name}).encode()) for name in "ab")
        store.images.set_parent(child, parent)
        store.references.set(Reference.parse("a:1"), child)
        store.layers.release(held)
    return tmp_path / "root"


def test_a_store_at_rest_is_right(root):
    assert broken(root) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE image SET config = CAST(config || ' ' AS BLOB)", "another digest"),
        ("UPDATE image SET chain = NULL", "its chain is None"),
        ("UPDATE image SET head = 1", "head or not"),
        ("UPDATE image_metadata SET value = CAST(image AS BLOB)", "circle"),
        ("UPDATE image_metadata SET value = CAST('sha256:0' AS BLOB)", "is not there"),
        ("UPDATE reference SET image = 'sha256:0'", "name docker.io/library/a:1"),
        ("DELETE FROM image", "nothing needs it"),
        ("UPDATE chain SET size = 5", "not the sum"),
        ("UPDATE chain SET depth = 5", "not what its parent"),
        ("DELETE FROM chain", "in no chain"),
        ("DELETE FROM diff_blob", "no bytes are kept"),
        ("UPDATE blob SET size = 5", "damaged"),
        ("DELETE FROM blob", "it has no row"),
        ("INSERT INTO lease (lease, digest) VALUES ('a', 'b')", "lease of b"),
        ("INSERT INTO manifest VALUES ('a', 'b', x'7b7d')", "manifest a"),
    ],
)
def test_the_check_finds_what_is_wrong(root, statement, told):
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute(statement)
    database.close()
    assert [line for line in broken(root) if told in line]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("place", ["blobs/sha256", "toc/sha256", "ingest", "trash", "leases"])
def test_the_check_finds_what_was_left_behind(root, place):
    (root / place / ("0" * 64)).touch()
    assert len(broken(root)) == 1


@pytest.mark.parametrize("content", [b"", bytes(100)])
def test_the_check_finds_a_table_of_contents_whose_bytes_are_lost(root, content):
    (table,) = (root / "toc" / "sha256").iterdir()
    table.write_bytes(content)
    (told,) = broken(root)
    assert "is damaged" in told
