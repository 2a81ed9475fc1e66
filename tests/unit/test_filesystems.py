"""Which file system a path lies on, and what stores do where locks may not hold."""

from __future__ import annotations

import os

import pytest

import orlop
from orlop import errors
from orlop.streams.filesystems import FileSystem, file_system_of

MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
33 21 0:50 / {place} rw,relatime shared:3 master:1 - nfs4 server:/home rw,vers=4.2
"""


@pytest.fixture
def proc(tmp_path):
    """A /proc that says of every descriptor that it is on mount 33."""
    folder = tmp_path / "proc"
    (folder / "fdinfo").mkdir(parents=True)
    for number in range(100):
        (folder / "fdinfo" / str(number)).write_text("pos:\t0\nflags:\t012100000\nmnt_id:\t33\nino:\t7\n")
    (folder / "mountinfo").write_text(MOUNTS.format(place=r"/mnt/my\040home"))
    return folder


def test_the_kernel_says_which_mount_it_is(proc, tmp_path):
    assert file_system_of(str(tmp_path), proc=str(proc)) == FileSystem("nfs4", "/mnt/my home")


def test_what_the_kernel_writes_otherwise_is_read_as_it_is(proc, tmp_path):
    place = r"/mnt/a\011tab\012line\040space\043sign\134040"
    (proc / "mountinfo").write_text(MOUNTS.format(place=place))
    mount_point = "/mnt/a\ttab\nline space#sign\\040"
    assert file_system_of(str(tmp_path), proc=str(proc)) == FileSystem("nfs4", mount_point)


def test_what_is_not_there_yet_will_lie_where_its_parent_lies(proc, tmp_path):
    assert file_system_of(str(tmp_path / "not" / "there"), proc=str(proc)) == FileSystem("nfs4", "/mnt/my home")


@pytest.mark.parametrize("change", ["no mountinfo", "no fdinfo", "no such mount", "old kernel"])
def test_where_the_kernel_does_not_tell_nothing_is_said(proc, tmp_path, change):
    if change == "no mountinfo":
        (proc / "mountinfo").unlink()
    elif change == "no such mount":
        (proc / "mountinfo").write_text("21 1 254:0 / / rw - ext4 /dev/vda rw\n")
    for path in (proc / "fdinfo").iterdir():
        if change == "no fdinfo":
            path.unlink()
        elif change == "old kernel":
            path.write_text("pos:\t0\n")
    assert file_system_of(str(tmp_path), proc=str(proc)) is None


@pytest.mark.needs("a mounted root")
def test_this_machine_tells(tmp_path):
    found = file_system_of(str(tmp_path))
    assert found is not None
    assert os.path.ismount(found.mount_point)
    assert str(tmp_path).startswith(found.mount_point)


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *dict.fromkeys(
            ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "fuse.fuse-overlayfs", "fusectl"], False
        ).items(),
        *dict.fromkeys(
            ["nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph", "fuse", "fuse.sshfs", "fuseblk"], True
        ).items(),
    ],
)
def test_network_and_fuse_file_systems(kind, network):
    assert FileSystem(kind, "/").is_network is network


@pytest.fixture
def nfs(monkeypatch):
    monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("nfs4", "/home"))


def test_a_store_on_a_network_file_system_is_read_and_not_written(data, tmp_path, monkeypatch):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob("*")}
    monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("nfs4", "/home"))
    with orlop.open(tmp_path / "root") as images:
        assert images.inspect("example/tiny:1.0").size == 3108
        images.save(["example/tiny:1.0"], tmp_path / "out.tar")
        for change in (
            lambda: images.load(data / "dockerd-29-overlay2" / "dup.tar"),
            lambda: images.tag("example/tiny:1.0", "x:y"),
            lambda: images.remove("example/tiny:1.0"),
        ):
            with pytest.raises(errors.UnsafeFileSystem, match="nfs4"):
                change()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob("*")} == before


def test_no_store_is_made_on_a_network_file_system(nfs, tmp_path):
    with pytest.raises(errors.UnsafeFileSystem, match="--allow-network-fs"):
        orlop.open(tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


def test_who_insists_may_write_there(nfs, data, tmp_path):
    with orlop.open(tmp_path / "root", allow_network=True) as images:
        assert images.load(data / "dockerd-29-overlay2" / "tiny.tar").images
