"""Archives that lack layers, as other programs take them: where they have these layers, and not where they have not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.test_incremental import NEW, OLD, layout

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Docker, Orlop, Program

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def both(orlop: Orlop, tmp_path: Path) -> None:
    (tmp_path / "both.tar").write_bytes(layout().pack())
    orlop("load", "-i", tmp_path / "both.tar")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "docker-20.10"])
def test_an_engine_takes_it_where_it_has_the_layers(orlop: Orlop, docker: Docker, tmp_path: Path, form: str) -> None:
    orlop("save", "--format", form, "-o", tmp_path / "old.tar", OLD)
    orlop("save", "--format", form, "--since", OLD, "-o", tmp_path / "new.tar", NEW)
    done = docker.run("load", "-i", tmp_path / "new.tar")
    assert done.returncode
    assert not docker.lines("images", "-q")
    docker("load", "-i", tmp_path / "old.tar")
    docker("load", "-i", tmp_path / "new.tar")
    assert docker.inspect(NEW)["Id"] == orlop.json("inspect", NEW)[0]["Id"]


@pytest.mark.sampled(3)
def test_skopeo_copies_it_to_where_the_layers_are(orlop: Orlop, skopeo: Program, tmp_path: Path) -> None:
    orlop("save", "--format", "oci", "-o", tmp_path / "old.tar", OLD)
    orlop("save", "--format", "oci", "--since", OLD, "-o", tmp_path / "new.tar", NEW)
    new, copy = f"oci-archive:{tmp_path}/new.tar", f"oci:{tmp_path}/copy"
    # It asks for the first layer that is missing, by its digest.
    assert b"no such file" in skopeo.run("copy", "-q", new, f"{copy}:2").stderr
    skopeo("copy", "-q", f"oci-archive:{tmp_path}/old.tar", f"{copy}:1")
    skopeo("copy", "-q", "--preserve-digests", new, f"{copy}:2")
    whole = tmp_path / "whole"
    orlop("save", "--format", "oci-dir", "-o", whole, NEW)
    assert skopeo.json("inspect", f"{copy}:2")["Digest"] == skopeo.json("inspect", f"oci:{whole}:2")["Digest"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "docker-20.10"])
def test_an_engine_loads_what_was_added_to_an_archive(
    orlop: Orlop, docker: Docker, skopeo: Program, tmp_path: Path, form: str
) -> None:
    for name in (OLD, NEW):
        orlop("save", "--format", form, "--append", "-o", tmp_path / "some.tar", name)
    docker("load", "-i", tmp_path / "some.tar")
    for name in (OLD, NEW):
        assert docker.inspect(name)["Id"] == orlop.json("inspect", name)[0]["Id"]
    skopeo("copy", "-q", f"docker-archive:{tmp_path}/some.tar:{NEW}", f"dir:{tmp_path}/copy")
    # What the engine saved is added to as well.
    docker("save", "-o", tmp_path / "theirs.tar", OLD)
    orlop("save", "--append", "-o", tmp_path / "theirs.tar", NEW)
    docker.wipe()
    docker("load", "-i", tmp_path / "theirs.tar")
    assert sorted(docker.lines("images", "--format", "{{.Tag}}")) == ["1", "2"]
