"""What can be had of images that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import ImageNotFound, InvalidInput
from orlop.model.digest import chain_ids
from orlop.service.rescue import rescue_store
from orlop.service.rescue_parts import rescue_parts
from tests.foreign_roots import CONTAINERD, make_root, snapshot, unpack

NAME = "give/rich:1"
# This one has files of which the root has no copy.
NUMBER = 4


@pytest.fixture
def overlay2(data, tmp_path):
    return unpack(data, "engine-20.10-overlay2", tmp_path / "disk")


@pytest.fixture
def whole(overlay2, tmp_path):
    """The image as it was before the damage: the files of one layer with their content, and all diff IDs."""
    rescue_store(tmp_path / "store", overlay2, [NAME])
    with orlop.open(tmp_path / "store") as images, images.files(NAME, layer=NUMBER) as files:
        contents = {one.path: files.read(one.path) for one in files.walk() if one.type == "file"}
        return contents, images.inspect(NAME).image.rootfs.diff_ids


def directory_of(root):
    """The directory of the layer's files, and that of its entry in the layer database."""
    with orlop.RootService(root) as looked:
        chain = chain_ids(looked.inspect(NAME).image.rootfs.diff_ids)[NUMBER - 1]
    entry = root / "image" / "overlay2" / "layerdb" / "sha256" / chain.hex
    return root / "overlay2" / (entry / "cache-id").read_text() / "diff", entry


def members(path):
    with tarfile.open(path) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member)
            found["/" + member.name] = None if content is None else content.read()
        return found


