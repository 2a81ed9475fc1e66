"""What Docker 28 with containerd storage and Podman 5.8 left behind, and what comes out of it."""

from __future__ import annotations

import json
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import AmbiguousID
from orlop.foreign.root import open_root
from orlop.service.rescue import look, rescue_container, rescue_store
from tests.foreign_roots import folder, make_root, unpack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def docker(data, tmp_path):
    return unpack(data, "engine-28-containerd", tmp_path / "docker")


@pytest.fixture
def podman(data, tmp_path):
    return unpack(data, "podman-5.8-overlay", tmp_path / "storage")


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_the_images_of_an_index_are_rescued_one_by_one_and_it_is_kept(docker, data, tmp_path):
    listed = dict(
        line.split("\t")[:2] for line in (folder(data, "engine-28-containerd") / "images.txt").read_text().splitlines()
    )
    report = rescue_store(tmp_path / "store", docker)
    shown = [image for image in report.images if "multi:1" in image.image.names]
    assert [image.state for image in shown] == ["rescued", "rescued"]
    assert {name for image in report.images for name in image.image.names} == set(listed)
    with orlop.open(tmp_path / "store") as images:
        kept = {name: images.inspect(name).manifests for name in ("multi:1", "one:1")}
        platforms = {images.inspect(image.image.id).image.architecture for image in shown}
    assert platforms == {"amd64", "arm64"}
    # Docker's ID of an image is the digest of its index.
    assert {name: listed[name] in found for name, found in kept.items()} == {"multi:1": True, "one:1": True}
    assert not orlop.stores.fsck(tmp_path / "store").damage


def test_an_index_belongs_to_the_image_that_is_whole_where_the_other_is_not(docker, tmp_path):
    with open_root(docker) as root:
        arm = next(one.offered for one in root.images if one.offered and one.offered.platform.architecture == "arm64")
    digest = arm.layers[-1].digest
    assert digest is not None
    (docker / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256" / digest.hex).unlink()
    report = rescue_store(tmp_path / "store", docker, ["multi:1"])
    assert [(image.image.names, image.state) for image in report.images] == [
        (("multi:1",), "rescued"),
        (("multi:1",), "damaged"),
    ]
    with orlop.open(tmp_path / "store") as images:
        assert images.inspect("multi:1").image.architecture == "amd64"


def test_the_name_of_an_index_stands_for_all_of_its_images(docker):
    found = look(docker, ["multi:1"]).images
    assert {image.image.offered and image.image.offered.platform.architecture for image in found} == {"amd64", "arm64"}


def test_a_blob_that_is_no_tar_has_not_another_digest(docker):
    found = look(docker, ["broken:1"], verify=True).images[0]
    assert found.state == "damaged"
    assert "what its files give is not a layer: tar member 1" in found.problems[0]
    assert "another digest" not in found.problems[0]
    with open_root(docker) as root:
        offered = next(one.offered for one in root.images if "broken:1" in one.names)
        assert offered is not None
        digest = offered.layers[0].digest
        assert digest is not None
    blob = docker / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256" / digest.hex
    blob.chmod(0o644)
    blob.write_bytes(b"y" * blob.stat().st_size)
    assert "is damaged: it has another digest" in look(docker, ["broken:1"], verify=True).images[0].problems[0]


def test_a_container_of_containerd_storage_is_listed_and_copied_out(docker, tmp_path):
    listed = look(docker).containers
    assert [(one.name, one.problem) for one in listed] == [("work", "")]
    rescue_container(tmp_path / "work.tar", docker, "work")
    assert members(tmp_path / "work.tar") == ["added"]
    # Its settings are lost, or lie elsewhere: it has its ID all the same.
    shutil.rmtree(docker / "containers")
    assert [(one.name, one.id) for one in look(docker).containers] == [("", listed[0].id)]
    rescue_container(tmp_path / "again.tar", docker / "containerd" / "daemon", listed[0].id[:12])
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "work.tar").read_bytes()


