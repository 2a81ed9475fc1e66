"""Manifests in answers of the Engine API: of which platforms an image is, and what of it is here."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.manifest import distribution
from orlop.api.engine.versions import MAXIMUM, V1_47, V1_48, ApiVersion
from orlop.errors import NotFound
from tests.unit.layouts import CONFIG, INDEX, MANIFEST, Layout, named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.image_service import ImageService

NAME = "registry.example.com/app:1"


@pytest.fixture
def images(tmp_path: Path) -> Iterator[ImageService]:
    with orlop.open(tmp_path / "store") as service:
        yield service


@pytest.fixture
def layout() -> Layout:
    """An index of two platforms, an attestation of the first, and one of nobody knows what."""
    made = Layout()
    first = made.image("a", "b", platform=True)
    second = made.image("a", architecture="arm64", variant="v8", platform=True)
    statement = made.document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": made.document({"architecture": "unknown", "os": "unknown"}, CONFIG),
            "layers": [made.document({}, "application/vnd.in-toto+json")],
        },
        MANIFEST,
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": first["digest"],
        },
    )
    absent = {
        "mediaType": MANIFEST,
        "digest": "sha256:" + "1" * 64,
        "size": 7,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    return made.top(made.index(first, second, statement, absent) | named(NAME))


def listed(images: ImageService, version: ApiVersion) -> list[dict[str, Any]]:
    return image_list(images.listed_images(manifests=True), version)


def test_an_index_is_shown_with_what_of_it_is_here(images: ImageService, layout: Layout):
    images.load(io.BytesIO(layout.pack()), platform="linux/amd64")
    [shown] = listed(images, MAXIMUM)
    target = shown["Descriptor"]
    assert target["mediaType"] == INDEX
    assert shown["RepoDigests"] == [f"registry.example.com/app@{target['digest']}"]
    amd64, arm64, statement, unknown = shown["Manifests"]
    assert (amd64["Kind"], amd64["Available"]) == ("image", True)
    assert amd64["ImageData"] == {
        "Platform": {"architecture": "amd64", "os": "linux"},
        "Containers": [],
        "Size": {"Unpacked": 6},
    }
    manifest = layout.files["blobs/" + amd64["ID"].replace(":", "/")]
    assert amd64["Descriptor"]["size"] == len(manifest)
    assert amd64["Size"]["Content"] > len(manifest)
    assert amd64["Size"]["Total"] == amd64["Size"]["Content"] + 6
    assert (arm64["Kind"], arm64["Available"], arm64["Size"]) == ("image", False, {"Content": 0, "Total": 0})
    assert arm64["ImageData"]["Platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert statement["Kind"] == "attestation"
    assert statement["AttestationData"] == {"For": amd64["ID"]}
    assert "ImageData" not in statement
    assert (unknown["Kind"], unknown["Available"]) == ("unknown", False)


def test_manifests_appear_from_the_version_on_that_has_them(images: ImageService, layout: Layout):
    images.load(io.BytesIO(layout.pack()))
    early, [first, second], [later, _] = (listed(images, version) for version in (ApiVersion(1, 46), V1_47, V1_48))
    assert all("Manifests" not in each and "Descriptor" not in each for each in early)
    assert "Manifests" in {**first, **second}
    assert "Descriptor" not in first
    assert "Descriptor" in later
    inspected = images.inspect(NAME), images.manifests(NAME)
    assert "Descriptor" not in image(inspected[0], V1_47, inspected[1], with_manifests=True)
    assert "Manifests" not in image(inspected[0], V1_48, inspected[1])
    shown = image(inspected[0], V1_48, inspected[1], with_manifests=True)
    assert [each["Available"] for each in shown["Manifests"]][:2] == [True, True]


def test_a_manifest_alone_has_the_platform_of_its_image(images: ImageService):
    made = Layout()
    made.top(made.image("a", architecture="arm64") | named(NAME))
    images.load(io.BytesIO(made.pack()))
    manifests = images.manifests(NAME)
    shown = distribution(NAME, manifests, images.inspect(NAME).image.platform)
    assert shown["Descriptor"]["mediaType"] == MANIFEST
    assert shown["Platforms"] == [{"architecture": "arm64", "os": "linux"}]
    # It has no index whose descriptor would say it.
    [[manifest]] = [each["Manifests"] for each in listed(images, MAXIMUM)]
    assert "platform" not in manifest["Descriptor"]
    assert manifest["ImageData"]["Platform"] == {"architecture": "arm64", "os": "linux"}


def test_the_distribution_of_an_index_names_its_platforms(images: ImageService, layout: Layout):
    images.load(io.BytesIO(layout.pack()))
    shown = distribution(NAME, images.manifests(NAME), images.inspect(NAME).image.platform)
    assert shown["Descriptor"]["mediaType"] == INDEX
    assert [platform["architecture"] for platform in shown["Platforms"]] == ["amd64", "arm64"]


def test_an_image_without_a_manifest_has_no_distribution(images: ImageService, data: Path):
    images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    manifests = images.manifests("example/tiny:1.0")
    assert manifests is None
    assert "Descriptor" not in listed(images, MAXIMUM)[0]
    with pytest.raises(NotFound, match="no manifest of example"):
        distribution("example/tiny:1.0", manifests, images.inspect("example/tiny:1.0").image.platform)


def test_what_images_share_is_counted_over_all_or_over_those_that_are_listed(images: ImageService, data: Path):
    images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
    [child] = images.listed_images(shared_size=True)
    assert child.shared_size == child.summary.size == 3108
    usage = images.image_usage(listed_only=True)
    assert [image.shared_size for image in usage.images] == [0]
    assert (usage.layers_size, usage.reclaimable) == (3108, 3108)
    assert images.image_usage().reclaimable == 0
