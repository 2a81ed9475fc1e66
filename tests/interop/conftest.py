"""The programs that interop tests run."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.interop.programs import Daemon, Orlop, Program, folder_of_engine
from tests.needs import need, need_root
from tests.unpacked import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """Engine 20.10, started for this worker alone."""
    daemon = Daemon()
    yield daemon
    daemon.stop()


@pytest.fixture
def docker(daemon: Daemon) -> Docker:
    """Docker's client, on an engine without images; whoever comes next empties it for itself."""
    daemon.docker.wipe()
    return daemon.docker


@pytest.fixture
def orlop(tmp_path: Path) -> Orlop:
    """orlop's command line, on an empty root."""
    return Orlop(tmp_path / "orlop")


@pytest.fixture
def podman() -> Iterator[Program]:
    """Podman with a storage of its own."""
    need_root()
    program = need("podman")
    # The path of a run root has at most 50 characters.
    with folder_of_engine("orlop-podman-") as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        modest = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        yield Program([program, *places, *modest])


@pytest.fixture
def skopeo() -> Program:
    """skopeo, which verifies digests and asks no registry for anything here."""
    return Program([need("skopeo"), "--insecure-policy"])


@pytest.fixture(scope="session")
def context(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build contexts of the example images: `tiny/` and `dup/`."""
    folder = tmp_path_factory.mktemp("context")
    with tarfile.open(data / "source" / "context.tar") as archive:
        unpack(archive, folder)
    return folder