def test_without_the_list_of_snapshots_only_the_names_of_containers_are_found_and_images_are(docker):
    before = {(one.id, one.name) for one in look(docker).containers}
    (docker / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/metadata.db").write_bytes(b"junk")
    report = look(docker)
    assert {(one.id, one.name) for one in report.containers} == before
    assert all(one.files is None and "its layer is lost" in one.problem for one in report.containers)
    assert {image.state for image in report.images} == {"complete"}


def test_containers_that_the_database_has_lost_are_found_by_their_snapshots(data, tmp_path):
    root = unpack(data, "containerd-2.1", tmp_path / "disk")
    before = {one.files for one in look(root).containers}
    assert len(before) > 1
    (root / "io.containerd.metadata.v1.bolt/meta.db").write_bytes(b"")
    report = look(root)
    assert {one.files for one in report.containers} == before
    assert {image.state for image in report.images} == {"complete"}


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_without_the_list_of_layers_a_store_of_images_has_its_tar_splits_too(data, tmp_path, how):
    root = unpack(data, "podman-5.8-imagestore", tmp_path / "disk")
    layers = root / "images/overlay-layers/layers.json"
    layers.unlink()
    if how == "empty":
        layers.write_bytes(b"")
    assert [image.state for image in look(root, verify=True).images] == ["whole", "whole"]


def test_the_names_of_a_list_of_images_go_to_its_images(podman, data, tmp_path):
    lines = (folder(data, "podman-5.8-overlay") / "images.txt").read_text().splitlines()
    listed = {image: name for name, image in (line.split("\t") for line in lines)}
    report = look(podman, verify=True)
    assert {image.state for image in report.images} == {"whole"}
    names: dict[str, set[str]] = {}
    for image in report.images:
        assert image.image.offered is not None
        for name in image.image.names:
            names.setdefault(name, set()).add(image.image.offered.platform.architecture)
    assert names == {"localhost/multi:1": {"amd64", "arm64"}, "localhost/one:1": {"amd64"}}
    # Those two are lists: one of them is empty.
    assert set(listed) - {image.image.id for image in report.images} == {
        image for image, name in listed.items() if name in {"localhost/multi:1", "localhost/empty:1"}
    }
    assert any("localhost/empty:1 is a list of 0 images, none of which" in note for note in report.notes)
    rescue_store(tmp_path / "store", podman, ["localhost/multi:1"])
    with orlop.open(tmp_path / "store") as images:
        assert images.inspect("localhost/multi:1").image.architecture == "amd64"


def test_an_image_of_a_list_may_have_another_id_than_its_config(podman):
    before = {(image.image.id, image.image.names) for image in look(podman).images}
    path = podman / "overlay-images" / "images.json"
    for image, names in before:
        if "localhost/multi:1" in names:
            digits = image.removeprefix("sha256:")
            (path.parent / digits).rename(path.parent / digits[::-1])
            path.write_text(path.read_text().replace(digits, digits[::-1]))
    report = look(podman)
    assert {(image.image.id, image.image.names) for image in report.images} == before
    assert not any("multi:1 is a list" in note for note in report.notes)


@pytest.mark.parametrize("left", [None, b"[", b"[]"])
def test_a_list_of_images_is_one_without_the_list_of_all_images_too(podman, left):
    path = podman / "overlay-images" / "images.json"
    path.unlink() if left is None else path.write_bytes(left)
    report = look(podman, verify=True)
    assert {image.state for image in report.images} <= {"whole"}
    assert any("is a list of 0 images" in note for note in report.notes) == (left != b"[]")


def test_containers_that_are_not_to_stay_are_listed_too(podman, tmp_path):
    report = look(podman)
    assert {(one.name, one.problem) for one in report.containers} == {("work", ""), ("gone", "")}
    rescue_container(tmp_path / "work.tar", podman, "work")
    assert "added" in members(tmp_path / "work.tar")


def test_a_list_of_containers_is_missed_only_where_something_lies_beside_it(podman):
    folder = podman / "overlay-containers"
    (folder / "containers.json").unlink()
    assert any("containers.json is missing" in note for note in look(podman).notes)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    assert not any("containers.json" in note for note in look(podman).notes)


def test_artifacts_are_named_and_come_out(podman, tmp_path):
    note = next(note for note in look(podman).notes if "artifact" in note)
    place = note[note.index("oci:") :]
    assert place == f"oci:{podman}/artifacts"
    with orlop.open(tmp_path / "store", create=True) as images:
        images.copy(f"{place}:localhost/art:1", f"oci:{tmp_path / 'out'}:art")
    assert b"art\n" in {path.read_bytes() for path in (tmp_path / "out/blobs/sha256").iterdir()}
    (podman / "artifacts" / "index.json").write_bytes(b'{"manifests": 1}')
    assert not any("artifact" in note for note in look(podman).notes)


def test_a_store_of_images_of_its_own_has_its_tar_splits_beside_the_containers(data, tmp_path):
    disk = unpack(data, "podman-5.8-imagestore", tmp_path / "disk")
    report = look(disk, verify=True)
    assert [(one.image.names, one.state) for one in report.images] == [((), "whole"), (("localhost/b:1",), "whole")]
    assert [one.name for one in report.containers] == ["work"]
    assert report.notes == ()
    # Either alone says what it lacks.
    alone = look(disk / "images", verify=True)
    assert {one.state for one in alone.images} == {"damaged"}
    assert "tar-split.gz is missing" in alone.images[0].problems[0]
    alone = look(disk / "graph")
    said = "podman overlay: no image is here, but there are containers of images (1): are these in another directory?"
    assert (alone.images, alone.notes, alone.is_partial) == ((), (said,), True)


def test_settings_lead_to_a_store_of_images_and_to_the_containers(data, tmp_path):
    disk = unpack(data, "podman-5.8-imagestore", tmp_path / "disk")
    for place in ("srv/a/graph", "srv/b/images"):
        (disk / place).parent.mkdir(parents=True)
        (disk / place.rpartition("/")[2]).rename(disk / place)
    (disk / "etc/containers").mkdir(parents=True)
    settings = '[storage]\ngraphroot = "/srv/a/graph"\nimagestore = "/srv/b/images"\n'
    (disk / "etc/containers/storage.conf").write_text(settings)
    assert [one.state for one in look(disk, verify=True).images] == ["whole", "whole"]


def test_an_image_that_was_not_unpacked_has_the_size_of_its_content_as_its_engine_says(docker, data):
    lines = (folder(data, "engine-28-containerd") / "images.txt").read_text().splitlines()
    listed = {name: size for name, _, size in (line.split("\t") for line in lines)}
    sizes = {image.image.names: image.image.size for image in look(docker).images}
    assert listed["broken:1"] == "717B"
    assert sizes["broken:1",] == 717
    # Where it is not known what was unpacked, neither is the size.
    (docker / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/metadata.db").unlink()
    assert {image.image.size for image in look(docker).images} == {None}


def test_images_are_listed_beside_one_that_cannot_be_read(docker):
    (docker / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/metadata.db").unlink()
    with orlop.RootService(docker) as images:
        assert {tag.familiar for image in images.images() for tag in image.repo_tags} >= {"broken:1", "one:1"}


def test_a_name_that_two_engines_have_is_said_to_be_one(tmp_path):
    for name in ("one", "other"):
        make_root(tmp_path / name, 1, {name: b"x"})
    with orlop.RootService(tmp_path) as images:
        with pytest.raises(AmbiguousID, match="are called made/image:0; give the ID of one"):
            images.inspect("made/image:0")
        ids = {image.image.id for image in look(tmp_path).images}
        assert {str(images.inspect(one).image.id) for one in ids} == ids
        assert len(ids) == 2


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_with_each_page_of_the_list_of_snapshots_damaged_in_turn_nothing_wrong_is_listed(docker, fill):
    path = docker / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/metadata.db"
    raw = path.read_bytes()
    whole = look(docker)
    sizes = {(image.image.id, image.image.names): image.image.size for image in whole.images}
    used = [place for place in range(0, len(raw), 4096) if raw[place : place + 4096].strip(b"\0")]
    seen = set()
    for place in used:
        path.write_bytes(raw[:place] + fill * 4096 + raw[place + 4096 :])
        found = look(docker)
        there = {one for one in found.containers if one.files is not None}
        assert there <= set(whole.containers)
        # Those whose snapshots are not known are in the settings.
        assert {one.id for one in found.containers} == {one.id for one in whole.containers}
        # A size is right, or it is not known; of an older transaction there may be fewer snapshots.
        if place >= 2 * 4096:
            assert all(one.image.size in {None, sizes[one.image.id, one.image.names]} for one in found.images)
        seen.add(len(there))
    assert seen == {0, 1}


def test_a_list_is_missed_only_where_it_had_something(data, tmp_path):
    root = unpack(data, "podman-5.8-overlay", tmp_path / "storage")
    containers = root / "overlay-containers"
    missing = f"podman overlay: {containers}/containers.json is missing"
    kept = [entry["id"] for entry in json.loads((containers / "containers.json").read_bytes())]
    (containers / "containers.json").unlink()
    assert missing in look(root).notes
    for container in kept:
        shutil.rmtree(containers / container)
    layers = root / "overlay-layers/layers.json"
    described = [layer for layer in json.loads(layers.read_bytes()) if "diff-digest" in layer]
    layers.write_text(json.dumps(described))
    # Builds and containers with --rm are in the other list alone.
    report = look(root)
    assert len(report.containers) == 1
    assert not [note for note in report.notes if "containers.json" in note]
