"""Power that is lost after any step of a command: what was not synced is gone; the state is the old one or the new."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.calls import Call, plain, watched
from tests.crash.damaged import DATA
from tests.crash.harness import UNSUPPORTED, run
from tests.crash.power import Disk, Loss, LostData, LostNames, NoLoss
from tests.crash.scenarios import scenarios
from tests.needs import need_tracing

if TYPE_CHECKING:
    from tests.crash.power import Tree

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")

ORLOP = Path(sys.executable).with_name("orlop")
OCI = DATA / "other-tools" / "skopeo-oci-archive.tar"

NO_SYNC = (
    "from orlop.streams.files import NewFile\nNewFile.sync = NewFile._write_back = NewFile.rest = lambda self: None"
)
NO_NAMES = "from orlop.streams.directory import Directory\nDirectory.sync = lambda self: None"
NO_COMMIT = """
import sqlite3
from orlop.store.rows.sqlite.database import SQLiteMetadata
connect = SQLiteMetadata._connect
def unsafe(self):
    connection = connect(self)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
SQLiteMetadata._connect = unsafe
"""


@pytest.mark.slow
@pytest.mark.sampled(96, daily=False)
@pytest.mark.parametrize("name", scenarios())
def test_a_loss_of_power_leaves_the_old_state_or_the_new_and_what_has_ended_stays_done(name, record_property):
    ((_, count),) = run("losses", name, tell=record_property)
    assert 0 < count["old"] <= count["seen"]


@pytest.mark.slow
@pytest.mark.sampled(12, daily=False)
@pytest.mark.parametrize(
    ("patch", "told"),
    [(NO_SYNC, "has 0 bytes"), (NO_NAMES, "is missing|not there"), (NO_COMMIT, "power lost after step")],
)
def test_a_loss_of_power_shows_what_is_not_synced(patch, told):
    with pytest.raises(AssertionError, match=told):
        run("losses", "load, left open", patch=patch)


def traced(tmp_path: Path, calls: str, *arguments: object) -> list[tuple[str, list[str]]]:
    """Run orlop under strace; return each call that went well, in the order of their beginnings, with its paths."""
    need_tracing()
    log = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={calls}", "-o", str(log), str(ORLOP)]
    given = ["--root", str(tmp_path / "root"), *map(str, arguments)]
    subprocess.run([*command, *given], check=True, capture_output=True)
    found = []
    for line in log.read_text().splitlines():
        begun = re.match(r"[0-9]+ +([a-z0-9_]+)\((.*)", line)
        if begun is not None and " = -1 " not in line:
            # What is named below a directory is told as both.
            below = r'[0-9]+<(/[^>]*)>, "([^"/][^"]*)"'
            text = re.sub(below, r'"\1/\2"', begun[2]) if re.search("at2?$", begun[1]) else begun[2]
            name = plain(begun[1], of_directory="AT_REMOVEDIR" in text)
            found.append((name, re.findall(r'[<"](/[^>"]*)[>"]', text)))
    return found


@pytest.mark.sampled(3)
def test_a_blob_is_synced_then_named_then_its_name_is_synced_then_its_rows(tmp_path):
    calls = traced(tmp_path, "fsync,rename,renameat,pwrite64,fdatasync", "load", "-i", OCI)
    names = str(tmp_path / "root" / "blobs" / "sha256")
    log = str(tmp_path / "root" / "metadata.db-wal")
    blobs = [number for number, (name, paths) in enumerate(calls) if name == "rename" and names in paths[1]]
    assert len(blobs) == 5
    for number in blobs:
        assert ("fsync", calls[number][1][:1]) in calls[:number]
        # From here on the next thing that reaches the log is after the names.
        later = calls[number:]
        synced = later.index(("fsync", [names]))
        written = next(place for place, (name, paths) in enumerate(later) if name == "pwrite64" and log in paths)
        committed = later.index(("fdatasync", [log]))
        assert synced < written < committed


@pytest.mark.sampled(3)
def test_the_harness_sees_what_strace_sees(tmp_path):
    # Whatever changes a file, by any call that Linux has for it.
    kinds = (
        "write,pwrite64,writev,pwritev,pwritev2,sendfile,splice,copy_file_range,fallocate,ftruncate,truncate,rename,"
        "renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,fsync,"
        "fdatasync,sync_file_range,msync,chmod,fchmod,fchmodat,io_uring_enter,openat,open,creat"
    )
    root = f"{tmp_path}/root/"
    theirs = Counter(
        name
        for name, paths in traced(tmp_path, kinds, "load", "-i", OCI)
        if name not in {"openat", "open"} and any(f"{path}/".startswith((root, "/proc/self/fd/")) for path in paths)
    )
    (tmp_path / "root").rename(tmp_path / "first")

    def act() -> int:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.execv(ORLOP, [str(ORLOP), "--root", str(tmp_path / "root"), "load", "-i", str(OCI)])

    ended = watched(act, [root])
    assert ended.status == 0
    ours = Counter(call.name for call in ended.calls if call.name not in {"openat", "flock", "fchown"})
    print(dict(ours), dict(theirs))
    assert sum(ours.values()) > 200
    # Calls that fail, as making a directory that is there, are only ours.
    assert ours - theirs - Counter({"mkdir": 1, "unlink": 9}) == Counter()
    assert theirs - ours == Counter()


def contents(tree: Tree) -> dict[str, bytes | None]:
    return {path[2:]: content for path, (_, content) in tree.items() if path != "."}


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    return Disk(tmp_path)


class TestTheModelOfADisk:
    def make(self, disk, tmp_path, *calls):
        for name, path, more in calls:
            other = str(tmp_path / more.pop("other")) if "other" in more else ""
            size = len(more.get("data", b""))
            disk.apply(Call(name, str(tmp_path / path), other, **{"size": size, **more}))

    def write(self, path, data):
        return ("openat", path, {"flags": os.O_CREAT | os.O_TRUNC, "mode": 0o600}), ("write", path, {"data": data})

    def test_forgets_bytes_and_names_that_were_not_synced(self, disk, tmp_path):
        self.make(disk, tmp_path, *self.write("new", b"data"), ("write", "old", {"data": b"NEW"}))
        assert contents(disk.tree(Loss())) == {"old": b"old"}
        assert contents(disk.tree(NoLoss())) == {"old": b"NEW", "new": b"data"}
        assert contents(disk.tree(LostData())) == {"old": b"old", "new": b""}
        assert contents(disk.tree(LostNames())) == {"old": b"NEW"}

    def test_a_file_that_is_synced_has_still_no_name(self, disk, tmp_path):
        self.make(disk, tmp_path, *self.write("new", b"data"), ("fsync", "new", {}))
        assert contents(disk.tree(Loss())) == {"old": b"old"}
        self.make(disk, tmp_path, ("fsync", ".", {}))
        assert contents(disk.tree(Loss())) == {"old": b"old", "new": b"data"}

    def test_a_rename_between_directories_never_loses_the_file(self, disk, tmp_path):
        self.make(disk, tmp_path, ("mkdir", "in", {"mode": 0o700}), ("mkdir", "out", {"mode": 0o700}))
        self.make(disk, tmp_path, *self.write("in/new", b"data"), ("fsync", "in/new", {}))
        self.make(disk, tmp_path, ("fsync", "in", {}), ("fsync", ".", {}))
        self.make(disk, tmp_path, ("rename", "in/new", {"other": "out/new"}))
        assert contents(disk.tree(Loss())) == {"old": b"old", "in": None, "in/new": b"data", "out": None}
        self.make(disk, tmp_path, ("fsync", "in", {}))
        assert contents(disk.tree(Loss())) == {"old": b"old", "in": None, "out": None, "out/new": b"data"}

    def test_what_is_replaced_is_there_before_or_after(self, disk, tmp_path):
        self.make(disk, tmp_path, *self.write("new", b"data"), ("fsync", "new", {}))
        self.make(disk, tmp_path, ("rename", "new", {"other": "old"}))
        assert contents(disk.tree(Loss())) == {"old": b"old"}
        self.make(disk, tmp_path, ("fsync", ".", {}))
        assert contents(disk.tree(Loss())) == {"old": b"data"}
