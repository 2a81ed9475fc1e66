"""What skopeo pushed to Debian's docker-registry is pulled by orlop, and by docker through `orlop serve`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.interop.registries import debian_registry
from tests.interop.served import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Orlop, Program

pytestmark = pytest.mark.interop

FORMS = {
    "schema 2": ["--format", "v2s2"],
    "oci": ["--format", "oci"],
    "zstd": ["--format", "oci", "--dest-compress-format", "zstd"],
}


# One for each test: skopeo remembers in which form a registry has a layer, and takes that for other forms, too.
@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as authority:
        yield authority


def pushed(skopeo: Program, data: Path, name: str, form: str) -> bytes:
    """Push an image with skopeo, and return its manifest as the registry has it."""
    archive = data / "other-tools" / "skopeo-docker-archive.tar"
    skopeo("copy", "-q", "--dest-tls-verify=false", *FORMS[form], f"docker-archive:{archive}", f"docker://{name}")
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}").encode()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", list(FORMS))
def test_what_skopeo_pushed_is_pulled_and_goes_out_under_its_digest(
    registry: str, skopeo: Program, orlop: Orlop, data: Path, tmp_path: Path, form: str
):
    name = f"{registry}/{form.replace(' ', '')}/app:1"
    raw = pushed(skopeo, data, name, form)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert orlop("manifest", f"docker://{name}").encode() == raw
    assert orlop.lines("tags", f"docker://{name}") == ["1"]
    lines = orlop.lines("pull", name)
    assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name]
    (image,) = orlop.json("inspect", name)
    assert image["Id"] == json.loads(raw)["config"]["digest"]
    assert image["RepoDigests"] == [f"{name.removesuffix(':1')}@{digest}"]
    assert orlop.lines("pull", name)[-2] == f"Status: Image is up to date for {name}"
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "out", name)
    (top,) = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert top["digest"] == digest
    assert orlop.run("fsck").returncode == 0


def test_docker_pulls_through_a_server(registry: str, skopeo: Program, data: Path, tmp_path: Path):
    name = f"{registry}/docker/app:1"
    raw = pushed(skopeo, data, name, "schema 2")
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    with serve(tmp_path / "root") as served:
        docker = served.docker()
        lines = docker.lines("pull", name)
        assert lines[0] == "1: Pulling from docker/app"
        assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name]
        image = docker.inspect(name)
        assert image["Id"] == json.loads(raw)["config"]["digest"]
        assert image["RepoDigests"] == [f"{name.removesuffix(':1')}@{digest}"]
        by_digest = f"{name.removesuffix(':1')}@{digest}"
        assert docker.lines("pull", "-q", by_digest) == [by_digest]
        assert docker.run("pull", f"{registry}/nosuch/app:1").returncode == 1
