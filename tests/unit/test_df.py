"""What a store's disk is used for: every byte once, and what removals then really free."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.model.digest import Digest, chain_id
from orlop.service.space import df as service_df
from orlop.service.space.df import KINDS, LayerUsage, df
from orlop.store.graph import snapshot as taken
from orlop.store.leases import EVERYTHING
from orlop.store.local import local_store
from orlop.store.rows.sqlite import doubts
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.rows.sqlite.rows import SQLiteRows
from tests.unit.damage import ask, blobs, copied, fill, layout, sql, tocs
from tests.unit.layouts import layer_tar

if TYPE_CHECKING:
    from orlop.service.space.df import DiskUsage, FileUsage


def on_disk(root: Path) -> int:
    """The bytes of all files, as another program counts them."""
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(root) for name in names)


def content(root: Path) -> int:
    """The bytes of layers and of their tables."""
    return on_disk(root / "blobs") + on_disk(root / "toc")


def kind(usage: DiskUsage, name: str) -> FileUsage:
    (found,) = (one for one in usage.files if one.kind == name)
    return found


def look(root: Path) -> DiskUsage:
    """What df says; every time it is compared with the disk, and with what collecting garbage would free."""
    with orlop.open(root) as images:
        usage = images.df()
        assert usage.size == on_disk(root)
        with suppress(errors.DatabaseDamaged):  # nothing is collected because of rows that contradict each other
            assert usage.garbage == images.gc(dry_run=True).freed
        return usage


GONE = "example.com/gone:1"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a database for one that is too large to be looked through before it is used."""
    monkeypatch.setattr(doubts, "SMALL", 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A store with everything, an image among it that dangles and has one layer for itself."""
    root = tmp_path_factory.mktemp("made") / "root"
    fill(root, data)
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout(GONE, "both", "gone", compress=True)))
        (gone,) = images.images(GONE)
        for name in gone.references:
            images.references.delete(name)
    return root


@pytest.fixture
def root(made, tmp_path) -> Path:
    return copied(made, tmp_path / "root")


def remove(root: Path, image: str) -> None:
    """Forget an image, and nothing of its layers."""
    gone = [f"DELETE FROM {table} WHERE image = '{image}'" for table in ("image_metadata", "image_labels", "reference")]
    links = f"DELETE FROM image_manifest WHERE image = '{image}'"
    sql(root, *gone, links, f"DELETE FROM image WHERE id = '{image}'")


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    return path


# What there is.


def test_every_file_is_counted_once(root):
    usage = look(root)
    # Whoever opens a store empties its trash.
    with orlop.open(root) as images, local_store(root) as store:
        for number, name in enumerate(("one", "two")):
            write(root / "ingest" / f"{store.leases.name()}.{name}", 1000 + number)
        write(root / "ingest" / "0123456789abcdef.0", 17)
        write(root / "trash" / "toc.0011", 200)
        write(root / "quarantine" / "blob", 3000)
        write(root / "quarantine" / "yesterday" / "blob", 4000)
        write(root / "metadata.db.schema-0", 50000)
        write(root / "metadata.db.schema-0.part", 60000)
        write(root / "blobs" / "sha256" / ("0" * 64), 5)
        write(root / "blobs" / "sha256" / "odd", 6)
        write(root / "toc" / "sha256" / f"{'1' * 64}.zst", 7)
        write(root / "toc" / "sha256" / ("2" * 64), 8)
        write(root / "blobs" / "README", 90)
        write(root / "ingest" / "folder" / "file", 100)
        write(root / "notes", 110)
        now = images.df()
        assert now.size == on_disk(root)
        assert now.garbage == images.gc(dry_run=True).freed
    found = {name: (kind(now, name).total, kind(now, name).active, kind(now, name).size) for name in KINDS[2:]}
    assert found["unfinished"] == (3, 2, 2018)
    assert found["trash"] == (1, 0, 200)
    assert found["quarantine"] == (2, 0, 7000)
    assert found["database"][:2] == (6, 5)
    assert found["other"][2] == kind(usage, "other").size + 90 + 100 + 110
    (strays,) = (one for one in now.files if one.kind == "blob" and one.compression is None)
    assert (strays.total, strays.active, strays.size, strays.garbage) == (2, 0, 11, 11)
    tables = kind(now, "toc")
    assert (tables.total, tables.size, tables.garbage) == (len(tocs(root)), on_disk(root / "toc"), 15)
    assert now.garbage == usage.garbage + 17 + 200 + 60000 + 11 + 15


def test_layers_are_told_apart_by_how_they_are_stored(root):
    usage = look(root)
    stored = {one.compression: one for one in usage.files if one.kind == "blob"}
    assert list(stored) == ["gzip", "none", "zstd"]
    assert sum(one.size for one in stored.values()) == on_disk(root / "blobs")
    assert sum(one.total for one in stored.values()) == len(blobs(root))
    assert [one.kind for one in usage.files] == ["blob"] * 3 + list(KINDS[1:])


def test_a_new_store_has_every_kind_of_files_already(tmp_path):
    usage = look(tmp_path / "new")
    assert [(one.kind, one.compression) for one in usage.files] == [(one, None) for one in KINDS]
    assert (usage.images, usage.intermediate, usage.garbage, usage.dangling) == ((), 0, 0, 0)
    assert usage.layers == LayerUsage(0, 0, 0, 0, 0, 0, 0)
    # The note of the last write is in the file that writers lock.
    assert kind(usage, "database").size + kind(usage, "other").size == usage.size > 0


def test_sizes_are_those_that_docker_says(data, tmp_path):
    folder = data / "dockerd-20.10-overlay2"
    said = json.loads((folder / "api" / "df.json").read_text())
    with orlop.open(tmp_path / "root") as images:
        for archive in ("multi.tar", "dup.tar"):
            images.load(folder / archive)
        usage = images.df()
    assert usage.layers.image_size == said["LayersSize"]
    assert {str(one.summary.id): (one.summary.size, one.shared_size) for one in usage.images} == {
        one["Id"]: (one["Size"], one["SharedSize"]) for one in said["Images"]
    }
    for one in usage.images:
        assert one.unique_size == one.summary.size - one.shared_size
    assert usage.layers.shared + usage.layers.unique == usage.layers.size


def test_images_are_those_that_are_listed(root):
    with orlop.open(root) as images:
        usage = images.df()
        assert [one.summary for one in usage.images] == images.images()
        assert usage.intermediate == len(images.images(all=True)) - len(images.images()) > 0
        dangling = images.images(filters=["dangling=true"])
        assert [one.summary for one in usage.images if one.dangling] == dangling
        assert len(dangling) == 2


# What would come free.


def test_removing_an_image_frees_what_was_said(root, tmp_path):
    said = {one.summary.id: one.freed for one in look(root).images}
    freed = {}
    for image in said:
        copy = copied(root, tmp_path / image.short)
        before = content(copy)
        with orlop.open(copy) as images, suppress(errors.ImageInUse):
            images.remove(str(image), force=True)
        freed[image] = before - content(copy)
    assert freed == said
    assert 0 in said.values()
    assert len(set(said.values())) > 3


def test_nameless_parents_go_with_their_only_child(tmp_path):
    with orlop.open(tmp_path / "root") as images:
        for name, files in (("a:1", ["one"]), ("a:2", ["one", "two"]), ("a:3", ["one", "two", "three"])):
            images.load(io.BytesIO(layout(f"example.com/{name}", *files, compress=False)))
        low, middle, top = (images.images(f"example.com/a:{number}")[0].id for number in (1, 2, 3))
        images.image_store.set_parent(middle, low)
        images.image_store.set_parent(top, middle)
        for reference in [*images.images(str(low))[0].references, *images.images(str(middle))[0].references]:
            images.references.delete(reference)
        images.pin(str(middle))
        with_parents = images.df().images
        # It stays, with what it stands on.
        assert [one.summary.id for one in with_parents] == [top]
        assert 0 < with_parents[0].freed < content(tmp_path / "root") / 2
        images.unpin(str(middle))
        (usage,) = images.df().images
        assert usage.freed == content(tmp_path / "root") > 0
        before = content(tmp_path / "root")
        images.remove(str(top))
        assert before - content(tmp_path / "root") == usage.freed


def test_pruning_frees_what_was_said(root):
    usage = look(root)
    before = content(root)
    assert usage.dangling > 0
    assert usage.dangling == sum(one.freed for one in usage.images if one.dangling)
    with orlop.open(root) as images:
        report = images.prune()
    assert before - content(root) == usage.dangling
    assert report.reclaimed == usage.layers.dangling == 3
    after = look(root)
    assert (after.dangling, after.layers.dangling) == (0, 0)
    assert after.layers.active == after.layers.total == usage.layers.active


def test_pinned_images_are_not_said_to_go(root):
    usage = look(root)
    (gone,) = (one for one in usage.images if one.dangling and one.freed)
    with orlop.open(root) as images:
        images.pin(str(gone.summary.id))
    now = look(root)
    assert [one.summary.id for one in now.images if one.pinned] == [gone.summary.id]
    assert not any(one.pinned and one.dangling for one in now.images)
    assert (usage.dangling, now.dangling) == (gone.freed, 0)


def test_collecting_garbage_frees_what_was_said(root):
    write(root / "ingest" / "0123456789abcdef.0", 17)
    write(root / "blobs" / "sha256" / ("0" * 64), 5)
    image = max(look(root).images, key=lambda one: one.freed).summary.id
    remove(root, str(image))
    said = look(root).garbage
    before = content(root)
    with orlop.open(root) as images:
        images.gc()
    assert before - content(root) == said - 17 > 0
    assert look(root).garbage == 0


def test_what_somebody_works_with_is_not_said_to_come_free(root):
    with local_store(root) as store, orlop.open(root) as images:
        (gone,) = (one for one in images.df().images if one.dangling and one.freed)
        chain = chain_id(images.image_store.get(gone.summary.id).rootfs.diff_ids)
        assert chain is not None
        diff_id = images.layer_store.map()[chain].diff_id
        for digest in (chain, diff_id, EVERYTHING):
            with store.leases.hold([digest]):
                usage = images.df()
                assert usage.dangling == usage.garbage == 0
                assert usage.layers.active == usage.layers.total - (digest == diff_id)
        assert images.df().dangling == gone.freed
        write(root / "blobs" / "sha256" / ("0" * 64), 5)
        # A backup brings files before their rows.
        with store.leases.hold([EVERYTHING]):
            assert images.df().garbage == 0
        assert images.df().garbage == 5


def test_what_a_dead_owner_protected_comes_free(root):
    said = look(root).dangling
    sql(root, "INSERT INTO lease VALUES ('0123456789abcdef', '*')")
    assert look(root).dangling == said


def test_layers_that_no_image_has_are_garbage(root):
    said = {one.summary.id: one.freed for one in look(root).images}
    image = max(said, key=said.__getitem__)
    remove(root, str(image))
    usage = look(root)
    assert usage.garbage == said[image] > 0
    assert usage.layers.size - usage.layers.image_size > 0
    (plain,) = (one for one in usage.files if one.compression == "none")
    assert plain.active == plain.total - 1


def test_a_blob_of_no_layer_is_garbage(root):
    blob = write(root / "blobs" / "sha256" / ("0" * 64), 5)
    sql(root, f"INSERT INTO blob VALUES ('sha256:{blob.name}', 5, 'zstd')")
    assert look(root).garbage == 5


@pytest.mark.usefixtures("large")
def test_a_blob_that_two_contents_share_belongs_to_no_image_alone(root):
    said = {one.summary.id: one for one in look(root).images}
    gone = next(one for one in said.values() if one.dangling and one.freed)
    other = max(said.values(), key=lambda one: one.freed)
    forms = "SELECT diff_blob.* FROM diff_blob, image WHERE image.id = '{}' AND chain = diff"
    ((diff, blob),) = ask(root, forms.format(other.summary.id))
    size = (root / "blobs" / "sha256" / str(blob).removeprefix("sha256:")).stat().st_size
    (chain,) = ask(root, f"SELECT diff FROM chain JOIN image ON chain = chain.id WHERE image.id = '{gone.summary.id}'")
    sql(root, f"INSERT INTO diff_blob VALUES ('{chain[0]}', '{blob}')")
    usage = look(root)
    now = {one.summary.id: one.freed for one in usage.images}
    assert now[other.summary.id] == other.freed - size
    assert now[gone.summary.id] == gone.freed
    assert usage.dangling == gone.freed
    sql(root, f"DELETE FROM diff_blob WHERE diff = '{diff}'")
    # The manifest of the other image names it, and keeps it.
    assert look(root).dangling == gone.freed
    sql(root, f"DELETE FROM edge WHERE child = '{blob}'")
    assert look(root).dangling == gone.freed + size


def test_a_removal_that_was_interrupted_frees_nothing(root):
    usage = look(root)
    blob, toc = blobs(root)[0], tocs(root)[0]
    with orlop.open(root) as images:
        # Their rows are there: the next process that opens the store puts them back.
        blob.rename(root / "trash" / f"sha256-{blob.name}.00")
        toc.rename(root / "trash" / f"toc-sha256-{toc.stem}.00")
        now = images.df()
        assert (now.garbage, now.size) == (usage.garbage, usage.size)
        assert kind(now, "trash").active == 2
        # One that has come again stays away.
        shutil.copyfile(root / "trash" / f"sha256-{blob.name}.00", blob)
        assert images.df().garbage == images.gc(dry_run=True).freed == blob.stat().st_size


def test_files_that_a_copy_shares_free_nothing(root, tmp_path):
    with orlop.open(root) as images:
        assert images.df().dangling
    stores.copy(root, tmp_path / "copy", link=True)
    usage = look(root)
    # Tables of contents are not shared.
    assert 0 < usage.dangling < 200
    for one in usage.images:
        assert one.freed < 1000


def test_names_of_what_is_not_there_are_no_images(root):
    usage = look(root)
    sql(root, f"INSERT INTO reference VALUES ('example.com/ghost', ':1', 'sha256:{'0' * 64}', 0)")
    assert look(root).images == usage.images


def test_parents_in_a_circle_are_counted_all_the_same(root):
    with orlop.open(root) as images:
        one, other = (image.id for image in images.images()[:2])
    for image, parent in ((one, other), (other, one)):
        sql(root, f"INSERT OR REPLACE INTO image_metadata VALUES ('{image}', 'parent', CAST('{parent}' AS BLOB))")
        sql(root, f"DELETE FROM reference WHERE image = '{image}'")
    children = "SELECT 1 FROM image_metadata WHERE key = 'parent' AND value = CAST(id AS BLOB)"
    sql(root, f"UPDATE image SET head = NOT EXISTS ({children})")
    usage = look(root)
    assert {one, other}.isdisjoint(image.summary.id for image in usage.images)


# Others at work, and odd places.


def test_content_that_is_just_being_published_is_no_garbage(root, monkeypatch):
    looked = threading.Event()

    def snapshot(rows):
        found = taken.take_snapshot(rows)
        looked.set()
        return found

    monkeypatch.setattr(service_df, "take_snapshot", snapshot)
    published, done = threading.Event(), threading.Event()

    def publish():
        with local_store(root) as store:
            with store.metadata.write():
                store.layers.register(io.BytesIO(layer_tar("new")))
                published.set()
                assert looked.wait(60)
            assert done.wait(60)

    before = len(blobs(root))
    other = threading.Thread(target=publish)
    with orlop.open(root) as images:
        other.start()
        assert published.wait(60)
        usage = images.df()
        done.set()
        other.join()
    assert usage.garbage == 0
    assert sum(one.total for one in usage.files if one.kind == "blob") == before + 1
    # The table of the image that dangles.
    assert kind(usage, "toc").active == kind(usage, "toc").total - 1


def test_a_file_that_goes_meanwhile_is_not_counted(root, monkeypatch):
    stray = write(root / "blobs" / "sha256" / ("0" * 64), 5)

    def snapshot(rows):
        stray.unlink(missing_ok=True)
        return taken.take_snapshot(rows)

    monkeypatch.setattr(service_df, "take_snapshot", snapshot)
    assert look(root).garbage == 0


def test_a_store_that_cannot_be_written_is_looked_at(root):
    with orlop.open(root) as images:
        said = images.df()
    write(root / "ingest" / "0123456789abcdef.0", 17)
    write(root / "blobs" / "sha256" / ("0" * 64), 5)
    store = local_store(root)
    assert isinstance(store.metadata, SQLiteMetadata)
    store.metadata._refusal = lambda: errors.ReadOnlyStore("no")
    usage = df(store)
    store.close()
    assert usage.images == said.images
    # Who lives cannot be seen there.
    assert usage.garbage == 5
    assert kind(usage, "unfinished").active == 1


def test_a_link_counts_as_what_it_says_itself(root, tmp_path):
    usage = look(root)
    (root / "notes").symlink_to(tmp_path)
    with orlop.open(root) as images:
        assert images.df().size == usage.size + len(str(tmp_path))


def test_many_images_take_no_more_statements(root, tmp_path, monkeypatch):
    def statements(place: Path) -> int:
        count = 0
        plain = SQLiteRows.__init__

        def counting(rows, connection, **options):
            plain(rows, connection, **options)

            def run(*arguments):
                nonlocal count
                count += 1
                return connection.execute(*arguments)

            rows._run = run

        with orlop.open(place) as images, monkeypatch.context() as patch:
            patch.setattr(SQLiteRows, "__init__", counting)
            images.df()
        return count

    assert statements(root) == statements(tmp_path / "empty") > 0


# The rows that it reads.


@pytest.mark.usefixtures("large")
def test_contents_are_given_with_each_of_their_forms(root):
    with local_store(root) as store, store.metadata.read() as rows:
        found = rows.contents()
        assert list(dict.fromkeys(diff_id for diff_id, _ in found)) == rows.diff_ids()
        for diff_id in rows.diff_ids():
            forms = [blob for one, blob in found if one == diff_id and blob is not None]
            assert sorted(forms, key=str) == sorted(rows.blobs_of(diff_id), key=str)
        assert max(Counter(diff_id for diff_id, _ in found).values()) == 2
    sql(root, f"DELETE FROM diff_blob WHERE diff = '{diff_id}'")
    with local_store(root) as store, store.metadata.read() as rows:
        assert [blob for one, blob in rows.contents() if one == diff_id] == [None]


def test_what_leases_protect_is_given_by_their_names(root):
    one, other = Digest("sha256", "1" * 64), Digest("sha256", "2" * 64)
    with local_store(root) as store:
        with store.metadata.write() as rows:
            assert rows.protected() == {}
            rows.put_lease("a", [other, one])
            rows.put_lease("b", [EVERYTHING])
        with store.metadata.read() as seen:
            assert seen.protected() == {"a": [one, other], "b": [EVERYTHING]}
            assert {name: seen.lease_digests(name) for name in seen.leases()} == seen.protected()
