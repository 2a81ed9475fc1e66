"""A disk that fills up in the middle of the work: one clear sentence, nothing lost, and the space is given back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from tests.crash.damaged import spoil_table
from tests.invariants import HELD, broken
from tests.layout_walk import files
from tests.needs import need_mounts
from tests.unit.layouts import packed, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[2]
DATA = TOP / "tests" / "data"
MIB = 1 << 20
SIZE = 8 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a real file system that is small."""
    need_mounts()
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def root(disk: Path, data: Path) -> Path:
    with orlop.open(disk / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return disk / "root"


def archive(path: Path, *sizes: int) -> Path:
    """Write an archive of an image with a layer for each size, which no disk can make smaller."""
    noise = random.Random(len(sizes))
    layers = [packed({"noise": noise.randbytes(size)}) for size in sizes]
    config = {"rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]}}
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["large:1"], "Layers": names}]
    documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(packed(dict(zip(names, layers, strict=True)) | documents))
    return path


def command(root: Path, *arguments: object, source: Path | None = None) -> tuple[int, str]:
    """Run the command in a process of its own, with a file through a pipe if one is named."""
    feeder = None if source is None else subprocess.Popen(["cat", source], stdout=subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, "-m", "orlop", "--root", root, *map(str, arguments)],
        stdin=subprocess.DEVNULL if feeder is None else feeder.stdout,
        capture_output=True,
        text=True,
        check=False,
        cwd=TOP,
    )
    if feeder is not None:
        assert feeder.stdout is not None
        feeder.stdout.close()
        feeder.wait()
    return done.returncode, done.stderr


def free(place: Path) -> int:
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize


