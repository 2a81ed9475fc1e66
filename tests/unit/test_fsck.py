"""`orlop.stores.fsck`: every kind of damage is found, once, and nothing else is."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.model.progress import LayerDone, LayerProgress
from orlop.store.upkeep.fsck_content import Unreadable, examine
from tests.invariants import broken
from tests.socket_files import make_socket
from tests.unit.damage import (
    ask,
    blobs,
    copied,
    delete,
    digest,
    empty,
    fill,
    flip,
    flip_first,
    flip_inside,
    found,
    kinds,
    lengthen,
    overwrite,
    sql,
    swap,
    tocs,
    truncate,
)
from tests.unit.layouts import everything
from tests.unit.test_sqlite_log import LEAVE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(3)


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "root")


@pytest.mark.parametrize("quick", [False, True])
def test_a_store_that_is_whole_is_clean(root, quick):
    assert broken(root) == []
    report = stores.fsck(root, quick=quick)
    assert (report.root, report.quick, report.state) == (str(root), quick, "clean")
    assert (report.problems, report.found, report.repairs) == ((), (), ())


def test_a_look_changes_nothing(root):
    flip(blobs(root)[0])
    (root / "blobs" / "sha256" / "stray").touch()
    before, names = everything(root), sorted(path.name for path in root.iterdir())
    assert stores.fsck(root).state == "damaged"
    assert everything(root) == before
    assert sorted(path.name for path in root.iterdir()) == names


class TestBlobs:
    """A damaged file is one problem, of its blob."""

    @pytest.mark.parametrize(
        ("damage", "kind", "quickly"),
        [
            (flip, "blob-damaged", False),
            (flip_first, "blob-damaged", False),
            (flip_inside, "blob-damaged", False),
            (truncate, "blob-size", True),
            (lengthen, "blob-size", True),
            (empty, "blob-size", True),
            (delete, "blob-missing", True),
        ],
    )
    @pytest.mark.parametrize("which", [0, -1])
    def test_what_happened_to_a_file(self, root, which, damage: Callable[[Path], object], kind, quickly):
        path = blobs(root)[which]
        damage(path)
        problem = (kind, digest(path))
        assert found(stores.fsck(root).problems) == [problem]
        assert found(stores.fsck(root, quick=True).problems) == ([problem] if quickly else [])

    def test_two_that_have_each_others_names(self, root):
        largest, second, *_, smallest = blobs(root)
        swap(largest, second)  # of one size
        assert found(stores.fsck(root).problems) == sorted(("blob-damaged", digest(path)) for path in (largest, second))
        swap(largest, smallest)
        assert kinds(stores.fsck(root).problems) == ["blob-damaged", "blob-size", "blob-size"]

    @pytest.mark.parametrize("what", ["link", "dangling link", "directory", "pipe", "socket"])
    def test_what_is_no_file_is_neither_followed_nor_waited_for(self, root, tmp_path, what):
        path = blobs(root)[0]
        elsewhere = path.rename(tmp_path / "elsewhere")
        if what == "link":
            path.symlink_to(elsewhere)
        elif what == "dangling link":
            path.symlink_to("nowhere")
        elif what == "directory":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
        else:
            make_socket(path)
        for quick in (False, True):
            (problem,) = stores.fsck(root, quick=quick).problems
            assert (problem.level, problem.kind, problem.subject) == ("damage", "blob-no-file", digest(path))

    def test_a_blob_whose_content_is_no_layer_is_named(self, root):
        path = blobs(root)[0]
        junk = b"no tar at all" * 100
        other = path.with_name(digest_of(junk))
        path.unlink()
        other.write_bytes(junk)
        other.chmod(0o400)
        sql(
            root,
            f"UPDATE blob SET digest = 'sha256:{other.name}', size = {len(junk)} WHERE digest = '{digest(path)}'",
            f"UPDATE diff_blob SET blob = 'sha256:{other.name}' WHERE blob = '{digest(path)}'",
        )
        kinds = ("blob-no-layer", "form-wrong")
        assert found(stores.fsck(root).damage) == [(kind, digest(other)) for kind in kinds]

    def test_who_may_not_read_a_blob_is_told_so(self, root, monkeypatch):
        path = blobs(root)[0]

        def refused(name, **options):
            if name.path == str(path):
                raise Unreadable(errors.PermissionDenied(f"cannot read {name.path}: permission denied"))
            return examine(name, **options)

        monkeypatch.setattr("orlop.store.upkeep.fsck_blobs.examine", refused)
        assert found(stores.fsck(root).problems) == [("blob-unreadable", digest(path))]


def digest_of(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


class TestTables:
    @pytest.mark.parametrize("damage", [flip, flip_first, flip_inside, truncate, empty])
    def test_a_damaged_table_of_contents(self, root, damage):
        path = tocs(root)[0]
        damage(path)
        assert found(stores.fsck(root).problems) == [("toc-damaged", digest(path))]
        assert stores.fsck(root, quick=True).problems == ()

    def test_the_table_of_another_layer(self, root):
        one, other = tocs(root)[:2]
        swap(one, other)
        assert found(stores.fsck(root).problems) == sorted(("toc-damaged", digest(path)) for path in (one, other))

    def test_one_that_no_blob_is_there_for_is_read_by_itself(self, root):
        (diff, blob) = ask(root, "SELECT diff, blob FROM diff_blob JOIN diff ON id = diff WHERE entries > 2")[0]
        (root / "blobs" / str(blob).replace(":", "/")).unlink()
        assert kinds(stores.fsck(root).problems) == ["blob-missing"]
        flip(root / "toc" / f"{str(diff).replace(':', '/')}.zst")
        assert kinds(stores.fsck(root).problems) == ["blob-missing", "toc-damaged"]

    def test_a_missing_one_is_only_noted(self, root):
        path = tocs(root)[0]
        path.unlink()
        report = stores.fsck(root)
        assert (report.state, found(report.notes)) == ("clean", [("toc-missing", digest(path))])


class TestFiles:
    def test_who_may_use_what(self, root):
        paths = [
            blobs(root)[0],
            tocs(root)[0],
            root / "blobs",
            root / "toc" / "sha256",
            root / "write.lock",
        ]
        for path in paths:
            path.chmod(0o755)
        report = stores.fsck(root, quick=True)
        assert report.damage == ()
        assert found(report.notes) == sorted(("mode-wrong", str(path)) for path in paths)
        assert "has the mode 0755 instead of 0400" in report.notes[-1].message + report.notes[-2].message

    def test_files_of_a_group_belong_to_it(self, data, tmp_path):
        group = os.getegid()
        stores.init(tmp_path / "shared", group=group)
        fill(tmp_path / "shared", data)
        assert stores.fsck(tmp_path / "shared").problems == ()
        path = blobs(tmp_path / "shared")[0]
        if os.geteuid() == 0:
            os.chown(path, -1, group + 1)
            assert found(stores.fsck(tmp_path / "shared").problems) == [("mode-wrong", str(path))]

    @pytest.mark.parametrize("name", ["ingest", "trash", "leases", "toc/sha256"])
    @pytest.mark.parametrize("instead", [None, "file"])
    def test_a_directory_that_is_not_there(self, root, name, instead):
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()
        if instead:
            (root / name).touch()
        report = stores.fsck(root, quick=True)
        assert found(report.damage) == [("directory-missing", str(root / name))]

    def test_a_link_in_place_of_a_directory_is_not_followed(self, root, tmp_path):
        (root / "toc").rename(tmp_path / "elsewhere")
        (root / "toc").symlink_to(tmp_path / "elsewhere")
        missing = [("directory-missing", str(root / name)) for name in ("toc", "toc/sha256")]
        assert found(stores.fsck(root).damage) == missing
        assert stores.fsck(root, repair=True).state == "repaired"
        assert not (root / "toc").is_symlink()
        assert (tmp_path / "elsewhere" / "sha256").is_dir()

    def test_what_belongs_to_nothing(self, root):
        paths = [
            root / "blobs" / "sha256" / ("0" * 64),
            root / "blobs" / "sha256" / "readme",
            root / "blobs" / "sha1",
            root / "blobs" / "md5" / "x",
            root / "toc" / "sha256" / f"{'0' * 64}.zst",
            root / "toc" / "sha256" / blobs(root)[0].name,
            root / "toc" / "x",
            root / "x",
            root / "ingest" / "directory",
            root / "leases" / "directory",
        ]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            path.mkdir() if path.name == "directory" else path.touch()
        report = stores.fsck(root)
        assert report.damage == ()
        named = {str(path) for path in paths if path.name != "x" or path.parent.name != "md5"}
        assert found(report.notes) == sorted(("stray", path) for path in {*named, str(root / "blobs" / "md5")})

    def test_what_a_dead_process_left(self, root):
        (root / "ingest" / "0123456789abcdef.0").touch()
        sql(root, "INSERT INTO lease VALUES ('0123456789abcdef', 'sha256:0')")
        assert found(stores.fsck(root).problems) == [
            ("lease-dead", "0123456789abcdef"),
            ("unfinished", str(root / "ingest" / "0123456789abcdef.0")),
        ]

    def test_what_a_living_process_does_is_no_problem(self, root):
        with orlop.open(root) as images:
            store = images._store
            with store.blobs.begin() as ingest, store.leases.hold([]):
                ingest.write(b"on its way")
                assert stores.fsck(root).problems == ()


MANIFEST = """digest = (SELECT min(digest) FROM manifest WHERE CAST(content AS TEXT) LIKE '%"mediaType":"%')"""
DANGLING = "sha256:" + "0" * 64


class TestRows:
    """Rows are changed behind the store's back; what leads from one cause is one problem, or as few as can be told."""

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            (
                f"UPDATE reference SET image = '{DANGLING}' WHERE name LIKE '%/tiny' AND suffix = ':1.0'",
                {"name-dangling": 2},
            ),
            ("UPDATE image SET head = NOT head WHERE id = (SELECT min(id) FROM image)", {"head-wrong": 1}),
            (
                "UPDATE chain SET size = size + 5 WHERE id = (SELECT chain FROM image WHERE head LIMIT 1)",
                {"chain-wrong": 1},
            ),
            ("UPDATE chain SET depth = 9 WHERE id IN (SELECT max(chain) FROM image)", {"chain-wrong": 1}),
            ("UPDATE blob SET size = size + 1 WHERE digest = (SELECT min(digest) FROM blob)", {"blob-size": 1}),
            ("DELETE FROM blob WHERE digest = (SELECT min(digest) FROM blob)", {"database": 1}),
            ("DELETE FROM diff WHERE id = (SELECT min(id) FROM diff)", {"database": 2}),
            (
                f"UPDATE image_metadata SET value = CAST('{DANGLING}' AS BLOB) WHERE key = 'parent'",
                {"parent-missing": None, "head-wrong": 0},
            ),
            ("UPDATE image_metadata SET value = x'ff00' WHERE key = 'parent'", {"parent-missing": None}),
            (
                "UPDATE image_metadata SET value = CAST(image AS BLOB) WHERE key = 'parent'",
                {"parent-loop": None},
            ),
        ],
    )
    def test_what_rows_say_of_each_other_is_found_quickly(self, root, statement, expected):
        sql(root, statement)
        counted = kinds(stores.fsck(root, quick=True).damage)
        assert set(counted) == {kind for kind, count in expected.items() if count != 0}
        for kind, count in expected.items():
            assert count is None or counted.count(kind) == count

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            (
                "UPDATE image SET config = CAST(config || ' ' AS BLOB) WHERE id = (SELECT min(id) FROM image)",
                "config-damaged",
            ),
            (
                f"UPDATE manifest SET content = CAST(content || ' ' AS BLOB) WHERE {MANIFEST}",
                "manifest-damaged",
            ),
            (
                f"UPDATE manifest SET media_type = 'x' WHERE {MANIFEST}",
                "manifest-wrong",
            ),
            ("UPDATE image SET created = created + 1 WHERE id = (SELECT min(id) FROM image)", "image-wrong"),
            ("UPDATE image SET chain = NULL WHERE id = (SELECT id FROM image WHERE chain IS NOT NULL)", "image-wrong"),
            ("UPDATE blob SET size = size + 1 WHERE digest = (SELECT min(digest) FROM blob)", "blob-wrong"),
            ("UPDATE blob SET compression = 'bzip2' WHERE digest = (SELECT min(digest) FROM blob)", "blob-wrong"),
            ("UPDATE diff SET entries = entries + 1 WHERE id = (SELECT min(id) FROM diff)", "layer-wrong"),
            (
                "UPDATE diff SET partial = 'why' WHERE id = (SELECT min(id) FROM diff WHERE partial IS NULL)",
                "layer-wrong",
            ),
        ],
    )
    def test_what_content_says_of_rows_is_found_by_reading_it(self, root, statement, kind):
        sql(root, statement)
        assert kinds(stores.fsck(root).damage) == [kind]

    @pytest.mark.parametrize("change", ["name = 'UPPER'", "suffix = ':a b'"])
    def test_a_name_that_cannot_be_asked_for_is_found_and_the_one_that_it_was(self, root, change):
        sql(root, f"UPDATE reference SET {change} WHERE name LIKE '%/packed' AND suffix LIKE ':%'")
        assert kinds(stores.fsck(root).damage) == ["name-invalid", "name-lost"]

    def test_a_blob_that_is_recorded_as_another_layer(self, root):
        (one, _), (other, blob) = ask(
            root, "SELECT diff, blob FROM diff_blob GROUP BY diff HAVING count(*) = 1 LIMIT 2"
        )
        sql(root, f"UPDATE diff_blob SET diff = '{one}' WHERE diff = '{other}' AND blob = '{blob}'")
        assert found(stores.fsck(root).damage) == [("content-missing", other), ("form-wrong", blob)]

    def test_layers_that_are_gone(self, root):
        (image, chain) = ask(root, "SELECT id, chain FROM image WHERE head")[0]
        sql(root, f"DELETE FROM chain WHERE id = '{chain}'")
        report = stores.fsck(root)
        assert ("layers-missing", image) in found(report.damage)

    def test_what_nothing_needs_is_only_noted(self, root):
        digests = [f"sha256:{number:064x}" for number in range(3)]
        sql(
            root,
            f"INSERT INTO manifest VALUES ('{digests[0]}', 'x', x'')",
            f"INSERT INTO diff VALUES ('{digests[1]}', 1, 1, 1, NULL)",
            f"INSERT INTO blob VALUES ('{digests[2]}', 1, 'none')",
        )
        report = stores.fsck(root, quick=True)
        unneeded = [one for one in found(report.notes) if one[0].endswith("-unneeded")]
        assert unneeded == [
            ("blob-unneeded", digests[2]),
            ("layer-unneeded", digests[1]),
            ("manifest-unneeded", digests[0]),
        ]

    def test_an_object_that_is_no_image_is_no_damage(self, root):
        with orlop.open(root) as images:
            images.image_store._backend.set(b"anything")
        assert kinds(stores.fsck(root).damage) == []
        assert kinds(stores.fsck(root).notes) == ["config-unreadable"]

    @pytest.mark.parametrize(
        "config",
        [
            b'{"RootFS":{"type":"layers"},"created":"2020-01-01T00:00:00Z","Created":"2021-01-01T00:00:00Z"}',
            b'{"rootfs":{"diff_ids":["x"]},"rootfs":{"type":"layers","diff_ids":null},"config":{"labels":{"a":"b"}}}',
            b'{"rootfs":{"type":"layers"},"config":{"Labels":{"a":"1","a":"2"}},"config":{"Labels":{"b":"3"}}}',
            b'{"rootfs":{"type":"layers"},"created":null,"config":null}',
        ],
    )
    def test_a_config_may_be_written_in_odd_ways(self, root, config):
        with orlop.open(root) as images:
            image = images.image_store.create(config)
        assert stores.fsck(root).problems == ()
        sql(root, f"UPDATE image SET created = created + 1 WHERE id = '{image}'")
        assert found(stores.fsck(root).problems) == [("image-wrong", str(image))]

    def test_a_manifest_may_have_another_kind_of_digest(self, root):
        import hashlib

        content = b'{"schemaVersion":2}'
        name = f"sha512:{hashlib.sha512(content).hexdigest()}"
        sql(
            root,
            f"INSERT INTO manifest VALUES ('{name}', 'x', CAST('{content.decode()}' AS BLOB))",
            f"INSERT INTO image_manifest SELECT min(id), '{name}' FROM image",
        )
        assert stores.fsck(root).problems == ()


