"""Roots that are damaged, or made to attack: what is whole comes out, the rest is named, and nothing else is read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DigestMismatch, InvalidRoot, StorageError
from orlop.foreign.root import open_root
from orlop.intake.taking import measuring
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.rescue import look, rescue_store
from orlop.service.rescue_parts import rescue_parts
from tests.foreign_roots import patient, unpack
from tests.open_files import open_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.rescue import RescuedImage

DRIVER = "fuse-overlayfs"
GNU = "give/odd-gnu:1"


@pytest.fixture
def root(data, tmp_path):
    return unpack(data, f"engine-20.10-{DRIVER}", tmp_path / "disk")


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    with patient(120):
        yield


class Layer:
    """The top layer of an image: where its parts lie."""

    def __init__(self, root: Path, name: str) -> None:
        with open_root(root) as found:
            image = next(image for image in found.images if name in image.names)
            assert image.offered is not None
            top = image.offered.image.rootfs.chain_id()
            self.id = image.offered.image.id.hex
        assert top is not None
        self.entry = root / "image" / DRIVER / "layerdb" / "sha256" / top.hex
        self.directory = root / DRIVER / (self.entry / "cache-id").read_text().strip()
        self.files = self.directory / "diff"
        self.config = root / "image" / DRIVER / "imagedb" / "content" / "sha256" / self.id


@pytest.fixture
def layer(root):
    return Layer(root, GNU)


def found(root: Path, name: str) -> RescuedImage:
    """Look at all of a root, and return what was found out about one image; all others are whole."""
    report = look(root, verify=True)
    assert [image.image.names for image in report.damaged if name not in image.image.names] == []
    return next(image for image in report.images if name in image.image.names)


def flipped(raw: bytes, position: int, bits: int = 1) -> bytes:
    """Return bytes of which one is another."""
    changed = bytearray(raw)
    changed[position] ^= bits
    return bytes(changed)


def some_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size > 0)


def test_the_root_is_whole_before_it_is_damaged(root):
    report = look(root, verify=True)
    assert {image.state for image in report.images} == {"whole"}


def test_a_file_that_is_changed_or_missing_is_named(root, layer):
    path = some_file(layer.files)
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    image = found(root, GNU)
    assert image.state == "damaged"
    assert f'its file "{path.relative_to(layer.files)}" is damaged: its CRC is another one' in image.problems[0]
    path.write_bytes(whole + b"!")
    assert f"it has {len(whole) + 1} bytes, not {len(whole)}" in found(root, GNU).problems[0]
    path.unlink()
    assert f"{path} is missing" in found(root, GNU).problems[0]
    # The list without --verify does not read files, and does not say that it is whole.
    assert {image.state for image in look(root).images} == {"complete"}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("left", "why"),
    [(None, "tar-split.json.gz is missing"), (b"", "is empty"), (b"junk", "is damaged"), ("half", "is damaged")],
)
def test_a_tar_split_that_is_lost_or_cut_is_named(root, layer, left, why):
    path = layer.entry / "tar-split.json.gz"
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if left == "half" else left)
    image = found(root, GNU)
    assert why in image.problems[0]
    if left is None or not left:
        assert why in look(root, [GNU]).images[0].problems[0]


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    "how",
    [
        "junk behind it",
        "zeros behind it",
        "no check sum",
        "half a check sum",
        "wrong check sum",
        "wrong size",
        "wrong magic",
        "wrong method",
        "wrong flags",
        "wrong reserved flags",
        "several members",
        "wrong first sum",
        "a name",
        "other compression",
        "no compression",
        "no compression, cut",
    ],
)
def test_a_tar_split_that_has_all_that_is_needed_will_do(root, layer, how):
    path = layer.entry / "tar-split.json.gz"
    raw = path.read_bytes()
    plain = gzip.decompress(raw)
    bare = gzip.compress(plain, mtime=0)
    half = gzip.compress(plain[: len(plain) // 2], mtime=0), gzip.compress(plain[len(plain) // 2 :], mtime=0)
    named = io.BytesIO()
    with gzip.GzipFile("a name", "wb", fileobj=named) as file:
        file.write(plain)
    given = {
        "junk behind it": raw + b"\nx",
        "zeros behind it": flipped(bare, -1) + bytes(100),
        "no check sum": raw[:-8],
        "half a check sum": raw[:-6],
        "wrong check sum": flipped(raw, -8),
        "wrong size": flipped(raw, -1),
        "wrong magic": flipped(bare, 0),
        "wrong method": flipped(bare, 2),
        "wrong flags": flipped(bare, 3, 4),
        "wrong reserved flags": flipped(bare, 3, 128),
        "several members": b"".join(half),
        "wrong first sum": flipped(half[0], -5) + half[1],
        "a name": flipped(named.getvalue(), -1),
        "other compression": bz2.compress(plain),
        "no compression": plain,
        "no compression, cut": plain[:-1],
    }
    path.write_bytes(given[how])
    assert found(root, GNU).state == "whole"


def test_a_tar_split_with_a_wrong_sum_leads_to_files_elsewhere_too(root, layer, tmp_path):
    path = layer.entry / "tar-split.json.gz"
    path.write_bytes(flipped(path.read_bytes(), -8))
    lost = max((one for one in layer.files.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    lost.rename(root / "tmp" / "elsewhere")
    assert found(root, GNU).state == "whole"
    (root / "tmp" / "elsewhere").unlink()
    [parts] = rescue_parts(tmp_path / "parts", root, [GNU]).images
    assert [one for one in parts.files if one.endswith(".partial.tar")]
    assert not [one for one in parts.problems if "cut off" in one]
    assert "gzip stream cannot be read" in found(root, GNU).problems[0]


@pytest.mark.sampled(2)
def test_a_wrong_or_lost_cache_id_does_not_lose_the_layer(root, layer):
    for text in ("0" * 64, "", "../../../etc", "/etc", "\0", "a" * 5000):
        (layer.entry / "cache-id").write_text(text)
        image = found(root, GNU)
        assert image.state == "whole", text
    (layer.entry / "cache-id").unlink()
    assert found(root, GNU).state == "whole"
    layer.files.rename(layer.directory / "lost")
    assert found(root, GNU).state == "damaged"


def test_a_chain_that_is_emptied_or_being_removed_is_named_or_used(root, layer):
    removing = layer.entry.with_name(f"{layer.entry.name}-123456-removing")
    layer.entry.rename(removing)
    assert found(root, GNU).state == "whole"
    for path in removing.iterdir():
        path.unlink()
    assert found(root, GNU).state == "damaged"
    removing.rmdir()
    assert "is nowhere in the root" in found(root, GNU).problems[0]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("cut", [0, 1, 200, -3])
def test_names_are_read_as_far_as_they_are_there(root, cut):
    path = root / "image" / DRIVER / "repositories.json"
    whole = path.read_bytes()
    names = {name for image in look(root).images for name in image.image.names}
    path.write_bytes(whole[:cut])
    report = look(root)
    left = {name for image in report.images for name in image.image.names}
    assert left < names if cut >= 0 else left == names
    assert any("repositories.json is" in note for note in report.notes)
    path.unlink()
    assert any("repositories.json is missing" in note for note in look(root).notes)


def test_a_config_that_is_damaged_or_missing_is_named(root, layer):
    whole = layer.config.read_bytes()
    for left in (b"", whole[:-1], whole.replace(b"linux", b"minix"), b"[" * 100_000):
        layer.config.write_bytes(left)
        assert "its config is damaged: it has the digest" in found(root, GNU).problems[0]
    layer.config.unlink()
    assert "is missing from the image database" in found(root, GNU).problems[0]


@pytest.mark.parametrize("lost", ["imagedb", "layerdb", "layerdb/sha256", "imagedb/content", "../.."])
def test_a_database_that_is_lost_is_named(root, lost):
    place = root / "image" / DRIVER / lost if lost != "../.." else root / DRIVER
    place.rename(root / "lost")
    report = look(root)
    assert {image.state for image in report.images} == {"damaged"}
    if lost != "../..":
        assert any("database is missing" in note for note in report.notes)


@pytest.mark.sampled(2)
def test_what_is_whole_is_rescued_beside_what_is_not(root, layer, tmp_path):
    some_file(layer.files).unlink()
    report = rescue_store(tmp_path / "store", root)
    assert {image.state for image in report.images if GNU not in image.image.names} == {"rescued"}
    assert [image.image.names for image in report.damaged] == [(GNU,)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["link", "outer", "pipe", "folder", "loop"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(root, layer, tmp_path, kind):
    path = some_file(layer.files)
    outside = tmp_path / "outside"
    path.rename(outside)
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        layer.files.rename(tmp_path / "moved")
        outside.rename(tmp_path / "moved" / path.relative_to(layer.files))
        layer.files.symlink_to(tmp_path / "moved")
    image = found(root, GNU)
    assert image.state == "damaged"
    wanted = {"link": "a symbolic link", "pipe": "a pipe", "folder": "a directory", "loop": "a symbolic link"}
    assert wanted.get(kind, "a symbolic link") in image.problems[0]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["cache-id", "tar-split.json.gz", "diff", "size", "parent"])
def test_pipes_and_links_in_the_layer_database_are_not_opened(root, layer, tmp_path, name):
    path = layer.entry / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    state = found(root, GNU).state
    assert state == ("damaged" if name == "tar-split.json.gz" else "whole")
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    assert found(root, GNU).state == state


@pytest.mark.parametrize("name", ["repositories.json", "layerdb/mounts", "layerdb/tmp", "imagedb/content/sha256"])
def test_pipes_and_links_in_place_of_anything_are_not_opened(root, tmp_path, name):
    path = root / "image" / DRIVER / name
    path.rename(tmp_path / "away")
    os.mkfifo(path)
    look(root)
    path.unlink()
    path.symlink_to(tmp_path / "away")
    report = look(root)
    if name.startswith("imagedb"):
        assert {image.state for image in report.images} == {"damaged"}


def test_lists_of_too_many_values_are_refused(root):
    repositories = root / "image" / DRIVER / "repositories.json"
    repositories.write_bytes(b'{"Repositories":' + b"[" * 3_000_000)
    assert any("values" in note for note in look(root).notes)


@pytest.mark.sampled(2)
def test_a_tar_split_that_is_a_bomb_is_refused(root, layer):
    (layer.entry / "tar-split.json.gz").write_bytes(gzip.compress(bytes(100 << 20), 1))
    assert "line of more than" in found(root, GNU).problems[0]


def test_a_document_of_any_size_is_read_up_to_its_limit(root, layer):
    with layer.config.open("r+b") as file:
        file.truncate(1 << 40)
    assert "more than the 4194304 that are read" in found(root, GNU).problems[0]


def test_names_that_are_not_valid_are_told_and_harm_nothing(root):
    path = root / "image" / DRIVER / "repositories.json"
    document = json.loads(path.read_text())
    images = document["Repositories"].pop("give/odd-gnu")
    document["Repositories"]["../../etc"] = {"../../etc/passwd:1": next(iter(images.values())), "x": 7}
    path.write_text(json.dumps(document))
    report = look(root)
    image = next(image for image in report.images if image.problems)
    assert image.problems == ("its name '../../etc/passwd:1' is not a valid one",)
    assert image.state == "complete"


def test_what_is_not_a_root_is_refused(tmp_path):
    with pytest.raises(InvalidRoot, match="is not a data root"):
        look(tmp_path)
    (tmp_path / "graph").mkdir()
    (tmp_path / "repositories-aufs").write_text("{}")
    with pytest.raises(InvalidRoot, match=r"before 1\.10"):
        look(tmp_path)
    (tmp_path / "image" / "btrfs" / "imagedb").mkdir(parents=True)
    assert "docker btrfs: its layer database is missing" in look(tmp_path).notes[0]


@pytest.mark.parametrize(
    "part", ["overlay2", "image/overlay2", "overlay-layers", "io.containerd.content.v1.content/blobs"]
)
def test_who_names_a_part_of_a_root_is_told_the_directory_above(tmp_path, part):
    top = tmp_path / "top"
    (top / part).mkdir(parents=True)
    with pytest.raises(InvalidRoot, match=f"name the directory itself, such as {re.escape(str(top))}$"):
        look(top / part)


def test_a_file_in_place_of_a_root_is_called_one(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file: not a directory; check the path"):
        look(tmp_path / "file")


class _Interrupted(Exception):
    """What somebody raises who wants work to end."""


class Patience:
    """A check that ends work when it is called for the n-th time."""

    def __init__(self, most: int) -> None:
        self.calls = 0
        self._most = most

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > self._most:
            raise _Interrupted


def test_the_search_among_layers_that_no_list_has_can_be_ended(data, tmp_path):
    root = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    for name in ("layers.json", "volatile-layers.json"):
        (root / "overlay-layers" / name).unlink(missing_ok=True)
    with open_root(root) as found, measuring(DEFAULT_LIMITS) as taking:
        wanted = next(image.offered for image in found.images if image.offered is not None).layers[0]
        for most in (0, 3):
            patience = Patience(most)
            with pytest.raises(_Interrupted):
                found.taken(wanted, taking, check=patience)
            assert patience.calls == most + 1
        # It begins anew.
        assert found.taken(wanted, taking)[0].diff.diff_id == wanted.diff_id


@pytest.mark.sampled(2)
def test_the_search_for_what_a_damaged_layer_lacks_can_be_ended(root, layer):
    some_file(layer.files).write_bytes(b"other")
    with open_root(root) as found, measuring(DEFAULT_LIMITS) as taking:
        wanted = next(image.offered for image in found.images if GNU in image.names)
        assert wanted is not None
        patience = Patience(sys.maxsize)
        with pytest.raises(DigestMismatch):
            found.taken(wanted.layers[-1], taking, check=patience)
        # That is many more than the chunks of such a layer.
        assert patience.calls > 20
        for most in range(0, patience.calls, 7):
            with pytest.raises(_Interrupted):
                found.taken(wanted.layers[-1], taking, check=Patience(most))


@pytest.mark.sampled(3)
def test_a_sparse_file_that_is_looked_at_is_closed(data, tmp_path):
    root = unpack(data, "engine-20.10-overlay2", tmp_path / "sparse")
    with open_root(root) as found:
        offered = next(image.offered for image in found.images if "give/odd-sparse-pax01:1" in image.names)
        assert offered is not None
        before = open_below(root)
        with measuring(DEFAULT_LIMITS) as taking:
            attempts = [list(next(found.copies(layer)).attempts(taking.meter)) for layer in offered.layers]
        # That a second attempt is made shows that all was looked at.
        assert attempts
        assert open_below(root) == before


def test_a_layer_that_has_lost_the_name_of_its_directory_says_so(root, layer):
    (layer.entry / "cache-id").write_bytes(b"")
    said = f"{layer.entry.name}/cache-id is lost, and with it where its files are"
    assert said in look(root, [GNU]).images[0].problems[0]
    # Of the directories that belong to nothing one is it.
    assert found(root, GNU).state == "whole"
    shutil.rmtree(layer.directory)
    assert said in found(root, GNU).problems[0]
