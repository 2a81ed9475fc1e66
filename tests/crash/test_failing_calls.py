"""System calls that fail while a command works: one clear sentence, a documented status, the old state or the new."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.crash.calls import Fail, watched
from tests.crash.damaged import MULTI, OTHER
from tests.crash.harness import UNSUPPORTED, run
from tests.crash.pace import PACE
from tests.crash.scenarios import scenarios
from tests.invariants import broken, sha256

if TYPE_CHECKING:
    from tests.crash.calls import Call, Verdict

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")

SWALLOWED = """
import os
from contextlib import suppress
from orlop.streams.directory import Directory
def careless(directory):
    with suppress(OSError):
        os.fsync(directory.descriptor)
Directory.sync = careless
"""


@pytest.mark.slow
@pytest.mark.sampled(96, daily=False)
@pytest.mark.parametrize("name", scenarios())
def test_a_call_that_fails_is_told_in_one_sentence_and_loses_nothing(name, record_property):
    ((_, count),) = run("failures", name, tell=record_property)
    assert count["failed"] * PACE > 20
    assert count["well"] < count["failed"] or PACE > 2


@pytest.mark.slow
@pytest.mark.sampled(4)
def test_an_error_that_is_swallowed_shows():
    with pytest.raises(AssertionError, match=r"was swallowed in fsync .*/sha256"):
        run("failures", "load, left open", patch=SWALLOWED)


def test_a_close_that_fails_tells_that_the_standard_output_is_not_whole(tmp_path):
    out, said = tmp_path / "out" / "images.tar", tmp_path / "said"
    out.parent.mkdir()
    with orlop.open(tmp_path / "root") as images:
        images.load(MULTI)

    def judge(call: Call, _: int) -> Verdict:
        return Fail(errno.EDQUOT) if call.name == "close" else None

    def act() -> int:
        for number, path in ((1, out), (2, said)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
        save = ("--root", str(tmp_path / "root"), "save", "example/tiny:1.0")
        os.execv(sys.executable, [sys.executable, "-m", "orlop", *save])

    ended = watched(act, [str(out.parent)], judge, closes=True)
    assert ended.status == 7
    assert said.read_text() == (
        "Error: cannot write the standard output: the disk quota is used up; free some space or choose another place\n"
    )


LOAD_AND_DIE = """
import os, signal, sys
import orlop
images = orlop.open(sys.argv[1])
try:
    images.load(sys.argv[2])
except orlop.errors.StorageError as error:
    print(error)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.sampled(4, daily=False)
@pytest.mark.parametrize("lasting", [False, True])
def test_a_commit_that_could_not_be_synced_never_comes_back_without_its_bytes(tmp_path, lasting):
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(MULTI)
        before = {image.id for image in images.images(all=True)}
    with tarfile.open(OTHER) as archive:
        layers = [archive.extractfile(member) for member in archive if member.name.endswith("layer.tar")]
        new = {sha256(layer.read()).partition(":")[2] for layer in layers if layer is not None}
    failed = 0

    def judge(call: Call, _: int) -> Verdict:
        nonlocal failed
        published = any((root / "blobs" / "sha256" / name).exists() for name in new)
        if call.name == "fdatasync" and call.path.endswith("-wal") and published and (lasting or not failed):
            failed += 1
            return Fail(errno.EIO)
        return None

    def act() -> int:
        os.dup2(os.open(tmp_path / "said", os.O_WRONLY | os.O_CREAT, 0o600), 1)
        os.execv(sys.executable, [sys.executable, "-u", "-c", LOAD_AND_DIE, str(root), str(OTHER)])

    ended = watched(act, [str(root)], judge)
    assert ended.status == -signal.SIGKILL
    assert "disk I/O error" in (tmp_path / "said").read_text()
    assert failed == (2 if lasting else 1)
    with orlop.open(root) as images:
        assert {image.id for image in images.images(all=True)} == before
        images.load(OTHER)
        images.gc()
    assert broken(root) == []
