"""podman and skopeo read what orlop saved, and orlop what they saved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Orlop, Program

pytestmark = pytest.mark.interop

TINY = "example/tiny:1.0"
COMMITTED = "registry.example.com:5000/team/committed:2.0"
IMPORTED = "example/imported:latest"
NAMES = (COMMITTED, TINY, IMPORTED)

FORMATS = pytest.mark.parametrize("form", ["docker", "docker-20.10"])


@pytest.fixture
def ids(orlop: Orlop, data: Path) -> dict[str, str]:
    """Three images that orlop holds: reference and image ID."""
    orlop("load", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    lines = orlop.lines("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    ids = dict(line.split() for line in lines)
    assert ids.keys() == {*NAMES}
    return ids


@pytest.mark.sampled(2)
@FORMATS
def test_podman_loads_what_orlop_saved(
    podman: Program, orlop: Orlop, ids: dict[str, str], tmp_path: Path, form: str
) -> None:
    orlop("save", "--format", form, "-o", tmp_path / "saved.tar", *NAMES)
    podman("load", "-i", tmp_path / "saved.tar")
    lines = podman.lines("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    # podman has no default registry: it calls names without one its own.
    assert {name.removeprefix("localhost/"): image_id for name, image_id in map(str.split, lines)} == ids


def check_copy(copy: Path, image_id: str, config: bytes) -> None:
    """Check what skopeo copied: it has verified every layer, and its config is the image's."""
    digest = json.loads((copy / "manifest.json").read_bytes())["config"]["digest"]
    assert digest == image_id
    assert (copy / digest.removeprefix("sha256:")).read_bytes() == config


@pytest.mark.sampled(6)
@FORMATS
@pytest.mark.parametrize("name", NAMES)
def test_skopeo_copies_what_orlop_saved(
    skopeo: Program, orlop: Orlop, ids: dict[str, str], tmp_path: Path, form: str, name: str
) -> None:
    orlop("save", "--format", form, "-o", tmp_path / "saved.tar", name)
    skopeo("copy", f"docker-archive:{tmp_path / 'saved.tar'}", f"dir:{tmp_path / 'copy'}")
    check_copy(tmp_path / "copy", ids[name], orlop.run("inspect", "--raw", name).stdout)


def test_skopeo_copies_each_image_of_one_archive(
    skopeo: Program, orlop: Orlop, ids: dict[str, str], tmp_path: Path
) -> None:
    # Of Engine 20.10's layout skopeo cannot read a layer that is a link into another image, whoever wrote it.
    orlop("save", "-o", tmp_path / "saved.tar", *NAMES)
    for number, (name, image_id) in enumerate(ids.items()):
        copy = tmp_path / str(number)
        skopeo("copy", f"docker-archive:{tmp_path / 'saved.tar'}:{name}", f"dir:{copy}")
        check_copy(copy, image_id, orlop.run("inspect", "--raw", name).stdout)


@pytest.mark.sampled(3)
def test_what_podman_saved_loads_again(podman: Program, orlop: Orlop, ids: dict[str, str], tmp_path: Path) -> None:
    orlop("save", "-o", tmp_path / "saved.tar", TINY)
    podman("load", "-i", tmp_path / "saved.tar")
    # podman takes an archive of one image for an OCI layout, and its name from there: in full.
    assert podman.lines("images", "--format", "{{.Repository}}:{{.Tag}}") == [f"docker.io/{TINY}"]
    podman("save", "--format", "docker-archive", "-o", tmp_path / "podman.tar", f"docker.io/{TINY}")
    orlop("rmi", "-f", *NAMES)
    assert orlop("load", "-i", tmp_path / "podman.tar") == f"Loaded image: {TINY}\n"
    assert orlop.lines("images", "-q", "--no-trunc") == [ids[TINY]]


def test_what_skopeo_wrote_loads_again(skopeo: Program, orlop: Orlop, ids: dict[str, str], tmp_path: Path) -> None:
    orlop("save", "-o", tmp_path / "saved.tar", TINY)
    skopeo("copy", f"docker-archive:{tmp_path / 'saved.tar'}", f"docker-archive:{tmp_path / 'skopeo.tar'}:new/name:3")
    orlop("rmi", "-f", *NAMES)
    assert orlop("load", "-i", tmp_path / "skopeo.tar") == "Loaded image: new/name:3\n"
    assert orlop.lines("images", "-q", "--no-trunc") == [ids[TINY]]
