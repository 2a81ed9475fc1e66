"""Stores as things: what they hold, whether they are whole, copies, backups, other places."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import orlop
from orlop import errors, stores
from orlop.model.progress import LayerDone, LayerExists, LayerProgress
from orlop.store.local import local_store
from orlop.store.rows.sqlite import doubts, snapshot
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.streams.directory import Directory
from orlop.streams.filesystems import FileSystem
from tests.crash.test_processes import PROCESSES, go, join
from tests.invariants import broken
from tests.named import named

# What something is mounted on everywhere, empty where that can be had.
MOUNT = next(Path(path) for path in ("/dev/shm", "/proc") if os.path.ismount(path))


@pytest.fixture
def root(data, tmp_path):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return tmp_path / "root"


def holds(root: Path) -> list[object]:
    """All that a user sees of a store."""
    with orlop.open(root, create=False) as images:
        found: list[object] = []
        for image in images.images(all=True):
            out = io.BytesIO()
            images.save([str(image.id)], out)
            found.append((image, images.inspect(str(image.id)), out.getvalue()))
        return found


def files(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_ino for path in root.rglob("*") if path.is_file()}


class TestInfo:
    def test_it_counts_what_is_there(self, root):
        info = stores.info(root)
        assert (info.root, info.schema, info.images, info.names, info.chains) == (str(root), 3, 3, 3, 6)
        assert info.blobs == len(list((root / "blobs" / "sha256").iterdir()))
        assert info.blob_bytes == sum(path.stat().st_size for path in (root / "blobs" / "sha256").iterdir())
        assert info.disk_bytes > info.blob_bytes
        assert (info.read_only, info.group, info.backup_of, info.leases, info.ingests, info.trash) == (
            *[None] * 3,
            *[0] * 3,
        )

    def test_it_sees_who_is_at_work_and_what_was_left(self, root):
        (root / "ingest" / "0123.0").touch()
        with local_store(root) as store:
            store.leases.name()
            info = stores.info(root)
        assert (info.leases, info.ingests) == (1, 1)

    @pytest.mark.parametrize("verb", [stores.info, stores.check, stores.migrate])
    def test_where_there_is_no_store_none_is_made(self, tmp_path, verb):
        with pytest.raises(errors.StoreNotFound):
            verb(tmp_path / "nothing")
        assert list(tmp_path.iterdir()) == []

    def test_a_newer_store_is_left_alone(self, root):
        with closing(sqlite3.connect(root / "metadata.db")) as database:
            database.execute("PRAGMA user_version = 99")
            database.execute("CREATE TABLE later (id)")
        before = (root / "metadata.db").read_bytes()
        for verb in (stores.info, stores.check, stores.migrate):
            with pytest.raises(errors.StoreTooNew):
                verb(root)
        assert (root / "metadata.db").read_bytes() == before


class TestCheck:
    @pytest.mark.parametrize("verify", [False, True])
    def test_a_store_that_is_right_has_no_problems(self, root, verify):
        assert stores.check(root, verify=verify).problems == ()

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            (f"UPDATE reference SET image = 'sha256:{'0' * 64}'", "name-dangling"),
            ("UPDATE reference SET image = 'sha256:0'", "value-invalid"),
            ("DELETE FROM chain WHERE id IN (SELECT chain FROM image)", "layers-missing"),
            ("UPDATE image_metadata SET value = CAST('sha256:0' AS BLOB)", "parent-missing"),
            ("UPDATE image SET head = NOT head", "head-wrong"),
            ("UPDATE chain SET size = size + 5", "chain-wrong"),
            ("UPDATE chain SET depth = 9", "chain-wrong"),
            ("DELETE FROM diff_blob", "content-missing"),
            ("DELETE FROM blob", "database"),
            ("UPDATE blob SET size = size + 1", "blob-size"),
        ],
    )
    def test_it_finds_rows_that_are_wrong(self, root, statement, kind):
        with closing(sqlite3.connect(root / "metadata.db")) as database, database:
            database.execute(statement)
        assert kind in {problem.kind for problem in stores.check(root).damage}

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            ("UPDATE image SET config = CAST(config || ' ' AS BLOB)", "config-damaged"),
            ("UPDATE manifest SET content = CAST(content || ' ' AS BLOB)", "manifest-damaged"),
        ],
    )
    def test_it_finds_wrong_bytes_if_it_is_to_read_them(self, root, statement, kind):
        with closing(sqlite3.connect(root / "metadata.db")) as database, database:
            database.execute(statement)
        assert stores.check(root).problems == ()
        assert {problem.kind for problem in stores.check(root, verify=True).damage} == {kind}

    def test_it_finds_what_happened_to_files(self, root):
        blobs = sorted((root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
        blobs[0].unlink()
        blobs[1].chmod(0o600)
        os.truncate(blobs[1], 7)
        content = bytearray(blobs[2].read_bytes())
        content[100] ^= 1
        blobs[2].chmod(0o600)
        blobs[2].write_bytes(content)
        problems = stores.check(root).damage
        assert {(problem.kind, problem.subject[7:]) for problem in problems} == {
            ("blob-missing", blobs[0].name),
            ("blob-size", blobs[1].name),
        }
        assert all(problem.subject in problem.message for problem in problems if problem.kind == "blob-missing")
        problems = stores.check(root, verify=True).damage
        assert ("blob-damaged", blobs[2].name) in {(problem.kind, problem.subject[7:]) for problem in problems}
        assert len(problems) == 3

    def test_what_can_be_made_again_or_is_garbage_is_only_noted(self, root):
        for folder, name in (("blobs", "0" * 64), ("blobs", "readme"), ("toc", f"{'0' * 64}.zst"), ("toc", "x")):
            (root / folder / "sha256" / name).touch()
        next(path for path in (root / "toc" / "sha256").iterdir() if path.stat().st_size).unlink()
        (root / "ingest" / "dead.0").touch()
        report = stores.check(root, verify=True)
        assert report.damage == ()
        assert sorted(problem.kind for problem in report.notes) == ["stray"] * 4 + ["toc-missing", "unfinished"]

    def test_a_broken_database_is_a_problem_and_no_crash(self, root):
        content = bytearray((root / "metadata.db").read_bytes())
        content[4096:20480] = b"\xff" * 16384
        (root / "metadata.db").write_bytes(content)
        assert {problem.kind for problem in stores.check(root).damage} == {"database"}

    def test_what_is_removed_meanwhile_is_no_problem(self, root, monkeypatch):
        # Between the rows and the files somebody removes an image.
        look = SQLiteMetadata.problems

        def rows(self, *, verify):
            found = look(self, verify=verify)
            with orlop.open(root) as images:
                images.remove("example/imported")
            return found

        monkeypatch.setattr(SQLiteMetadata, "problems", rows)
        assert stores.check(root, verify=True).problems == ()


@pytest.fixture
def nfs(monkeypatch):
    def mount(path: Path) -> None:
        def found(asked: str) -> FileSystem:
            return FileSystem("nfs4" if Path(asked).is_relative_to(path) else "ext4", "/")

        monkeypatch.setattr("orlop.store.local.file_system_of", found)
        monkeypatch.setattr("orlop.store.place.info.file_system_of", found)

    return mount


class TestOddPlaces:
    def test_a_store_on_a_network_file_system_is_told_so(self, root, nfs):
        nfs(root)
        info = stores.info(root)
        assert info.file_system == "nfs4"
        assert info.read_only is not None
        assert "nfs4" in info.read_only
        report = stores.check(root, verify=True)
        assert [problem.kind for problem in report.problems] == ["read-only"]

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("verb", [stores.copy, stores.backup, stores.move])
    def test_copies_there_must_be_allowed(self, root, tmp_path, nfs, verb):
        nfs(tmp_path / "mnt")
        (tmp_path / "mnt").mkdir()
        with pytest.raises(errors.UnsafeFileSystem, match="nfs4"):
            verb(root, tmp_path / "mnt" / "copy")
        assert list((tmp_path / "mnt").iterdir()) == []
        before = holds(root)
        verb(root, tmp_path / "mnt" / "copy", allow_network=True)
        assert broken(tmp_path / "mnt" / "copy") == []
        assert holds(tmp_path / "mnt" / "copy") == before

    def test_a_store_there_can_be_copied_away(self, root, tmp_path, nfs):
        before = holds(root)
        nfs(root)
        stores.copy(root, tmp_path / "copy")
        assert holds(tmp_path / "copy") == before
        with pytest.raises(errors.UnsafeFileSystem):
            stores.move(root, tmp_path / "moved")
        assert holds(root) == before

    @pytest.mark.sampled(2)
    @pytest.mark.needs("mounts")
    @pytest.mark.parametrize("log", [False, True])
    def test_a_read_only_mount_with_and_without_a_log_beside(self, root, tmp_path, log):
        view = tmp_path / "view"
        view.mkdir()
        writer = orlop.open(root)
        if log:
            writer.tag("example/tiny:1.0", "in/the:log")
        else:
            writer.close()
        subprocess.run(["mount", "--bind", "-o", "ro", root, view], check=True)
        try:
            info = stores.info(view)
            assert (info.names, info.leases) == (4 if log else 3, None)
            assert info.read_only is not None
            report = stores.check(view, verify=True)
            assert [problem.kind for problem in report.problems] == ["read-only", *(["log"] if log else [])]
            stores.copy(view, tmp_path / "copy")
            assert broken(tmp_path / "copy") == []
            assert stores.info(tmp_path / "copy").names == info.names
            with pytest.raises(errors.ReadOnlyStore):
                stores.move(view, tmp_path / "moved")
            with pytest.raises(errors.ReadOnlyStore):
                stores.migrate(view)
        finally:
            subprocess.run(["umount", "-l", view], check=True)
            writer.close()


class TestCopy:
    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("link", [False, True])
    def test_a_copy_holds_the_same(self, root, tmp_path, link):
        before = files(root)
        report = stores.copy(root, tmp_path / "copy", link=link)
        info = stores.info(root)
        assert report == stores.CopyReport(
            str(tmp_path / "copy"), info.images, info.blobs, info.blob_bytes, 0 if link else info.blob_bytes
        )
        assert holds(tmp_path / "copy") == holds(root)
        assert broken(tmp_path / "copy") == broken(root) == []
        shared = {name for name, inode in files(tmp_path / "copy").items() if inode in before.values()}
        assert shared == ({name for name in before if name.startswith("blobs/")} if link else set())
        for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "root"]

    def test_an_empty_directory_will_do(self, root, tmp_path):
        (tmp_path / "copy").mkdir()
        stores.copy(root, tmp_path / "copy")
        assert holds(tmp_path / "copy") == holds(root)

    def test_the_copy_of_an_empty_store_is_one(self, tmp_path):
        stores.init(tmp_path / "root")
        assert stores.copy(tmp_path / "root", tmp_path / "copy").images == 0
        assert broken(tmp_path / "copy") == []

    def test_what_only_an_operation_needs_stays_behind(self, root, tmp_path):
        with local_store(root) as store:
            out = io.BytesIO()
            with orlop.open(root) as images:
                images.save(["example/tiny:1.0"], out)
            layer = store.layers.register(io.BytesIO(bytes(1024)))
            report = stores.copy(root, tmp_path / "copy")
            assert broken(tmp_path / "copy") == []
            assert b"".join(layer.tar_chunks()) == bytes(1024)
            assert report.blobs == stores.info(root).blobs - 1

    def test_progress_is_told_for_each_blob(self, root, tmp_path):
        events: list[object] = []
        stores.copy(root, tmp_path / "copy", progress=events.append)
        done = [event.layer for event in events if isinstance(event, LayerDone)]
        assert len(set(done)) == len(done) == stores.info(root).blobs
        moved = [event for event in events if isinstance(event, LayerProgress)]
        assert sum(event.current for event in moved if event.current == event.total) == stores.info(root).blob_bytes

    def test_who_stops_it_leaves_nothing(self, root, tmp_path):
        def stop(event: object) -> None:
            raise KeyboardInterrupt

        for verb in (stores.copy, stores.backup):
            with pytest.raises(KeyboardInterrupt):
                verb(root, tmp_path / "copy", progress=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["root"]
        assert broken(root) == []

    @pytest.mark.sampled(9)
    @pytest.mark.parametrize("verb", [stores.copy, stores.backup, stores.move])
    @pytest.mark.parametrize("there", ["file", "link", "full", "store", "inside", "nowhere", "mount"])
    def test_a_target_that_cannot_be(self, root, tmp_path, verb, there):
        target = {"inside": root / "x", "nowhere": tmp_path / "no" / "x", "mount": MOUNT}.get(there)
        target = target or tmp_path / "target"
        if there == "file":
            target.touch()
        elif there == "link":
            target.symlink_to("nothing")
        elif there == "full":
            target.mkdir()
            (target / "thesis.txt").touch()
        elif there == "store":
            stores.init(target)
        kind = {"inside": errors.InvalidInput, "nowhere": errors.NotFound}.get(there, errors.TargetExists)
        before = holds(root), sorted(tmp_path.rglob("*"))
        with pytest.raises(kind):
            verb(root, target)
        assert (holds(root), sorted(tmp_path.rglob("*"))) == before

    def test_a_damaged_blob_is_not_copied(self, root, tmp_path):
        blob = max((root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
        content = bytearray(blob.read_bytes())
        content[100] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(content)
        for verb in (stores.copy, stores.backup):
            with pytest.raises(errors.DigestMismatch):
                verb(root, tmp_path / "copy")
        blob.unlink()
        with pytest.raises(errors.ContentNotFound, match="load its image again"):
            stores.copy(root, tmp_path / "copy")
        assert [path.name for path in tmp_path.iterdir()] == ["root"]

    @pytest.mark.sampled(2)
    def test_what_is_removed_while_it_is_copied_is_in_the_copy(self, root, tmp_path):
        gone: list[int] = []

        def remove(event: object) -> None:
            if not gone:
                gone.append(1)
                with orlop.open(root) as images:
                    images.remove("example/tiny:1.0")
                    images.remove("example/imported")

        before = holds(root)
        stores.copy(root, tmp_path / "copy", progress=remove)
        assert holds(tmp_path / "copy") == before
        assert broken(tmp_path / "copy") == []
        assert len(holds(root)) < len(before)
        # A copy only reads. What it held when it was removed goes with the next removal.
        with orlop.open(root) as images:
            assert images.prune().freed > 0
        assert broken(root) == []

    @pytest.mark.sampled(2)
    @pytest.mark.needs("root")
    def test_the_copy_of_a_shared_store_is_shared(self, root, tmp_path):
        stores.init(tmp_path / "shared", group=64100)
        with orlop.open(tmp_path / "shared") as images:
            images.load(Path(__file__).parents[1] / "data" / "dockerd-29-overlay2" / "multi.tar")
        old = os.umask(0o077)
        try:
            stores.copy(tmp_path / "shared", tmp_path / "copy")
            stores.backup(tmp_path / "shared", tmp_path / "backup")
            stores.backup(tmp_path / "shared", tmp_path / "backup")
        finally:
            os.umask(old)
        for place in ("copy", "backup"):
            assert stores.info(tmp_path / place).group == 64100
            for path in [tmp_path / place, *(tmp_path / place).rglob("*")]:
                content = path.parent.parent.name == "blobs"
                wanted = 0o2770 if path.is_dir() else 0o440 if content else 0o660
                assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (wanted, 64100), path


class TestBackup:
    def test_only_what_is_new_is_copied_and_what_is_gone_goes(self, data, root, tmp_path):
        target = tmp_path / "backup"
        first = stores.backup(root, target)
        assert first.added == first.size
        assert stores.info(target).backup_of == str(root)
        before = files(target / "blobs")
        with orlop.open(root) as images:
            images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
            images.remove("example/imported")
        events: list[object] = []
        second = stores.backup(root, target, progress=events.append)
        assert 0 < second.added < second.size
        assert holds(target) == holds(root)
        assert broken(target) == broken(root) == []
        after = files(target / "blobs")
        kept = before.keys() & after.keys()
        assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
        assert before.keys() - after.keys()
        assert len([event for event in events if isinstance(event, LayerExists)]) == len(kept)
        assert stores.backup(root, target).added == 0

    def test_linking_shares_the_files_of_what_is_new(self, data, root, tmp_path):
        stores.backup(root, tmp_path / "backup", link=True)
        with orlop.open(root) as images:
            images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        stores.backup(root, tmp_path / "backup", link=True)
        assert files(root / "blobs") == files(tmp_path / "backup" / "blobs")
        assert broken(tmp_path / "backup") == []

    def test_readers_of_a_backup_see_the_old_one_or_the_new_one(self, data, root, tmp_path):
        stores.backup(root, tmp_path / "backup")
        with orlop.open(tmp_path / "backup") as images:
            old = images.images()
            with orlop.open(root) as source:
                source.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
                new = source.images()

            def look(event: object) -> None:
                assert images.images() == old

            stores.backup(root, tmp_path / "backup", progress=look)
            assert images.images() == new

    def test_a_backup_of_another_store_is_not_overwritten(self, root, tmp_path):
        stores.init(tmp_path / "other")
        stores.backup(tmp_path / "other", tmp_path / "backup")
        with pytest.raises(errors.TargetExists, match="other"):
            stores.backup(root, tmp_path / "backup")

    def test_whoever_backs_up_to_a_place_beside_another_is_told_so(self, root, tmp_path):
        first = threading.Lock()
        told: list[object] = []

        def another(event: object) -> None:
            # Several threads copy.
            if first.acquire(blocking=False):
                for make in (stores.backup, stores.copy):
                    with pytest.raises(errors.StoreInUse, match=r"copy or backup to .*/backup is at work") as error:
                        make(root, tmp_path / "backup")
                    told.append(error)
                stores.backup(root, tmp_path / "elsewhere")

        stores.backup(root, tmp_path / "backup", progress=another)
        assert len(told) == 2
        assert broken(tmp_path / "backup") == []
        assert sorted(path.name for path in tmp_path.iterdir() if "backup" in path.name or "orlop" in path.name) == [
            "backup"
        ]

    @pytest.mark.parametrize("kind", ["file", "link", "directory"])
    def test_what_has_the_name_of_a_store_to_come_is_not_in_the_way(self, root, tmp_path, kind):
        names: list[str] = []

        def note(event: object) -> None:
            names.extend(path.name for path in tmp_path.iterdir() if path.name.startswith(".orlop-store-"))

        stores.backup(root, tmp_path / "backup", progress=note)
        shutil.rmtree(tmp_path / "backup")
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "write.lock").touch()
        foreign = tmp_path / names[0]
        if kind == "file":
            foreign.touch()
        elif kind == "link":
            foreign.symlink_to("outside")
        else:
            (foreign / "kept").mkdir(parents=True)
        stores.backup(root, tmp_path / "backup")
        assert broken(tmp_path / "backup") == []
        assert foreign.exists()
        assert (tmp_path / "outside" / "write.lock").exists()

    def test_a_backup_that_another_one_has_begun_meanwhile_is_refreshed(self, root, tmp_path, monkeypatch):
        is_there = Directory.is_there

        def before_another(directory: Directory, name: str) -> bool:
            monkeypatch.setattr(Directory, "is_there", is_there)
            found = is_there(directory, name)
            stores.backup(root, tmp_path / "backup")
            return found

        monkeypatch.setattr(Directory, "is_there", before_another)
        assert stores.backup(root, tmp_path / "backup").added == 0
        assert broken(tmp_path / "backup") == []

    def test_a_blob_that_a_backup_has_lost_comes_again(self, root, tmp_path):
        stores.backup(root, tmp_path / "backup")
        blobs = sorted((tmp_path / "backup" / "blobs" / "sha256").iterdir())
        blobs[0].unlink()
        blobs[1].chmod(0o600)
        blobs[1].write_bytes(b"short")
        (tmp_path / "backup" / "toc" / "sha256" / f"{blobs[2].name}.zst").unlink(missing_ok=True)
        for link in (True, False):
            stores.backup(root, tmp_path / "backup", link=link)
            assert broken(tmp_path / "backup") == []

    def test_a_backup_becomes_a_store_again(self, root, tmp_path):
        before = holds(root)
        stores.backup(root, tmp_path / "backup")
        stores.copy(tmp_path / "backup", tmp_path / "restored")
        assert holds(tmp_path / "restored") == before
        assert stores.info(tmp_path / "restored").backup_of is None

    @pytest.mark.sampled(3)
    def test_while_eight_processes_write(self, tmp_path):
        root = tmp_path / "root"
        stores.init(root)
        workers = [join(root, number, 8) for number in range(PROCESSES)]
        for worker in workers:
            go(worker)
        taken = 0
        while any(worker.poll() is None for worker in workers):
            stores.backup(root, tmp_path / "backup")
            stores.copy(root, tmp_path / f"copy{taken}")
            assert broken(tmp_path / "backup") == []
            assert broken(tmp_path / f"copy{taken}") == []
            assert stores.check(root).damage == ()
            taken += 1
        assert [worker.communicate()[1] for worker in workers] == [""] * PROCESSES
        assert taken > 1
        assert any(stores.info(tmp_path / f"copy{number}").images for number in range(taken))
        # What was removed while a copy held it goes with the next removal.
        with orlop.open(root) as images:
            images.gc()
        assert broken(root) == []
        stores.backup(root, tmp_path / "backup")
        assert holds(tmp_path / "backup") == holds(root)

    @pytest.mark.parametrize("verb", [stores.copy, stores.backup])
    def test_rows_that_are_misread_once_are_not_damaged(self, root, tmp_path, monkeypatch, verb):
        real, looks = doubts.look_through, []

        def look_through(reading, path, *, verify=True):
            looks.append(path)
            if len(looks) == 1:
                raise errors.DatabaseDamaged("database disk image is malformed")
            return real(reading, path, verify=verify)

        monkeypatch.setattr(snapshot, "look_through", look_through)
        with pytest.raises(errors.StorageError, match="check the device, and run this again") as told:
            verb(root, tmp_path / "there")
        assert (told.value.exit_code, len(looks)) == (7, 2)
        assert not (tmp_path / "there").exists()
        assert verb(root, tmp_path / "there").images == 3


class TestMove:
    def test_within_a_file_system_it_is_the_same_store(self, root, tmp_path):
        before, inodes = holds(root), files(root)
        report = stores.move(root, tmp_path / "moved")
        assert (report.images, report.added) == (3, 0)
        assert not root.exists()
        assert files(tmp_path / "moved").items() >= {k: v for k, v in inodes.items() if "blobs" in k}.items()
        assert holds(tmp_path / "moved") == before
        assert broken(tmp_path / "moved") == []

    def test_to_another_file_system_it_is_copied_and_removed(self, root, tmp_path, monkeypatch):
        before = holds(root)
        (root / "quarantine" / "folder").mkdir(parents=True)
        (root / "quarantine" / "folder" / "bad").write_bytes(b"set aside")
        # Somebody else may have put it there.
        (root / "quarantine" / "folder" / "bad").chmod(0o6755)
        os.mkfifo(root / "quarantine" / "pipe")
        far_away(monkeypatch, root, tmp_path / "moved")
        report = stores.move(root, tmp_path / "moved")
        assert report.added == report.size > 0
        assert [path.name for path in tmp_path.iterdir()] == ["moved"]
        assert holds(tmp_path / "moved") == before
        assert broken(tmp_path / "moved") == []
        (folder,) = (tmp_path / "moved" / "quarantine").iterdir()
        assert (folder / "bad").read_bytes() == b"set aside"
        assert stat.S_IMODE((folder / "bad").stat().st_mode) == 0o755

    def test_a_root_that_is_a_link_leads_to_what_is_moved(self, root, tmp_path):
        before = holds(root)
        (tmp_path / "link").symlink_to(root)
        stores.move(tmp_path / "link", tmp_path / "moved")
        assert not root.exists()
        assert holds(tmp_path / "moved") == before

    def test_who_has_it_open_keeps_it(self, root, tmp_path):
        with orlop.open(root) as images:
            before = images.images()
            with pytest.raises(errors.StoreInUse):
                stores.move(root, tmp_path / "moved")
            images.tag("example/tiny:1.0", "a:b")
            assert images.images() != before
        assert not (tmp_path / "moved").exists()
        stores.move(root, tmp_path / "moved")

    def test_an_operation_at_work_keeps_it(self, root, tmp_path):
        with local_store(root) as store:
            store.leases.name()
            with pytest.raises(errors.StoreInUse, match="in use"):
                stores.move(root, tmp_path / "moved")
        assert root.exists()

    def test_who_was_idle_meanwhile_cannot_write(self, root, tmp_path):
        with local_store(root) as store:
            # Not open yet when it is moved, and another store is in its place afterwards.
            with store.metadata.read():
                pass
            store.metadata.close()
            idle = local_store(root)
            stores.move(root, tmp_path / "moved")
        with pytest.raises(errors.OrlopError):
            idle.images.create(b'{"rootfs":{}}')
        assert broken(tmp_path / "moved") == []

    def test_a_store_in_place_of_another_is_not_taken_for_it(self, root, tmp_path):
        store = local_store(root)
        with store.metadata.write():
            pass
        root.rename(tmp_path / "elsewhere")
        for replaced in (False, True):
            if replaced:
                stores.init(root)
            with pytest.raises(errors.StoreMoved, match="moved"), store.metadata.write():
                pass
        store.close()
        assert broken(root) == []

    def test_a_damaged_store_stays(self, root, tmp_path, monkeypatch):
        next((root / "blobs" / "sha256").iterdir()).unlink()
        far_away(monkeypatch, root, tmp_path / "moved")
        with pytest.raises(errors.ContentNotFound):
            stores.move(root, tmp_path / "moved")
        assert [path.name for path in tmp_path.iterdir()] == ["root"]

    def test_a_copy_that_is_wrong_is_not_believed(self, root, tmp_path, monkeypatch):
        from orlop.store.place import copy

        def fill(file, store, blob, tell):
            file.write(b"x" * blob.size)

        before = holds(root)
        far_away(monkeypatch, root, tmp_path / "moved")
        monkeypatch.setattr(copy, "_fill", fill)
        with pytest.raises(errors.StoreDamaged, match="stays where it is"):
            stores.move(root, tmp_path / "moved")
        assert [path.name for path in tmp_path.iterdir()] == ["root"]
        assert holds(root) == before


def far_away(monkeypatch: pytest.MonkeyPatch, root: Path, target: Path) -> None:
    """Pretend that a target is on another file system."""
    rename = os.rename

    def other(source: str, goal: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        if (named(source, src_dir_fd), named(goal, dst_dir_fd)) == (str(root), str(target)):
            raise OSError(18, "Invalid cross-device link")
        rename(source, goal, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", other)


class TestInit:
    def test_twice_is_once(self, tmp_path):
        first = stores.init(tmp_path / "root")
        assert stores.init(tmp_path / "root") == replace(first, disk_bytes=stores.info(tmp_path / "root").disk_bytes)
        assert broken(tmp_path / "root") == []

    def test_a_store_for_others_is_not_changed(self, tmp_path):
        stores.init(tmp_path / "root")
        with pytest.raises(errors.TargetExists, match="owner alone"):
            stores.init(tmp_path / "root", group=os.getegid())
        stores.init(tmp_path / "shared", group=os.getegid())
        with pytest.raises(errors.TargetExists, match="shared by"):
            stores.init(tmp_path / "shared")
        assert stores.init(tmp_path / "shared", group=str(os.getegid())).group == os.getegid()

    def test_groups_have_names(self, tmp_path):
        with pytest.raises(errors.InvalidInput, match="no group"):
            stores.init(tmp_path / "root", group="there is none of that name")
        assert not (tmp_path / "root").exists()


def test_migrating_a_store_that_is_up_to_date_does_nothing(root):
    before = files(root)
    assert stores.migrate(root) == stores.MigrateReport(3, 3, None)
    assert files(root).keys() == before.keys()
