"""Archives on the command line: looked into without a store, loaded by platform, and told about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

OCI = "other-tools/skopeo-oci-archive.tar"
MULTI = "other-tools/podman-multi.tar"
TINY_OCI = "sha256:be42309507d24de102fa4392c62ea25f27dcaa3aef82a94ae67d06c9ed124f8f"


def orlop(root: Path, *args: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "orlop", "--root", str(root), *map(str, args)]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=120)


def printed(root: Path, *args: object, stdin: bytes = b"") -> str:
    done = orlop(root, *args, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A root that cannot be made, where a store would be looked for."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "root"


def test_images_of_an_archive(data, nowhere):
    lines = printed(nowhere, "images", "--archive", data / MULTI, "--format", "{{.Repository}}:{{.Tag}} {{.Size}}")
    assert lines.splitlines() == ["localhost/example/imported:latest 106B", "localhost/example/tiny:1.0 3.11kB"]
    only = printed(nowhere, "images", "-q", "--no-trunc", "--archive", "-", stdin=(data / OCI).read_bytes())
    assert only == f"{TINY_OCI}\n"


@pytest.mark.sampled(4)
def test_an_archive_is_inspected_as_a_store_would_be(data, tmp_path, nowhere):
    printed(tmp_path / "root", "load", "-i", data / OCI)
    (theirs,) = json.loads(printed(tmp_path / "root", "inspect", "tiny:1.0"))
    (ours,) = json.loads(printed(nowhere, "inspect", "--archive", data / OCI))
    assert ours | {"Metadata": None} == theirs | {"Metadata": None}
    assert ours["RepoDigests"] == ["tiny@sha256:585c28ac4668e66fcdd1c1fba1adeba7a39f3bfa7e6124f6aa3e2138d68420af"]
    assert printed(nowhere, "inspect", "--archive", data / OCI, "tiny:1.0") == printed(
        nowhere, "inspect", "--archive", data / OCI, TINY_OCI
    )
    assert len(json.loads(printed(nowhere, "inspect", "--archive", data / MULTI))) == 2
    assert printed(nowhere, "inspect", "--raw", "--archive", data / OCI) == printed(
        tmp_path / "root", "inspect", "--raw", "tiny:1.0"
    )
    assert printed(nowhere, "history", "--no-trunc", "--human=false", "--archive", data / OCI) == printed(
        tmp_path / "root", "history", "--no-trunc", "--human=false", "tiny:1.0"
    )


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["images", "--archive", "nothing.tar"], 4, "nothing.tar"),
        (["inspect", "--archive", "ARCHIVE", "nobody"], 4, "No such image: nobody:latest"),
        (["history", "--archive", "ARCHIVE"], 5, "name one of them"),
        (["inspect", "--raw", "--archive", "ARCHIVE"], 5, "name one of them"),
        (["history"], 2, "Missing argument"),
        (["inspect"], 2, "Missing argument"),
        (["load", "--platform", "x/", "-i", "ARCHIVE"], 2, "invalid platform"),
        (["inspect", "--platform", "x/", "a"], 2, "invalid platform"),
        (["history", "--platform", "x/", "a"], 2, "invalid platform"),
        (["inspect", "--platform", "linux/mips", "--archive", "ARCHIVE"], 4, "it holds linux/amd64"),
        (["inspect", "--raw", "--platform", "linux/mips", "--archive", "ARCHIVE"], 4, "it holds linux/amd64"),
        (["history", "--platform", "linux/mips", "--archive", "ARCHIVE"], 4, "it holds linux/amd64"),
        (["load", "--platform", "linux/mips", "-i", "ARCHIVE"], 4, "it holds linux/amd64"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(data, tmp_path, args, status, text):
    archive = os.fspath(data / MULTI)
    done = orlop(tmp_path / "root", *(archive if arg == "ARCHIVE" else arg for arg in args))
    assert done.returncode == status
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_load_of_one_platform_from_a_directory_says_what_it_found(tmp_path):
    layout = Layout()
    top = layout.index(
        layout.image("a", platform=True), layout.image("b", architecture="arm64", platform=True), **named("app:1")
    )
    (tmp_path / "layout.tar").write_bytes(layout.top(top).pack())
    folder = tmp_path / "layout"
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", tmp_path / "layout.tar"], check=True)
    done = orlop(tmp_path / "root", "load", "-v", "--platform", "linux/arm64", "-i", folder)
    assert done.stdout == b"Loaded image: app:1\n"
    first, second = done.stderr.decode().splitlines()
    assert first == "found an OCI image layout with 1 image"
    assert second.endswith(f"(linux/arm64, new): app:1, app@{top['digest']}")


@pytest.mark.sampled(6, daily=False)
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_an_image_of_one_platform_is_looked_at(tmp_path, platform):
    layout = Layout()
    top = layout.index(
        layout.image("a", platform=True), layout.image("b", architecture="arm64", platform=True), **named("app:1")
    )
    archive, root = tmp_path / "layout.tar", tmp_path / "root"
    archive.write_bytes(layout.top(top).pack())
    assert orlop(root, "load", "--platform", platform, "-i", archive).returncode == 0
    other = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[platform]
    for words in (["inspect", "-f", "{{.ID}} {{.Architecture}}"], ["inspect", "--raw"], ["history", "-q"]):
        found = printed(root, *words, "--platform", platform, "app:1")
        assert found == printed(root, *words, "app:1")
        assert found == printed(tmp_path / "none", *words, "--platform", platform, "--archive", archive, "app:1")
        assert found != printed(tmp_path / "none", *words, "--platform", other, "--archive", archive, "app:1") or (
            words[0] == "history"
        )
        refused = orlop(root, *words, "--platform", other, "app:1")
        assert (refused.returncode, refused.stdout.replace(b"[]\n", b"")) == (4, b"")
        assert f"its platform ({platform}) does not match the specified platform ({other})" in refused.stderr.decode()
    listed = printed(tmp_path / "none", "inspect", "-f", "{{.Architecture}}", "--platform", other, "--archive", archive)
    assert listed == f"{other.partition('/')[2]}\n"