class TestDatabase:
    def test_one_that_cannot_be_read_is_told_and_nothing_is_touched(self, root):
        for path in root.glob("metadata.db-*"):
            path.unlink()
        overwrite(root / "metadata.db", os.urandom(9000))
        (root / "trash" / "left").touch()
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        report = stores.fsck(root)
        assert (report.state, found(report.problems)) == ("damaged", [("database", "metadata.db")])
        assert "restore it from a backup" in report.problems[0].message
        assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("lost", ["missing", "empty"])
    def test_one_that_is_lost_is_not_made_anew_over_the_content(self, root, lost):
        for path in root.glob("metadata.db*"):
            path.unlink()
        if lost == "empty":
            (root / "metadata.db").touch()
        before = sorted(root.rglob("*"))
        for create in (False, True):
            with pytest.raises(errors.StoreDamaged, match=f"is {lost}, but its blobs are there"):
                orlop.open(root, create=create)
        report = stores.fsck(root, repair=True)
        assert (report.state, found(report.problems)) == ("damaged", [("database", "metadata.db")])
        assert sorted(root.rglob("*")) == before

    @pytest.mark.parametrize("log", ["none", "later", "another store's"])
    def test_one_without_its_log_and_without_tables_is_not_made_anew_over_the_content(self, log, tmp_path, data):
        """All rows of a young store are in its log: a copy of the database alone has no tables."""
        young, other = tmp_path / "young", tmp_path / "other"
        for place, archive in (
            (young, "dockerd-29-overlay2/multi.tar"),
            (other, "other-tools/skopeo-oci-archive-zstd.tar"),
        ):
            subprocess.run([sys.executable, "-c", LEAVE, place, data / archive], check=True, timeout=60)
        alone = (young / "metadata.db").read_bytes()
        if log == "later":
            with orlop.open(young) as images:
                images.tag("example/tiny:1.0", "one:1")
            subprocess.run([sys.executable, "-c", LEAVE, young], check=True, timeout=60)
        elif log == "none":
            (young / "metadata.db-wal").unlink()
        else:
            shutil.copy(other / "metadata.db-wal", young)
        (young / "metadata.db").write_bytes(alone)
        (young / "metadata.db-shm").unlink()
        before = blobs(young)
        for _ in range(2):
            for act in (lambda images: images.images(), lambda images: images.gc()):
                with pytest.raises(errors.StoreDamaged), orlop.open(young) as images:
                    act(images)
            assert stores.fsck(young, repair=True).state == "damaged"
        assert blobs(young) == before

    def test_where_there_is_no_store_none_is_made(self, tmp_path):
        with pytest.raises(errors.StoreNotFound):
            stores.fsck(tmp_path / "nothing")
        (tmp_path / "file").touch()
        with pytest.raises(errors.StoreDamaged):
            stores.fsck(tmp_path / "file")


