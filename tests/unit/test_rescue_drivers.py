"""Roots of storage drivers that cannot be run everywhere, by the places where they have their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.service.rescue import look, rescue_container
from tests.foreign_roots import make_root, unpack

if TYPE_CHECKING:
    from pathlib import Path

LAYER = f"{0:064x}"


def made(root: Path, driver: str, place: str) -> Path:
    make_root(root, 1, {"a": b"b", "c/d": b"e" * 1000})
    (root / "image" / "overlay2").rename(root / "image" / driver)
    if place:
        (root / place).parent.mkdir(parents=True)
        (root / "overlay2" / LAYER / "diff").rename(root / place)
    return root


@pytest.mark.parametrize(
    ("driver", "place"),
    [
        ("aufs", "aufs/diff/{}"),
        ("btrfs", "btrfs/subvolumes/{}"),
        ("fuse-overlayfs", "fuse-overlayfs/{}/diff"),
        ("overlay", "overlay/{}/root"),
        ("vfs", "vfs/dir/{}"),
        ("zfs", "zfs/graph/{}"),
        ("devicemapper", "devicemapper/mnt/{}/rootfs"),
    ],
)
def test_layers_are_found_where_a_driver_has_or_mounts_them(tmp_path, driver, place):
    report = look(made(tmp_path / "docker", driver, place.format(LAYER)), verify=True)
    assert report.places == (f"docker {driver}",)
    assert [image.state for image in report.images] == ["whole"]


@pytest.mark.parametrize(
    ("driver", "problem", "note"),
    [
        ("zfs", f"in a dataset of zfs, which is not mounted at zfs/graph/{LAYER}", "in a dataset of its own"),
        (
            "devicemapper",
            f"in a thin volume of devicemapper, which is not mounted at devicemapper/mnt/{LAYER}",
            "in a thin volume of its own",
        ),
        ("windowsfilter", "in a way that orlop does not know", "only configs and names are listed"),
    ],
)
@pytest.mark.parametrize("verify", [False, True])
def test_what_cannot_be_reached_is_told_in_a_sentence(tmp_path, driver, problem, note, verify):
    root = made(tmp_path / "docker", driver, "")
    if driver != "windowsfilter":
        # The daemon leaves the place where it mounted something.
        (root / driver / ("mnt" if driver == "devicemapper" else "graph") / LAYER).mkdir(parents=True)
    report = look(root, verify=verify)
    assert [image.state for image in report.images] == ["damaged"]
    assert report.images[0].image.names == ("made/image:0",)
    assert problem in report.images[0].problems[0]
    assert any(note in one for one in report.notes)


@pytest.mark.sampled(2)
def test_btrfs_has_what_vfs_has(data, tmp_path):
    root = unpack(data, "engine-20.10-vfs", tmp_path / "docker")
    before = look(root, verify=True)
    (root / "image" / "vfs").rename(root / "image" / "btrfs")
    (root / "btrfs").mkdir()
    (root / "vfs" / "dir").rename(root / "btrfs" / "subvolumes")
    after = look(root, verify=True)
    assert [(one.state, one.image.id) for one in after.images] == [(one.state, one.image.id) for one in before.images]
    assert [one.id for one in after.containers if one.files] == [one.id for one in before.containers if one.files]
    for one in after.containers:
        if one.files:
            assert rescue_container(tmp_path / "changes.tar", root, one.id) >= 1024


@pytest.mark.sampled(2)
@pytest.mark.parametrize("driver", ["btrfs", "zfs"])
def test_podman_has_drivers_of_which_the_same_holds(data, tmp_path, driver):
    root = unpack(data, "podman-4.3-vfs", tmp_path / "storage")
    before = look(root, verify=True)
    for kind in ("images", "layers", "containers"):
        if (root / f"vfs-{kind}").exists():
            (root / f"vfs-{kind}").rename(root / f"{driver}-{kind}")
    (root / driver).mkdir()
    (root / "vfs" / "dir").rename(root / driver / ("subvolumes" if driver == "btrfs" else "graph"))
    after = look(root, verify=True)
    assert [(one.state, one.image.id) for one in after.images] == [(one.state, one.image.id) for one in before.images]