def holds(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    with orlop.open(root, create=False) as images:
        return [(str(image.id), tuple(map(str, image.references))) for image in images.images(all=True)]


def refused(root: Path, disk: Path, *arguments: object, source: Path | None = None) -> None:
    """Run a command that finds no space, and see that all is as it was before."""
    before, space = holds(root), free(disk)
    status, told = command(root, *arguments, source=source)
    assert (status, len(told.splitlines())) == (7, 1), told
    assert "no space left" in told
    assert holds(root) == before
    assert free(disk) == space
    if space:
        # Who looks needs room himself.
        assert broken(root) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("piped", [False, True])
def test_a_load_that_fills_the_disk_leaves_the_store_as_it_was(
    root: Path, disk: Path, tmp_path: Path, *, piped: bool
) -> None:
    # The first layer fits, the second does not.
    large = archive(tmp_path / "large.tar", 5 * MIB, 5 * MIB)
    refused(root, disk, "load", *(() if piped else ("-i", large)), source=large if piped else None)
    fits = archive(tmp_path / "fits.tar", 3 * MIB)
    assert command(root, "load", "-q", "-i", fits)[0] == 0
    assert broken(root) == []


def test_an_import_that_fills_the_disk_leaves_the_store_as_it_was(root: Path, disk: Path, tmp_path: Path) -> None:
    tar = tmp_path / "root.tar"
    tar.write_bytes(packed({"noise": random.Random(3).randbytes(SIZE)}))
    refused(root, disk, "import", tar, "large:1")


@pytest.fixture
def half_full(root: Path, tmp_path: Path) -> Path:
    assert command(root, "load", "-q", "-i", archive(tmp_path / "half.tar", 5 * MIB))[0] == 0
    return root


@pytest.mark.sampled(3)
def test_a_save_that_fills_the_disk_leaves_no_file_and_an_old_one(half_full: Path, disk: Path) -> None:
    old = disk / "saved.tar"
    old.write_bytes(b"an older archive")
    refused(half_full, disk, "save", "-o", old, "large:1")
    assert old.read_bytes() == b"an older archive"
    refused(half_full, disk, "save", "-o", disk / "new.tar", "large:1")
    assert sorted(path.name for path in disk.iterdir()) == ["root", "saved.tar"]


@pytest.mark.sampled(3)
def test_a_layout_that_fills_the_disk_leaves_nothing_and_an_old_one(half_full: Path, disk: Path) -> None:
    old = disk / "old"
    assert command(half_full, "save", "--format", "oci-dir", "-o", old, "example/tiny:1.0")[0] == 0
    before = files(old)
    refused(half_full, disk, "save", "--format", "oci-dir", "-o", old, "large:1")
    assert files(old) == before
    (disk / "empty").mkdir()
    for form, target in (("oci-dir", "new"), ("oci-dir", "empty"), ("oci", "new.tar")):
        refused(half_full, disk, "save", "--format", form, "-o", disk / target, "large:1")
    assert sorted(path.name for path in disk.iterdir()) == ["empty", "old", "root"]
    assert not list((disk / "empty").iterdir())


@pytest.mark.sampled(2)
def test_a_copy_or_backup_that_fills_the_disk_leaves_nothing_of_itself(half_full: Path, disk: Path) -> None:
    for verb in ("copy", "backup"):
        refused(half_full, disk, "store", verb, disk / "second")
    assert [path.name for path in disk.iterdir()] == ["root"]


@pytest.mark.sampled(3)
def test_removals_free_the_disk_again(half_full: Path, disk: Path, tmp_path: Path) -> None:
    space = free(disk)
    refused(half_full, disk, "load", "-i", archive(tmp_path / "more.tar", 4 * MIB))
    assert command(half_full, "rmi", "large:1") == (0, "")
    assert free(disk) > space + 5 * MIB
    assert command(half_full, "load", "-q", "-i", tmp_path / "more.tar")[0] == 0
    assert broken(half_full) == []


def fill(path: Path, *, leave: int = 0) -> None:
    """Take every byte that the disk has left, but for some."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while free(path.parent) > leave:
            os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)


@pytest.mark.sampled(3)
def test_what_needs_room_is_refused_on_a_disk_that_others_have_filled(root: Path, disk: Path, tmp_path: Path) -> None:
    other = archive(tmp_path / "other.tar", MIB)
    fill(disk / "others")
    for arguments in (("tag", "example/tiny:1.0", "new"), ("load", "-i", other), ("import", other, "new")):
        refused(root, disk, *arguments)
    (disk / "others").unlink()
    assert command(root, "tag", "example/tiny:1.0", "new") == (0, "")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("verb", ["copy", "backup"])
def test_a_store_is_copied_from_a_disk_that_others_have_filled(
    root: Path, disk: Path, tmp_path: Path, verb: str
) -> None:
    before = holds(root)
    fill(disk / "others")
    for _ in range(2 if verb == "backup" else 1):
        status, told = command(root, "store", verb, tmp_path / "copy")
        assert (status, told) == (0, ""), told
    (disk / "others").unlink()
    assert holds(tmp_path / "copy") == holds(root) == before
    assert broken(tmp_path / "copy") == broken(root) == []


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "arguments",
    [
        ("images", "-a"),
        ("inspect", "example/tiny:1.0"),
        ("history", "example/tiny:1.0"),
        ("df", "-v"),
        ("store", "info"),
        ("fsck",),
        ("save", "-o", "/dev/null", "example/tiny:1.0"),
        ("prune", "--dry-run"),
    ],
)
def test_a_store_is_read_on_a_disk_that_others_have_filled(root: Path, disk: Path, arguments: tuple[str, ...]) -> None:
    before = holds(root)
    fill(disk / "others")
    assert command(root, *arguments) == (0, "")
    assert holds(root) == before
    (disk / "others").unlink()
    assert broken(root) == []


@pytest.mark.sampled(3)
def test_room_is_made_on_a_disk_that_others_have_filled(half_full: Path, disk: Path) -> None:
    for number, arguments in enumerate(
        [("gc",), ("rmi", "example/imported"), ("image", "prune", "-f"), ("rmi", "large:1"), ("prune", "-a", "-f")]
    ):
        # Others take every byte that is given back.
        fill(disk / f"others{number}")
        assert command(half_full, *arguments) == (0, ""), arguments
    assert holds(half_full) == []
    # The next to open the store keeps some room again, as there is enough.
    fill(disk / "others")
    for path in disk.glob("others*"):
        path.unlink()
    assert broken(half_full) == []
    assert command(half_full, "images") == (0, "")
    assert (half_full / "metadata.db.reserve").stat().st_blocks * 512 >= MIB


@pytest.mark.sampled(4)
def test_a_removal_of_many_images_needs_no_more_than_is_kept_for_it(root: Path, disk: Path) -> None:
    with orlop.open(root) as images, images._store.metadata.write():
        for number in range(1000):
            config = {"rootfs": {"type": "layers"}, "author": str(number), "config": {"Labels": {"n": str(number)}}}
            image = images.image_store.create(json.dumps(config).encode())
            images.tag(str(image), f"many:{number}")
    # Who opens the store next keeps as much as its database now needs.
    orlop.open(root).close()
    fill(disk / "others")
    assert command(root, "prune", "-a", "-f") == (0, "")
    assert holds(root) == []


def test_what_a_dead_process_left_hinders_nobody_on_a_full_disk(root: Path, disk: Path) -> None:
    dying = "import os, signal, sys, orlop; orlop.open(sys.argv[1]).tag('example/tiny:1.0', 'other:1'); os.abort()"
    died = subprocess.run([sys.executable, "-c", dying, root], check=False, cwd=TOP)
    assert died.returncode == -signal.SIGABRT
    (root / "trash" / "sha256-0").touch()
    fill(disk / "others")
    assert "docker.io/library/other:1" in {name for _, names in holds(root) for name in names}
    assert command(root, "rmi", "other:1") == (0, "")
    assert command(root, "gc") == (0, "")
    (disk / "others").unlink()
    assert broken(root) == []


def test_a_store_that_is_open_is_read_and_cleared_where_others_have_filled_the_disk(root: Path, disk: Path) -> None:
    with orlop.open(root) as images:
        images.tag("example/tiny:1.0", "one")
        fill(disk / "others")
        assert len(images.images()) == 3
        with pytest.raises(errors.NoSpace):
            images.load(DATA / "dockerd-20.10-overlay2" / "parent-child.tar")
        images.remove("example/imported")
        assert len(images.images()) == 2
    assert broken(root) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("pages", [0, 2, 9])
def test_a_store_that_cannot_be_made_on_a_full_disk_is_told_so_and_made_later(disk: Path, pages: int) -> None:
    filling = disk / "filling"
    fill(filling, leave=pages * os.sysconf("SC_PAGE_SIZE"))
    for _ in range(2):
        status, told = command(disk / "root", "images")
        assert status == 0 or (status == errors.NoSpace.exit_code and "no space left on device" in told)
    filling.unlink()
    assert command(disk / "root", "images") == (0, "")
    assert command(disk / "root", "fsck") == (0, "")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("leave", [0, 64 << 10, 160 << 10])
def test_a_database_is_not_repaired_on_a_full_disk_and_is_as_it_was(root: Path, disk: Path, leave: int) -> None:
    before = holds(root)
    spoil_table(root)
    content = (root / "metadata.db").read_bytes()
    fill(disk / "others", leave=leave)
    status, told = command(root, "fsck", "--repair")
    assert (status, len(told.splitlines())) == (7, 1), told
    assert "no space left" in told
    assert (root / "metadata.db").read_bytes() == content
    status, told = command(root, "images")
    assert status == 6, told
    (disk / "others").unlink()
    assert command(root, "fsck", "--repair")[0] in {0, 8}
    assert holds(root) == before
    assert broken(root) == [HELD]
    assert command(root, "gc", "--release")[0] == 0
    assert broken(root) == []