@pytest.mark.sampled(2)
def test_a_layer_without_one_file_gives_the_others_as_they_were(overlay2, whole, tmp_path):
    contents, diff_ids = whole
    files, _ = directory_of(overlay2)
    # What has a copy elsewhere in the root would be found there.
    others = Counter(path.read_bytes() for path in overlay2.rglob("*") if path.is_file() and not path.is_symlink())
    alone = [name for name in contents if contents[name] and others[contents[name]] == 1]
    largest = max(alone, key=lambda name: len(contents[name]))
    victim = files / largest[1:]
    inode = victim.stat().st_ino
    flipped = bytearray(victim.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(flipped)
    before = snapshot(overlay2)
    [image] = rescue_parts(tmp_path / "parts", overlay2, [NAME]).images
    assert snapshot(overlay2) == before
    assert image.files[0] == "config.json"
    assert "4.partial.tar" in image.files
    assert any(largest[1:] in problem for problem in image.problems)
    folder = Path(image.directory)
    assert folder.parent == tmp_path / "parts"
    raw = (folder / "config.json").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == folder.name
    assert [one.removeprefix("sha256:") for one in json.loads(raw)["rootfs"]["diff_ids"]] == [
        one.hex for one in diff_ids
    ]
    found = members(folder / "4.partial.tar")
    same = {name for name in contents if (files / name[1:]).exists() and (files / name[1:]).stat().st_ino == inode}
    assert largest in same
    assert not same & found.keys()
    regular = {name: content for name, content in found.items() if content is not None}
    assert {name: contents[name] for name in regular if name in contents} == {
        name: content for name, content in regular.items() if name in contents
    }
    assert contents.keys() - same <= found.keys()
    for number, diff_id in enumerate(diff_ids, 1):
        if number != NUMBER:
            assert hashlib.sha256((folder / f"{number}.tar").read_bytes()).hexdigest() == diff_id.hex


def test_of_a_list_that_is_cut_off_the_files_before_the_cut_are_had(overlay2, whole, tmp_path):
    contents, _ = whole
    _, entry = directory_of(overlay2)
    split = entry / "tar-split.json.gz"
    lines = gzip.decompress(split.read_bytes()).splitlines(keepends=True)
    split.write_bytes(gzip.compress(b"".join(lines[: len(lines) // 2]) + b"{"))
    [image] = rescue_parts(tmp_path / "parts", overlay2, [NAME]).images
    assert "4.partial.tar" in image.files
    assert any("cut off" in problem for problem in image.problems)
    found = members(Path(image.directory) / "4.partial.tar")
    assert len(found) > 0
    assert all(contents[name] == content for name, content in found.items() if content is not None and name in contents)


@pytest.mark.sampled(2)
def test_without_a_list_the_files_are_had_as_they_lie_there_and_are_called_so(overlay2, whole, tmp_path):
    del whole
    files, entry = directory_of(overlay2)
    (entry / "tar-split.json.gz").unlink()
    [image] = rescue_parts(tmp_path / "parts", overlay2, [NAME]).images
    assert "4.unverified.tar" in image.files
    assert any("nothing tells whether it is right" in problem for problem in image.problems)
    found = members(Path(image.directory) / "4.unverified.tar")
    assert {name.strip("/").split("/")[0] for name in found} == {path.name for path in files.iterdir()}


@pytest.mark.sampled(2)
def test_the_command_takes_apart_what_is_damaged_and_says_what_is_lost(overlay2, tmp_path, capfd):
    assert run(["rescue", str(overlay2), "--parts", str(tmp_path / "parts")]) == 6
    shown = capfd.readouterr().out
    # The two images of this root that the engine itself cannot save.
    made = {str(path) for path in (tmp_path / "parts").iterdir()}
    assert made == {line.split(":")[0] for line in shown.splitlines() if line.startswith(str(tmp_path))}
    assert len(made) == 2
    assert ".wh.fender" in shown
    assert run(["rescue", str(overlay2), "--parts", str(tmp_path / "whole"), NAME]) == 0
    assert "1.tar" in capfd.readouterr().out
    assert run(["rescue", str(overlay2), "--parts", str(tmp_path / "x"), "--into", "y"]) == 2
    assert run(["rescue", str(overlay2), "--parts", str(overlay2 / "x")]) == 3
    assert not (overlay2 / "x").exists()


def test_a_missing_blob_costs_its_layer_alone(data, tmp_path):
    root = unpack(data, CONTAINERD, tmp_path / "disk")
    name = "reg.example/give/rich:1"
    with orlop.RootService(root) as looked:
        offered = next(one.offered for one in looked.root.images if name in one.names)
    assert offered is not None
    digest = offered.layers[0].digest
    assert digest is not None
    blobs = next(root.rglob("blobs/sha256"))
    (blobs / digest.hex).unlink()
    # Two namespaces have it.
    found = rescue_parts(tmp_path / "parts", root, [name]).images
    assert found
    for image in found:
        assert image.files[:2] == ("config.json", "2.tar")
        assert str(digest) in image.problems[0]


def test_it_is_told_that_no_image_is_damaged_and_that_all_may_be_lost(tmp_path, capsys):
    make_root(tmp_path / "docker", 1, {})
    command = ["rescue", str(tmp_path / "docker"), "--parts", str(tmp_path / "parts")]
    assert run(command) == 0
    said = f"{tmp_path / 'docker'}: no image is damaged, so there is nothing to take apart\n"
    assert capsys.readouterr() == (said, "")
    shutil.rmtree(tmp_path / "docker/image/overlay2/imagedb")
    (tmp_path / "docker/image/overlay2/repositories.json").unlink()
    assert run(command) == 6
    out, err = capsys.readouterr()
    assert out == said
    assert "its image database is missing, and all images with it" in err
    assert not (tmp_path / "parts").exists()


def test_what_is_not_there_or_in_the_root_is_refused(overlay2, tmp_path):
    with pytest.raises(ImageNotFound):
        rescue_parts(tmp_path / "parts", overlay2, ["no/such"])
    with pytest.raises(InvalidInput, match="another disk"):
        rescue_parts(overlay2 / "parts", overlay2)
    assert not (tmp_path / "parts").exists()


@pytest.mark.sampled(3)
def test_a_link_in_the_target_that_leads_into_the_root_is_not_followed(overlay2, tmp_path):
    before = snapshot(overlay2)
    image = rescue_parts(tmp_path / "parts", overlay2, [NAME]).images[0]
    target = tmp_path / "linked"
    target.mkdir()
    (target / Path(image.directory).name).symlink_to(overlay2 / "image")
    with pytest.raises(InvalidInput, match="lies in"):
        rescue_parts(target, overlay2, [NAME])
    assert snapshot(overlay2) == before


@pytest.mark.sampled(2)
@pytest.mark.needs("mounts")
def test_the_root_mounted_at_another_place_is_the_root(overlay2, tmp_path):
    before = snapshot(overlay2)
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "--bind", overlay2, place], check=True)
    try:
        with pytest.raises(InvalidInput, match="lies in"):
            rescue_parts(place / "parts", overlay2, [NAME])
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    assert snapshot(overlay2) == before
