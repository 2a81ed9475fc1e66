"""Layers and blobs that are named by sha512: kept, checked, copied, removed and given back under these digests."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from tests.layout_walk import walked
from tests.unit.layouts import MANIFEST, Layout, named, unpacked
from tests.unit.sha512_layout import IMAGE, THING, by_sha512, layout

if TYPE_CHECKING:
    from pathlib import Path


def blobs_in(root: Path) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in (root / "blobs").rglob("*") if path.is_file()}


def load(images: orlop.ImageService, made: Layout, way: str, folder: Path) -> None:
    if way == "directory":
        images.load(unpacked(made.files, folder / "from"))
    elif way == "file":
        (folder / "from.tar").write_bytes(made.pack())
        images.load(folder / "from.tar")
    else:
        images.load(io.BytesIO(made.pack()))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("way", ["directory", "file", "pipe"])
def test_they_come_back_under_the_same_digests(tmp_path: Path, way: str, *, compress: bool) -> None:
    made = layout(compress=compress)
    root = tmp_path / "root"
    with orlop.open(root) as images:
        load(images, made, way, tmp_path)
        images.gc()
        images.save([IMAGE, THING], tmp_path / "to", format="oci-dir")
        out = io.BytesIO()
        images.save([IMAGE, THING], out, format="oci")
    source = walked(unpacked(made.files, tmp_path / "source"))
    assert walked(tmp_path / "to").found == source.found
    assert {digest for digest in source.found if digest.startswith("sha512:")} > {
        digest for digest in blobs_in(root) if digest.startswith("sha512:")
    }
    assert any(digest.startswith("sha512:") for digest in blobs_in(root))
    assert stores.fsck(root).problems == ()
    with orlop.open(tmp_path / "again") as images:
        images.load(io.BytesIO(out.getvalue()))
        images.save([IMAGE, THING], tmp_path / "third", format="oci-dir")
    assert walked(tmp_path / "third").found == source.found


def test_what_is_not_its_digest_is_refused(tmp_path: Path) -> None:
    for name in [name for name in layout().files if name.startswith("blobs/sha512/")]:
        made = layout()
        made.files[name] = made.files[name][:-1] + bytes([made.files[name][-1] ^ 1])
        with orlop.open(tmp_path / "root") as images, pytest.raises((errors.IntegrityError, errors.InvalidInput)):
            images.load(io.BytesIO(made.pack()))
    assert blobs_in(tmp_path / "root") == set()


def test_a_collection_takes_what_nothing_needs(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout().pack()))
        stray = root / "blobs" / "sha512" / ("0" * 128)
        stray.write_bytes(b"x")
        assert [one.kind for one in images.gc().garbage] == ["stray"]
        images.remove(THING)
        images.remove(IMAGE)
        images.gc()
    assert blobs_in(root) == set()
    assert stores.fsck(root).problems == ()


@pytest.mark.sampled(2)
def test_copies_and_backups_have_them(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout().pack()))
    stores.copy(root, tmp_path / "copy")
    stores.backup(root, tmp_path / "backup")
    assert blobs_in(tmp_path / "copy") == blobs_in(tmp_path / "backup") == blobs_in(root)
    with orlop.open(root) as images:
        other = Layout()
        thing = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/y",
            "config": by_sha512(other, b'{"a":1}', "application/y"),
            "layers": [by_sha512(other, b"more" * 9000, "application/y")],
        }
        images.load(io.BytesIO(other.top(other.document(thing, MANIFEST) | named("docker.io/example/more:1")).pack()))
    stores.backup(root, tmp_path / "backup")
    for place in ("copy", "backup", "root"):
        assert stores.fsck(tmp_path / place).problems == ()
    assert blobs_in(tmp_path / "backup") == blobs_in(root)


@pytest.mark.sampled(3)
def test_damage_is_found_and_mended(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout().pack()))
    for path in sorted((root / "blobs" / "sha512").iterdir()):
        good = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        path.chmod(0o400)
        assert [problem.kind for problem in stores.fsck(root).damage] == ["blob-damaged"]
        # What is set aside is found again where it is right.
        shutil.copyfile(path, tmp_path / "bad")
        stores.fsck(root, repair=True)
        with orlop.open(root) as images:
            images.load(io.BytesIO(layout().pack()))
        assert path.read_bytes() == good
        assert stores.fsck(root).damage == ()
    # Rows that are lost are made again of files and manifests.
    moved = next((root / "blobs" / "sha512").iterdir())
    moved.rename(root / "blobs" / "sha256" / moved.name)
    assert stores.fsck(root).damage
    assert stores.fsck(root, repair=True).state == "repaired"
    assert moved.exists()


def test_a_store_without_any_has_no_folder_for_them(tmp_path: Path) -> None:
    made = Layout()
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(made.top(made.image("a", **named(IMAGE))).pack()))
    assert [path.name for path in (tmp_path / "root" / "blobs").iterdir()] == ["sha256"]
