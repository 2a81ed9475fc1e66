"""Where the list of all images is lost: nobody may take what is left for all there was."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from orlop.cli.main import run
from orlop.foreign.root import open_root
from orlop.service.rescue import look, rescue_container
from tests.foreign_roots import make_root, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def unlistable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A disk that cannot read some directory, which no file system here can be asked for."""

    def unreadable(path: Path) -> None:
        state = path.stat()

        def listed(place: int) -> list[str]:
            if os.fstat(place).st_ino == state.st_ino:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(place)

        real = os.listdir
        monkeypatch.setattr(os, "listdir", listed)

    return unreadable


def status(root: Path, *options: str) -> int:
    return run(["rescue", str(root), *options])


@pytest.mark.parametrize("name", ["imagedb", "imagedb/content", "imagedb/content/sha256"])
def test_a_lost_image_database_is_not_a_root_without_images(tmp_path, name, capsysbinary):
    root = tmp_path / "docker"
    make_root(root, 2, {"a": b"content"})
    assert status(root) == 0
    shutil.rmtree(root / "image/overlay2" / name)
    (root / "image/overlay2/repositories.json").unlink()
    report = look(root)
    assert (report.images, report.is_partial) == ((), True)
    assert status(root) == status(root, "--into", str(tmp_path / "out.tar")) == 6
    assert b"its image database is missing, and all images with it" in capsysbinary.readouterr().err


def test_an_image_database_that_a_disk_cannot_list_is_not_empty(tmp_path, unlistable):
    make_root(tmp_path / "docker", 2, {"a": b"content"})
    unlistable(tmp_path / "docker/image/overlay2/imagedb/content/sha256")
    report = look(tmp_path)
    # By their names two are known of.
    assert [image.state for image in report.images] == ["damaged"] * 2
    assert report.is_partial
    assert [note for note in report.notes if "imagedb/content/sha256 cannot be read" in note]
    assert not look(tmp_path, ["made/image:0"]).is_partial


def test_a_layer_database_that_a_disk_cannot_list_is_named(tmp_path, unlistable):
    make_root(tmp_path, 1, {"a": b"content"})
    unlistable(tmp_path / "image/overlay2/layerdb/sha256")
    report = look(tmp_path)
    assert [image.state for image in report.images] == ["damaged"]
    assert [note for note in report.notes if "layerdb/sha256 cannot be read" in note]


def test_images_of_podman_that_a_disk_cannot_list_may_be_any_number(data, tmp_path, unlistable):
    root = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    unlistable(root / "overlay-images")
    # While they are in the list, nobody has to look for them.
    assert not look(root).is_partial
    (root / "overlay-images/images.json").write_bytes(b"")
    report = look(root)
    assert report.is_partial
    assert [note for note in report.notes if "overlay-images cannot be read" in note]


@pytest.mark.parametrize("wrong", ["one", "all", "those of others"])
def test_layers_that_a_damaged_list_of_podman_calls_others_are_found(data, tmp_path, wrong):
    root = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    whole = {image.image.id for image in look(root, verify=True).images if image.state == "whole"}
    listed = root / "overlay-layers/layers.json"
    layers = json.loads(listed.read_bytes())
    claims = [layer for layer in layers if "diff-digest" in layer]
    said = [layer["diff-digest"] for layer in claims]
    for number, layer in enumerate(claims[: 1 if wrong == "one" else None]):
        layer["diff-digest"] = said[number - 1] if wrong == "those of others" else f"sha256:{number:064x}"
    listed.write_text(json.dumps(layers))
    assert {image.image.id for image in look(root, verify=True).images if image.state == "whole"} == whole


def test_of_layers_whose_tar_splits_stand_in_for_each_other_no_wrong_byte_comes_out(data, tmp_path):
    root = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    whole = {image.image.id for image in look(root, verify=True).images if image.state == "whole"}
    first, second, *_ = sorted((root / "overlay-layers").glob("*.tar-split.gz"))
    raw = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert {image.image.id for image in look(root, verify=True).images if image.state == "whole"} < whole
    second.write_bytes(raw)
    assert {image.image.id for image in look(root, verify=True).images if image.state == "whole"} == whole


def test_layers_of_podman_that_have_lost_their_images_are_told_of(data, tmp_path):
    root = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    shutil.rmtree(root / "overlay-images")
    report = look(root)
    assert not report.images
    assert report.is_partial
    assert any("no image is left that has one of the layers" in note for note in report.notes)
    # A store that lists no images, but has layers, may have been interrupted in its first pull.
    (root / "overlay-images").mkdir()
    report = look(root)
    assert not report.is_partial
    assert any("no image is left that has one of the layers" in note for note in report.notes)


@pytest.mark.parametrize("lost", ["listed", "there"])
def test_blobs_of_containerd_that_are_not_known_may_be_images(data, tmp_path, unlistable, lost):
    root = unpack(data, "containerd-1.6", tmp_path / "disk") / "containerd" / "daemon"
    blobs = root / "io.containerd.content.v1.content/blobs/sha256"
    if lost == "listed":
        unlistable(blobs)
    else:
        shutil.rmtree(blobs)
    # The database still has them all.
    assert {image.state for image in look(root).images} == {"damaged"}
    assert not look(root).is_partial
    (root / "io.containerd.metadata.v1.bolt/meta.db").write_bytes(bytes(1 << 16))
    assert look(root).is_partial
    assert any("blobs/sha256 cannot be read" in note for note in look(root).notes) == (lost == "listed")


def test_the_directory_of_a_container_is_told_from_the_top_of_the_disk(data, tmp_path):
    disk = tmp_path / "disk"
    for user in ("ann", "bob"):
        there = unpack(data, "engine-20.10-vfs", tmp_path / user)
        place = disk / f"home/{user}/.local/share/docker"
        place.parent.mkdir(parents=True)
        there.rename(place)
    found = look(disk).containers
    assert len(found) > 1
    for container in found:
        assert container.files is not None
        assert disk.joinpath(*container.files).is_dir()
        assert container.lower is not None
        assert disk.joinpath(*container.lower).is_dir()
    users = {container.files[1] for container in found if container.files}
    assert users == {"ann", "bob"}
    with open_root(disk / "home/ann/.local/share/docker") as alone:
        first = alone.containers[0]
    assert first.files is not None
    assert first.files[:2] == ("vfs", "dir")
    assert rescue_container(tmp_path / "changes.tar", disk / "home/ann", first.id)