class TestOthers:
    def test_progress_is_told_for_each_blob(self, root):
        events: list[object] = []
        stores.fsck(root, progress=events.append)
        sizes = {path.name[:12]: path.stat().st_size for path in blobs(root)}
        ends = {event.layer for event in events if isinstance(event, LayerDone)}
        assert ends == set(sizes)
        read = {event.layer: event.current for event in events if isinstance(event, LayerProgress)}
        assert read == sizes

    def test_who_stops_it_gets_what_stopped_it(self, root):
        def stop(_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stores.fsck(root, progress=stop)

    def test_a_blob_that_is_put_right_meanwhile_is_no_problem(self, root, monkeypatch):
        path = blobs(root)[0]
        good = path.read_bytes()
        flip(path)

        def repaired(name, **options):
            exam = examine(name, **options)
            if name.path == str(path) and path.read_bytes() != good:
                new = root / "ingest" / "new"
                new.write_bytes(good)
                new.chmod(0o400)
                new.rename(path)
            return exam

        monkeypatch.setattr("orlop.store.upkeep.fsck_blobs.examine", repaired)
        assert stores.fsck(root).problems == ()

    def test_a_blob_that_goes_meanwhile_is_no_problem(self, root, monkeypatch):
        gone: list[str] = []
        path = blobs(root)[0]

        def removed(name, **options):
            exam = examine(name, **options)
            if not gone and name.path == str(path):
                with orlop.open(root) as images:
                    gone.extend(images.remove("example/imported").deleted)
            return exam

        monkeypatch.setattr("orlop.store.upkeep.fsck_blobs.examine", removed)
        assert stores.fsck(root).problems == ()
        assert gone

    def test_a_file_that_its_owner_takes_away_meanwhile_is_no_problem(self, root, monkeypatch):
        path = root / "ingest" / "0123456789abcdef.0"
        path.touch()

        def ended(leases, **_):
            path.unlink(missing_ok=True)
            return set()

        monkeypatch.setattr("orlop.store.leases.Leases.alive", ended)
        assert stores.fsck(root).problems == ()

    @pytest.mark.needs("an ordinary user")
    def test_a_store_that_cannot_be_written_is_read(self, root):
        root.chmod(stat.S_IRUSR | stat.S_IXUSR)
        try:
            flip(blobs(root)[0])
            assert kinds(stores.fsck(root).problems) == ["blob-damaged", "read-only"]
        finally:
            root.chmod(0o700)

    def test_a_store_where_locks_may_not_hold_is_read_and_not_written(self, root, monkeypatch):
        from orlop.streams.filesystems import FileSystem

        monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("nfs4", "/"))
        flip(blobs(root)[0])
        blobs(root)[1].chmod(0o444)
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        assert [kind for kind in kinds(stores.fsck(root).problems) if kind != "log"] == ["blob-damaged", "read-only"]
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
