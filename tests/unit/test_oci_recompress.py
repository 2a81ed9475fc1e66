"""Layers of a layout in another form: other manifests and indexes, the same images."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import stat
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive import oci_recompress
from orlop.streams.compression import zstd_module
from orlop.streams.directory import Entry
from orlop.streams.files import NewFile
from tests.layout_walk import files, walked
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import CONFIG, LAYER, MANIFEST, Layout, layer_tar, named, sha256

if TYPE_CHECKING:
    from tests.layout_walk import Walked

TYPES = {"none": LAYER, "gzip": f"{LAYER}+gzip", "zstd": f"{LAYER}+zstd"}


def saved(images: orlop.ImageService, place: Path, compress: str | None, *names: str, **options: Any) -> Walked:
    images.save(names or ["example/app:1.0"], place, format="oci-dir", compress=compress, **options)
    return walked(place)


def document(place: Path, digest: str) -> Any:
    return json.loads((place / "blobs" / digest.replace(":", "/")).read_bytes())


def image_of(place: Path, tmp_path: Path) -> str:
    with orlop.open(tmp_path / f"again-{place.name}") as again:
        (image,) = again.load(place).images
        return str(image.id)


@pytest.mark.parametrize("came", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("compress", TYPES)
def test_layers_get_the_form_that_is_wanted(
    tmp_path: Path, images: orlop.ImageService, *, came: bool, compress: str
) -> None:
    layout = Layout()
    top = layout.image(
        "one", "two", compress=came, changes={"annotations": {"a": "b"}, "odd": 1.5}, **named("example/app:1.0")
    )
    (image,) = images.load(io.BytesIO(layout.top(top).pack())).images
    out = saved(images, tmp_path / "out", compress)
    assert not out.absent
    manifest = document(tmp_path / "out", out.tops[0])
    assert {layer["mediaType"] for layer in manifest["layers"]} == {TYPES[compress]}
    assert (manifest["annotations"], manifest["odd"]) == ({"a": "b"}, 1.5)
    assert (out.tops == [top["digest"]]) == (compress == ("gzip" if came else "none"))
    assert image_of(tmp_path / "out", tmp_path) == str(image.id)
    assert not list((tmp_path / "root/ingest").iterdir())


@pytest.mark.parametrize("compress", ["gzip:1", "zstd:1"])
def test_a_save_that_fails_leaves_no_thread(tmp_path: Path, images: orlop.ImageService, compress: str) -> None:
    # A thread that verifies beside the compressor waits for more.
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 8 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    images.import_image(io.BytesIO(source.getvalue()), "example/app:1.0")

    def fail(event: object) -> None:
        raise RuntimeError(str(event))

    with pytest.raises(RuntimeError) as raised:
        saved(images, tmp_path / "out", compress, progress=fail)
    assert raised.tb is not None  # whoever keeps the error keeps its frames
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop-")] == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("compress", ["gzip:1", "zstd:5"])
def test_what_is_made_is_always_the_same(tmp_path: Path, images: orlop.ImageService, compress: str) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("one", "two", compress=False, **named("example/app:1.0"))).pack()))
    other = Layout()
    # What has the form already would stay as it came.
    other.top(other.image("one", "two", compress=compress.startswith("zstd"), **named("example/app:1.0")))
    seen = {b"".join(images.save_chunks(["example/app:1.0"], format="oci", compress="none")) for _ in range(2)}
    assert len(seen) == 1
    processors = os.sched_getaffinity(0)
    seen = set()
    try:
        for some in (processors, {min(processors)}):
            os.sched_setaffinity(0, some)
            seen.add(b"".join(images.save_chunks(["example/app:1.0"], format="oci", compress=compress)))
    finally:
        os.sched_setaffinity(0, processors)
    with orlop.open(tmp_path / "second") as second:
        # The manifest of an image that came otherwise is another one, and the layers are the same.
        second.load(io.BytesIO(other.pack()))
        again = saved(second, tmp_path / "again", compress)
    assert len(seen) == 1
    once = saved(images, tmp_path / "once", compress)
    assert {key for key, (kind, _) in once.found.items() if kind.startswith(LAYER)} < again.found.keys()


def test_a_layer_of_several_images_is_compressed_once(
    data: Path, tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.load(data / "dockerd-20.10-overlay2/multi.tar")
    names = ["example/tiny:1.0", "registry.example.com:5000/team/committed:2.0"]
    read: list[object] = []
    chunks = images.layer_store.tar_chunks

    def counted(diff_id: Any) -> Any:
        read.append(diff_id)
        return chunks(diff_id)

    monkeypatch.setattr(images.layer_store, "tar_chunks", counted)
    out = saved(images, tmp_path / "out", "zstd", *names)
    assert len(read) == len(set(read)) == len([kind for kind, _ in out.found.values() if kind == TYPES["zstd"]])
    manifests = [document(tmp_path / "out", top) for top in out.tops]
    first, second = ({layer["digest"] for layer in manifest["layers"]} for manifest in manifests)
    assert first & second


def test_an_index_names_the_new_manifests_and_nothing_that_is_not_there(
    tmp_path: Path, images: orlop.ImageService
) -> None:
    layout = Layout()
    children = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64", "s390x")]
    inner = layout.index(children[0], annotations={"x": "y"})
    outer = layout.index(inner, *children[1:], **named("example/app:1.0"))
    images.load(io.BytesIO(layout.top(outer).pack()))
    out = saved(images, tmp_path / "out", "zstd", platform=["linux/amd64", "linux/arm64"])
    assert not out.absent
    assert "annotations" not in out.index
    index = document(tmp_path / "out", out.tops[0])
    assert [child.get("annotations") for child in index["manifests"]] == [{"x": "y"}, None]
    assert index["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux"}
    # What has the form already keeps its digest, and what it lacks is told as before.
    same = saved(images, tmp_path / "same", "gzip", platform=["linux/amd64", "linux/arm64"])
    assert same.tops == [outer["digest"]]
    assert same.absent == {children[2]["digest"]}


def test_what_was_said_of_the_old_bytes_goes(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    tars = [layer_tar("one"), layer_tar("two")]
    config = layout.document({"rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}}, CONFIG)
    notes = {"containerd.io/snapshot/stargz/toc.digest": "x", "kept": "y"}
    layers = [
        layout.blob(zstd_module().compress(tars[0]), f"{LAYER}+zstd", annotations=notes),
        layout.blob(tars[1], LAYER, annotations={"io.github.containers.zstd-chunked.manifest-position": "1"}),
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    images.load(io.BytesIO(layout.top(layout.document(manifest, MANIFEST, **named("example/app:1.0"))).pack()))
    out = saved(images, tmp_path / "gzip", "gzip")
    new = document(tmp_path / "gzip", out.tops[0])["layers"]
    assert [layer.get("annotations") for layer in new] == [{"kept": "y"}, None]
    # One that stays as it is keeps all that was said of it.
    out = saved(images, tmp_path / "zstd", "zstd")
    assert document(tmp_path / "zstd", out.tops[0])["layers"][0] == layers[0]


def test_types_stay_of_one_family(tmp_path: Path, images: orlop.ImageService) -> None:
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    layout = Layout()
    tar = layer_tar("one")
    config = layout.document(
        {"rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}, "application/vnd.docker.container.image.v1+json"
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": docker,
        "config": config,
        "layers": [layout.blob(tar, "application/vnd.docker.image.rootfs.diff.tar")],
    }
    images.load(io.BytesIO(layout.top(layout.document(manifest, docker, **named("example/app:1.0"))).pack()))
    for compress, ending in (("gzip", ".gzip"), ("zstd", ".zstd")):
        out = saved(images, tmp_path / compress, compress)
        (layer,) = document(tmp_path / compress, out.tops[0])["layers"]
        assert layer["mediaType"] == f"application/vnd.docker.image.rootfs.diff.tar{ending}"
        assert image_of(tmp_path / compress, tmp_path) == config["digest"]


def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("one", **named("example/app:1.0"))).pack()))
    for form, compress in (("docker", "gzip"), ("oci", "lz4"), ("oci-dir", "gzip:99")):
        with pytest.raises(errors.InvalidInput):
            images.save(["example/app:1.0"], tmp_path / "out", format=form, compress=compress)
    (blob,) = (tmp_path / "root/blobs/sha256").iterdir()
    content = bytearray(blob.read_bytes())
    content[-9] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(content)
    for form in ("oci", "oci-dir"):
        with pytest.raises(errors.OrlopError):
            images.save(["example/app:1.0"], tmp_path / "out", format=form, compress="zstd")
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "root/ingest").iterdir())


def test_each_layer_is_told_of(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("one", "two", **named("example/app:1.0"))).pack()))
    events: list[object] = []
    images.save(["example/app:1.0"], tmp_path / "out", format="oci", compress="zstd", progress=events.append)
    done = [event.layer for event in events if isinstance(event, orlop.LayerDone)]
    assert len(done) == len(set(done)) == 2
    assert files(tmp_path / "root/blobs").keys() == {
        f"sha256/{path.name}" for path in (tmp_path / "root/blobs/sha256").iterdir()
    }


@pytest.mark.parametrize("way", ["moved", "another device", "other attributes"])
def test_what_was_compressed_moves_into_the_layout_where_it_can(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    layout = Layout()
    images.load(io.BytesIO(layout.top(layout.image("one", compress=False, **named("example/app:1.0"))).pack()))
    given: list[bool] = []
    take = NewFile.take

    def told(self: NewFile, other: NewFile) -> bool:
        if way == "another device":
            monkeypatch.setattr(type(other.entry), "rename", failing)
        given.append(take(self, other))
        monkeypatch.setattr(type(other.entry), "rename", rename)
        return given[-1]

    def failing(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    rename = Entry.rename
    monkeypatch.setattr(NewFile, "take", told)
    if way == "other attributes":
        numbers = itertools.count()
        monkeypatch.setattr("orlop.streams.files._attributes", lambda _: {"user.a": b"%d" % next(numbers)})
    before = os.umask(0o027)
    try:
        out = saved(images, tmp_path / "out", "zstd:3")
    finally:
        os.umask(before)
    assert given == [way == "moved"]
    made = [tmp_path / "out/blobs" / digest.replace(":", "/") for digest in out.found]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o640}
    assert {path.stat().st_nlink for path in made} == {1}
    assert not list((tmp_path / "root/ingest").iterdir())


def test_what_refers_to_a_manifest_that_is_new_is_told_and_artifacts_stay_as_they_came(images, tmp_path):
    layout = Layout()
    image, helm = layout.image("a", **named("example.com/app:1")), chart(layout) | named("example.com/chart:1")
    signed = signature(layout, image)
    images.load(io.BytesIO(layout.top(image, helm, signed, signature(layout, helm)).pack()))
    names = ["example.com/app:1", "example.com/chart:1"]
    report = images.save(names, tmp_path / "out", format="oci-dir", compress="zstd")
    assert [str(digest) for digest in report.outdated] == [signed["digest"]]
    assert any(line.startswith(f"{signed['digest']} refers to") for line in report.messages())
    assert helm["digest"] in walked(tmp_path / "out").tops
    assert images.save(names, tmp_path / "same", format="oci-dir", compress="gzip").outdated == ()


@pytest.mark.parametrize(
    ("sizes", "workers", "cores", "threads"),
    [
        ([9], 1, 4, [4]),
        ([9, 9, 9], 2, 2, [1, 1, 2]),
        ([90, 5, 5], 2, 2, [2, 1, 2]),
        ([9, 9, 9, 9], 4, 16, [4, 4, 4, 4]),
        ([9, 9, 9, 9, 9], 4, 16, [4, 4, 4, 4, 16]),
        ([0, 0], 2, 2, [1, 1]),
        ([9, 9], 1, 1, [1, 1]),
    ],
)
def test_the_last_layers_have_all_processors(sizes, workers, cores, threads):
    assert oci_recompress._threads(sizes, workers, cores) == threads


def with_random_layer(images: orlop.ImageService, size: int) -> None:
    """Make an image of one layer that no compression makes smaller."""
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    images.import_image(io.BytesIO(source.getvalue()), "example/app:1.0")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["oci", "oci-dir"])
def test_what_becomes_a_file_is_on_its_way_to_the_disk_meanwhile(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with_random_layer(images, 20 << 20)
    synced: list[str] = []
    fdatasync = os.fdatasync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", noted)
    images.save(["example/app:1.0"], tmp_path / "out", format=form, compress="gzip:1")
    # Into an archive it is copied: there it need not get to the disk as well.
    assert any("/root/ingest/" in path for path in synced) == (form == "oci-dir")


@pytest.mark.sampled(2)
def test_a_layer_whose_write_back_failed_meanwhile_fails_the_save(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_random_layer(images, 20 << 20)
    fdatasync, failed = os.fdatasync, False

    def failing(descriptor: int) -> None:
        nonlocal failed
        if not failed and "/root/ingest/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            failed = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(errors.StorageError, match="out"):
        images.save(["example/app:1.0"], tmp_path / "out", format="oci-dir", compress="gzip:1")
    assert failed
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "root/ingest").iterdir())
