"""Garbage: everything that is nobody's goes, with a true account; what is somebody's stays."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.cli.main import run
from orlop.model.digest import Digest
from orlop.store.leases import EVERYTHING
from orlop.store.local import local_store
from tests.invariants import broken
from tests.named import named
from tests.unit.layouts import layer_tar
from tests.unit.test_json import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOP = Path(__file__).parents[2]

# A process that works with layers until it is told to end, or is killed.
OWNER = """
import io, sys
from orlop.model.digest import Digest
from orlop.model.limits import Limits
from orlop.store.blobs.ingest import ingest_layer
from orlop.store.local import local_store
from orlop.streams.meter import Meter
from tests.unit.layouts import layer_tar

store = local_store(sys.argv[1])
held = store.layers.register(io.BytesIO(layer_tar("held")))
top = store.layers.register(io.BytesIO(layer_tar("top")), held.chain_id)
begun = ingest_layer(io.BytesIO(layer_tar("begun")), store.blobs, meter=Meter(Limits()))
print("ready", flush=True)
sys.stdin.readline()
begun.discard()
store.layers.release(top)
store.layers.release(held)
store.close()
"""


@contextmanager
def owner(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TOP
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def killed_owner(root: Path) -> None:
    with owner(root) as process:
        process.send_signal(signal.SIGKILL)


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return tmp_path / "root"


def files(root: Path) -> dict[str, str]:
    """Return everything but the database and the note of its writes: directories, files, where links lead."""
    found = {}
    for folder, folders, names in os.walk(root):
        for path in (Path(folder) / name for name in (*folders, *names)):
            if not path.name.startswith(("metadata.db", "write.lock")):
                content = "" if path.is_symlink() or path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(root))] = str(path.readlink()) if path.is_symlink() else content
    return found


def rows(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        return list(database.iterdump())


def size(root: Path) -> int:
    """Return the bytes of all files but the database."""
    return sum(
        path.lstat().st_size
        for path in root.rglob("*")
        if path.is_symlink()
        or (path.is_file() and path.name not in {"metadata.db", "metadata.db-wal", "metadata.db-shm"})
    )


def collected(root: Path) -> orlop.GcReport:
    """Collect, and see that the sum is true, that a dry run says the same, and that nothing is left."""
    with orlop.open(root) as images:
        before, rows_before = files(root), rows(root)
        told = images.gc(dry_run=True)
        # The lock files of the dead stay too.
        assert (files(root), rows(root)) == (before, rows_before)
        full = size(root)
        report = images.gc()
        assert report.garbage == told.garbage
        assert (told.dry_run, report.dry_run, report.root) == (True, False, str(root))
        assert report.freed == full - size(root)
        assert images.gc().garbage == ()
    return report


def kinds(report: orlop.GcReport) -> list[str]:
    return [one.kind for one in report.garbage]


def test_a_store_that_is_whole_has_no_garbage(root: Path) -> None:
    before = files(root)
    assert collected(root).garbage == ()
    assert files(root) == before


def test_what_a_killed_process_left_goes_at_once(root: Path) -> None:
    before, rows_before = files(root), rows(root)
    killed_owner(root)
    assert files(root) != before
    report = collected(root)
    assert kinds(report) == ["lease", "unfinished", "unfinished", "layer", "layer", "blob", "blob", "toc", "toc"]
    assert report.freed > 0
    assert broken(root) == []
    assert (files(root), rows(root)) == (before, rows_before)


def test_what_a_living_process_works_with_stays_and_goes_when_it_ends(root: Path) -> None:
    before = files(root)
    with owner(root) as process:
        at_work = files(root)
        assert collected(root).garbage == ()
        assert files(root) == at_work
        process.communicate(b"\n")
        assert process.returncode == 0
        assert files(root) == before
    assert collected(root).garbage == ()


def test_layers_of_images_stay_when_the_ones_above_go(root: Path) -> None:
    with local_store(root) as store, closing(sqlite3.connect(root / "metadata.db")) as database:
        with store.metadata.read() as view:
            below = next(row.chain_id for row in view.image_rows(listed_only=False) if row.chain_id is not None)
        layer = store.layers.register(io.BytesIO(layer_tar("above")), below)
        # A layer that is there for nothing, on top of one that an image needs.
        database.execute("DELETE FROM lease")
        database.commit()
        assert kinds(collected(root)) == ["layer", "blob", "toc"]
        with pytest.raises(errors.LayerNotFound):
            store.layers.get(layer.chain_id)
        assert store.layers.release(store.layers.get(below)) == ()
    assert broken(root) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "place",
    [
        "blobs/sha256/" + "a" * 64,
        "blobs/sha256/nonsense",
        "toc/sha256/" + "b" * 64 + ".zst",
        "toc/sha256/nonsense",
        "ingest/nonsense",
        "ingest/0123456789abcdef.7",
        "metadata.db.schema-0.part",
    ],
)
def test_a_file_that_is_nobodys_goes(root: Path, place: str) -> None:
    before = files(root)
    (root / place).write_bytes(b"12345")
    report = collected(root)
    assert [(one.subject, one.size) for one in report.garbage] == [(str(root / place), 5)]
    assert files(root) == before


def test_a_file_that_cannot_be_looked_at_is_an_error_of_orlops_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_owner(root)

    look = os.stat

    def failing(path: str | int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if "/ingest/" in named(path, dir_fd):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    with orlop.open(root) as images:
        monkeypatch.setattr(os, "stat", failing)
        with pytest.raises(errors.StorageError):
            images.gc()
        monkeypatch.undo()
        assert kinds(images.gc()).count("blob") == 2


def test_a_link_goes_and_what_it_leads_to_stays(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (root / "blobs/sha256" / ("c" * 64)).symlink_to(tmp_path / "mine")
    (root / "ingest" / "dangling").symlink_to(tmp_path / "nothing")
    assert sorted(kinds(collected(root))) == ["stray", "unfinished"]
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert broken(root) == []


def test_directories_and_what_is_not_the_stores_stay(root: Path) -> None:
    (root / "blobs/sha256/folder").mkdir()
    (root / "ingest/folder").mkdir()
    (root / "notes.txt").write_text("mine")
    (root / "metadata.db.schema-0").write_bytes(b"an older database that was kept")
    before = files(root)
    assert collected(root).garbage == ()
    assert files(root) == before


def test_files_come_before_their_rows_where_somebody_holds_everything(root: Path) -> None:
    (root / "blobs/sha256" / ("d" * 64)).write_bytes(b"to come")
    with local_store(root) as store, store.leases.hold([EVERYTHING]):
        assert collected(root).garbage == ()
    assert kinds(collected(root)) == ["stray"]


def test_what_was_on_its_way_out_goes_and_what_was_to_come_back_comes_back(root: Path) -> None:
    blob = next((root / "blobs/sha256").iterdir())
    with orlop.open(root) as images:
        # Another process dies while this one has the store open.
        aside = root / "trash" / f"sha256-{blob.name}.0123"
        blob.rename(aside)
        (root / "trash" / "toc.4567").write_bytes(b"123")
        assert [(one.kind, one.size) for one in images.gc().garbage] == [("trash", 3)]
    assert not any((root / "trash").iterdir())
    assert broken(root) == []


def test_rows_that_lead_to_nothing_go(root: Path) -> None:
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.execute("INSERT INTO manifest VALUES (?, 'x', x'7b7d')", (str(Digest.of(b"{}")),))
        database.execute("INSERT INTO blob VALUES (?, 5, 'none')", (f"sha256:{'f' * 64}",))
        database.commit()
    (root / "blobs/sha256" / ("f" * 64)).write_bytes(b"12345")
    report = collected(root)
    assert [(one.kind, one.size) for one in report.garbage] == [("blob", 5), ("manifest", 0)]
    assert broken(root) == []


def test_a_file_that_a_copy_shares_frees_nothing(root: Path, tmp_path: Path) -> None:
    stores.copy(root, tmp_path / "copy", link=True)
    blob = next((root / "blobs/sha256").iterdir())
    os.link(blob, root / "blobs/sha256" / ("9" * 64))
    with orlop.open(root) as images:
        assert [(one.kind, one.size) for one in images.gc().garbage] == [("stray", 0)]


def test_a_collection_that_fails_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_owner(root)
    before = rows(root)
    with orlop.open(root) as images:

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        # What the write does last before its commit fails.
        monkeypatch.setattr("orlop.store.upkeep.gc._Collection._tell_manifests", full)
        with pytest.raises(errors.OrlopError):
            images.gc()
        monkeypatch.undo()
        assert rows(root) == before
        assert kinds(images.gc()).count("blob") == 2
    assert broken(root) == []


def test_a_store_that_cannot_be_written_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert run(["--root", str(root), "gc"]) == 7
    assert "read-only" in capsys.readouterr().err


@pytest.fixture
def command(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        assert run(["--root", str(root), "gc", *arguments]) == 0
        return capsysbinary.readouterr().out.decode()

    return call


def test_the_command_says_what_goes(root: Path, command: Callable[..., str]) -> None:
    stray = root / "blobs/sha256" / ("a" * 64)
    stray.write_bytes(b"12345")
    assert command("--dry-run") == f"stray: {stray}: no row names it (5B)\nWould free: 5B\n"
    document = json.loads(command("-n", "--format", "json"))
    check("gc", [document])
    assert document == {
        "Root": str(root),
        "DryRun": True,
        "Garbage": [{"Kind": "stray", "Subject": str(stray), "Size": 5, "Reason": "no row names it"}],
        "Freed": 5,
    }
    assert command("-n", "--format", "{{.Freed}} {{len .Garbage}}") == "5 1\n"
    assert command() == f"stray: {stray}: no row names it (5B)\nFreed: 5B\n"
    assert command() == "Freed: 0B\n"


class TestRowsOfAnotherStore:
    """A database that was put into a store although it is not that store's."""

    @pytest.fixture
    def root(self, data, tmp_path):
        for name, archive in (("root", "dockerd-29-overlay2"), ("other", "dockerd-20.10-overlay2")):
            with orlop.open(tmp_path / name) as images:
                images.load(data / archive / "multi.tar")
        (tmp_path / "other" / "metadata.db").replace(tmp_path / "root" / "metadata.db")
        # With it, nobody opens such a database: see test_sqlite_last_write.
        (tmp_path / "root" / "write.lock").write_bytes(b"")
        return tmp_path / "root"

    def test_no_blob_goes_because_they_do_not_name_it(self, root, capsys):
        before = {path.name: path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()}
        for more in (["--dry-run"], []):
            assert run(["--root", str(root), "gc", *more]) == 0
            shown = capsys.readouterr()
            assert "stray" not in shown.out
            assert shown.err.count("\n") == 1
            assert "orlop fsck" in shown.err
        assert {path.name: path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()} == before

    def test_they_go_once_the_rows_have_what_they_name(self, root, data):
        archive = data / "dockerd-20.10-overlay2" / "multi.tar"
        assert stores.fsck(root, repair=True, sources=[archive]).damage == ()
        with orlop.open(root) as images:
            assert {one.kind for one in images.gc().garbage} == {"stray"}
        assert stores.fsck(root).problems == ()
