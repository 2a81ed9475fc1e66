"""Each kind of file of a dead engine's root is damaged in each way: what is whole comes out, nothing else happens."""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import InvalidRoot
from orlop.foreign.root import open_root
from orlop.service.rescue import look, rescue_store
from tests.foreign_roots import patient, snapshot, unpack
from tests.socket_files import make_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data"
SECRET = b"nobody may read this"
# Of each root one file of each kind, by a pattern, of which the largest is taken.
FILES = {
    "engine-20.10-fuse-overlayfs": (
        "image/*/repositories.json",
        "image/*/imagedb/content/sha256/*",
        "image/*/imagedb/metadata/sha256/*/parent",
        "image/*/layerdb/sha256/*/diff",
        "image/*/layerdb/sha256/*/cache-id",
        "image/*/layerdb/sha256/*/parent",
        "image/*/layerdb/sha256/*/size",
        "image/*/layerdb/sha256/*/tar-split.json.gz",
        "fuse-overlayfs/*/diff/**/*",
    ),
    "podman-4.3-overlay": (
        "overlay-images/images.json",
        "overlay-layers/layers.json",
        "overlay-containers/containers.json",
        "overlay-images/*/manifest",
        "overlay-images/*/=*",
        "overlay-layers/*.tar-split.gz",
        "overlay/*/link",
        "overlay/*/diff/**/*",
    ),
    "containerd-1.6": (
        "**/io.containerd.metadata.v1.bolt/meta.db",
        "**/io.containerd.content.v1.content/blobs/sha256/*",
        "**/io.containerd.content.v1.content/ingest/*/data",
        "**/io.containerd.content.v1.content/ingest/*/ref",
    ),
    "engine-28-containerd": (
        "**/io.containerd.metadata.v1.bolt/meta.db",
        "**/io.containerd.snapshotter.v1.overlayfs/metadata.db",
        "**/io.containerd.content.v1.content/blobs/sha256/*",
        "containers/*/config.v2.json",
    ),
    "podman-5.8-overlay": (
        "overlay-images/images.json",
        "overlay-images/*/manifest",
        "overlay-layers/layers.json",
        "overlay-layers/*.tar-split.gz",
        "overlay-containers/volatile-containers.json",
        "artifacts/index.json",
    ),
}
WAYS = (
    *("missing", "empty", "cut", "flipped", "zeros", "longer", "directory", "link out", "loop", "pipe", "device"),
    *("socket", "huge", "JSON bomb", "gzip bomb", "names in each other"),
)
CASES = [(root, file, way) for root, files in FILES.items() for file, way in itertools.product(files, WAYS)]


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    with patient(300):
        yield


@cache
def expected(name: str) -> dict[str, frozenset[str]]:
    """The images of a root that are whole before it is damaged, with their layers."""
    with tempfile.TemporaryDirectory() as folder:
        root = unpack(DATA, name, Path(folder) / "root")
        return {
            image.image.id: frozenset(str(layer.diff_id) for layer in image.image.offered.layers)
            for image in look(root, verify=True).images
            if image.state == "whole" and image.image.offered is not None
        }


def damage(path: Path, way: str, outside: Path) -> None:
    raw = path.read_bytes()
    path.unlink()
    middle = len(raw) // 2
    contents = {
        "empty": b"",
        "cut": raw[:middle],
        "flipped": raw[:middle] + bytes([(raw[middle : middle + 1] or b"\0")[0] ^ 4]) + raw[middle + 1 :],
        "zeros": bytes(len(raw)),
        "longer": raw + raw,
        "JSON bomb": b'{"a":' * 200_000,
        "gzip bomb": gzip.compress(bytes(64 << 20), 9),
        "names in each other": b"[" + b'{"id":"' * 100_000,
    }
    if way in contents:
        path.write_bytes(contents[way])
    elif way == "directory":
        (path / "in it").mkdir(parents=True)
    elif way == "link out":
        path.symlink_to(outside)
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "device":
        if os.geteuid() == 0:
            os.mknod(path, 0o20666, os.makedev(1, 5))
    elif way == "socket":
        make_socket(path.with_name("s"))
        path.with_name("s").rename(path)
    elif way == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)


@pytest.mark.sampled(96)
@pytest.mark.parametrize(("name", "pattern", "way"), CASES)
def test_whatever_happens_to_a_file_the_rest_comes_out(tmp_path, name, pattern, way):
    whole = expected(name)
    root = unpack(DATA, name, tmp_path / "root")
    found = [path for path in root.glob(pattern) if path.is_file() and not path.is_symlink()]
    path = max(found, key=lambda one: (one.stat().st_size, one))
    outside = tmp_path / "outside"
    outside.write_bytes(SECRET)
    os.utime(outside, (1, 1))
    damage(path, way, outside)
    # What is huge would take long to read for a comparison.
    before = path.stat() if way == "huge" else snapshot(root)
    try:
        report = rescue_store(tmp_path / "store", root)
    except InvalidRoot:
        assert "meta.db" in pattern
        return
    assert outside.stat().st_atime == 1
    assert (path.stat() if way == "huge" else snapshot(root)) == before
    rescued = {image.image.id: image for image in report.images if image.state == "rescued"}
    assert all(image.problems for image in report.damaged)
    assert not orlop.stores.fsck(tmp_path / "store").damage
    # One file belongs to one image, or to one layer; a list has names alone.
    lost = whole.keys() - rescued.keys()
    shared = frozenset.intersection(*(whole[one] for one in lost)) if lost else frozenset()
    assert len(lost) <= 1 or shared or "meta.db" in pattern, lost


@pytest.mark.sampled(2)
def test_a_blob_of_another_length_than_its_manifest_says_is_not_read(tmp_path):
    root = unpack(DATA, "containerd-1.6", tmp_path / "root")
    blobs = root.glob("**/io.containerd.content.v1.content/blobs/sha256/*")
    path = max(blobs, key=lambda one: one.stat().st_size)
    damage(path, "huge", tmp_path)
    report = rescue_store(tmp_path / "store", root)
    said = f"its blob sha256:{path.name} is damaged: it has {1 << 40} bytes, not "
    assert any(said in str(image.problems) for image in report.damaged)


def test_a_blob_of_another_length_than_the_database_says_is_not_read_without_its_manifest(tmp_path):
    root = unpack(DATA, "engine-28-containerd", tmp_path / "root")
    content = root / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    with open_root(root) as found:
        offered = next(one.offered for one in found.images if "one:1" in one.names)
        assert offered is not None
        layer = offered.layers[-1]
        assert offered.manifest is not None
        assert layer.digest is not None
        (content / offered.manifest.hex).unlink()
    damage(content / layer.digest.hex, "huge", tmp_path)
    (image,) = look(root, ["one:1"], verify=True).images
    assert f"its blob {layer.digest} is damaged: it has {1 << 40} bytes, not {layer.size}" in str(image.problems)
