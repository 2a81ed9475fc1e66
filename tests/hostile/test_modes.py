"""What lies in a store is its owner's alone, whatever the umask; a file that is saved follows it."""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from tests.unit.layouts import layer_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def readable(root: Path) -> dict[str, str]:
    """Whatever in a directory, itself included, others than its owner may read, write or enter."""
    found = {}
    for path in (root, *root.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o077:
            found[str(path)] = oct(mode)
    return found


@pytest.mark.sampled(3)
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_may_look_into_a_store(data: Path, tmp_path: Path, mask: int) -> None:
    root = tmp_path / "root"
    archive = data / "dockerd-29-containerd" / "multi.tar"
    (tmp_path / "layer.tar").write_bytes(layer_tar("a"))
    with umask(mask):
        with orlop.open(root) as images:
            images.load(archive)
            # Its log, the shared memory of it, its locks and leases are there while it is open.
            images.import_image(tmp_path / "layer.tar", "imported:1")
            layer = images.layer_store.register(io.BytesIO(layer_tar("b")))
            assert {path.name for path in root.iterdir()} >= {"metadata.db", "metadata.db-wal", "metadata.db-shm"}
            assert list((root / "leases").iterdir())
            assert readable(root) == {}
            images.layer_store.release(layer)
            images.tag("imported:1", "again:1")
            images.remove("imported:1")
        for words in (
            ["store", "copy", tmp_path / "copy"],
            ["store", "backup", tmp_path / "backup"],
            ["tag", "again:1", "more:1"],
            ["store", "backup", tmp_path / "backup"],
            ["fsck"],
            ["gc"],
            ["rmi", "more:1"],
            ["image", "prune", "-af"],
        ):
            assert run(["--root", str(root), *map(str, words)]) == 0, words
    for place in (root, tmp_path / "copy", tmp_path / "backup"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert readable(place) == {}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o666), (0o022, 0o644), (0o077, 0o600)])
def test_a_saved_archive_follows_the_umask(data: Path, tmp_path: Path, mask: int, mode: int) -> None:
    with umask(mask), orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        images.save(["example/tiny:1.0"], tmp_path / "saved.tar")
    assert stat.S_IMODE((tmp_path / "saved.tar").stat().st_mode) == mode


def test_what_damages_leave_is_the_owners_alone(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with umask(0):
        with orlop.open(root) as images:
            images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        blob = next((root / "blobs" / "sha256").iterdir())
        blob.chmod(0o600)
        blob.write_bytes(b"damaged")
        blob.chmod(0o400)
        run(["--root", str(root), "fsck", "--repair"])
    assert readable(root) == {}
    assert any(path.name.startswith("quarantine") for path in root.iterdir())
