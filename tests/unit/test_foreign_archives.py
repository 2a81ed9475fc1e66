"""Archives in the form in which programs of the world write them: each gives the images and names that it should."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import orlop
from orlop import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "sha256:8b32ce635c7081a5ad81aaf318d15edf4dccec9907a16ebd16ae2b21749c9f2a"
APP = "sha256:c10ebdc5932bb674d486585e3da9a95c8d35e8d80b4855442e7135ba0b038fff"
MULTI_AMD64 = "sha256:fa7a958c1605129e0e7937638b81a8c9bd8577a3917de5193f6fde8940f64794"
MULTI_ARM64 = "sha256:12ddaff7b05c912fe1e6cc77211e60971595d4af6e85ecb1468a437fa86fe5fa"
SHOP = "sha256:f0bfd4631e4c303c5842ac7963ad948024dae27526f838552e937ea63a205db7"
SHOP_ARM64 = "sha256:0c04b853a9c44e49963e7d4064831a666e301cb623dd12e7a9d3fd29ba5fecd6"
INCREMENT = "sha256:7f3baf6a6bce0f995cbccf78c21d864558ec4009cc0959ec7f3eb09f29f05e0c"


class Image(NamedTuple):
    """An image that an archive gives: its ID, its tags, and where its names by digest lie."""

    id: str
    tags: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


EXPECTED: dict[str, tuple[Image, ...]] = {
    "18-base.tar": (Image(BASE, ("ex/base:1",)),),
    # The manifest that the engine made up has no layers: no registry knows its digest.
    "02-docker25-no-layers-in-oci.tar": (Image(APP, ("ex/app:1",)),),
    "05-docker25-by-digest-manifests-null.tar": (Image(APP),),
    "07-cosign-save.tar": (Image(APP),),
    "09-attestation-at-top-without-platform.tar": (Image(BASE, ("ex.io/app:1",), ("ex.io/app",)),),
    # index.json holds all that manifest.json lists, and more.
    "11-ctr-export-all-platforms.tar": (
        Image(BASE, ("ex/single:1",), ("ex/single",)),
        Image(MULTI_AMD64, ("ex/multi:1",), ("ex/multi",)),
        Image(MULTI_ARM64, (), ("ex/multi",)),
    ),
    "12-ctr-export-cri-names-oci-only.tar": (Image(BASE, ("registry.k8s.io/pause:3.9",), ("registry.k8s.io/pause",)),),
    "13-ctr-export-cri-names.tar": (Image(BASE, ("registry.k8s.io/pause:3.9",), ("registry.k8s.io/pause",)),),
    "14b-regctl-export-both.tar": (Image(BASE, ("localhost/oci/app:v1",)),),
    "30b-dir-octet-stream-config": (Image(BASE),),
    "30c-dir-foreign-plain": (Image(BASE),),
    "32-artifact-type-with-image-config.tar": (Image(BASE, ("ex.io/app:1",), ("ex.io/app",)),),
    "41h-id.tar": (Image(BASE),),
    # One digest under many texts; two bare tags, each of two images for different processors.
    "names": (
        Image(
            SHOP,
            ("example/shop:1.0", "registry.example:5000/example/shop:1.1"),
            ("example/shop", "registry.example:5000/example/shop"),
        ),
        Image(SHOP_ARM64, ("example/shop:both", "example/shop:c"), ("example/shop",)),
    ),
    "incremental-base": (Image(INCREMENT, ("reg.example/example/shop:base",), ("reg.example/example/shop",)),),
}
# Of the files in each of their layers.
SIZES = {5, 6, 753, 5750}
NEW_MANIFEST = "sha256:7d74d057395b6c74892b02db899a93909af23058f0740c41be1bcd844eb4badc"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere."""
    amd64 = orlop.Platform("linux", "amd64")
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: amd64)


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(folder, ".")
    return out.getvalue()


def unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", archive], check=True)
    return folder


@contextlib.contextmanager
def source_of(archive: Path, way: str, place: Path) -> Iterator[Any]:
    """An archive in the way in which it comes to the reader."""
    if way == "directory":
        yield archive if archive.is_dir() else unpacked(archive, place / "unpacked")
        return
    data = packed(archive) if archive.is_dir() else archive.read_bytes()
    if way == "stream":
        yield io.BytesIO(data)
        return
    if way == "pipe":
        reader, writer = os.pipe()

        def feed() -> None:
            with os.fdopen(writer, "wb") as sink:
                sink.write(data)

        thread = threading.Thread(target=feed)
        thread.start()
        with os.fdopen(reader, "rb") as source:
            yield source
        thread.join()
        return
    path = place / "archive.tar"
    path.write_bytes(gzip.compress(data) if way == "compressed" else data)
    yield path


def said(found: Any) -> tuple[Image, ...]:
    """What a report or an archive says of its images."""
    return tuple(
        Image(
            str(image.id),
            tuple(name.familiar for name in image.references),
            tuple(name.familiar_name for name in image.digests),
        )
        for image in found.images
    )


WAYS = ["file", "stream", "pipe", "compressed", "directory"]


