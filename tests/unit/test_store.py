"""The store: layers that stay as long as they are needed, images and names, many threads and processes, crashes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pkgutil
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.digest import ChainID, DiffID, Digest, ImageID, chain_ids
from orlop.model.reference import Reference
from orlop.store.backends.fs import FSStoreBackend
from orlop.store.backends.memory import MemoryStoreBackend
from orlop.store.images import ImageStore
from orlop.store.local import local_store
from orlop.store.rows.sqlite.schema import lay_out
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
from tests.open_files import open_below
from tests.unit.layouts import packed, sha256
from tests.waiting import until

if TYPE_CHECKING:
    from orlop.store.root import Store


def layer_tar(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(name)
        tar.addfile(member, io.BytesIO(name.encode()))
    return out.getvalue()


def diff_id(content: bytes) -> DiffID:
    return DiffID("sha256", hashlib.sha256(content).hexdigest())


def config(*contents: bytes, **more: object) -> bytes:
    diffs = [str(diff_id(content)) for content in contents]
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}} | more).encode()


@pytest.fixture
def store(tmp_path):
    with local_store(tmp_path / "root") as store:
        yield store


def blobs_of(store: Store) -> set[str]:
    return {path.name for path in (Path(store.root) / "blobs" / "sha256").iterdir()}


def leftovers(store: Store) -> list[str]:
    return [path.name for folder in ("ingest", "trash") for path in (Path(store.root) / folder).iterdir()]


ONE, TWO = layer_tar("one"), layer_tar("second")


class TestLayers:
    def test_a_registered_layer_gives_its_bytes_back(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        assert layer.diff_id == diff_id(ONE)
        assert layer.chain_id == ChainID.wrap(layer.diff_id)
        assert (layer.parent, layer.size, layer.diff_size) == (None, 3, 3)
        assert b"".join(layer.tar_chunks()) == ONE

    def test_a_compressed_layer_is_kept_as_it_came_and_read_plain(self, store):
        came = gzip.compress(ONE)
        layer = store.layers.register(io.BytesIO(came))
        assert layer.diff_id == diff_id(ONE)
        assert b"".join(layer.tar_chunks()) == ONE
        assert blobs_of(store) == {hashlib.sha256(came).hexdigest()}

    @pytest.mark.parametrize("instead", ["pipe", "directory"])
    def test_what_is_no_file_in_the_place_of_a_layer_is_an_error_and_nobody_waits_for_it(self, store, instead):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        path = Path(store.root) / "blobs" / "sha256" / layer.diff_id.hex
        path.unlink()
        os.mkfifo(path) if instead == "pipe" else path.mkdir()
        with pytest.raises(errors.ContentNotFound):
            b"".join(layer.tar_chunks())

    @pytest.mark.parametrize(
        ("statement", "error"),
        [
            ("UPDATE blob SET compression = 'x'", errors.StoreDamaged),
            (
                "PRAGMA foreign_keys = OFF; UPDATE diff_blob SET blob = '../x'; UPDATE blob SET digest = '../x'",
                errors.InvalidDigest,
            ),
        ],
    )
    def test_rows_that_hold_anything_are_an_error_and_never_a_path(self, store, statement, error):
        layer = store.layers.register(io.BytesIO(layer_tar("a")))
        with closing(sqlite3.connect(Path(store.root) / "metadata.db")) as connection:
            connection.executescript(statement)
            with pytest.raises(error):
                b"".join(layer.tar_chunks())
            connection.executescript("DELETE FROM diff_blob; DELETE FROM blob")

    def test_a_layer_on_another_counts_both(self, store):
        below = store.layers.register(io.BytesIO(ONE))
        above = store.layers.register(io.BytesIO(TWO), below.chain_id)
        assert above.chain_id == chain_ids([diff_id(ONE), diff_id(TWO)])[1]
        assert (above.parent, above.size, above.diff_size) == (below.chain_id, 9, 6)
        assert store.layers.map()[above.chain_id] == above.metadata

    def test_a_layer_goes_with_its_last_user_and_takes_its_parents(self, store):
        below = store.layers.register(io.BytesIO(ONE))
        above = store.layers.register(io.BytesIO(TWO), below.chain_id)
        assert store.layers.release(below) == ()
        again = store.layers.get(above.chain_id)
        assert store.layers.release(above) == ()
        gone = store.layers.release(again)
        assert [layer.chain_id for layer in gone] == [above.chain_id, below.chain_id]
        assert [(layer.size, layer.diff_size) for layer in gone] == [(9, 6), (3, 3)]
        assert store.layers.map() == {}
        assert blobs_of(store) == set()
        assert not leftovers(store)

    def test_layers_are_merged_without_their_tables_of_contents(self, store):
        below = store.layers.register(io.BytesIO(ONE))
        above = store.layers.register(io.BytesIO(TWO), below.chain_id)
        expected = b"".join(above.tar_chunks_from(None))
        table = Path(store.files.blobs.toc_file(below.diff_id).path)
        table.unlink()
        table.mkdir()
        assert b"".join(above.tar_chunks_from(None)) == expected

    def test_one_content_under_two_chains_stays_for_the_other(self, store):
        below = store.layers.register(io.BytesIO(ONE))
        again = store.layers.register(io.BytesIO(ONE), below.chain_id)
        assert len(store.layers.release(again)) == 1
        assert b"".join(below.tar_chunks()) == ONE

    def test_unknown_layers_are_errors(self, store):
        nobody = ChainID.of(b"nobody")
        with pytest.raises(errors.LayerNotFound):
            store.layers.get(nobody)
        with pytest.raises(errors.LayerNotFound):
            store.layers.register(io.BytesIO(ONE), nobody)
        with pytest.raises(errors.LayerNotFound):
            list(store.layers.tar_chunks(diff_id(b"nobody")))
        assert blobs_of(store) == set()
        assert not leftovers(store)

    @pytest.mark.sampled(2)
    def test_a_chain_has_at_most_125_layers(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        for _ in range(124):
            layer = store.layers.register(io.BytesIO(ONE), layer.chain_id)
        with pytest.raises(errors.LayerLimitExceeded, match="125"):
            store.layers.register(io.BytesIO(ONE), layer.chain_id)

    def test_a_handle_of_another_process_keeps_a_layer(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, store.root, str(layer.chain_id)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert store.layers.release(layer) == ()
        assert b"".join(store.layers.tar_chunks(diff_id(ONE))) == ONE
        holder.communicate(b"\n", timeout=30)
        assert store.layers.map() == {}

    def test_a_handle_of_a_dead_process_keeps_nothing(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, store.root, str(layer.chain_id)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.communicate()
        assert [gone.chain_id for gone in store.layers.release(layer)] == [layer.chain_id]
        assert blobs_of(store) == set()


HOLD = """
import sys
from orlop.store.local import local_store
from orlop.store.root import Store
from orlop.model.digest import ChainID
with local_store(sys.argv[1]) as store:
    layer = store.layers.get(ChainID.parse(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read(1)
    store.layers.release(layer)
"""


class TestImages:
    @pytest.fixture(params=["sqlite", "fs", "memory"])
    def images(self, request, store, tmp_path):
        if request.param == "sqlite":
            return store.images
        backend = FSStoreBackend(tmp_path / "imagedb") if request.param == "fs" else MemoryStoreBackend()
        return ImageStore(backend, store.layers)

    def test_create_get_delete(self, store, images):
        layer = store.layers.register(io.BytesIO(ONE))
        raw = config(ONE)
        image_id = images.create(raw)
        assert image_id == ImageID.of(raw)
        assert images.create(raw) == image_id
        assert images.get(image_id).raw_json == raw
        if images is store.images:
            assert store.layers.release(layer) == ()
            assert [gone.chain_id for gone in images.delete(image_id)] == [layer.chain_id]
        else:
            images.delete(image_id)
        with pytest.raises(errors.ImageNotFound):
            images.get(image_id)
        with pytest.raises(errors.ImageNotFound):
            images.delete(image_id)

    def test_an_image_without_its_layers_is_refused_and_not_kept(self, images):
        with pytest.raises(errors.LayerNotFound):
            images.create(config(b"nobody has this"))
        assert dict(images.map()) == {}

    def test_parents_children_and_heads(self, images):
        ids = [images.create(config(author=name)) for name in "abc"]
        images.set_parent(ids[1], ids[0])
        images.set_parent(ids[2], ids[0])
        assert set(images.children(ids[0])) == {ids[1], ids[2]}
        assert images.get_parent(ids[1]) == ids[0]
        assert images.get(ids[1]).parent == ids[0]
        assert set(images.heads()) == {ids[1], ids[2]}
        images.set_parent(ids[2], ids[1])
        assert images.children(ids[0]) == (ids[1],)
        images.delete(ids[0])
        assert images.get_parent(ids[1]) is None
        assert set(images.map()) == {ids[1], ids[2]}

    @pytest.mark.parametrize("old", [{}, {1: 2}, {2: 1}])
    def test_parents_in_a_circle_that_others_lead_to_cannot_be(self, images, old):
        ids = [images.create(config(author=name)) for name in "abcd"]
        for child, parent in old.items():
            images.set_parent(ids[child], ids[parent])
        wanted = {child: parent for child, parent in {3: 0, 0: 1, 1: 2, 2: 1}.items() if child not in old}
        with pytest.raises(errors.InvalidInput, match="it descends from it"):
            images.set_parents({ids[child]: ids[parent] for child, parent in wanted.items()})
        assert [images.get_parent(one) for one in ids] == [
            ids[old[number]] if number in old else None for number in range(4)
        ]

    def test_parents_that_cannot_be(self, images):
        one, two = (images.create(config(author=name)) for name in "ab")
        nobody = ImageID.of(b"nobody")
        for child, parent in ((one, nobody), (nobody, one)):
            with pytest.raises(errors.ImageNotFound):
                images.set_parent(child, parent)
        images.set_parent(two, one)
        for child, parent in ((one, two), (one, one)):
            with pytest.raises(errors.InvalidInput):
                images.set_parent(child, parent)

    def test_search(self, images):
        ids = [images.create(config(author=str(number))) for number in range(40)]
        for image_id in ids:
            assert images.search(str(image_id)) == images.search(image_id.hex) == image_id
        first = min(image_id.hex for image_id in ids)
        assert images.search(first[:20]).hex == first
        for ambiguous in ("", "sha256:"):
            with pytest.raises(errors.AmbiguousID):
                images.search(ambiguous)
        for unknown in ("zz", "sha256:zz", "0" * 65, first[:30] + "xyz", first.upper(), "sha512:" + first[:6], "../x"):
            with pytest.raises(errors.ImageNotFound, match="No such image"):
                images.search(unknown)

    def test_the_history_must_fit(self, images):
        with pytest.raises(errors.InvalidImage):
            images.create(config(history=[{"created_by": "x"}]))

    def test_a_damaged_image_harms_only_itself(self, store, caplog):
        good, bad = (store.images.create(config(author=name)) for name in "ab")
        with closing(sqlite3.connect(Path(store.root) / "metadata.db")) as connection, connection:
            connection.execute("UPDATE image SET config = x'78' WHERE id = ?", (str(bad),))
        connection.close()
        with pytest.raises(errors.DigestMismatch):
            store.images.get(bad)
        assert list(store.images.map()) == [good]
        assert str(bad) in caplog.text
        store.images.delete(bad)
        assert list(store.images.map()) == [good]


class TestReferences:
    def test_a_name_moves_and_says_from_where(self, store):
        one, two = ImageID.of(b"1"), ImageID.of(b"2")
        name = Reference.parse("a/b:c")
        assert store.references.set(name, one) is None
        assert store.references.set(name, one) is None
        assert store.references.set(name, two) == one
        assert store.references.get(name) == two
        assert store.references.of_image(two) == (name,)
        assert store.references.of_image(one) == ()
        store.references.delete(name)
        for call in (store.references.get, store.references.delete):
            with pytest.raises(errors.ReferenceNotFound):
                call(name)

    def test_a_digest_is_a_name_too(self, store):
        image = ImageID.of(b"1")
        name = Reference.parse(f"a/b@{Digest.of(b'manifest')}")
        store.references.set(name, image)
        store.references.set(Reference.parse("a/b:c"), image)
        assert store.references.get(name) == image
        assert [r.familiar for r, _ in store.references.of_repository("docker.io/a/b")] == ["a/b:c", name.familiar]

    @pytest.mark.parametrize("name", ["a/b", "sha256:abc"])
    def test_names_that_cannot_be(self, store, name):
        with pytest.raises(errors.InvalidReference):
            store.references.set(Reference.parse(name), ImageID.of(b"1"))


class TestLeases:
    def test_what_was_removed_during_a_save_goes_with_the_next_removal(self, data, tmp_path):
        with orlop.open(tmp_path / "root") as images:
            archive = data / "dockerd-29-overlay2" / "tiny.tar"
            images.load(archive)
            saving = images.save_chunks(["example/tiny:1.0"])
            first = next(saving)
            assert not any(line.startswith("sha256:") for line in images.remove("example/tiny:1.0").deleted[1:])
            assert first + b"".join(saving) == archive.read_bytes()
            # A command that reads removes nothing.
            assert images.layer_store.map() != {}
            images.prune()
            assert images.layer_store.map() == {}
            assert not list((tmp_path / "root" / "blobs" / "sha256").iterdir())
            assert not list((tmp_path / "root" / "toc" / "sha256").iterdir())

    def test_a_hold_in_a_write_that_is_undone_counts_for_nothing(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        with pytest.raises(ZeroDivisionError), store.metadata.write():  # noqa: PT012 - the block is what is tested
            store.leases.hold([layer.chain_id, Digest.of(b"x")])
            raise ZeroDivisionError
        with store.leases.hold([Digest.of(b"x")]), store.metadata.read() as rows:
            assert Digest.of(b"x") in rows.lease_digests(store.leases.name())
        assert [gone.chain_id for gone in store.layers.release(layer)] == [layer.chain_id]

    def test_threads_that_hold_and_drop_agree_with_the_rows(self, store):
        digests = [Digest.of(b"a"), Digest.of(b"b")]
        failed: list[Digest] = []

        def work() -> None:
            for _ in range(15):
                with store.leases.hold(digests), store.metadata.read() as rows:
                    failed.extend(set(digests) - set(rows.lease_digests(store.leases.name())))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        with store.metadata.read() as rows:
            assert rows.leases() == []

    def test_a_child_that_lets_go_of_its_parents_hold_takes_nothing(self, store):
        script = FORKED_HOLD.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == ("held\n", "")

    @pytest.mark.sampled(2)
    def test_a_fork_in_the_middle_of_a_write_blocks_nobody(self, store):
        script = FORKED_WRITE.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "parent wrote\n", done.stderr

    def test_a_child_that_is_forked_while_a_thread_writes_can_write(self, store):
        script = FORKED_BESIDE_WRITES.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "{0: 12}\n", done.stderr

    def test_a_child_that_cuts_off_a_write_is_told_that_it_cannot_write(self, store):
        script = FORKED_INSIDE_A_WRITE.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "child read 0\nSTORE_IN_USE\nparent wrote 2\n", done.stderr

    def test_a_child_holds_locks_of_its_own(self, store):
        script = FORKED_LOCKS.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "True\n", done.stderr


FORKED_BESIDE_WRITES = """
import os, threading
from collections import Counter
from orlop.store.local import local_store
from orlop.store.root import Store
store = local_store({root!r})
store.images.create(b'{{"rootfs":{{}}}}')  # Python's own locks of imports do not survive a fork
ended = threading.Event()
def work():
    number = 0
    while not ended.is_set():
        store.images.create(b'{{"rootfs":{{}},"author":"%d"}}' % number)
        number += 1
writer = threading.Thread(target=work)
writer.start()
statuses = Counter()
for number in range(12):
    pid = os.fork()
    if pid == 0:
        store.images.create(b'{{"rootfs":{{}},"author":"child %d"}}' % number)
        os._exit(0)
    statuses[os.waitpid(pid, 0)[1]] += 1
ended.set()
writer.join()
print(dict(statuses), flush=True)
"""

FORKED_INSIDE_A_WRITE = """
import os
from orlop import errors
from orlop.store.local import local_store
from orlop.store.root import Store
store = local_store({root!r})
with store.metadata.write():
    store.images.create(b'{{"rootfs":{{}}}}')
    pid = os.fork()
    if pid == 0:
        print("child read", len(store.images.map()), flush=True)
        try:
            store.images.create(b'{{"rootfs":{{}},"author":"child"}}')
        except errors.StoreInUse as error:
            print(error.code, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
store.images.create(b'{{"rootfs":{{}},"author":"parent"}}')
print("parent wrote", len(store.images.map()), flush=True)
"""

FORKED_LOCKS = """
import os
from orlop.store.local import local_store
from orlop.store.root import Store
store = local_store({root!r})
store.images.create(b'{{"rootfs":{{}}}}')
if os.fork() == 0:
    with store.metadata.read() as rows:
        inode = os.stat(os.path.join({root!r}, "metadata.db")).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            held = [line.split() for line in locks if f":{{inode}} " in line]
        print(any(int(line[4]) == os.getpid() for line in held), flush=True)
    os._exit(0)
os.wait()
"""

FORKED_HOLD = """
import os
from orlop.model.digest import Digest
from orlop.store.local import local_store
from orlop.store.root import Store
with local_store({root!r}) as store:
    hold = store.leases.hold([Digest.of(b"x")])
    pid = os.fork()
    if pid == 0:
        hold.release()
        os._exit(0)
    os.waitpid(pid, 0)
    with store.metadata.read() as rows:
        print("held" if rows.lease_digests(store.leases.name()) else "lost", flush=True)
"""

FORKED_WRITE = """
import os, threading, time
from orlop.store.local import local_store
from orlop.store.root import Store
store = local_store({root!r})
inside, forked = threading.Event(), threading.Event()
def work():
    with store.metadata.write():
        store.images.create(b'{{"rootfs":{{}}}}')
        inside.set()
        forked.wait()
writer = threading.Thread(target=work)
writer.start()
inside.wait()
pid = os.fork()
if pid == 0:
    time.sleep(600)
forked.set()
writer.join()
store.images.create(b'{{"rootfs":{{}},"author":"parent"}}')
print("parent wrote", flush=True)
os.kill(pid, 9)
os.waitpid(pid, 0)
store.close()
"""


class TestWrites:
    def test_an_interrupt_as_a_commit_returns_loses_nothing(self, store):
        class Interrupting:
            """A connection on which a signal arrives just as COMMIT is done."""

            def __init__(self, connection: sqlite3.Connection) -> None:
                self.connection = connection

            def __getattr__(self, name: str) -> object:
                return getattr(self.connection, name)

            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                done = self.connection.execute(statement, *values)
                if statement == "COMMIT":
                    raise KeyboardInterrupt
                return done

        gone = store.layers.register(io.BytesIO(TWO))
        connection = store.metadata._local.connection
        store.metadata._local.connection = Interrupting(connection)
        with pytest.raises(KeyboardInterrupt), store.metadata.write():  # noqa: PT012 - the block is what is tested
            layer = store.layers.register(io.BytesIO(ONE))
            store.images.create(config(ONE))
            assert store.layers.release(gone)
        store.metadata._local.connection = connection
        assert list(store.images.map()) == [ImageID.of(config(ONE))]
        assert b"".join(layer.tar_chunks()) == ONE
        assert blobs_of(store) == {diff_id(ONE).hex}
        assert not leftovers(store)

    def test_a_failed_write_undoes_everything(self, store):
        store.images.create(config())
        layer = store.layers.register(io.BytesIO(ONE))
        with pytest.raises(ZeroDivisionError), store.metadata.write():  # noqa: PT012 - the block is what is tested
            store.images.create(config(author="x"))
            store.references.set(Reference.parse("a:b"), ImageID.of(config()))
            assert store.layers.release(layer)
            raise ZeroDivisionError
        assert list(store.images.map()) == [ImageID.of(config())]
        assert store.references.of_image(ImageID.of(config())) == ()
        assert b"".join(store.layers.tar_chunks(diff_id(ONE))) == ONE

    def test_a_write_inside_a_read_is_a_mistake_that_is_told(self, store):
        with pytest.raises(RuntimeError), store.metadata.read(), store.metadata.write():
            pass

    def test_threads_share_a_store(self, store):
        failed = []

        def work(number: int) -> None:
            try:
                for turn in range(10):
                    image = store.images.create(config(author=f"{number}-{turn}"))
                    store.references.set(Reference.parse(f"t{number}:{turn}"), image)
                    assert store.references.get(Reference.parse(f"t{number}:{turn}")) == image
            except BaseException as error:  # noqa: BLE001 - shown below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(store.images.map()) == 60

    def test_ended_threads_leave_no_descriptors(self, store):
        def work() -> None:
            store.images.map()
            with store.metadata.read() as rows:
                rows.references()

        before = len(open_below(store.root))
        for _ in range(20):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert len(open_below(store.root)) <= before + 4

    def test_a_forked_child_goes_on_with_the_same_store(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        script = FORK.format(root=store.root)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == ("child 2\nparent 2\n", "")
        assert b"".join(layer.tar_chunks()) == ONE

    @pytest.mark.sampled(2)
    def test_processes_load_tag_and_remove_at_once(self, data, tmp_path):
        root = tmp_path / "root"
        archives = [data / engine / "multi.tar" for engine in ("dockerd-20.10-overlay2", "dockerd-29-overlay2")]
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, root, str(number), *archives], stderr=subprocess.PIPE)
            for number in range(4)
        ]
        ended = [(worker.communicate(timeout=120)[1], worker.returncode) for worker in workers]
        assert ended == [(b"", 0)] * 4
        with local_store(root) as store:
            assert not leftovers(store)
            for image_id in store.images.map():
                for diff in store.images.get(image_id).rootfs.diff_ids:
                    for _ in store.layers.tar_chunks(diff):
                        pass


FORK = """
import os, sys
from orlop.store.local import local_store
from orlop.store.root import Store
with local_store({root!r}) as store:
    with store.leases.hold([]):
        pass
    store.images.create(b'{{"rootfs":{{}}}}')
    pid = os.fork()
    if pid == 0:
        store.images.create(b'{{"rootfs":{{}},"author":"child"}}')
        print("child", len(store.images.map()), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent", len(store.images.map()), flush=True)
"""

WORKER = """
import sys, orlop
root, number, archives = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
with orlop.open(root) as images:
    for turn in range(12):
        report = images.load(archives[(number + turn) % 2])
        images.images(all=True)
        try:
            images.tag(str(report.images[0].id), f"worker{number}:{turn}")
            images.remove(f"worker{number}:{turn}")
            images.remove("example/tiny:1.0")
            images.remove(str(report.images[-1].id), force=True)
        except (orlop.errors.NotFound, orlop.errors.ImageInUse):
            pass
"""


def test_a_root_below_missing_directories_is_private_and_they_are_as_any_directory(tmp_path):
    local_store(tmp_path / "a" / "b" / "root").close()
    (tmp_path / "c").mkdir()
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "c").stat().st_mode
    assert (tmp_path / "a" / "b" / "root").stat().st_mode & 0o777 == 0o700


class TestCrashes:
    def test_a_table_of_contents_that_lay_aside_goes_back_as_well(self, tmp_path):
        with local_store(tmp_path / "root") as store:
            layer = store.layers.register(io.BytesIO(ONE))
            store.images.create(config(ONE))
            store.layers.release(layer)
        table = tmp_path / "root" / "toc" / "sha256" / f"{diff_id(ONE).hex}.zst"
        content = table.read_bytes()
        table.rename(tmp_path / "root" / "trash" / f"toc-sha256-{diff_id(ONE).hex}.0123456789abcdef")
        with local_store(tmp_path / "root") as store:
            assert not leftovers(store)
        assert table.read_bytes() == content

    @pytest.mark.parametrize("row_is_there", [True, False])
    def test_what_lay_aside_goes_back_or_goes(self, tmp_path, row_is_there):
        with local_store(tmp_path / "root") as store:
            if row_is_there:
                layer = store.layers.register(io.BytesIO(ONE))
                store.images.create(config(ONE))
                assert store.layers.release(layer) == ()
            blob = tmp_path / "root" / "blobs" / "sha256" / diff_id(ONE).hex
            blob.write_bytes(ONE) if not row_is_there else None
            blob.rename(tmp_path / "root" / "trash" / f"sha256-{diff_id(ONE).hex}")
        with local_store(tmp_path / "root") as store:
            # Who only opens a store removes nothing.
            assert bool(leftovers(store)) is not row_is_there
            assert blob.exists() is row_is_there
        with orlop.open(tmp_path / "root") as images:
            images.gc()
        with local_store(tmp_path / "root") as store:
            assert not leftovers(store)
            assert blob.exists() is row_is_there

    def test_an_open_store_finds_what_a_dead_process_laid_aside(self, store):
        layer = store.layers.register(io.BytesIO(ONE))
        blob = Path(store.root) / "blobs" / "sha256" / diff_id(ONE).hex
        blob.rename(Path(store.root) / "trash" / f"sha256-{diff_id(ONE).hex}.0123456789abcdef")
        assert b"".join(layer.tar_chunks()) == ONE
        assert not leftovers(store)

    def test_a_killed_load_leaves_the_store_as_it_was(self, data, tmp_path):
        with orlop.open(tmp_path / "root") as images:
            images.load(data / "dockerd-29-overlay2" / "tiny.tar")
            before = images.images(all=True)
        # Small members wait in memory until something names them.
        layer = packed({"noise": random.randbytes(4 << 20)})
        config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [sha256(layer)]}}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["0.tar"]}]).encode()
        archive = packed({"0.tar": layer, "config.json": config, "manifest.json": manifest})
        victim = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import orlop, sys; orlop.open(sys.argv[1]).load(sys.stdin.buffer)",
                tmp_path / "root",
            ],
            stdin=subprocess.PIPE,
        )
        assert victim.stdin is not None
        victim.stdin.write(archive[: len(archive) // 2])
        victim.stdin.flush()
        ingest = tmp_path / "root" / "ingest"
        until(lambda: list(ingest.iterdir()))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdin.close()
        with orlop.open(tmp_path / "root") as images:
            assert images.images(all=True) == before
            images.load(io.BytesIO(archive))
            assert len(images.images(all=True)) > len(before)
        assert not list(ingest.iterdir())
        assert not list((tmp_path / "root" / "leases").iterdir())


class TestRoots:
    def test_everything_is_for_the_owner_alone(self, data, tmp_path):
        with orlop.open(tmp_path / "a" / "root") as images:
            images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        for path in [tmp_path / "a" / "root", *(tmp_path / "a" / "root").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path

    def test_the_database_is_for_the_owner_alone_from_its_first_byte(self, tmp_path, monkeypatch):
        modes: list[int] = []

        def watched(connection, path, schema):
            modes.append(Path(path).stat().st_mode & 0o777)
            return lay_out(connection, path, schema)

        monkeypatch.setattr("orlop.store.rows.sqlite.connections.lay_out", watched)
        tmp_path.chmod(0o755)
        with orlop.open(tmp_path) as images:
            assert images.images() == []
        assert modes == [0o600]

    def test_a_newer_store_is_left_alone(self, tmp_path):
        with local_store(tmp_path / "root") as store:
            store.images.create(config())
        database = tmp_path / "root" / "metadata.db"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("PRAGMA user_version = 99")
            connection.execute("CREATE TABLE later (id)")
        connection.close()
        before = database.read_bytes()
        with pytest.raises(errors.StoreTooNew, match="upgrade"), orlop.open(tmp_path / "root") as images:
            images.images()
        assert database.read_bytes() == before

    def test_a_folder_of_something_else_is_no_store(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("do not touch")
        with pytest.raises(errors.StoreDamaged, match="not empty"):
            orlop.open(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_a_file_is_no_root(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(errors.StoreDamaged, match="not a directory"):
            orlop.open(tmp_path / "file")

    @pytest.mark.parametrize("root", ["/dev/null/x", "x" * 300, "/proc/x/y"])
    def test_a_root_that_cannot_be_is_a_clear_error(self, tmp_path, monkeypatch, root):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(orlop.OrlopError):
            orlop.open(root)

    def test_a_damaged_database_is_told(self, tmp_path):
        with local_store(tmp_path / "root"):
            pass
        (tmp_path / "root" / "metadata.db").write_bytes(b"nonsense " * 1000)
        with pytest.raises(errors.StoreDamaged, match="damaged"), orlop.open(tmp_path / "root") as images:
            images.images()

    def test_two_make_one_store_at_once(self, tmp_path):
        script = "import orlop, sys; print(len(orlop.open(sys.argv[1]).images()))"
        both = [
            subprocess.Popen([sys.executable, "-c", script, tmp_path / "root"], stdout=subprocess.PIPE) for _ in "12"
        ]
        assert [one.communicate(timeout=60)[0] for one in both] == [b"0\n", b"0\n"]

    def test_a_living_daemons_images_are_not_written(self, tmp_path):
        (tmp_path / "volumes").mkdir()
        (tmp_path / "volumes" / "metadata.db").touch()
        backend = FSStoreBackend(tmp_path / "image" / "overlay2" / "imagedb")
        digest = backend.set(b"x")
        with FileLock(outside(str(tmp_path / "volumes" / "metadata.db"))):
            for write in (
                lambda: backend.set(b"y"),
                lambda: backend.delete(digest),
                lambda: backend.set_metadata(digest, "a", b""),
                lambda: backend.delete_metadata(digest, "a"),
            ):
                with pytest.raises(errors.StoreInUse, match="stop it"):
                    write()
            assert backend.get(digest) == b"x"


def test_importing_orlop_is_light():
    heavy = {"click", "rich", "sqlite3", "hashlib", "tarfile", "asyncio", "platformdirs"}
    script = f"import sys, orlop; print(sorted(set(sys.modules) & {heavy!r}))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name", sorted(found.name for found in pkgutil.iter_modules(orlop.__path__) if found.name[0] != "_")
)
def test_a_module_is_there_from_the_start(name):
    script = f"import orlop; print(orlop.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"orlop.{name}\n"


def test_every_public_name_is_there():
    for name in orlop.__all__:
        assert getattr(orlop, name) is not None
    assert set(orlop.__all__) <= set(dir(orlop))
    with pytest.raises(AttributeError):
        _ = orlop.nothing  # type: ignore[attr-defined]
    assert Path(orlop.default_root()).is_absolute()
