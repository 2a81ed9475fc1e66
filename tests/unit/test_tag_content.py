"""Any name can be tagged: an image, an index of several platforms, and what is not an image."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.store.content import home_row
from orlop.store.rows.metadata import ManifestRow
from tests.unit.artifacts import blobs_of, chart
from tests.unit.layouts import INDEX, Layout, named
from tests.unit.odd_layouts import a_blob_alone, encrypted_layers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as service:
        yield service


def index(layout: Layout) -> dict[str, Any]:
    return layout.index(*(layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")))


def encrypted(layout: Layout) -> dict[str, Any]:
    return {key: value for key, value in encrypted_layers(layout)[0].items() if key != "annotations"}


def loaded(images: orlop.ImageService, *tops: dict[str, Any], layout: Layout) -> None:
    images.load(io.BytesIO(layout.top(*tops).pack()))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("by", ["name", "digest"])
@pytest.mark.parametrize("make", [chart, index, encrypted])
def test_a_second_name_keeps_all_that_the_first_one_means(
    images: orlop.ImageService, tmp_path: Path, make: Any, by: str
):
    layout = Layout()
    top = make(layout)
    loaded(images, top | named("example/app:1"), layout=layout)
    named_blobs = blobs_of(layout) if make is not encrypted else {top["digest"]}
    images.tag("example/app:1" if by == "name" else f"example/app@{top['digest']}", "example/app:2")
    images.remove("example/app:1")
    [tree] = images.tree()
    assert (tree.names, str(tree.digest)) == (("example/app:2",), top["digest"])
    images.save(["example/app:2"], str(tmp_path / "out"), format="oci-dir", platform="all")
    [entry] = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert entry["digest"] == top["digest"]
    written = {f"sha256:{path.name}" for path in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    assert written >= named_blobs
    images.remove("example/app:2")
    assert images.tree() == ()
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


def test_a_name_moves_from_an_image_to_an_artifact_and_back(images: orlop.ImageService):
    layout = Layout()
    loaded(images, layout.image("a") | named("app:1"), chart(layout) | named("chart:1"), layout=layout)
    images.tag("chart:1", "app:1")
    kinds = {one.kind: one.names for one in images.tree()}
    assert kinds.pop("artifact") == ("app:1", "chart:1")
    assert not kinds
    images.load(io.BytesIO(layout.pack()))
    images.tag("app:1", "chart:1")
    assert [(one.names, one.kind) for one in images.tree()] == [(("app:1", "chart:1"), "image")]


def test_a_tag_that_an_index_had_means_the_index_again(images: orlop.ImageService):
    """One image may be below both: the name moves although its image stays."""
    layout = Layout()
    one = layout.image("a", platform=True)
    both = layout.index(one, layout.image("b", architecture="arm64", platform=True))
    loaded(images, one | named("app:1"), both | named("app:2"), layout=layout)
    images.tag("app:2", "app:1")
    assert [tree.names for tree in images.tree() if str(tree.digest) == both["digest"]] == [("app:1", "app:2")]


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("absent:1", "app:2", errors.ImageNotFound),
        ("chart:1", "sha256:" + "0" * 64, errors.InvalidReference),
    ],
)
def test_what_cannot_be_tagged_changes_nothing(
    images: orlop.ImageService, source: str, target: str, error: type[Exception]
):
    layout = Layout()
    loaded(images, chart(layout) | named("chart:1"), layout=layout)
    before = images.tree()
    with pytest.raises(error):
        images.tag(source, target)
    assert images.tree() == before


def test_a_blob_has_no_name(images: orlop.ImageService):
    layout = Layout()
    blob, image = a_blob_alone(layout)
    loaded(images, blob, image, layout=layout)
    with pytest.raises(errors.InvalidReference, match="is a blob"):
        images.tag(blob["digest"], "about:1")


@pytest.mark.parametrize("by", ["", "other@"])
@pytest.mark.parametrize("make", [lambda layout: layout.image("a"), index])
def test_a_name_given_by_the_digest_of_a_manifest_means_its_image(
    images: orlop.ImageService, tmp_path: Path, make: Any, by: str
):
    layout = Layout()
    top = make(layout)
    loaded(images, top | named("app:1"), layout=layout)
    images.tag(f"{by}{top['digest']}", "app:2")
    assert images.inspect("app:2").image == images.inspect("app:1").image
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("host", ["amd64", "arm64", "mips64le"])
@pytest.mark.parametrize(
    "order", [("arm64", "s390x", "amd64"), ("s390x", "amd64", "arm64"), ("amd64", "arm64", "s390x")]
)
@pytest.mark.parametrize("unsaid", ["all say", "one does not"])
def test_a_name_given_by_the_digest_of_an_index_means_the_image_that_a_name_that_came_means(
    images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch, host: str, order: Any, unsaid: str
):
    """The host's, or else the first of the index; one whose descriptor names no platform comes last."""
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: orlop.Platform("linux", host))
    layout = Layout()
    below = [layout.image(one, architecture=one, platform=True) for one in order]
    if unsaid == "one does not":
        del below[0]["platform"]
    top = layout.index(layout.index(*below), layout.image("z", architecture="riscv64"))
    loaded(images, top | named("app:1"), layout=layout)
    images.tag(top["digest"], "app:2")
    asked = sorted(zip(below, order, strict=True), key=lambda one: "platform" not in one[0])
    wanted = host if host in order else asked[0][1]
    found = {images.inspect(name).image.platform.architecture for name in ("app:1", "app:2")}
    assert found == {wanted}


@pytest.mark.sampled(2)
def test_an_index_nested_to_any_depth_gets_a_name(images: orlop.ImageService):
    """Clients push indexes one by one, and nobody counts how deep they are."""
    layout = Layout()
    image = layout.image("one", platform=True)
    loaded(images, image | named("example/app:1"), layout=layout)
    below = image
    with images.store.metadata.write() as rows:
        for _ in range(1100):
            raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [below]}).encode()
            row = ManifestRow(orlop.Digest.of(raw), INDEX, raw)
            rows.put_manifest(row, [])
            rows.put_top(home_row("docker.io/example/app", row.digest, 1))
            below = {"mediaType": INDEX, "digest": str(row.digest), "size": len(raw)}
    images.tag(f"example/app@{below['digest']}", "example/app:2")
    assert images.inspect("example/app:2").image == images.inspect("example/app:1").image