@pytest.mark.sampled(8)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EXPECTED)
def test_an_archive_gives_its_images_and_names(images, data, tmp_path, name, way):
    archive = data / "foreign-archives" / name
    with source_of(archive, way, tmp_path) as source:
        report = images.load(source)
    assert said(report) == EXPECTED[name]
    listed = {str(image.id): image for image in images.images(all=True)}
    assert sorted(listed) == sorted(image.id for image in EXPECTED[name])
    for image in EXPECTED[name]:
        assert [tag.familiar for tag in listed[image.id].repo_tags] == list(image.tags)
        assert [digest.familiar_name for digest in listed[image.id].repo_digests] == list(image.repositories)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", EXPECTED)
def test_an_archive_without_a_store_says_the_same(images, data, tmp_path, name):
    archive = data / "foreign-archives" / name
    with orlop.Archive(archive) as read:
        assert said(read) == EXPECTED[name]
        assert {layer.size for image in read.images for layer in image.layers} <= SIZES
        form = read.format
    assert images.load(archive).format == form
    images.close()


def test_the_size_is_that_of_the_files(images, data):
    images.load(data / "foreign-archives" / "18-base.tar")
    assert [image.size for image in images.images()] == [6]


INCOMPLETE = "18a-base-layer-missing.tar"


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_that_the_store_has_need_not_be_in_the_archive(images, data, tmp_path, way):
    images.load(data / "foreign-archives" / "18-base.tar")
    with source_of(data / "foreign-archives" / INCOMPLETE, way, tmp_path) as source:
        report = images.load(source)
    assert said(report) == (Image(APP, ("ex/top:1",)),)
    images.save(["ex/top:1"], tmp_path / "out.tar")
    with orlop.open(tmp_path / "other") as others:
        assert [str(image.id) for image in others.load(tmp_path / "out.tar").images] == [APP]


@pytest.mark.parametrize("way", WAYS)
def test_an_archive_that_lacks_a_layer_is_refused_where_the_store_lacks_it_too(images, data, tmp_path, way):
    with (
        source_of(data / "foreign-archives" / INCOMPLETE, way, tmp_path) as source,
        pytest.raises(errors.InvalidArchive, match=r"7a1832e7.*/layer\.tar', but has no such member; it is incomplete"),
    ):
        images.load(source)
    assert images.images(all=True) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_layout_of_what_is_new_is_loaded_where_the_rest_is(images, data, tmp_path, way):
    archive = data / "foreign-archives" / "incremental-new"
    with (
        source_of(archive, way, tmp_path) as source,
        pytest.raises(errors.InvalidArchive, match="has no such member; it is incomplete"),
    ):
        images.load(source)
    assert images.images(all=True) == []
    images.load(data / "foreign-archives" / "incremental-base")
    with source_of(archive, way, tmp_path) as source:
        (image,) = images.load(source).images
    assert [name.familiar for name in image.references] == ["reg.example/example/shop:new"]
    assert str(image.digests[0]).endswith(NEW_MANIFEST)
    assert images.inspect(f"reg.example/example/shop@{NEW_MANIFEST}").image.id == image.id


@pytest.mark.parametrize("way", WAYS)
def test_content_by_other_digests_than_sha256_is_kept_whichever_way_it_comes(images, data, tmp_path, way):
    with source_of(data / "foreign-archives" / "digests-and-data", way, tmp_path) as source:
        report = images.load(source)
    assert {image.id.short for image in report.images} == {"f0bfd4631e4c"}
    assert any((Path(images.root) / "blobs" / "sha512").iterdir())
    assert not [one.message for one in orlop.stores.fsck(images.root).problems]


def test_an_archive_that_lacks_a_layer_is_incomplete_without_a_store(data):
    with (
        orlop.Archive(data / "foreign-archives" / INCOMPLETE) as archive,
        pytest.raises(errors.InvalidArchive, match="it is incomplete"),
    ):
        archive.verify()


def test_a_folder_of_blobs_that_is_a_link_is_named(images, data, tmp_path):
    """LXC lets all layouts of a cache share one folder of blobs."""
    layout = unpacked(data / "foreign-archives" / "09-attestation-at-top-without-platform.tar", tmp_path / "oci")
    (layout / "blobs" / "sha256").rename(tmp_path / "cache")
    (layout / "blobs" / "sha256").symlink_to("../../cache")
    with pytest.raises(errors.InvalidArchive, match=r"'blobs/sha256' is a link to '\.\./\.\./cache'; links to folders"):
        images.load(layout)
    (layout / "blobs" / "sha256").unlink()
    (layout / "blobs" / "sha256").write_text("../../cache")
    with pytest.raises(errors.InvalidArchive, match="'blobs/sha256' is a file, perhaps a link that was copied as one"):
        images.load(layout)
    # Links to files are followed, as in a tar.
    (layout / "blobs" / "sha256").unlink()
    (layout / "blobs" / "sha256").mkdir()
    (tmp_path / "cache").rename(layout / "cache")
    for blob in (layout / "cache").iterdir():
        (layout / "blobs" / "sha256" / blob.name).symlink_to(f"../../cache/{blob.name}")
    assert [str(image.id) for image in images.load(layout).images] == [BASE]
