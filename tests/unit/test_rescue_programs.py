"""Roots of the newest programs, as they left them when they were killed: Podman 6.1, Buildah 1.45, containerd 2.1."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.foreign.root import open_root
from orlop.service.rescue import look, rescue_container, rescue_store
from tests.foreign_roots import folder, snapshot, unpack

if TYPE_CHECKING:
    from pathlib import Path

TINY = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"


@pytest.fixture
def podman(data, tmp_path):
    return unpack(data, "podman-6.1-overlay", tmp_path / "storage")


@pytest.fixture
def containerd(data, tmp_path):
    return unpack(data, "containerd-2.1", tmp_path / "containerd")


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        read = ((member.name, tar.extractfile(member)) for member in tar)
        return {name: file.read() for name, file in read if file is not None}


def test_the_images_of_podman_6_and_buildah_come_out(podman, data, tmp_path):
    lines = (folder(data, "podman-6.1-overlay") / "images.txt").read_text().splitlines()
    listed = dict(line.split() for line in lines)
    before = snapshot(podman)
    report = rescue_store(tmp_path / "store", podman)
    assert {image.state for image in report.images} == {"rescued"}
    found = {name: image.image.id for image in report.images for name in image.image.names}
    # Podman's list of images has an ID of its own, and its only image has its name here.
    assert found.pop("localhost/list:1") == TINY != listed.pop("localhost/list:1")
    assert found == listed
    assert snapshot(podman) == before
    with orlop.open(tmp_path / "store") as images:
        assert b'"by":"buildah"' in images.inspect("localhost/bld:2").image.raw_json
        images.save(["localhost/bld:2"], tmp_path / "saved.tar")
    with orlop.Archive(tmp_path / "saved.tar") as archive:
        (built,) = archive.images
        assert [layer.size for layer in built.layers] == [len(b"by buildah\n"), len(b"hi\n")]
    assert any("artifacts" in note for note in report.notes)


def test_the_containers_of_podman_6_and_buildah_come_out(podman, tmp_path):
    names = {one.name: one.problem for one in look(podman).containers}
    assert names == dict.fromkeys(("work", "gone", "working-container", "bld-working-container"), "")
    rescue_container(tmp_path / "work.tar", podman, "work")
    assert contents(tmp_path / "work.tar")["added"] == b"hi\n"
    rescue_container(tmp_path / "built.tar", podman, "bld-working-container")
    assert contents(tmp_path / "built.tar") == {"e/f": b"hi\n"}


def test_every_snapshotter_of_containerd_2_gives_its_images(containerd, tmp_path):
    before = snapshot(containerd)
    report = look(containerd, verify=True)
    assert {(image.image.id, image.image.names, image.state) for image in report.images} == {
        (TINY, ("example/tiny:1.0",), "whole")
    }
    assert [image.image.place.removeprefix("containerd ") for image in report.images] == [
        *("blockfile", "erofs", "k8s.io", "native", "overlayfs")
    ]
    sizes = [image.image.size for image in report.images]
    # An ext4 of 24 MiB has all the layers below it in it.
    assert sizes[0] == (24 << 20) + 38_621
    assert all(size is not None and 90_000 < size < 250_000 for size in sizes[1:])
    assert snapshot(containerd) == before


@pytest.mark.parametrize("snapshotter", ["erofs", "native", "overlayfs"])
def test_a_container_of_each_snapshotter_comes_out(containerd, tmp_path, snapshotter):
    rescue_container(tmp_path / "changes.tar", containerd, f"work-{snapshotter}")
    assert contents(tmp_path / "changes.tar") == {f"added-{snapshotter}": f"changed by {snapshotter}\n".encode()}


def test_the_containers_of_kubernetes_have_their_names_and_those_of_blockfile_a_reason(containerd):
    with open_root(containerd) as root:
        found = {one.name or one.id: one for one in root.containers}
    assert found.keys() == {"web", *(f"work-{one}" for one in ("blockfile", "erofs", "native", "overlayfs"))}
    assert (found["web"].id, found["web"].place) == ("0123abcd", "containerd k8s.io")
    assert found["work-blockfile"].files is None
    assert found["work-blockfile"].problem == "what it has changed cannot be read with the snapshotter blockfile"


@pytest.mark.parametrize(("driver", "image"), [("overlay", "a0fbe0cf2e7a"), ("vfs", "f4914a469797")])
def test_what_podman_keeps_for_an_ordinary_user_comes_out_with_the_owners_in_it(data, tmp_path, driver, image):
    """On the disk owners are those of a user namespace, from 200000 on; in a layer they are as the image has them."""
    root = unpack(data, "podman-6.1-rootless", tmp_path / "home") / driver
    report = rescue_store(tmp_path / "store", root)
    assert {one.image.names: one.state for one in report.images} == {
        ("localhost/example/tiny:1.0",): "rescued",
        ("localhost/committed:1",): "rescued",
    }
    with orlop.open(tmp_path / "store") as images:
        committed = images.inspect("localhost/committed:1")
        assert str(committed.image.id).startswith(f"sha256:{image}")
        images.save(["localhost/committed:1"], tmp_path / "saved.tar")
    with orlop.Archive(tmp_path / "saved.tar") as archive:
        (tmp_path / "layer.tar").write_bytes(b"".join(archive.images[0].layers[-1].chunks()))
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {one.name: one for one in tar}
    added = members["added"]
    assert (added.uid, added.gid, added.mode & 0o7777) == (33, 44, 0o6755)
    assert (members["data/a/n"].uid, members["data/a"].uid) == (33, 0)
    # What was deleted, and what was put in place of it.
    assert ".wh.opt" in members
    assert {"data/a/.wh..wh..opq"} <= members.keys() or {one for one in members if one.startswith("data/a/.wh.")}


def test_layers_that_podman_keeps_in_composefs_come_out(data, tmp_path):
    """Files lie there under digests, and an image of EROFS has their names: each is found by its size and CRC-64."""
    root = unpack(data, "podman-6.1-composefs", tmp_path / "storage")
    assert len(list(root.glob("overlay/*/composefs-data/composefs.blob"))) == 5
    before = snapshot(root)
    (image,) = rescue_store(tmp_path / "store", root).images
    assert (image.state, image.image.names) == ("rescued", ("127.0.0.1:15917/tiny:gz", "127.0.0.1:15917/tiny:z"))
    assert snapshot(root) == before
    (lost,) = (path for path in root.glob("overlay/*/diff/3f/*") if path.is_file())
    lost.unlink()
    assert look(root).images[0].state == "complete"
    (damaged,) = look(root, verify=True).images
    assert "its file " in damaged.problems[0]
    assert "is lost" in damaged.problems[0]
