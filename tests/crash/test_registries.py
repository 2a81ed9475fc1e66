"""Pulls, pushes and syncs whose disk fills up, or that are killed: nothing half is seen, and the next one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.testing.registry.fake import FakeRegistry
from tests.crash.test_full_disk import MIB, disk, fill, free
from tests.invariants import broken
from tests.unit.layouts import Layout
from tests.unit.pulling import push
from tests.unit.pushed import simple
from tests.unit.synced import add_index, entry
from tests.unit.test_pull import big_tar, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["disk"]


@pytest.fixture
def there() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


def command(root: Path, *arguments: object, home: Path) -> tuple[int, str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    argv = [sys.executable, "-m", "orlop", "--root", str(root), *map(str, arguments)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.sampled(2)
def test_a_pull_that_fills_the_disk_changes_nothing_and_succeeds_where_there_is_room(
    disk: Path,
    there: FakeRegistry,
    tmp_path: Path,
):
    layout = Layout()
    push(there, layout, image_of(layout, big_tar(3 * MIB)), "1", "app")
    name = f"{there.authority}/app:1"
    with orlop.open(disk / "root"):
        pass
    fill(disk / "others", leave=2 * MIB)
    status, words = command(disk / "root", "pull", "-q", "--platform", "linux/amd64", name, home=tmp_path)
    assert status == 7
    assert words.count("\n") == 1
    assert "no space left" in words
    with orlop.open(disk / "root") as images:
        assert images.images() == []
    (disk / "others").unlink()
    assert command(disk / "root", "pull", "-q", "--platform", "linux/amd64", name, home=tmp_path)[0] == 0
    assert broken(disk / "root") == []
    assert free(disk) > 0


@pytest.mark.sampled(3)
def test_a_push_from_a_full_disk_is_whole_or_refused(
    disk: Path,
    there: FakeRegistry,
    tmp_path: Path,
):
    name = f"{there.authority}/app:1"
    (tmp_path / "app.tar").write_bytes(simple(name, "a").pack())
    assert command(disk / "root", "load", "-q", "-i", tmp_path / "app.tar", home=tmp_path)[0] == 0
    fill(disk / "others")
    status, words = command(disk / "root", "push", "-q", name, home=tmp_path)
    assert status in {0, 7}, words
    assert words.count("\n") <= 1
    assert set(there.repository("app").tags) == {"1"} or status == 7
    (disk / "others").unlink()
    assert command(disk / "root", "push", "-q", name, home=tmp_path)[0] == 0
    assert set(there.repository("app").tags) == {"1"}
    assert broken(disk / "root") == []


@pytest.mark.slow
@pytest.mark.sampled(16, daily=False)
@pytest.mark.parametrize("after", [3, 11, 23, 40])
def test_a_sync_that_is_killed_is_gone_on_with(there: FakeRegistry, tmp_path: Path, after: int):
    for number in range(12):
        add_index(there, "app", f"1.{number}", "amd64", "arm64", "s390x", text=f"{number} ")
    media, file, state = tmp_path / "media", tmp_path / "sync.toml", tmp_path / "state"
    with FakeRegistry() as other:
        text = entry(
            f"docker://{there.authority}/app",
            f"docker://{other.authority}/app",
            platforms=["linux/amd64", "linux/arm64"],
        )
        text += entry(f"docker://{there.authority}/app", f"oci:{media}", platforms="linux/s390x")
        file.write_text(text)
        argv = [sys.executable, "-m", "orlop", "sync", "-q", "--state", str(state), str(file)]
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        process = subprocess.Popen(argv, env=environment)
        there.requests.clear()
        while process.poll() is None and sum(one.method == "GET" for one in list(there.requests)) < after:
            time.sleep(0.002)
        process.kill()
        process.wait()
        done = set(other.repository("app").tags)
        # What has a tag is whole.
        for tag in done:
            repository = other.repository("app")
            index = json.loads(repository.manifests[repository.tags[tag]][1])
            for child in index["manifests"]:
                assert repository.missing(repository.manifests[child["digest"]][1]) == []
        assert subprocess.run(argv, env=environment, check=False, timeout=120).returncode == 0
        assert len(other.repository("app").tags) == 12
        assert len(json.loads((media / "index.json").read_text())["manifests"]) == 12
        there.requests.clear()
        assert subprocess.run(argv, env=environment, check=False, timeout=120).returncode == 0
        manifests = [one for one in there.requests if "/manifests/" in one.path]
        assert {one.method for one in manifests} == {"HEAD"}
