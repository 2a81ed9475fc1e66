"""Members of archives: what is odd about how they are stored must not matter."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors

if TYPE_CHECKING:
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
        with pytest.raises(errors.StorageError, match="cannot read"):
            layer.verify()
