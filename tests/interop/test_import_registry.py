"""What was pushed to Debian's docker-registry is in the store after an import, under the same digests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.registries import debian_registry
from tests.unit.artifacts import chart
from tests.unit.layouts import Layout, named, sha256, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Orlop, Program

pytestmark = pytest.mark.interop


@pytest.mark.slow
@pytest.mark.sampled(3)
def test_every_form_moves_over_under_its_digest(orlop: Orlop, skopeo: Program, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    with debian_registry(folder) as there:
        for form, compression in (("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")):
            layout = Layout()
            unpacked(layout.top(layout.image("a", form, compression)).files, tmp_path / form / compression)
            options = ["--dest-tls-verify=false", "--format", form, "--dest-compress-format", compression]
            source = f"oci:{tmp_path}/{form}/{compression}"
            skopeo("copy", "-q", *options, source, f"docker://{there}/forms/{form}:{compression}")
        layout = Layout()
        children = [layout.image(one, "shared", architecture=one, platform=True) for one in ("amd64", "arm64")]
        unpacked(layout.top(layout.index(*children)).files, tmp_path / "index")
        skopeo("copy", "-q", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/index", f"docker://{there}/many:1")
        layout = Layout()
        unpacked(layout.top(chart(layout, **named("docker.io/a/chart:1"))).files, tmp_path / "chart")
        orlop("copy", f"oci:{tmp_path}/chart", f"docker://{there}/chart:1")
        names = {"forms/oci:gzip", "forms/oci:zstd", "forms/v2s2:gzip", "many:1", "chart:1"}
        digests = {name: sha256(orlop.run("manifest", f"docker://{there}/{name}").stdout) for name in names}

    lines = orlop.lines("store", "import-registry", "--host", "r.test", "--format", "json", folder / "registry")

    found: dict[str, Any] = {}
    for line in map(json.loads, lines):
        assert (line["State"], line["Problems"]) == ("imported", [])
        found |= {f"{line['Repository'].removeprefix('r.test/')}:{tag}": line["Digest"] for tag in line["Tags"]}
    assert found == digests
    orlop("fsck")
    (tmp_path / "out").mkdir()
    for number, name in enumerate(sorted(names - {"chart:1"})):
        orlop("copy", "--all-platforms", f"store:r.test/{name}", f"oci:{tmp_path}/out/{number}:1")
        index = json.loads((tmp_path / "out" / str(number) / "index.json").read_text())
        assert [entry["digest"] for entry in index["manifests"]] == [digests[name]]
