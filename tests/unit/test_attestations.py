"""What attests an image of one platform goes with that, and comes along with it, in both forms that BuildKit writes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST
from orlop.model.platform import Platform
from orlop.streams.compression import zstd_module
from tests.unpacked import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME, SUBJECT = "example/shop:1.0", "io.containerd.manifest.subject"
ARM = "sha256:9d6eb4e4712a64a95dda7999e5e0917d4d90df1a06fe2ca54bdf840e5fcf07ad"
FORMS = ("attestations-artifact", "attestations-legacy")


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "amd64"))


@pytest.fixture(params=FORMS)
def layout(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Path:
    raw = zstd_module().decompress((data / "oci" / f"{request.param}.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        unpack(tar, tmp_path)
    return tmp_path / str(request.param)


@pytest.fixture
def images(tmp_path: Path, layout: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as service:
        service.load(layout)
        yield service


def index_of(raw: bytes) -> list[dict[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        found: list[dict[str, Any]] = json.loads(file.read())["manifests"]
        return found


def blobs(images: orlop.ImageService) -> set[str]:
    return set(map(str, images._store.blobs.digests()))


def test_a_removed_platform_takes_its_attestation_along(images: orlop.ImageService, tmp_path: Path) -> None:
    before = blobs(images)
    images.remove(ARM)
    [tree] = images.tree()
    shown = [(child.label, child.available, [one.available for one in child.children]) for child in tree.children]
    assert shown == [("linux/amd64", True, [True]), ("linux/arm64/v8", False, [False])]
    assert [one.kind for child in tree.children for one in child.children] == ["artifact", "artifact"]
    # Its statements went with it, and nothing is left for a collection.
    left = blobs(images)
    assert len(before - left) >= 3
    images.gc()
    assert blobs(images) == left
    assert orlop.stores.fsck(tmp_path / "root").damage == ()


def test_what_is_saved_then_lacks_both_and_says_so(images: orlop.ImageService) -> None:
    images.remove(ARM)
    target = io.BytesIO()
    report = images.save([NAME], target, format="oci")
    [omitted] = report.omitted
    assert [str(one.platform) for one in omitted.manifests] == ["linux/arm64/v8", "unknown/unknown"]
    [entry] = index_of(target.getvalue())
    assert entry["digest"] == str(omitted.index)


def test_it_comes_back_with_its_platform(images: orlop.ImageService, layout: Path) -> None:
    whole = blobs(images)
    images.remove(ARM)
    images.load(layout)
    assert blobs(images) == whole
    [tree] = images.tree()
    assert all(one.available for child in tree.children for one in (child, *child.children))


def test_one_platform_is_saved_with_its_attestation(images: orlop.ImageService) -> None:
    target = io.BytesIO()
    images.save([NAME], target, format="oci", platform="linux/arm64")
    platform, about = sorted(index_of(target.getvalue()), key=lambda entry: SUBJECT in entry.get("annotations", {}))
    assert about["annotations"][SUBJECT] == platform["digest"]
    images.save([ARM], other := io.BytesIO(), format="oci")
    assert [one["digest"] for one in index_of(other.getvalue())].count(about["digest"]) == 1


def test_an_attestation_of_what_stays_stays(images: orlop.ImageService) -> None:
    images.remove(ARM)
    images.remove("example/shop:latest")
    [kept] = images.tree(NAME)
    own = kept.children[0]
    assert all(one.available for one in (own, *own.children))
    assert own.children


def test_an_attestation_that_another_index_names_stays(images: orlop.ImageService, layout: Path) -> None:
    """An index of statements alone is of use without the image that they are about."""
    [tree] = images.tree()
    [arm] = [child for child in tree.children if child.label == "linux/arm64/v8"]
    put_index(layout, str(arm.children[0].digest), "docker.io/example/statements:1")
    images.load(layout)
    images.remove(ARM)
    [tree] = images.tree("example/statements:1")
    assert [one.available for one in tree.children] == [True]


def put_index(layout: Path, digest: str, name: str) -> None:
    """Add an index of one manifest to a layout."""
    child = {"mediaType": OCI_MANIFEST, "digest": digest, "size": blob_of(layout, digest).stat().st_size}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    blob_of(layout, digest).write_bytes(raw)
    top = json.loads((layout / "index.json").read_bytes())
    named = {"org.opencontainers.image.ref.name": name}
    top["manifests"].append({"mediaType": OCI_INDEX, "digest": digest, "size": len(raw), "annotations": named})
    (layout / "index.json").write_text(json.dumps(top))


def blob_of(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
