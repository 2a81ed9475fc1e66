"""Files of skopeo, podman and old engines: each loads as the image that it was made from."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.model.digest import Digest
from orlop.service.listing.image_document import image_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"
#: The same image with the config that skopeo and podman write when they make an OCI image of it.
TINY_OCI = "sha256:be42309507d24de102fa4392c62ea25f27dcaa3aef82a94ae67d06c9ed124f8f"
IMPORTED = "sha256:bd11a92cebbcf16ed62e7d7ee87ed807f13979eecbb7fa6c910527ca052ecaab"
GZIP = "sha256:585c28ac4668e66fcdd1c1fba1adeba7a39f3bfa7e6124f6aa3e2138d68420af"
ZSTD = "sha256:599309a4d479d8cec37643656e5ccae50c8cb91f903a4c3e577e9c74604924fb"

NEW = "sha256:d0468f4574828688723e5ecf035823e31b0c88c5c6e4b447958ea1d70da0a29c"
TINY_29 = "sha256:062231e20ed44e7b6e01153b5ef1cef95f53940c16cec9f9d7ce1573fa56ebdc"
DUP_MANIFEST = "sha256:276bc515b297b9cbd8244794597bab99d703291b60d2cf0846180f00f943b103"
DUP = "sha256:6b581fbe3a16bf6f5f4dae63aeae6035d1c8cafef96fbd7e3867b8850a6d587f"

FILES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "podman-multi": (
        "docker",
        {TINY: ["localhost/example/tiny:1.0"], IMPORTED: ["localhost/example/imported:latest"]},
    ),
    "skopeo-docker-archive": ("docker", {TINY: ["example/tiny:1.0"]}),
    "skopeo-dir": ("dir", {TINY: []}),
    "podman-oci": ("oci", {TINY_OCI: ["localhost/example/tiny:1.0", f"localhost/example/tiny@{GZIP}"]}),
    "skopeo-oci-archive": ("oci", {TINY_OCI: ["tiny:1.0", f"tiny@{GZIP}"]}),
    "skopeo-oci-archive-zstd": ("oci", {TINY_OCI: ["tiny:1.0", f"tiny@{ZSTD}"]}),
}
NEWER: dict[str, tuple[str, dict[str, list[str]]]] = {
    "crane-append": ("docker", {NEW: ["app/new:1"]}),
    "crane-legacy": ("docker", {TINY_29: ["localhost:5571/ex/tiny:1"], DUP: ["localhost:5571/ex/dup:1"]}),
    "ctr-export-odd-name": ("docker", {DUP: ["dup-no-domain:latest", f"dup-no-domain@{DUP_MANIFEST}"]}),
}
"""What programs of 2025 write, with the IDs and names that Engine 28.5 gives it, with a graph driver.

The digest is that of its containerd storage: containerd exports the manifest that it has.
"""
every_file = pytest.mark.parametrize("name", FILES)
every_old_archive = pytest.mark.parametrize("name", ["legacy-v1-tiny", "legacy-v1-multi"])


@pytest.fixture(params=["file", "pipe", "repacked", "directory"])
def source(request: pytest.FixtureRequest, data: Path, tmp_path: Path, name: str) -> Iterator[object]:
    """One archive in every shape in which people have it."""
    path = data / "other-tools" / f"{name}.tar"
    if request.param == "file":
        yield path
        return
    if request.param == "pipe":
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
            yield process.stdout
        return
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", path], check=True)
    if request.param == "directory":
        yield folder
        return
    subprocess.run(["tar", "-C", folder, "-cf", tmp_path / "repacked.tar", "."], check=True)
    yield tmp_path / "repacked.tar"


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", [*FILES, *NEWER])
def test_a_file_loads_as_the_image_it_was_made_from(images, name, source):
    form, wanted = {**FILES, **NEWER}[name]
    report = images.load(source)
    assert report.format == form
    found = {str(image.id): [n.familiar for n in images.inspect(str(image.id)).references] for image in report.images}
    assert found == wanted
    for image in report.images:
        assert str(Digest.of(images.raw_config(str(image.id)))) == str(image.id)


@pytest.mark.sampled(2)
@every_file
def test_its_layers_are_those_of_the_engine(images, data, name):
    with orlop.open(images.root + "-engine") as engine:
        engine.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        images.load(data / "other-tools" / f"{name}.tar")
        for image_id, names in FILES[name][1].items():
            same = "example/imported" if any("imported" in each for each in names) else "example/tiny:1.0"
            theirs, ours = engine.inspect(same), images.inspect(image_id)
            assert ours.image.rootfs == theirs.image.rootfs
            assert ours.size == theirs.size
            for diff_id in ours.image.rootfs.diff_ids:
                content = b"".join(images.layer_store.tar_chunks(diff_id))
                assert content == b"".join(engine.layer_store.tar_chunks(diff_id))


def test_an_image_without_a_system_is_shown_with_that_of_engines(images, data):
    images.load(data / "other-tools" / "crane-append.tar")
    details = images.inspect("app/new:1")
    assert (details.image.os, details.image.architecture) == ("", "")
    shown = image_document(details)
    assert (shown["Os"], shown["Architecture"]) == ("linux", "")


@pytest.mark.sampled(2)
@every_old_archive
def test_an_old_archive_gives_what_the_engine_made_of_it(images, data, name, source):
    report = images.load(source)
    assert report.format == "docker-v1"
    told = {image["Id"]: image for image in json.loads((data / "other-tools" / f"{name}.images-all.json").read_text())}
    assert {str(image.id) for image in report.images} == told.keys()
    for summary in images.images(all=True):
        image = told[str(summary.id)]
        assert (str(summary.parent) if summary.parent else "") == image["ParentId"]
        assert [reference.familiar for reference in summary.references] == [
            tag for tag in image["RepoTags"] if tag != "<none>:<none>"
        ]
        assert (summary.created, summary.size) == (image["Created"], image["Size"])
    configs = {
        f"sha256:{path.name}": path.read_bytes() for path in (data / "other-tools" / f"{name}.configs").iterdir()
    }
    assert {image_id: images.raw_config(image_id) for image_id in told} == configs


@every_old_archive
def test_of_an_old_archive_the_named_images_are_told(images, data, name):
    lines = images.load(data / "other-tools" / f"{name}.tar").messages()
    with tarfile.open(data / "other-tools" / f"{name}.tar") as tar:
        member = tar.extractfile("repositories")
        assert member is not None
        repositories = json.load(member)
    assert sorted(lines) == sorted(
        f"Loaded image: {repository}:{tag}" for repository, tags in repositories.items() for tag in tags
    )


@every_old_archive
def test_loading_an_old_archive_again_changes_nothing(images, data, name):
    images.load(data / "other-tools" / f"{name}.tar")
    before = images.images(all=True), images.layer_store.map()
    assert not any(image.created for image in images.load(data / "other-tools" / f"{name}.tar").images)
    assert (images.images(all=True), images.layer_store.map()) == before
