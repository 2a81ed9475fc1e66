"""One platform of an index is removed: the names and the other platforms stay, and no other name loses it unasked."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop.cli.main import run
from tests.layout_walk import walked
from tests.unit.layouts import MANIFEST, Layout, named

if TYPE_CHECKING:
    from pathlib import Path

    import orlop

APP, OTHER = "docker.io/example/app:1.0", "docker.io/example/other:2.0"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    from orlop.model.platform import Platform

    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "amd64"))


def loaded(images: orlop.ImageService, *names: str, also: str | None = None) -> dict[str, str]:
    """Load one index of three platforms under some names, and return the IDs of its images, and its digest."""
    layout = Layout()
    children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64", "s390x")]
    attestation = layout.document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
            "config": layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [layout.blob(b"statement", "application/vnd.in-toto+json")],
            "subject": {key: children[1][key] for key in ("mediaType", "digest", "size")},
        },
        MANIFEST,
        annotations={"vnd.docker.reference.digest": children[1]["digest"]},
    )
    index = layout.index(*children, attestation)
    tops = [index | named(name) for name in names]
    if also is not None:
        tops.append({key: value for key, value in children[1].items() if key != "platform"} | named(also))
    images.load(io.BytesIO(layout.top(*tops).pack()))
    found = {"index": index["digest"], "attestation": attestation["digest"]}
    for child in children:
        manifest = json.loads(layout.files["blobs/" + child["digest"].replace(":", "/")])
        found[child["platform"]["architecture"]] = manifest["config"]["digest"]
    return found


def left(images: orlop.ImageService) -> set[str]:
    with images.store.metadata.read() as rows:
        return {str(image) for image in rows.image_ids()}


@pytest.mark.parametrize(("gone", "means"), [("amd64", "arm64"), ("arm64", "amd64"), ("s390x", "amd64")])
def test_the_name_stays_for_the_other_platforms(
    images: orlop.ImageService, tmp_path: Path, gone: str, means: str
) -> None:
    ids = loaded(images, APP)
    report = images.remove(APP, platform=f"linux/{gone}")
    assert ids[gone] in report.deleted
    assert "example/app:1.0" not in report.untagged
    assert left(images) == {ids[one] for one in ("amd64", "arm64", "s390x") if one != gone}
    image = images.inspect(APP).image
    assert str(image.id) == ids[means]
    assert f"example/app@{ids['index']}" in [one.familiar for one in images.inspect(APP).repo_digests]
    images.save([APP], tmp_path / "out", format="oci-dir")
    found = walked(tmp_path / "out")
    assert found.names == {APP: ids["index"]}
    # What attests the platform went with it.
    assert (ids["attestation"] in found.absent) == (gone == "arm64")
    assert images.gc().garbage == ()


def test_the_last_platform_takes_the_name_along(images: orlop.ImageService) -> None:
    loaded(images, APP)
    for platform in ("linux/amd64", "linux/arm64"):
        assert "example/app:1.0" not in images.remove(APP, platform=platform).untagged
    assert "example/app:1.0" in images.remove(APP, platform="linux/s390x").untagged
    assert left(images) == set()
    with images.store.metadata.read() as rows:
        assert not rows.manifest_digests()
        assert not rows.blobs()


def test_a_platform_that_is_not_there_is_named_with_those_that_are(images: orlop.ImageService) -> None:
    loaded(images, APP)
    with pytest.raises(errors.PlatformNotFound, match=r"linux/amd64, linux/arm64, linux/s390x\) do not match"):
        images.remove(APP, platform="linux/riscv64", force=True)
    assert len(left(images)) == 3


@pytest.mark.parametrize("also", [None, OTHER])
def test_what_other_names_lead_to_goes_only_by_force(images: orlop.ImageService, also: str | None) -> None:
    ids = loaded(images, APP, *([OTHER] if also is None else []), also=also)
    with pytest.raises(errors.ImageInUse, match=r"must be forced\) - .*: example/other:2.0"):
        images.remove(APP, platform="linux/arm64")
    assert len(left(images)) == 3
    report = images.remove(APP, platform="linux/arm64", force=True)
    assert ids["arm64"] in report.deleted
    assert ("example/other:2.0" in report.untagged) == (also is not None)
    assert str(images.inspect(APP).image.id) == ids["amd64"]
    if also is None:
        assert str(images.inspect(OTHER).image.id) == ids["amd64"]
        images.remove(APP, platform="linux/amd64", force=True)
        assert {str(images.inspect(name).image.id) for name in (APP, OTHER)} == {ids["s390x"]}


def test_an_index_by_its_digest_is_the_same(images: orlop.ImageService) -> None:
    ids = loaded(images, APP)
    name = f"docker.io/example/app@{ids['index']}"
    with pytest.raises(errors.ImageInUse, match=r"example/app:1\.0"):
        images.remove(name, platform="linux/amd64")
    images.remove(name, platform="linux/amd64", force=True)
    assert str(images.inspect(APP).image.id) == ids["arm64"]
    assert str(images.inspect(name).image.id) == ids["arm64"]


def test_an_image_that_others_were_built_on_stays(images: orlop.ImageService) -> None:
    ids = loaded(images, APP)
    child = images.import_image(io.BytesIO(b"\0" * 1024), reference="child:1")
    images.store.images.set_parent(child, images.inspect(ids["arm64"]).image.id)
    with pytest.raises(errors.ImageInUse, match="dependent child"):
        images.remove(APP, platform="linux/arm64", force=True)
    assert ids["arm64"] in left(images)
    assert str(images.inspect(APP).image.id) == ids["amd64"]


def test_the_command_says_what_went(images: orlop.ImageService, capsys: pytest.CaptureFixture[str]) -> None:
    ids = loaded(images, APP, OTHER)
    command = ["--root", str(images.root), "rmi", "--platform", "linux/arm64", "example/app:1.0"]
    assert run(command) == errors.ImageInUse.exit_code
    assert "must be forced" in capsys.readouterr().err
    assert run([*command, "--force"]) == 0
    assert f"Deleted: {ids['arm64']}" in capsys.readouterr().out
