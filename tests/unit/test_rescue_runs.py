"""Rescues into an archive that are repeated, interrupted, at work at once, or out of space."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NoSpace, StoreInUse
from orlop.service.rescue import rescue_archive
from orlop.streams.directory import Directory
from orlop.streams.file_lock import FileLock
from tests.foreign_roots import make_root, snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path):
    make_root(tmp_path / "docker", 3, {"a": os.urandom(1 << 20)})
    before = snapshot(tmp_path / "docker")
    yield tmp_path / "docker"
    assert snapshot(tmp_path / "docker") == before


@pytest.fixture
def target(tmp_path):
    (tmp_path / "new").mkdir()
    return tmp_path / "new" / "images.tar"


def there(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_second_rescue_to_the_same_target_is_refused_while_the_first_is_at_work(root, target):
    refused: list[bool] = []

    def second(_: object) -> None:
        if not refused:
            with pytest.raises(StoreInUse, match=r"another rescue writes .*images\.tar"):
                rescue_archive(target, root)
            refused.append(True)

    report = rescue_archive(target, root, progress=second)
    assert refused == [True]
    assert {image.state for image in report.images} == {"rescued"}
    assert there(target) == ["images.tar"]


def test_a_lock_that_was_left_behind_locks_nothing(root, target):
    with Directory(str(target.parent)) as folder:
        lock = FileLock(folder.at(".images.tar.rescue.lock"))
        assert lock.try_acquire()
        lock.abandon()
    rescue_archive(target, root)
    assert there(target) == ["images.tar"]


def test_a_rescue_that_was_interrupted_goes_on_and_one_that_is_repeated_gives_the_same(root, target):
    done = []

    def interrupt(_: object) -> None:
        done.append(True)
        if len(done) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rescue_archive(target, root, progress=interrupt)
    assert there(target) == [".images.tar.rescue"]
    rescue_archive(target, root)
    whole = target.read_bytes()
    rescue_archive(target, root)
    assert target.read_bytes() == whole
    rescue_archive(target.parent / "other.tar", root)
    assert (target.parent / "other.tar").read_bytes() == whole
    assert there(target) == ["images.tar", "other.tar"]


@pytest.mark.needs("mounts")
def test_a_full_disk_leaves_what_the_next_rescue_goes_on_with(root, target):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "orlop-test", target.parent], check=True)
    try:
        with pytest.raises(NoSpace):
            rescue_archive(target, root)
        assert not target.exists()
        subprocess.run(["mount", "-o", "remount,size=40m", target.parent], check=True)
        report = rescue_archive(target, root)
        assert {image.state for image in report.images} == {"rescued"}
        assert there(target) == ["images.tar"]
    finally:
        subprocess.run(["umount", "-l", target.parent], check=True)
