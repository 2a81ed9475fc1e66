"""A root of containerd in which parts of an index are lost: each image says what it lacks, and none is passed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.model.platform import Platform
from orlop.service.rescue import look, rescue_store
from tests.foreign_roots import unpack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orlop.service.rescue import RescuedImage

NAMES = ("multi:1", "one:1")
MADE = "; it was made of its config and its layers without that"


@pytest.fixture
def docker(data, tmp_path):
    return unpack(data, "engine-28-containerd", tmp_path / "docker")


def blobs(root: Path) -> Path:
    return root / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"


class Index:
    """An index of the root: its digest, those of its manifests by architecture, and those of its attestations."""

    def __init__(self, root: Path, images: int) -> None:
        for path in blobs(root).iterdir():
            raw = path.read_bytes()
            document = json.loads(raw) if raw[:1] == b"{" else {}
            entries = document.get("manifests", ())
            known = {one["platform"]["architecture"]: one["digest"][7:] for one in entries if "annotations" not in one}
            if len(known) == images:
                self.digest, self.manifests = path.name, known
                self.attestations = [one["digest"][7:] for one in entries if "annotations" in one]

    def config(self, root: Path, architecture: str) -> str:
        manifest = json.loads((blobs(root) / self.manifests[architecture]).read_bytes())
        digest: str = manifest["config"]["digest"]
        return digest[7:]


@pytest.fixture
def multi(docker):
    return Index(docker, 2)


@pytest.fixture
def one(docker):
    return Index(docker, 1)


def lose(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (blobs(root) / name).unlink()


def damage(root: Path, name: str) -> None:
    path = blobs(root) / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])


def told(root: Path) -> dict[str, list[RescuedImage]]:
    """Return the images of each name; none of the others has changed."""
    report = look(root)
    assert [image.state for image in report.images if "broken:1" in image.image.names] == ["complete"]
    return {name: [image for image in report.images if name in image.image.names] for name in NAMES}


def architectures(images: list[RescuedImage]) -> dict[str, tuple[str, ...]]:
    return {image.image.offered.platform.architecture: image.problems for image in images if image.image.offered}


def tagged(images: list[RescuedImage]) -> list[str]:
    return [
        image.image.offered.platform.architecture
        for image in images
        if image.image.offered and image.image.offered.references
    ]


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_an_image_whose_manifest_is_lost_says_so_and_its_neighbour_does_not(docker, multi, one, how, tmp_path):
    amd64 = multi.manifests["amd64"]
    assert one.manifests == {"amd64": amd64}
    lose(docker, [amd64]) if how == "missing" else damage(docker, amd64)
    why = "missing" if how == "missing" else "damaged: it has another digest"
    problem = f"its manifest sha256:{amd64} is {why}{MADE}"
    found = told(docker)
    assert architectures(found["multi:1"]) == {"amd64": (problem,), "arm64": ()}
    assert architectures(found["one:1"]) == {"amd64": (problem,)}
    assert [len(tagged(images)) for images in found.values()] == [1, 1]
    # What the engine said of the whole is not what is there now.
    assert {image.image.size for images in found.values() for image in images} == {None}
    report = rescue_store(tmp_path / "store", docker)
    assert {image.image.names for image in report.damaged} == {("broken:1",)}
    with orlop.open(tmp_path / "store") as images:
        kept = [images.inspect(image.image.id) for image in report.images if image.state == "rescued"]
        manifests = {one.image.architecture: one.manifests for one in kept}
        assert manifests.keys() == {"amd64", "arm64"}
        # The index that is whole stays with the image whose manifest is.
        assert f"sha256:{multi.digest}" in manifests["arm64"]
    assert not orlop.stores.fsck(tmp_path / "store").damage


@pytest.mark.parametrize("host", ["amd64", "arm64"])
def test_the_tag_goes_to_the_image_for_this_machine_though_it_was_made_anew(docker, multi, monkeypatch, host):
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", host))
    lose(docker, [multi.manifests["amd64"]])
    assert tagged(told(docker)["multi:1"]) == [host]


def test_an_image_whose_config_is_lost_is_listed_beside_its_neighbour(docker, multi):
    config = multi.config(docker, "amd64")
    lose(docker, [config])
    found = told(docker)
    assert architectures(found["multi:1"]) == {"arm64": ()}
    for images in found.values():
        assert [image.problems for image in images if image.state == "damaged"] == [
            (f"the config sha256:{config} is missing",)
        ]


def test_an_index_that_is_lost_leaves_its_images_and_no_attestation(docker, multi):
    lose(docker, [multi.digest])
    found = architectures(told(docker)["multi:1"])
    assert found.keys() == {"amd64", "arm64"}
    for problems in found.values():
        assert problems == (
            f"the manifest sha256:{multi.digest} is missing; only the database still led to this image",
        )
    # Each is made of what is left of it, and nothing of what speaks of it.
    lost = multi.manifests
    lose(docker, [*lost.values(), *multi.attestations])
    found = architectures(told(docker)["multi:1"])
    assert found == {name: (f"its manifest sha256:{digest} is missing{MADE}",) for name, digest in lost.items()}


def test_an_attestation_that_is_lost_is_noted_and_harms_no_image(docker, one):
    (attestation,) = one.attestations
    lose(docker, [attestation])
    (note,) = look(docker).notes
    said = "is missing; it is an attestation, and its image is whole without that"
    assert note == f"containerd moby: its manifest sha256:{attestation} {said}"
    assert architectures(told(docker)["one:1"]) == {"amd64": ()}


def test_what_is_lost_with_all_that_could_make_it_is_listed_as_damaged(docker, multi):
    manifest = multi.manifests["amd64"]
    lose(docker, [multi.config(docker, "amd64"), manifest])
    for images in told(docker).values():
        assert [(image.image.offered, image.problems) for image in images if image.state == "damaged"] == [
            (None, (f"its manifest sha256:{manifest} is missing",))
        ]


def test_what_was_never_pulled_of_an_index_is_not_missed(data, tmp_path):
    report = look(unpack(data, "containerd-1.6", tmp_path / "disk"))
    assert not [image for image in report.images if image.problems]
