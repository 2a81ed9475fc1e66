"""The page of one whose Docker does not start, word by word: each command does what the page says of it."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.cli.main import run
from orlop.model.digest import Digest
from tests.foreign_roots import make_root, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "dead-docker.md"
CONTAINER = "0f" * 32
# What the page leaves to other programs, and what stands for a place that a reader names.
OTHERS = ("mount ", "docker ", "podman ")


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL))


def commands() -> list[str]:
    """Return the commands of the page, those in its sentences too, in their order."""
    found = re.findall(r"```sh\n(.*?)```|`(orlop [^`]*/mnt[^`]*)`", PAGE.read_text(), re.DOTALL)
    lines = [line.partition("#")[0].strip() for block, inline in found for line in (block or inline).splitlines()]
    return [line for line in dict.fromkeys(lines) if line and not line.startswith(OTHERS)]


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Iterator[Path]:
    """Make a disk with two images of the page, a container, and an image that is damaged; it stays as it is."""
    root = tmp_path / "mnt" / "var" / "lib" / "docker"
    make_root(root, 3, {"etc/app.conf": b"setting"})
    base = root / "image" / "overlay2"
    entries = {path.parent.name: path.read_text() for path in (base / "layerdb/sha256").glob("*/cache-id")}
    low, top, lost = sorted(entries, key=lambda one: entries[one])
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    config["rootfs"]["diff_ids"] = [f"sha256:{low}", f"sha256:{top}"]  # type: ignore[index]  # of what is above
    raw = json.dumps(config).encode()
    (base / "imagedb/content/sha256" / Digest.of(raw).hex).write_bytes(raw)
    names = json.loads((base / "repositories.json").read_text())["Repositories"]["made/image"]
    repositories = {
        "user/app": {"user/app:1.0": str(Digest.of(raw))},
        "user/db": {"user/db:latest": names["made/image:0"]},
        "user/lost": {"user/lost:1": names["made/image:2"]},
    }
    (base / "repositories.json").write_text(json.dumps({"Repositories": repositories}))
    (root / "overlay2" / entries[lost] / "diff" / "number-2").unlink()
    (root / "overlay2/upper/diff").mkdir(parents=True)
    (root / "overlay2/upper/diff/added").write_bytes(b"added")
    mounts = base / "layerdb/mounts" / CONTAINER
    mounts.mkdir(parents=True)
    for name, text in (("mount-id", "upper"), ("init-id", "upper-init"), ("parent", f"sha256:{top}")):
        (mounts / name).write_text(text)
    (root / "containers" / CONTAINER).mkdir(parents=True)
    (root / "containers" / CONTAINER / "config.v2.json").write_text(json.dumps({"Name": "/web", "Image": ""}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = snapshot(tmp_path / "mnt")
    yield tmp_path / "mnt"
    assert snapshot(tmp_path / "mnt") == before


def test_every_command_of_the_page_does_what_it_says(disk, capsys):
    done = commands()
    assert len(done) > 10
    said = {}
    for command in done:
        words = [word.replace("/mnt", str(disk)) for word in shlex.split(command)[1:]]
        # A registry is another program.
        words = [re.sub("docker://registry.example.com/(.*):.*", "oci:copied", word) for word in words]
        status = run(["--root", "store", *words])
        said[command] = capsys.readouterr()
        # One image is damaged, which is told by whatever reads the files of every image.
        reads = bool({"--verify", "--into", "--parts"} & {*words}) and not {"user/app:1.0", "--container"} & {*words}
        assert status == (6 if reads else 0), (command, said[command])
    shown = said["orlop rescue /mnt"].out
    assert re.search(r"^complete .* user/app:1.0$", shown, re.MULTILINE)
    read = said["orlop rescue --verify /mnt"].out
    assert re.search(r"^whole .* user/app:1.0$", read, re.MULTILINE)
    assert re.search(r"^damaged .* user/lost:1\n +layer 1 of 1: .*number-2", read, re.MULTILINE)
    assert "user/app" in said["orlop images --root-of /mnt"].out
    assert Path("app.conf").read_bytes() == b"setting"
    with orlop.Archive("images.tar") as archive:
        assert {name.familiar for image in archive.images for name in image.references} == {
            "user/app:1.0",
            "user/db:latest",
        }
    assert not Path(".images.tar.rescue").exists()
    assert Path("copied/index.json").exists()
    (parts,) = Path("parts").iterdir()
    assert {path.name for path in parts.iterdir()} == {"config.json", "1.partial.tar"}
    assert (
        f"container {CONTAINER[:12]} web: var/lib/docker/overlay2/upper/diff"
        in said["orlop rescue /mnt --containers"].out
    )
    with tarfile.open("web.tar") as tar:
        assert tar.getnames() == ["added"]


def test_what_the_page_writes_in_python_runs(disk):
    code = blocks("python").replace("/mnt", str(disk))
    names: dict[str, Any] = {}
    exec(code, names)
    assert sorted(image.state for image in names["report"].images) == ["damaged", "whole", "whole", "whole"]
