"""Engines that are killed in the middle of work: everything that they had finished is rescued."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.programs import Daemon, environment, folder_of_engine
from tests.needs import need, need_root
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop


@pytest.fixture(params=["overlay2", "vfs"])
def engine(request) -> Iterator[Daemon]:
    """An engine of this test's own, since it is killed; with vfs where the file system carries nothing else."""
    need("umount")
    daemon = Daemon(drivers=tuple(dict.fromkeys([request.param, "vfs"])))
    yield daemon
    daemon.stop()


def odd(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def hard() -> bytes:
    """Make an archive of an image of everything that is hard to keep as files."""
    capability = {"SCHILY.xattr.security.capability": "\x01\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"}
    lower = layer(
        "etc/",
        ("etc/conf", b"lower"),
        ("etc/gone", b"x" * 5000),
        "etc/hard=>etc/conf",
        "opaque/",
        ("opaque/hidden", b"hidden"),
        "link->../../outside",
        ("ünïcode", b"name"),
        ("d" * 90 + "/" + "e" * 90 + "/" + "f" * 90, b"long"),
        (b"\xff\xfe".decode(errors="surrogateescape"), b"raw"),
        odd("capable", mode=0o755, pax_headers=capability),
        odd("set", mode=0o6755, uid=12, gid=34, mtime=1_600_000_000.25),
        odd("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        odd("disk", tarfile.BLKTYPE, devmajor=7, devminor=0),
        odd("pipe", tarfile.FIFOTYPE),
        ("zeros", bytes(1 << 20)),
    )
    upper = layer("etc/.wh.gone", "opaque/", "opaque/.wh..wh..opq", ("opaque/shown", b"shown"), ("etc/conf", b"upper"))
    return image(lower, upper, tag="hard:1")


@pytest.mark.slow
@pytest.mark.sampled(8, daily=False)
def test_what_docker_had_finished_is_rescued_after_it_was_killed(engine, data, context, orlop, tmp_path):
    docker = engine.docker
    docker("load", "-i", data / "dockerd-20.10-overlay2" / "multi.tar")
    (tmp_path / "hard.tar").write_bytes(hard())
    docker("load", "-i", tmp_path / "hard.tar")
    (tmp_path / "added").write_bytes(b"added")
    docker("create", "--name", "work", "hard:1", "/none")
    docker("cp", tmp_path / "added", "work:/etc/added")
    changed = {line[2:] for line in docker("diff", "work").splitlines()}
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
    # Another machine has them as they were.
    orlop("rescue", engine.folder / "root", "--into", tmp_path / "images.tar")
    other = Daemon()
    try:
        other.docker("load", "-i", tmp_path / "images.tar")
        loaded = names(other.docker("images", "--no-trunc", "--format", SHOWN))
        assert {line.split()[0]: line.split()[1] for line in loaded} == listed
    finally:
        other.stop()
    orlop("save", "--format", "docker-20.10", "-o", tmp_path / "ours.tar", "built:1")
    assert sorted(members(tmp_path / "ours.tar")) == sorted(members(saved))
    # Each layer has its diff ID, or it would not be there.
    assert "hard:1" in listed
    shown = set(orlop.run("ls", "-R", "hard:1").stdout.split())
    assert {b"opaque/shown", b"etc/hard"} <= shown
    assert not {b"etc/gone", b"opaque/hidden"} & shown
    place = ["rescue", engine.folder / "root", "--container", "work", "--into", tmp_path / "changes.tar"]
    orlop(*place)
    with tarfile.open(tmp_path / "changes.tar") as tar:
        assert {f"/{name}" for name in tar.getnames()} == changed
        added = tar.extractfile("etc/added")
        assert added is not None
        assert added.read() == b"added"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_what_podman_had_finished_is_rescued_after_it_was_killed(data, orlop, tmp_path, driver):
    need_root()
    program = need("podman")
    with folder_of_engine("orlop-podman-") as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", driver]
        podman = [program, *places, "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        load = [*podman, "load", "-q", "-i", str(data / "other-tools" / "podman-multi.tar")]
        subprocess.run(load, check=True, capture_output=True, env=environment(), timeout=120)
        (tmp_path / "hard.tar").write_bytes(hard())
        subprocess.run(
            [*podman, "load", "-q", "-i", str(tmp_path / "hard.tar")],
            check=True,
            capture_output=True,
            env=environment(),
        )
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
        assert any(name.endswith("hard:1") for name in listed)
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
