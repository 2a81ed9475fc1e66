"""Where the list of all images is lost: nobody may take what is left for all there was."""

from __future__ import annotations

import errno
import json
import os
import re
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
    # By their names two are known of, and these can be read.
    assert [image.state for image in report.images] == ["complete"] * 2
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


@pytest.mark.sampled(2)
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
    (root / "overlay-images").mkdir()
    assert look(root).is_partial
    # A store that says that it has no images, but has layers, may have been interrupted in a pull.
    (root / "overlay-images/images.json").write_text("[]")
    report = look(root)
    assert not report.is_partial
    assert any("no image is left that has one of the layers" in note for note in report.notes)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("engine-20.10-overlay2", "image"),
        ("engine-20.10-overlay2", "image/overlay2"),
        ("engine-20.10-vfs", "image"),
        ("engine-20.10-overlay2", "image/overlay2/imagedb/content/sha256"),
        ("podman-4.3-vfs", "vfs-images"),
        ("podman-5.8-imagestore", "images"),
        ("podman-5.8-imagestore", "images/overlay-images"),
    ],
)
@pytest.mark.parametrize("how", ["emptied", "gone"])
def test_a_root_that_has_lost_all_images_is_not_one_that_had_none(data, tmp_path, name, part, how, capsysbinary):
    root = unpack(data, name, tmp_path / "disk")
    for names in root.rglob("repositories.json"):
        names.unlink()
    shutil.rmtree(root / part)
    if how == "emptied":
        (root / part).mkdir()
    assert status(root) == status(root, "--into", str(tmp_path / "out.tar")) == 6
    out, err = capsysbinary.readouterr()
    assert re.search(rb"no image is (here|left)|is missing, and all images|missing from the image database", err + out)


def test_layers_without_images_may_be_those_of_a_build_cache(tmp_path):
    root = tmp_path / "docker"
    make_root(root, 2, {})
    names = root / "image/overlay2/repositories.json"
    for config in (root / "image/overlay2/imagedb/content/sha256").iterdir():
        config.unlink()
    names.write_text('{"Repositories":{}}')
    report = look(root)
    assert not report.is_partial
    said = "docker overlay2: no image is left that has one of the layers in its layer database (2)"
    assert said in report.notes
    names.unlink()
    report = look(root)
    assert report.is_partial
    assert said in report.notes


def test_an_image_of_which_only_the_engines_notes_are_left_is_told_of(tmp_path):
    root = tmp_path / "docker"
    make_root(root, 2, {})
    database = root / "image/overlay2/imagedb"
    (root / "image/overlay2/repositories.json").write_text('{"Repositories":{}}')
    lost, kept = sorted((database / "content/sha256").iterdir())
    (database / "metadata/sha256" / lost.name).mkdir(parents=True)
    lost.unlink()
    first, second = sorted(look(root).images, key=lambda image: image.state)
    assert (first.image.id, first.state) == (f"sha256:{kept.name}", "complete")
    assert (second.image.id, second.state) == (f"sha256:{lost.name}", "damaged")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["engine-20.10-overlay2", "engine-20.10-vfs", "podman-5.8-imagestore"])
def test_the_changes_of_containers_outlive_what_leads_to_them(data, tmp_path, name):
    root = unpack(data, name, tmp_path / "disk")

    def changes() -> dict[str, bytes]:
        with open_root(root) as found:
            return {one.id: b"".join(found.changes(one.id)) for one in found.containers if one.files is not None}

    before = changes()
    assert before
    for mounts in [*root.rglob("layerdb/mounts"), *root.rglob("overlay-containers")]:
        shutil.rmtree(mounts)
    after = changes()
    assert sorted(after.values()) == sorted(before.values())
    # They are known by the names of their layers now.
    assert not after.keys() & before.keys()
    # Docker has names in another place.
    said = {one.id: one.problem for one in look(root).containers if one.files is None}
    assert (said.keys() == before.keys()) == name.startswith("engine")
    assert all("its layer is lost" in problem for problem in said.values())


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
