"""Snapshots of containerd, in databases that are made here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.foreign.disk import Folder
from orlop.foreign.snapshots import Snapshots
from orlop.model.limits import DEFAULT_LIMITS
from tests.unit.test_bolt import file_of, leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEX = "0f" * 32


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Folder]:
    with Folder.open(str(tmp_path)) as folder:
        yield folder


def kept(number: int, kind: bytes = b"\x02", size: bytes = b"\x0e") -> bytes:
    """Return a snapshot as the value of its key: a bucket that lies within its parent."""
    rows = ((b"id", bytes([number]), 0), (b"kind", kind, 0), (b"size", size, 0))
    return bytes(16) + leaf(0, *rows).rstrip(b"\0")


def write(top: Path, snapshotter: str, **snapshots: bytes) -> None:
    below = [(path, number.to_bytes(8, "little") + bytes(8), 1) for path, number in ((b"v1", 3), (b"snapshots", 4))]
    rows = [(key.replace("_", "/").encode(), value, 1) for key, value in snapshots.items()]
    folder = top / f"io.containerd.snapshotter.v1.{snapshotter}"
    folder.mkdir(parents=True)
    pages = (leaf(2, below[0]), leaf(3, below[1]), leaf(4, *sorted(rows)))
    (folder / "metadata.db").write_bytes(file_of(*pages))


@pytest.mark.parametrize(("old", "new"), [(5, 6), (9, 10)])
def test_of_several_snapshots_of_a_name_the_newest_is_the_container_s(
    tmp_path: Path, root: Folder, old: int, new: int
) -> None:
    found = {f"moby_{old}_{HEX}": kept(3), f"moby_{new}_{HEX}": kept(7), f"moby_x_{HEX}": kept(4)}
    write(tmp_path, "overlayfs", **found)
    (container,) = Snapshots(root, DEFAULT_LIMITS).containers()["moby"]
    assert container.files is not None
    assert container.files[1:] == ("snapshots", "7", "fs")


def test_the_snapshots_of_all_snapshotters_have_one_limit(tmp_path: Path, root: Folder) -> None:
    for name in ("native", "overlayfs"):
        write(tmp_path, name, ns_1_one=kept(1), ns_2_two=kept(2))
    whole = Snapshots(root, DEFAULT_LIMITS)
    assert (whole.total("ns", "one"), whole.total("ns", "none")) == (7, 0)
    few = Snapshots(root, replace(DEFAULT_LIMITS, json_values_total=9))
    # What was left out is not known not to be there.
    assert (few.total("ns", "one"), few.total("ns", "none")) == (7, None)
    assert len(few._found) == 2


def test_stargz_has_its_snapshots_in_a_directory_of_their_own(tmp_path: Path, root: Folder) -> None:
    write(tmp_path, "stargz/snapshotter", **{f"k8s.io_5_{HEX}": kept(3)})
    snapshots = Snapshots(root, DEFAULT_LIMITS)
    (container,) = snapshots.containers()["k8s.io"]
    assert container.files == ("io.containerd.snapshotter.v1.stargz", "snapshotter", "snapshots", "3", "fs")
    assert snapshots.total("k8s.io", HEX) == 7


@pytest.mark.parametrize(("size", "total"), [(b"\x0d", None), (b"\xff" * 9 + b"\x01", None), (b"\x00", 0)])
def test_a_size_that_nothing_can_have_is_not_known(
    tmp_path: Path, root: Folder, size: bytes, total: int | None
) -> None:
    write(tmp_path, "overlayfs", ns_1_one=kept(1, size=size))
    assert Snapshots(root, DEFAULT_LIMITS).total("ns", "one") == total
