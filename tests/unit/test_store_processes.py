"""Many processes that create, tag, remove and list in one store at once. `ORLOP_LONG=1` gives them two minutes."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile

import pytest

from orlop.model.reference import Reference
from orlop.store.root import Store
from tests.invariants import broken

PROCESSES = 8
SECONDS = 120 if os.environ.get("ORLOP_LONG") else 8

WORKER = """
import hashlib, io, json, random, sys, time
import orlop
from orlop.errors import Conflict, NotFound
from orlop.model.digest import ImageID
from orlop.streams.tar_write import END, member_header, padding

root, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(number)
commits, refused = 0, 0
sys.stdin.readline()
end = time.monotonic() + seconds

def layer(content):
    return member_header("f", size=len(content), mode=0o644) + content + padding(len(content)) + END

with orlop.open(root) as service:
    mine = []
    while time.monotonic() < end:
        what = chance.random()
        try:
            if what < 0.35:
                held, diffs = [], []
                # The contents are the same in all processes, so that layers come and go under each other's hands.
                for _ in range(chance.randrange(3)):
                    content = layer(b"%d" % chance.randrange(4))
                    held.append(service.layer_store.register(io.BytesIO(content), held[-1].chain_id if held else None))
                    diffs.append(str(held[-1].diff_id))
                config = {"rootfs": {"type": "layers", "diff_ids": diffs}, "author": str(chance.randrange(200))}
                image = service.image_store.create(json.dumps(config).encode())
                for one in held:
                    service.layer_store.release(one)
                mine.append(image)
                commits += 1
                if chance.random() < 0.5:
                    service.image_store.set_parent(image, chance.choice(mine))
                    commits += 1
            elif what < 0.6 and mine:
                service.tag(str(chance.choice(mine)), f"shared:{chance.randrange(10)}")
                commits += 1
            elif what < 0.8:
                if chance.random() < 0.5:
                    service.remove(f"shared:{chance.randrange(10)}")
                elif mine:
                    service.remove(str(chance.choice(mine)), force=chance.random() < 0.5)
                commits += 1
            else:
                for summary in service.images(all=chance.random() < 0.5):
                    assert summary.size >= 0
        except (NotFound, Conflict, orlop.errors.InvalidInput) as error:
            if isinstance(error, orlop.errors.InvalidInput) and "descends" not in str(error):
                raise
            refused += 1
print(json.dumps([commits, refused]))
"""


def test_eight_processes_at_once_leave_a_store_that_is_right(tmp_path):
    root = tmp_path / "root"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, root, str(number), str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    ended = [worker.communicate(timeout=SECONDS + 120) for worker in workers]
    # Nobody has seen "locked", or any error at all.
    assert [errors for _, errors in ended] == [""] * PROCESSES
    commits, refused = zip(*(json.loads(answer) for answer, _ in ended), strict=True)
    print(f"commits {commits}, refused {refused}, least to most {min(commits) / max(commits):.2f}")
    assert min(commits) > max(commits) / 10
    with Store(root) as store:
        assert len(list(store.images.ids())) > 0
    assert broken(root) == []


def layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    with Store(tmp_path / "root") as store:
        held = store.layers.register(io.BytesIO(layer("a")))
        config = {"rootfs": {"type": "layers", "diff_ids": [str(held.diff_id)]}}
        parent, child = (store.images.create(json.dumps(config | {"author": name}).encode()) for name in "ab")
        store.images.set_parent(child, parent)
        store.references.set(Reference.parse("a:1"), child)
        store.layers.release(held)
    return tmp_path / "root"


def test_a_store_at_rest_is_right(root):
    assert broken(root) == []


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
        ("INSERT INTO manifest VALUES ('a', 'b', x'00')", "manifest a"),
    ],
)
def test_the_check_finds_what_is_wrong(root, statement, told):
    with sqlite3.connect(root / "metadata.db") as database:
        database.execute(statement)
    database.close()
    assert [line for line in broken(root) if told in line]


@pytest.mark.parametrize("place", ["blobs/sha256", "toc/sha256", "ingest", "trash", "leases"])
def test_the_check_finds_what_was_left_behind(root, place):
    (root / place / ("0" * 64)).touch()
    assert len(broken(root)) == 1
