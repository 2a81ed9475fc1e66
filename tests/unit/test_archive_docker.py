"""Archives that real daemons wrote: loaded with the same IDs, names, parents and sizes, and saved back to the byte."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.errors import ImageNotFound, ReferenceNotFound
from orlop.model import gojson
from orlop.model.digest import Digest, ImageID
from orlop.streams.compression import Compression, detect, zstd_module
from tests.hostile import made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.model.image import Image

ENGINES = ("dockerd-20.10-overlay2", "dockerd-20.10-vfs", "dockerd-29-overlay2", "dockerd-29-containerd")
ARCHIVES = ("tiny", "dup", "dup-by-id", "multi", "parent-child")
FORMATS = {
    "dockerd-20.10-overlay2": "docker-20.10",
    "dockerd-20.10-vfs": "docker-20.10",
    "dockerd-29-overlay2": "docker",
}
#: Where a 20.10 daemon wrote the time of saving, a second later than the image's own.
SAVED_LATER = {("dockerd-20.10-vfs", "multi"), ("dockerd-20.10-vfs", "parent-child")}

every_archive = pytest.mark.parametrize(("engine", "name"), [(e, a) for e in ENGINES for a in ARCHIVES])


def content_of(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def entries_of(archive: Path) -> list[dict[str, Any]]:
    with tarfile.open(archive) as tar:
        entries: list[dict[str, Any]] = json.loads(content_of(tar, "manifest.json"))
    return entries


def config_digest(archive: Path, entry: dict[str, Any]) -> str:
    with tarfile.open(archive) as tar:
        return str(Digest.of(content_of(tar, entry["Config"])))


def names_of(archive: Path) -> list[str]:
    """What to ask for, to get this archive."""
    return [
        name
        for entry in entries_of(archive)
        for name in entry["RepoTags"] or [entry["Config"].rpartition("/")[2].removesuffix(".json")]
    ]


@every_archive
def test_an_archive_loads_as_its_manifest_says(images, data, engine, name):
    archive = data / engine / f"{name}.tar"
    report = images.load(archive)
    entries = entries_of(archive)
    assert [str(image.id) for image in report.images] == [config_digest(archive, entry) for entry in entries]
    assert [[r.familiar for r in image.references] for image in report.images] == [
        entry["RepoTags"] or [] for entry in entries
    ]
    assert all(image.created for image in report.images)
    for image, entry in zip(report.images, entries, strict=True):
        parent = images.image_store.get_parent(image.id)
        assert (None if parent is None else str(parent)) == entry.get("Parent")
        with tarfile.open(archive) as tar:
            assert images.raw_config(str(image.id)) == content_of(tar, entry["Config"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("engine", ["dockerd-20.10-overlay2", "dockerd-29-overlay2"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_sizes_are_those_of_a_daemon_on_overlay2(images, data, engine, name):
    images.load(data / engine / f"{name}.tar")
    listed = json.loads((data / engine / "api" / "images-all.json").read_text())
    sizes = {image["Id"]: image["Size"] for image in listed}
    found = images.images(all=True)
    assert found
    assert {str(image.id): image.size for image in found} == {str(image.id): sizes[str(image.id)] for image in found}


@pytest.mark.parametrize("engine", FORMATS)
@pytest.mark.parametrize("name", ARCHIVES)
def test_saving_gives_the_daemons_bytes_back(images, data, tmp_path, engine, name):
    archive = data / engine / f"{name}.tar"
    images.load(archive)
    images.save(names_of(archive), tmp_path / "out.tar", format=FORMATS[engine])
    ours, theirs = (tmp_path / "out.tar").read_bytes(), archive.read_bytes()
    if (engine, name) in SAVED_LATER:
        assert ours != theirs
        ours, theirs = without_times(ours), without_times(theirs)
    assert ours == theirs


def without_times(archive: bytes) -> bytes:
    """An archive whose headers carry neither mtime nor checksum."""
    blank = bytearray(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            blank[member.offset + 136 : member.offset + 156] = bytes(20)
    return bytes(blank)


@pytest.mark.parametrize("engine", ENGINES)
def test_saving_twice_gives_equal_bytes_from_any_store(data, tmp_path, engine):
    archive = data / engine / "multi.tar"
    saved: list[Path] = []
    for folder in ("one", "two"):
        with orlop.open(tmp_path / folder) as images:
            images.load(saved[0] if saved else archive)
            images.save(names_of(archive), tmp_path / f"{folder}.tar")
            saved.append(tmp_path / f"{folder}.tar")
    assert saved[0].read_bytes() == saved[1].read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_loading_again_changes_nothing(images, data, engine):
    archive = data / engine / "multi.tar"
    images.load(archive)
    before = images.images(all=True), images.layer_store.map()
    events: list[orlop.ProgressEvent] = []
    again = images.load(archive, progress=events.append)
    assert not any(image.created for image in again.images)
    assert (images.images(all=True), images.layer_store.map()) == before
    # Nothing is read again that is there already.
    assert events
    assert all(isinstance(event, orlop.LayerExists) for event in events)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("engine", ENGINES)
def test_layers_that_are_taken_at_once_are_the_same_layers(data, tmp_path, monkeypatch, engine):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    archive = data / engine / "multi.tar"
    events: list[orlop.ProgressEvent] = []
    with orlop.open(tmp_path / "root") as images:
        images.load(archive, progress=events.append)
        images.save(names_of(archive), tmp_path / "out.tar")
    done = [event.layer for event in events if isinstance(event, orlop.LayerDone)]
    with orlop.open(tmp_path / "other") as images:
        monkeypatch.undo()
        images.load(archive)
        images.save(names_of(archive), tmp_path / "one.tar")
        assert len(done) == len(set(done)) == len(list((tmp_path / "other" / "blobs" / "sha256").iterdir()))
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()
    assert not list((tmp_path / "root" / "ingest").iterdir())


def test_a_bad_layer_among_many_leaves_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    numbers = iter(range(100))
    archive = with_layers(
        data / "dockerd-20.10-overlay2" / "tiny.tar", lambda body: body if next(numbers) else b"x" * 999
    )
    (tmp_path / "bad.tar").write_bytes(archive)
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(orlop.OrlopError):
            images.load(tmp_path / "bad.tar")
        assert not list((tmp_path / "root" / "ingest").iterdir())
        assert not list((tmp_path / "root" / "blobs" / "sha256").iterdir())


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", None)],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "each-layer"])
def test_any_compression_of_the_whole_or_of_layers(images, data, tmp_path, suffix, compress, whole):
    if compress is None:
        zstd = zstd_module()

        compress = zstd.compress
    archive = data / "dockerd-20.10-overlay2" / "tiny.tar"
    content = compress(archive.read_bytes()) if whole else with_layers(archive, compress)
    (tmp_path / "misnamed.tar").write_bytes(content)
    report = images.load(tmp_path / "misnamed.tar")
    assert str(report.images[0].id) == config_digest(archive, entries_of(archive)[0])
    images.save(["example/tiny:1.0"], tmp_path / "out.tar", format="docker-20.10")
    assert (tmp_path / "out.tar").read_bytes() == archive.read_bytes()
    if not whole:
        # The bytes of a layer are kept as they came.
        blobs = list((tmp_path / "root" / "blobs" / "sha256").iterdir())
        assert {detect(blob.read_bytes()) for blob in blobs} == {detect(content_of_a_layer(content))}
        assert detect(blobs[0].read_bytes()) is not Compression.NONE


def with_layers(archive: Path, change) -> bytes:
    out = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            body = content_of(old, member) if member.isreg() else None
            if member.name.endswith("layer.tar") and body is not None:
                body = change(body)
                member.size = len(body)
            new.addfile(member, None if body is None else io.BytesIO(body))
    return out.getvalue()


def content_of_a_layer(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return next(content_of(tar, m) for m in tar if m.name.endswith("layer.tar") and m.isreg())


@pytest.mark.sampled(4)
@every_archive
def test_a_pipe_is_as_good_as_a_file(data, tmp_path, engine, name):
    archive = data / engine / f"{name}.tar"
    with orlop.open(tmp_path / "file") as images:
        from_file = images.load(archive), images.images(all=True)
    with orlop.open(tmp_path / "pipe") as images:
        from_pipe = load_through_a_pipe(images, archive.read_bytes()), images.images(all=True)
    with orlop.open(tmp_path / "stream") as images:
        from_stream = images.load(io.BytesIO(archive.read_bytes())), images.images(all=True)
    assert from_file == from_pipe == from_stream
    stores = [sorted(p.name for p in (tmp_path / s / "blobs/sha256").iterdir()) for s in ("file", "pipe", "stream")]
    assert stores[0] == stores[1] == stores[2]
    assert not list((tmp_path / "pipe" / "ingest").iterdir())


def load_through_a_pipe(images: orlop.ImageService, content: bytes) -> orlop.LoadReport:
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with os.fdopen(read, "rb") as pipe:
            return images.load(pipe)
    finally:
        feeder.join()


def test_a_file_is_read_from_where_it_stands(images, data, tmp_path):
    archive = (data / "dockerd-29-overlay2" / "tiny.tar").read_bytes()
    (tmp_path / "prefixed").write_bytes(b"something else\n" + archive)
    with (tmp_path / "prefixed").open("rb") as file:
        file.readline()
        assert images.load(file).images


@pytest.mark.parametrize("engine", ["dockerd-29-overlay2", "dockerd-29-containerd"])
def test_manifests_that_came_are_kept_as_they_were(images, data, engine):
    archive = data / engine / "multi.tar"
    images.load(archive)
    with tarfile.open(archive) as tar:
        index = json.loads(content_of(tar, "index.json"))
        wanted = {d["digest"]: content_of(tar, "blobs/sha256/" + d["digest"][7:]) for d in index["manifests"]}
    kept = {}
    for name in names_of(archive):
        details = images.inspect(name)
        with images._store.metadata.read() as rows:
            for row in rows.manifests(details.image.id):
                kept[str(row.digest)] = row.raw
    assert kept == wanted


def test_the_messages_are_the_daemons(images, data):
    engine = data / "dockerd-20.10-overlay2"
    for stream in ("load-multi", "load-multi-again"):
        lines = (engine / "api" / f"{stream}.stream.json").read_text().splitlines()
        wanted = [json.loads(line)["stream"].removesuffix("\n") for line in lines]
        assert list(images.load(engine / "multi.tar").messages()) == wanted
    untagged = images.load(engine / "dup-by-id.tar")
    assert untagged.messages() == (f"Loaded image ID: {untagged.images[0].id}",)


def test_a_name_that_moves_is_told(images, data):
    old = images.load(data / "dockerd-20.10-overlay2" / "tiny.tar").images[0].id
    report = images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    assert report.messages() == (
        f"The image example/tiny:1.0 already exists, renaming the old one with ID {old} to empty string",
        "Loaded image: example/tiny:1.0",
    )
    assert {image.id: len(image.references) for image in images.images()} == {old: 0, report.images[0].id: 1}


def test_save_by_repository_takes_all_its_tags(images, data, tmp_path):
    images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    images.load(data / "dockerd-29-overlay2" / "dup.tar")
    images.tag("example/tiny:1.0", "example/tiny:0.9")
    images.tag("example/dup:v1", "example/tiny:dup")
    images.save(["example/tiny"], tmp_path / "out.tar")
    assert [entry["RepoTags"] for entry in entries_of(tmp_path / "out.tar")] == [
        ["example/tiny:0.9", "example/tiny:1.0"],
        ["example/tiny:dup"],
    ]


def test_the_start_of_an_id_may_be_written_with_its_algorithm_to_save(images, data, tmp_path):
    [image] = images.load(data / "dockerd-20.10-overlay2" / "tiny.tar").images
    images.save([str(image.id)[:20]], tmp_path / "out.tar")
    assert [entry["RepoTags"] for entry in entries_of(tmp_path / "out.tar")] == [None]


def test_who_saves_by_a_digest_that_is_not_there_hears_that_the_name_is_not(images, tmp_path):
    with pytest.raises(ReferenceNotFound):
        images.save(["alpine@sha256:" + "1" * 64], tmp_path / "out.tar")
    with pytest.raises(ImageNotFound, match="No such image: sha256:1111"):
        images.inspect("1" * 64)


def test_a_parent_is_named_only_where_it_is_in_the_archive(images, data, tmp_path):
    images.load(data / "dockerd-29-overlay2" / "parent-child.tar")
    [child] = [
        entry["RepoTags"][0]
        for entry in entries_of(data / "dockerd-29-overlay2" / "parent-child.tar")
        if "Parent" in entry
    ]
    images.save([child], tmp_path / "alone.tar")
    assert "Parent" not in entries_of(tmp_path / "alone.tar")[0]
    assert isinstance(images.image_store.get_parent(images.inspect(child).image.id), ImageID)


def test_a_damaged_layer_is_never_saved(images, data, tmp_path):
    images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    blob = max((tmp_path / "root" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[5000] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(content)
    with pytest.raises(orlop.OrlopError) as caught:
        images.save(["example/tiny:1.0"], tmp_path / "out.tar")
    assert caught.value.code == "DIGEST_MISMATCH"
    assert not (tmp_path / "out.tar").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_missing_layer_is_mended_by_loading_again(images, data, tmp_path):
    archive = data / "dockerd-29-overlay2" / "tiny.tar"
    images.load(archive)
    for blob in (tmp_path / "root" / "blobs" / "sha256").iterdir():
        blob.unlink()
    with pytest.raises(orlop.OrlopError) as caught:
        images.save(["example/tiny:1.0"], io.BytesIO())
    assert caught.value.code == "CONTENT_NOT_FOUND"
    images.load(archive)
    images.save(["example/tiny:1.0"], tmp_path / "out.tar")
    assert (tmp_path / "out.tar").read_bytes() == archive.read_bytes()


def test_the_write_of_a_load_parses_no_document(images, data, monkeypatch):
    parsed = []

    def noting(read: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            parsed.append(images._store.metadata.in_block())
            return read(*args)

        return noted

    for name in ("_read", "_quickly_read"):
        monkeypatch.setattr(gojson, name, noting(getattr(gojson, name)))
    images.load(data / "dockerd-29-overlay2" / "multi.tar")
    assert len(parsed) > 3
    assert not any(parsed)


def test_one_image_may_be_listed_any_number_of_times(images, monkeypatch):
    kept = []
    keep = images.image_store.keep

    def noted(image: Image) -> ImageID:
        kept.append(image.id)
        image_id: ImageID = keep(image)
        return image_id

    monkeypatch.setattr(images._store.images, "keep", noted)
    listed = [made.entry(RepoTags=[f"a:{number}"]) for number in range(50)]
    report = images.load(io.BytesIO(made.content(made.docker(manifest__json=json.dumps(listed).encode()))))
    assert len(report.images) == 50
    assert kept == [report.images[0].id]
