"""Members of archives: what is odd about how they are stored must not matter."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.archive import scratch
from tests.hostile import tars
from tests.hostile.made import BODY, docker, version_1
from tests.unit.layouts import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Docker archive, unpacked, whose layer is mostly holes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("zeros", bytes(1 << 20)), ("text", b"abc" * 1000)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    layer = out.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"]}]
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with (folder / "layer.tar").open("wb") as file:
        for start in range(0, len(layer), 4096):
            piece = layer[start : start + 4096]
            if piece.strip(b"\0"):
                file.seek(start)
                file.write(piece)
        file.truncate(len(layer))
    return folder


@pytest.mark.parametrize("form", ["gnu", "posix"])
@pytest.mark.parametrize("way", ["file", "stream", "reader"])
def test_a_sparse_member_is_read_with_its_holes(folder, tmp_path, form, way):
    path = tmp_path / "sparse.tar"
    subprocess.run(
        ["tar", f"--format={form}", "--hole-detection=raw", "-S", "-C", folder, "-cf", path, "."], check=True
    )
    assert path.stat().st_size < 1 << 19
    if way == "reader":
        with orlop.Archive(path) as archive:
            (layer,) = archive.images[0].layers
            assert b"".join(layer.chunks()) == (folder / "layer.tar").read_bytes()
        return
    with orlop.open(tmp_path / "root") as images:
        report = images.load(path if way == "file" else io.BytesIO(path.read_bytes()))
        assert report.messages() == ("Loaded image: a:1",)
        assert images.inspect("a:1").size == (1 << 20) + 3000


def test_an_archive_that_is_closed_is_not_read(folder):
    packed = folder.parent / "packed.tar"
    subprocess.run(["tar", "-C", folder, "-cf", packed, "."], check=True)
    for source in (packed, folder):
        with orlop.Archive(source) as archive:
            (layer,) = archive.images[0].layers
        with pytest.raises(errors.StoreClosed):
            layer.verify()


def unnamed(count: int) -> io.BytesIO:
    members = [tars.member(b"m%d" % number, b"%01000d" % number) for number in range(count)]
    return io.BytesIO(tars.tar(*members, tars.files(docker())))


def test_members_that_nothing_names_are_neither_files_nor_synced(tmp_path, monkeypatch):
    work = []

    def noted(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def run(*args: object, **options: object) -> None:
            work.append(name)
            call(*args, **options)

        return run

    for name in ("fsync", "fdatasync", "rename"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    done = []
    for count in (0, 300):
        with orlop.open(tmp_path / str(count)) as images:
            work.clear()
            images.load(unnamed(count))
            assert images.inspect("a:1").size == 3
            done.append(sorted(work))
    assert done[0] == done[1]
    assert "fsync" in done[0]


@pytest.mark.parametrize("room", [0, 5000, 1 << 20])
def test_small_members_are_found_again_wherever_they_wait(tmp_path, monkeypatch, room):
    monkeypatch.setattr(scratch, "_IN_MEMORY", room)
    with orlop.open(tmp_path / "root") as images:
        images.load(unnamed(20))
        assert images.inspect("a:1").size == 3
        assert list((tmp_path / "root" / "ingest").iterdir()) == []
    with orlop.Archive(unnamed(20)) as archive:
        archive.verify()


@pytest.mark.parametrize("room", [0, 1 << 20])
@pytest.mark.parametrize("same", [True, False])
def test_a_small_member_may_stand_twice_if_it_is_the_same(tmp_path, monkeypatch, room, same):
    monkeypatch.setattr(scratch, "_IN_MEMORY", room)
    other = b"x" * 1000 if same else b"y" * 1000
    source = io.BytesIO(tars.tar(tars.member(b"m", b"x" * 1000), tars.member(b"m", other), tars.files(docker())))
    with orlop.open(tmp_path / "root") as images:
        if same:
            images.load(source)
        else:
            with pytest.raises(errors.InvalidArchive, match="two different members of the name 'm'"):
                images.load(source)


@pytest.mark.parametrize("kind", ["links", "folders"])
def test_names_in_a_directory_are_counted_as_documents_are(tmp_path, kind):
    folder = unpacked(docker(), tmp_path)
    for number in range(50):
        if kind == "links":
            (folder / f"{number}").symlink_to("/outside/" + "x" * 200)
        else:
            (folder / f"{number}{'x' * 200}").mkdir()
    with pytest.raises(errors.LimitExceeded, match="documents-size"):
        orlop.Archive(folder, limits=orlop.Limits(documents_size=9000))
    with orlop.Archive(folder, limits=orlop.Limits(documents_size=20_000)) as archive:
        assert len(archive.images) == 1


def test_folders_in_folders_are_counted_by_their_depth(tmp_path):
    folder = unpacked(docker(), tmp_path)
    for number in range(20):
        (folder / str(number) / "/".join("abcdefghij")).mkdir(parents=True)
    with pytest.raises(errors.LimitExceeded, match="json-values-total"):
        orlop.Archive(folder, limits=orlop.Limits(json_values_total=500))


def test_what_images_of_version_1_repeat_of_their_parents_is_counted(tmp_path):
    files = version_1({})
    first = min(name.partition("/")[0] for name in files if "/" in name)
    files[f"{first}/json"] = json.dumps({"id": first, "comment": "x" * 5000}).encode()
    for number in range(20):
        name = hashlib.sha256(b"%d" % number).hexdigest()
        files |= {f"{name}/json": json.dumps({"id": name, "parent": first}).encode(), f"{name}/layer.tar": BODY}
    source = unpacked(files, tmp_path)
    with pytest.raises(errors.LimitExceeded, match="documents-size"):
        orlop.Archive(source, limits=orlop.Limits(documents_size=80_000))
    with pytest.raises(errors.LimitExceeded, match="config-size"):
        orlop.Archive(source, limits=orlop.Limits(config_size=5100))
