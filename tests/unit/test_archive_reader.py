"""Archives without a store say what a store would say after a load, and write nothing."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, BinaryIO

import pytest

import orlop
from orlop import errors
from orlop.archive.reader import Archive
from orlop.model.digest import Digest
from orlop.service.archive import ArchiveService
from tests.unit.layouts import Layout, named, packed, sha256, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARCHIVES = (
    "dockerd-20.10-overlay2/multi",
    "dockerd-20.10-vfs/dup-by-id",
    "dockerd-29-overlay2/parent-child",
    "dockerd-29-containerd/multi",
    "other-tools/legacy-v1-multi",
    "other-tools/podman-multi",
    "other-tools/podman-oci",
    "other-tools/skopeo-dir",
    "other-tools/skopeo-oci-archive-zstd",
)
#: Reads archives, and ends where anything is written.
SCRIPT = """
import os, sys, orlop
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
changes = {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "sqlite3.connect"}
def watch(event, arguments):
    if event in changes or (event == "open" and arguments[2] & writing):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(watch)
for source in sys.argv[1:]:
    with orlop.ArchiveService(source) as archive:
        archive.archive.verify()
        print(archive.images()[0].size, archive.history()[0].id)
"""
every_archive = pytest.mark.parametrize("name", ARCHIVES)


@pytest.fixture
def path(data: Path, name: str) -> Path:
    return data / f"{name}.tar"


@pytest.fixture
def store(path: Path, tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(path)
        yield images


@pytest.mark.sampled(8)
@every_archive
@pytest.mark.parametrize("shape", ["file", "stream", "gzip", "directory"])
def test_an_archive_answers_as_a_store_that_loaded_it(path, store, tmp_path, shape):
    source: Path | BinaryIO = path
    if shape == "stream":
        source = io.BytesIO(path.read_bytes())
    elif shape == "gzip":
        source = tmp_path / "archive.tar.gz"
        (tmp_path / "archive.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    elif shape == "directory":
        source = tmp_path / "unpacked"
        (tmp_path / "unpacked").mkdir()
        subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xf", path], check=True)
    with ArchiveService(source) as archive:
        assert archive.images() == store.images()
        assert archive.images(all=True) == store.images(all=True)
        for summary in store.images(all=True):
            image_id = str(summary.id)
            assert archive.images(image_id[7:20]) == store.images(image_id[7:20])
            for name in (image_id, image_id[7:20], *(reference.familiar for reference in summary.references)):
                ours, theirs = archive.inspect(name), store.inspect(name)
                assert (ours.image, ours.references, ours.size) == (theirs.image, theirs.references, theirs.size)
                assert sorted(ours.manifests) == sorted(theirs.manifests)
                assert archive.raw_config(name) == store.raw_config(name)
                assert archive.history(name) == store.history(name)
            for reference in summary.references:
                assert archive.images(reference.familiar) == store.images(reference.familiar)
                assert archive.images(reference.familiar_name) == store.images(reference.familiar_name)


@every_archive
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_layers_can_be_read(path, store, tmp_path, compressed):
    if compressed:
        (tmp_path / "archive.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "archive.tar.gz"
    with orlop.Archive(path) as archive:
        archive.verify()
        for image in archive.images:
            assert [layer.diff_id for layer in image.layers] == list(image.config.rootfs.diff_ids)
            assert image.raw_config == store.raw_config(str(image.id))
            for layer in image.layers:
                content = b"".join(layer.chunks())
                assert content == b"".join(store.layer_store.tar_chunks(layer.diff_id))
                assert len(content) == layer.tar_size
                raw = b"".join(layer.raw_chunks())
                assert (Digest.of(raw), len(raw)) == (layer.digest, layer.compressed_size)


def test_nothing_is_written(data, tmp_path):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "other-tools" / "podman-oci.tar")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", data / "other-tools" / "podman-oci.tar"], check=True)
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT, data / "other-tools" / "podman-oci.tar", folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("sha256:be42309507d2") == 2


def test_a_damaged_layer_fails_before_its_last_byte(data, tmp_path):
    layout = Layout()
    layout.top(layout.image("hello", compress=False, **named("a:1")))
    folder = unpacked(layout.files, tmp_path / "layout")
    with Archive(folder) as archive:
        (layer,) = archive.images[0].layers
        layer.verify()
        # The file changes after it was measured.
        blob = folder / layer.name
        content = blob.read_bytes()
        blob.write_bytes(content[:513] + b"x" + content[514:])
        got: list[bytes] = []
        with pytest.raises(errors.DigestMismatch):
            got.extend(layer.chunks())
        assert sum(map(len, got)) < len(content)
        with pytest.raises(errors.DigestMismatch):
            list(layer.raw_chunks())


def test_one_image_needs_no_name_and_several_do(data):
    with ArchiveService(data / "other-tools" / "skopeo-dir.tar") as archive:
        assert archive.inspect().image.id == archive.archive.images[0].id
        assert archive.history()
        assert archive.raw_config() == archive.archive.images[0].raw_config
    with ArchiveService(data / "other-tools" / "podman-multi.tar") as archive:
        with pytest.raises(errors.AmbiguousID, match="localhost/example/imported:latest, localhost/example/tiny"):
            archive.inspect()
        assert archive.inspect("localhost/example/imported").image.architecture == "amd64"
        with pytest.raises(errors.ImageNotFound, match="No such image: nobody:latest"):
            archive.inspect("nobody")
        with pytest.raises(errors.ImageNotFound, match="No such image: sha256:1111"):
            archive.inspect("1" * 64)
        with pytest.raises(errors.InvalidReference):
            archive.inspect("A:B:C")
        assert archive.images("nobody") == []


def test_a_prefix_of_several_ids_is_ambiguous(tmp_path):
    layout = Layout()
    layout.top(*(layout.image(str(number)) for number in range(20)))
    (tmp_path / "many.tar").write_bytes(layout.pack())
    with ArchiveService(tmp_path / "many.tar") as archive:
        digits = [image.id.hex[0] for image in archive.archive.images]
        shared = next(digit for digit in digits if digits.count(digit) > 1)
        with pytest.raises(errors.AmbiguousID, match="more digits"):
            archive.inspect(shared)
        assert len(archive.images(shared)) == digits.count(shared)


def test_names_by_digest_and_platforms(tmp_path):
    layout = Layout()
    children = [layout.image("a", platform=True), layout.image("b", architecture="arm64", platform=True)]
    top = layout.index(*children, **named("app:1"))
    (tmp_path / "app.tar").write_bytes(layout.top(top).pack())
    with ArchiveService(tmp_path / "app.tar") as archive, orlop.open(tmp_path / "root") as store:
        store.load(tmp_path / "app.tar")
        assert len(archive.images()) == 2
        for digest in (top["digest"], *(child["digest"] for child in children)):
            assert archive.inspect(f"app@{digest}").image == store.inspect(f"app@{digest}").image
        with pytest.raises(errors.ImageNotFound):
            archive.inspect("app@sha256:" + "1" * 64)
    with Archive(tmp_path / "app.tar", platform="linux/arm64") as archive:
        assert [image.config.architecture for image in archive.images] == ["arm64"]
        assert [name.familiar for name in archive.images[0].references] == ["app:1"]
        assert {str(digest) for digest in archive.images[0].manifests} == {top["digest"], children[1]["digest"]}
    with pytest.raises(errors.PlatformNotFound):
        Archive(tmp_path / "app.tar", platform="linux/mips")


def test_from_a_pipe_layers_are_known_but_gone(data):
    read, write = os.pipe()
    with (
        subprocess.Popen(["cat", data / "dockerd-20.10-overlay2" / "tiny.tar"], stdout=write),
        os.fdopen(read, "rb") as pipe,
    ):
        os.close(write)
        with Archive(pipe) as archive:
            layer = max(archive.images[0].layers, key=lambda each: each.compressed_size)
            assert archive.images[0].size == 3108
            with pytest.raises(errors.ReadFailed, match="pipe"):
                list(layer.chunks())


def test_progress_is_told_once_for_each_layer(data):
    events: list[object] = []
    with Archive(data / "other-tools" / "podman-oci.tar", progress=events.append) as archive:
        assert events == []
        archive.verify()
        archive.verify()
        layers = len(archive.images[0].layers)
    assert sum(isinstance(event, orlop.LayerDone) for event in events) == layers


def test_a_wrong_layer_is_found_without_a_store(tmp_path):
    layout = Layout()
    top = layout.image("hello", compress=False)
    (name,) = [name for name, content in layout.files.items() if b"ustar" in content]
    layout.files[name] = layout.files[name].replace(b"abc", b"abd")
    assert sha256(layout.files[name])[7:] not in name
    (tmp_path / "bad.tar").write_bytes(packed(layout.top(top).files))
    with Archive(tmp_path / "bad.tar") as archive, pytest.raises(errors.DigestMismatch, match="damaged"):
        archive.verify()
