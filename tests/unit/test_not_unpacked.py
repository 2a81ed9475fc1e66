"""What nobody can unpack, through every verb: each gives the right thing, or one clear sentence."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from tests.unit.layouts import CONFIG, MANIFEST, Layout, layer_tar, named, sha256
from tests.unit.odd_layouts import (
    a_table_of_contents_of_stargz,
    encrypted_layers,
    encrypted_layers_that_begin_like_a_tar,
    nydus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "example/app:1"
KINDS = {
    "encrypted": lambda layout: encrypted_layers(layout)[0],
    "nydus": lambda layout: nydus(layout)[0],
    "without rootfs": lambda layout: a_table_of_contents_of_stargz(layout)[1],
}

WHY = {
    "encrypted": "its layers are encrypted; look at a copy that was decrypted",
    "nydus": "a layer of it, of the type application/vnd.oci.image.layer.nydus.blob.v1, is not a tar of files",
    "without rootfs": "it is an artifact, whose content is not unpacked",
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def top(kind: str, tmp_path: Path) -> dict[str, Any]:
    layout = Layout()
    made: dict[str, Any] = KINDS[kind](layout) | named(NAME)
    with orlop.open(tmp_path / "root") as images:
        report = images.load(io.BytesIO(layout.top(made).pack()))
    assert [str(one.digest) for one in report.artifacts] == [made["digest"]]
    return made


@pytest.fixture
def images(top: dict[str, Any], tmp_path: Path) -> Iterator[orlop.ImageService]:
    assert top
    with orlop.open(tmp_path / "root") as service:
        yield service


VERBS: dict[str, Callable[[orlop.ImageService, Any], Any]] = {
    "inspect": lambda images, name: images.inspect(name),
    "history": lambda images, name: images.history(name),
    "ls": lambda images, name: images.files(name),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("by", ["name", "digest", "name by digest"])
def test_what_needs_an_image_says_what_the_name_means(
    images: orlop.ImageService, top: dict[str, Any], kind: str, verb: str, by: str
):
    name = {"name": NAME, "digest": top["digest"], "name by digest": f"example/app@{top['digest']}"}[by]
    with pytest.raises(errors.ImageNotFound, match=r"^No such image: .*; .* carry it as it is$") as caught:
        VERBS[verb](images, name)
    assert WHY[kind] in str(caught.value)


@pytest.mark.parametrize("by", ["name", "digest", "only"])
def test_an_archive_says_why_there_is_no_image_in_it(kind: str, tmp_path: Path, by: str):
    layout = Layout()
    made: dict[str, Any] = KINDS[kind](layout) | named(NAME)
    (tmp_path / "made.tar").write_bytes(layout.top(made).pack())
    name = {"name": NAME, "digest": made["digest"], "only": None}[by]
    why = "" if kind == "without rootfs" else WHY[kind]
    for look in (orlop.ArchiveService.files, orlop.ArchiveService.history):
        with (
            orlop.ArchiveService(tmp_path / "made.tar") as service,
            pytest.raises(errors.ImageNotFound, match=r"^(No such image: .*|the archive holds no image.*)$") as caught,
        ):
            look(service, name)
        assert why in str(caught.value)


def test_an_index_of_encrypted_images_says_so(tmp_path: Path):
    layout = Layout()
    [made] = encrypted_layers_that_begin_like_a_tar(layout)
    made |= named(NAME)
    (tmp_path / "made.tar").write_bytes(layout.top(made).pack())
    with orlop.open(tmp_path / "root") as images, orlop.ArchiveService(tmp_path / "made.tar") as archive:
        images.load(str(tmp_path / "made.tar"))
        services: tuple[orlop.ImageService | orlop.ArchiveService, ...] = (images, archive)
        for service in services:
            with pytest.raises(errors.ImageNotFound, match=WHY["encrypted"]):
                service.files(NAME)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("by", ["name", "digest", "name by digest"])
def test_a_format_of_images_alone_says_which_others_there_are(
    images: orlop.ImageService, top: dict[str, Any], tmp_path: Path, by: str
):
    name = {"name": NAME, "digest": top["digest"], "name by digest": f"example/app@{top['digest']}"}[by]
    with pytest.raises(errors.NotFound, match=r"carry it as it is, in the formats 'docker', 'oci' and 'oci-dir'$"):
        images.save([name], tmp_path / "out.tar", format="docker-20.10")
    assert not (tmp_path / "out.tar").exists()


def test_it_is_shown_as_an_artifact(images: orlop.ImageService, top: dict[str, Any]):
    assert images.images(all=True) == []
    [tree] = images.tree()
    assert (tree.kind, tree.image, tree.names) == ("artifact", None, (NAME,))
    assert tree.label == "application/vnd.oci.image.config.v1+json"
    assert str(tree.digest) == top["digest"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "oci", "oci-dir"])
def test_it_is_saved_as_it_came(images: orlop.ImageService, top: dict[str, Any], tmp_path: Path, form: str):
    images.save([NAME], str(tmp_path / "out"), format=form)
    with orlop.open(tmp_path / "other") as others:
        [again] = others.load(tmp_path / "out").artifacts
        assert (str(again.digest), [one.familiar for one in again.references]) == (top["digest"], [NAME])
        assert orlop.stores.fsck(tmp_path / "other").problems == ()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["oci:{}", "oci-archive:{}", "dir:{}", "docker-archive:{}"])
def test_it_is_copied_as_it_came(images: orlop.ImageService, top: dict[str, Any], tmp_path: Path, form: str):
    [copied] = images.copy(f"store:{NAME}", form.format(tmp_path / "out")).images
    assert str(copied.digest) == top["digest"]


def test_it_stays_until_it_is_removed(images: orlop.ImageService, tmp_path: Path):
    assert images.gc().garbage == ()
    assert images.tree()
    assert orlop.stores.fsck(tmp_path / "root").problems == ()
    images.remove(NAME)
    assert images.tree() == ()
    images.gc()
    assert list((tmp_path / "root" / "blobs" / "sha256").iterdir()) == []


def test_an_index_of_nothing_that_is_here_says_so(tmp_path: Path):
    layout = Layout()
    absent = Layout().image("absent", platform=True)
    layout.top(layout.index(absent, **named(NAME)), layout.image("here", **named("here:1")))
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.pack()))
        with pytest.raises(errors.ImageNotFound, match="it is an index without an image that is here"):
            images.inspect(NAME)
        images.save([NAME], str(tmp_path / "out"), format="oci-dir", platform="all")
    assert len(json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_an_image_without_some_of_its_layers_is_not_said_to_be_unknown(tmp_path: Path, verb: str):
    """Layers of Windows are not in archives: their descriptors say where they are."""
    layout, tar = Layout(), layer_tar("a")
    config = {"architecture": "amd64", "os": "windows", "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"elsewhere"),
        "size": 9,
        "urls": ["https://layers.example.com/1"],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.document(config, CONFIG),
        "layers": [layer],
    }
    archive = layout.top(layout.document(manifest, MANIFEST) | named(NAME)).pack()
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(archive))
        with pytest.raises(errors.ImageNotFound, match=r"^No such image: .*; not all of its layers are here: .* as it"):
            VERBS[verb](images, NAME)
        with pytest.raises(errors.ImageNotFound, match="not all of its layers are here"):
            images.save([NAME], tmp_path / "out.tar", format="docker-20.10")
        images.save([NAME], tmp_path / "out", format="oci-dir")
