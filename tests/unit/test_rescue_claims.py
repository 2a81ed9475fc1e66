"""What a rescue promises of any root: whole pages are enough, links are not needed, and who reads it makes no odds."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.foreign.root import open_root
from orlop.model.digest import Digest, ImageID
from orlop.service.rescue import look, rescue_archive, rescue_store
from tests.foreign_roots import CONTAINERD, make_root, snapshot, unpack
from tests.unit import test_rescue_many as many
from tests.unpacked import but_devices
from tests.unpacked import unpack as unpack_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.rescue import RescueReport

PAGE = 4096
NOBODY = 65534
SMALL = "engine-20.10-fuse-overlayfs"
STOPPED = ("dockerd-20.10-overlay2", "dockerd-20.10-vfs", "dockerd-29-overlay2")


def rescued(target: str, folder: Path, disk: Path) -> RescueReport:
    """Rescue all of a disk into a store in a folder: at once, or by an archive that is loaded."""
    if target != "archive":
        return rescue_store(folder / "store", disk)
    report = rescue_archive(folder / "out.tar", disk)
    with orlop.open(folder / "store") as images:
        images.load(folder / "out.tar")
    return report


def states(root: Path | str) -> dict[str, str]:
    return {image.image.id: image.state for image in look(root, verify=True).images}


@pytest.mark.sampled(4)
def test_with_each_page_of_the_database_damaged_in_turn_every_image_comes_out(data, tmp_path):
    root = unpack(data, CONTAINERD, tmp_path / "disk") / "containerd" / "daemon"
    path = root / "io.containerd.metadata.v1.bolt" / "meta.db"
    raw = path.read_bytes()
    whole = {image.image.id: (image.state, set(image.image.names)) for image in look(root).images}
    used = [place for place in range(0, len(raw), PAGE) if raw[place : place + PAGE].strip(b"\0")]
    named = []
    for number, place in enumerate(used):
        path.write_bytes(raw[:place] + (b"\0", b"\xff")[number % 2] * PAGE + raw[place + PAGE :])
        report = look(root)
        # Whatever names are lost, the images are found by their manifests, and none has a name that it had not.
        assert {image.image.id for image in report.images} == whole.keys()
        assert all(image.state == whole[image.image.id][0] for image in report.images if image.image.offered)
        assert all(set(image.image.names) <= whole[image.image.id][1] for image in report.images)
        names = {name for image in report.images for name in image.image.names}
        named.append(len(names))
        assert len(names) == max(named) or any("meta.db is damaged" in note for note in report.notes)
    assert min(named) < max(named)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["engine-20.10-overlay2", "podman-4.3-overlay"])
def test_neither_links_nor_lists_of_lower_directories_are_needed(data, tmp_path, name):
    root = unpack(data, name, tmp_path / "disk")
    before = states(root)
    overlay = next(path for path in (root / "overlay2", root / "overlay") if path.is_dir())
    lost = [path for kind in ("link", "lower", "committed", "work") for path in overlay.glob(f"*/{kind}")]
    assert len(lost) > 20
    for path in [*lost, overlay / "l"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert states(root) == before
    assert list(before.values()).count("whole") >= len(before) - 2


@pytest.mark.sampled(2)
def test_drivers_that_lie_side_by_side_are_all_read(data, tmp_path):
    root = unpack(data, "engine-20.10-vfs", tmp_path / "vfs")
    other = unpack(data, SMALL, tmp_path / "other")
    alone = [states(root), states(other)]
    for path in ("image/fuse-overlayfs", "fuse-overlayfs"):
        (other / path).rename(root / path)
    report = look(root, verify=True)
    assert report.places == ("docker fuse-overlayfs", "docker vfs")
    found: dict[str, dict[str, str]] = {place: {} for place in report.places}
    for image in report.images:
        found[image.image.place][image.image.id] = image.state
    # Of what one driver has lost the other one has the layer.
    assert [found["docker vfs"].keys(), found["docker fuse-overlayfs"].keys()] == [one.keys() for one in alone]
    assert "damaged" in alone[0].values()
    assert set(found["docker vfs"].values()) == {"whole"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (SMALL, ["1 unfinished layer of an interrupted pull, load or build", "left in tmp: docker-builder"]),
        ("podman-4.3-overlay", ["was being made or removed: what it was to be is not known"]),
        (CONTAINERD, ["was being written: 0 bytes are there"]),
    ],
)
def test_what_was_under_way_when_an_engine_was_killed_is_told(data, tmp_path, name, said):
    notes = look(unpack(data, name, tmp_path / "disk")).notes
    for words in said:
        assert [note for note in notes if words in note], notes


@pytest.mark.parametrize("target", ["archive", "store"])
def test_of_two_images_of_one_name_neither_is_left_out(tmp_path, target):
    disk = tmp_path / "disk"
    ann, bob = (disk / f"home/{user}/.local/share/docker" for user in ("ann", "bob"))
    make_root(ann, 2, {"etc/motd": b"of ann"})
    make_root(bob, 2, {"etc/motd": b"of bob"})
    (ann / "overlay2" / f"{1:064x}" / "diff" / "number-1").write_bytes(b"?")
    report = rescued(target, tmp_path, disk)
    with orlop.open(tmp_path / "store") as images:
        found = {str(image.id): [tag.familiar for tag in image.references] for image in images.images()}
    (first, lost), (second, third) = (
        sorted(some, key=lambda one: one.image.names) for some in (report.images[:2], report.images[2:])
    )
    assert [one.state for one in (first, lost, second, third)] == ["rescued", "damaged", "rescued", "rescued"]
    # Who comes first has the name, unless that image is damaged.
    assert found == {first.image.id: ["made/image:0"], second.image.id: [], third.image.id: ["made/image:1"]}
    said = f"its name made/image:0 went to the image {first.image.id} of docker overlay2, which has it, too"
    assert second.problems == (said,)
    assert first.problems == third.problems == ()
    assert lost.image.names == third.image.names


def test_a_name_that_an_image_of_the_store_had_is_not_taken_without_a_word(tmp_path):
    make_root(tmp_path / "disk", 1, {})
    with orlop.open(tmp_path / "store") as images:
        old = images.import_image(io.BytesIO(b"\0" * 1024), reference="made/image:0")
    [image] = rescue_store(tmp_path / "store", tmp_path / "disk").images
    assert image.state == "rescued"
    assert image.problems == (f"its name made/image:0 was that of the image {old} in the store",)
    [image] = rescue_store(tmp_path / "store", tmp_path / "disk").images
    assert image.problems == ()
    with orlop.open(tmp_path / "store") as images:
        assert str(images.inspect("made/image:0").image.id) == image.image.id
        assert images.inspect(str(old)).image.id == old


def say_parent(root: Path, child: str, parent: str) -> None:
    folder = root / "image/overlay2/imagedb/metadata/sha256" / child.removeprefix("sha256:")
    folder.mkdir(parents=True)
    (folder / "parent").write_text(parent)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("target", ["archive", "store"])
@pytest.mark.parametrize("where", ["one root", "two roots"])
def test_parents_in_a_circle_are_left_out_and_keep_nothing_from_a_rescue(tmp_path, target, where):
    disk = tmp_path / "disk"
    users = [disk / f"home/{user}/.local/share/docker" for user in ("ann", "bob")]
    for root in users:
        make_root(root, 3, {})
    with open_root(users[0]) as found:
        ids = [image.id for image in found.images]
    say_parent(users[0], ids[0], ids[1])
    say_parent(users[0], ids[1], ids[2])
    say_parent(users[where == "two roots"], ids[2], ids[1])
    report = rescued(target, tmp_path, disk)
    with orlop.open(tmp_path / "store") as images:
        parents = [images.store.images.get_parent(ImageID.parse(one)) for one in ids]
    said = "its parent is left out, as that would descend from it"
    assert {image.image.id for image in report.images if said in image.problems} == {*ids[1:]}
    assert {image.state for image in report.images} == {"rescued"}
    assert list(map(str, parents)) == [ids[1], "None", "None"]
    assert orlop.stores.fsck(tmp_path / "store").problems == ()


def test_of_very_many_left_overs_some_are_named_whatever_else_lies_there(tmp_path):
    make_root(tmp_path, 1, {})
    for name in [*(f"a-{number}" for number in range(30)), *(f"docker-import-{number}" for number in range(30))]:
        (tmp_path / "tmp" / name).mkdir(parents=True)
    notes = [note for note in look(tmp_path).notes if "left in tmp" in note]
    assert len(notes) == 21
    assert notes[0] == "docker overlay2: left in tmp: docker-import-0"
    assert notes[-1] == "docker overlay2: left in tmp: 10 more"


@pytest.mark.parametrize("size", ["whole", "cut"])
def test_a_download_that_was_complete_stands_in_for_its_blob(data, tmp_path, size):
    root = unpack(data, "engine-28-containerd", tmp_path / "docker")
    with open_root(root) as found:
        offered = next(image.offered for image in found.images if "one:1" in image.names)
    assert offered is not None
    digest = offered.layers[-1].digest
    assert digest is not None
    content = root / "containerd/daemon/io.containerd.content.v1.content"
    ingest = content / "ingest" / "0123"
    ingest.mkdir(parents=True)
    (content / "blobs/sha256" / digest.hex).rename(ingest / "data")
    (ingest / "ref").write_text(f"moby/7/layer-{digest}")
    if size == "cut":
        (ingest / "data").chmod(0o600)
        (ingest / "data").write_bytes((ingest / "data").read_bytes()[:-1])
    report = look(root, ["one:1"], verify=True)
    assert [image.state for image in report.images] == ["whole" if size == "whole" else "damaged"]
    assert [note for note in report.notes if f"layer-{digest} was being written" in note]


def test_of_two_layers_of_one_id_the_one_of_the_first_list_is_meant(tmp_path):
    first, second = (f"sha256:{number:064x}" for number in (1, 2))
    many.podman(tmp_path, [{}], [{"id": "a" * 64, "diff-digest": first, "diff-size": 7}])
    volatile = [{"id": "a" * 64, "diff-digest": second}, {"id": "b" * 64, "diff-digest": second}]
    (tmp_path / "overlay-layers" / "volatile-layers.json").write_text(json.dumps(volatile))
    with open_root(tmp_path) as found:
        copies = found.held[0].copies.items()
        places = {
            str(one): [copy.files[1] for copy in known if isinstance(copy, UnpackedLayer)] for one, known in copies
        }
    assert places == {first: ["a" * 64], second: ["b" * 64]}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (SMALL, "volumes/metadata.db"),
        ("engine-28-containerd", "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"),
    ],
)
def test_a_daemon_that_is_at_work_is_told_of(data, tmp_path, name, file):
    root = unpack(data, name, tmp_path / "disk")
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert not [note for note in look(root).notes if "is using" in note]
    # A lock belongs to a file that was opened, and not to a process.
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (note,) = (note for note in look(root).notes if "a daemon is using this root" in note)
        assert f"{path.name} is locked" in note
        fcntl.flock(held, fcntl.LOCK_UN)
    assert not [note for note in look(root).notes if "is using" in note]


@pytest.fixture
def read_only(data, tmp_path) -> Iterator[Path]:
    root = unpack(data, SMALL, tmp_path / "disk")
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", root, mount], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.sampled(2)
@pytest.mark.needs("mounts")
def test_a_root_that_is_mounted_read_only_is_rescued(read_only, tmp_path):
    with pytest.raises(OSError, match="Read-only"):
        (read_only / "new").touch()
    before = snapshot(read_only)
    assert {image.state for image in rescue_store(tmp_path / "store", read_only).images} == {"rescued"}
    assert snapshot(read_only) == before


@pytest.mark.sampled(3)
@pytest.mark.needs("root")
def test_another_user_rescues_what_that_one_may_read(data, tmp_path):
    root = unpack(data, SMALL, tmp_path / "disk")
    closed = max(root.glob("image/*/layerdb/sha256/*/tar-split.json.gz"), key=lambda path: path.stat().st_size)
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.chown(path, 1, 1)

    def told() -> dict[str, str]:
        """Return the states of all images, as another user sees them who stands in the root."""
        here, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.chdir(root)
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                os.write(there, json.dumps(states(".")).encode())
            finally:
                os._exit(0)
        os.close(there)
        with os.fdopen(here) as said:
            found: dict[str, str] = json.load(said)
        os.waitpid(child, 0)
        return found

    # All that is needed is imported now: that user may not read this interpreter.
    assert set(states(root).values()) == {"whole"}
    assert set(told().values()) == {"whole"}
    closed.chmod(0)
    assert set(told().values()) == {"damaged", "whole"}
    assert set(states(root).values()) == {"whole"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", STOPPED)
def test_stopped_daemons_left_what_they_listed_and_saved(data, tmp_path, name):
    with tarfile.open(data / name / "data-root.tar") as tar:
        unpack_tar(tar, tmp_path / "docker", but_devices(tar))
    listed = json.loads((data / name / "api" / "images-all.json").read_text())
    with open_root(tmp_path / "docker") as found:
        images = {image.id: image for image in found.images}
    for said in listed:
        image = images[said["Id"]]
        assert image.offered is not None
        assert sorted(image.names) == sorted(one for one in said["RepoTags"] or [] if one != "<none>:<none>")
        assert str(image.offered.parent or "") == said["ParentId"]
        assert image.size == said["Size"]
    assert {image.state for image in look(tmp_path / "docker", verify=True).images} == {"whole"}
    form = "docker" if "29" in name else "docker-20.10"
    rescue_archive(tmp_path / "ours.tar", tmp_path / "docker", ["example/tiny:1.0"], format=form)
    assert (tmp_path / "ours.tar").read_bytes() == (data / name / "tiny.tar").read_bytes()


@pytest.mark.sampled(2)
def test_an_image_of_more_layers_than_docker_stacks_comes_out(tmp_path):
    root = tmp_path / "docker"
    make_root(root, 2, {"same": b"same"})
    base = root / "image/overlay2"
    diff_ids = [path.read_text() for path in (base / "layerdb/sha256").glob("*/diff")] * 100
    raw = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    image = Digest.of(raw.encode())
    (base / "imagedb/content/sha256" / image.hex).write_text(raw)
    (base / "repositories.json").write_text(json.dumps({"Repositories": {"a/deep": {"a/deep:1": str(image)}}}))
    assert [one.state for one in look(root, ["a/deep:1"], verify=True).images] == ["whole"]
    rescue_store(tmp_path / "store", root, ["a/deep:1"])
    rescue_archive(tmp_path / "deep.tar", root, ["a/deep:1"])
    with orlop.open(tmp_path / "store") as images:
        assert len(images.inspect("a/deep:1").image.rootfs.diff_ids) == 200
    with orlop.Archive(tmp_path / "deep.tar", limits=orlop.Limits(layers=200)) as archive:
        assert [len(one.layers) for one in archive.images] == [200]
    with orlop.RootService(root) as images:
        assert {one.path.rpartition("/")[2] for one in images.files("a/deep:1").walk()} >= {
            "same",
            "number-0",
            "number-1",
        }
    few = look(root, ["a/deep:1"], limits=orlop.Limits(layers=10))
    assert "has 200 layers or more, but the limit layers is 10" in few.images[0].problems[0]
