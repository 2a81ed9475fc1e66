"""Engines that are killed in the middle of work: everything that they had finished is rescued."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.programs import Daemon, environment
from tests.needs import need, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop


@pytest.fixture
def engine() -> Iterator[Daemon]:
    """An engine of this test's own, since it is killed."""
    need("umount")
    daemon = Daemon()
    yield daemon
    daemon.stop()


def test_what_docker_had_finished_is_rescued_after_it_was_killed(engine, data, context, orlop, tmp_path):
    docker = engine.docker
    docker("load", "-i", data / "dockerd-20.10-overlay2" / "multi.tar")
    docker("build", "-q", "-t", "built:1", context / "tiny")
    listed = {line.split()[0]: line.split()[1] for line in names(docker("images", "--no-trunc", "--format", SHOWN))}
    saved = tmp_path / "saved.tar"
    docker("save", "-o", saved, "built:1")
    slow = ["docker", "-H", f"unix://{engine.folder}/docker.sock", "import", "-", "half:1"]
    with subprocess.Popen(slow, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()) as half:
        assert half.stdin is not None
        half.stdin.write(saved.read_bytes()[:5000])
        half.stdin.flush()
        assert engine.process is not None
        engine.process.kill()
        engine.process.wait()
        half.kill()
    orlop("rescue", engine.folder / "root", "--into", "store")
    ours = {line.split()[0]: line.split()[1] for line in names(orlop("images", "--no-trunc", "--format", SHOWN))}
    assert {name: ours[name] for name in listed} == listed
    orlop("save", "--format", "docker-20.10", "-o", tmp_path / "ours.tar", "built:1")
    assert sorted(members(tmp_path / "ours.tar")) == sorted(members(saved))


def test_what_podman_had_finished_is_rescued_after_it_was_killed(data, orlop):
    need_root()
    program = need("podman")
    with tempfile.TemporaryDirectory(prefix="orlop-podman-") as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        podman = [program, *places, "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        load = [*podman, "load", "-q", "-i", str(data / "other-tools" / "podman-multi.tar")]
        subprocess.run(load, check=True, capture_output=True, env=environment(), timeout=120)
        shown = [*podman, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]
        said = subprocess.run(shown, check=True, capture_output=True, text=True, env=environment(), timeout=120).stdout
        listed = {line.split()[0]: line.split()[1] for line in said.splitlines() if "<none>" not in line}
        assert listed
        other = [*podman, "load", "-q", "-i", str(data / "dockerd-20.10-overlay2" / "multi.tar")]
        with subprocess.Popen(other, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) as half:
            try:
                half.wait(0.3)
            except subprocess.TimeoutExpired:
                half.kill()
        orlop("rescue", Path(folder) / "root", "--into", "store")
        ours = {line.split()[0]: line.split()[1] for line in names(orlop("images", "--no-trunc", "--format", SHOWN))}
        assert {name: ours[name] for name in listed} == listed


SHOWN = "{{.Repository}}:{{.Tag}} {{.ID}}"


def names(said: str) -> list[str]:
    return [line for line in said.splitlines() if "<none>" not in line]


def members(archive: Path) -> list[tuple[str, bytes]]:
    listed = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True).stdout.split()
    return [
        (name, subprocess.run(["tar", "-xOf", archive, name], check=True, capture_output=True).stdout)
        for name in listed
        if not name.endswith("/")
    ]
