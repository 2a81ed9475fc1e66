"""A store for a group: every member does everything, whatever the umask, and nobody else does anything."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import orlop
from orlop import errors
from orlop.store.local import local_store
from orlop.streams.files import PRIVATE, SHARED
from tests.invariants import broken
from tests.open_files import open_below

DATA = Path(__file__).parents[1] / "data"
ONE, TWO, STRANGER, GROUP = 64001, 64002, 64003, 64100

# The process gives up its privileges by itself: another user might not reach this interpreter's files.
AS_USER = """
import os, sys, orlop, orlop.archive.docker_save
from orlop.store.local import local_store
root, warm, data, user, umask, groups = *sys.argv[1:4], *map(int, sys.argv[4:6]), list(map(int, sys.argv[6].split(",")))
with orlop.open(warm) as images:
    images.load(data + "/dockerd-29-overlay2/tiny.tar")
    images.save(["example/tiny:1.0"], os.devnull)
    images.images(), images.history("example/tiny:1.0"), images.inspect("example/tiny:1.0")
    images.tag("example/tiny:1.0", "a:b"), images.remove("a:b"), images.remove("example/tiny:1.0")
    images.df(), orlop.stores.info(warm)
archives = {name: open(data + "/dockerd-29-overlay2/" + name, "rb") for name in ("tiny.tar", "multi.tar")}
os.setgroups(groups), os.setgid(user), os.setuid(user)
os.umask(umask)
try:
    exec(sys.stdin.read())
except orlop.OrlopError as error:
    print(error.code, error)
"""


def run(user, root, script, *, umask=0o077, groups=(GROUP,)):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            AS_USER,
            root,
            root.parent / f"warm{user}",
            DATA,
            str(user),
            str(umask),
            ",".join(map(str, groups)),
        ],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.sampled(4, daily=False)
@pytest.mark.needs("root")
@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_members_of_a_group_share_a_store(public, umask):
    root = public / "root"
    assert run(ONE, root, f"local_store(root, group={GROUP}).close(); print('made')", umask=umask) == "made"
    two = """
with orlop.open(root) as images:
    images.load(archives["multi.tar"])
    images.tag("example/tiny:1.0", "mine:1")
    print(len(images.images()))
"""
    assert run(TWO, root, two, umask=umask) == "3"
    one = """
with orlop.open(root) as images:
    images.load(archives["tiny.tar"])
    chunks = images.save_chunks(["example/tiny:1.0"])
    next(chunks)
    for name in ("mine:1", "example/tiny:1.0", "example/imported"):
        images.remove(name)
    list(chunks)
    print(len(images.images()))
"""
    assert run(ONE, root, one, umask=umask) == "1"
    assert run(TWO, root, two, umask=umask) == "3"
    assert broken(root) == []
    for path in [root, *root.rglob("*")]:
        state = path.stat()
        content = path.parent.parent.name == "blobs"
        wanted = SHARED.directory if path.is_dir() else SHARED.content if content else SHARED.file
        assert (stat.S_IMODE(state.st_mode), state.st_gid) == (wanted, GROUP), path


@pytest.mark.sampled(3)
@pytest.mark.needs("root")
def test_nobody_else_gets_in(public):
    root = public / "root"
    assert run(ONE, root, f"local_store(root, group={GROUP}).close()") == ""
    answer = run(STRANGER, root, "orlop.open(root).images()", groups=(STRANGER,))
    assert answer.startswith("PERMISSION_DENIED")
    assert str(root) in answer


@pytest.mark.sampled(3)
@pytest.mark.needs("root")
def test_both_work_while_the_other_has_the_store_open(public):
    root = public / "root"
    assert run(ONE, root, f"local_store(root, group={GROUP}).close()") == ""
    # Root is not a member of the group.
    with local_store(root, allow_foreign=True) as store:
        store.leases.name()
        script = (
            'images = orlop.open(root); images.load(archives["tiny.tar"]); print(len(images.images())); images.close()'
        )
        assert run(TWO, root, script) == "1"
        assert len(store.images.map()) == 1
        assert run(ONE, root, 'images = orlop.open(root); images.remove("example/tiny:1.0"); images.close()') == ""
        assert len(store.images.map()) == 0
    assert broken(root) == []


@pytest.mark.sampled(4)
@pytest.mark.needs("root")
def test_what_lies_beside_a_store_may_be_shut(public):
    root = public / "root"
    assert run(ONE, root, f"local_store(root, group={GROUP}).close()") == ""
    # Every file system of its own has one.
    (root / "lost+found").mkdir(mode=0o700)
    script = "print(orlop.stores.info(root).disk_bytes > 0, orlop.open(root).df().size > 0)"
    assert run(ONE, root, script) == "True True"
    (root / "toc").chmod(0)
    assert run(ONE, root, script).startswith("PERMISSION_DENIED")
    assert run(ONE, root, "orlop.open(root).df()").startswith("PERMISSION_DENIED")


@pytest.mark.needs("root")
def test_a_group_that_one_is_no_member_of_is_refused(public):
    assert run(ONE, public / "root", "local_store(root, group=0)", groups=(ONE,)).startswith("PERMISSION_DENIED")


def test_a_store_is_for_its_owner_alone_wherever_it_is_made(data, tmp_path):
    tmp_path.chmod(0o2775)
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o2775)
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    with local_store(root) as store:
        assert store.files.modes is PRIVATE


def test_no_store_is_made_where_none_was_to_be(tmp_path):
    with pytest.raises(errors.StoreNotFound, match="no store"):
        orlop.open(tmp_path / "root", create=False)
    assert list(tmp_path.iterdir()) == []
    with orlop.open(tmp_path / "root") as images:
        images.images()
    orlop.open(tmp_path / "root", create=False).close()


def test_a_file_that_cannot_be_shared_leaves_nothing(tmp_path, monkeypatch):
    def refused(_: int, __: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with local_store(tmp_path / "root", group=os.getgid()) as store:
        store.leases.name()
        before = open_below(tmp_path)
        monkeypatch.setattr("orlop.streams.files.os.fchmod", refused)
        with pytest.raises(errors.PermissionDenied):
            store.blobs.begin()
        monkeypatch.undo()
        assert open_below(tmp_path) == before
        assert not list((tmp_path / "root" / "ingest").iterdir())
