"""OCI layouts: what gives names, which images an index stands for, and which manifests are kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
from typing import Any

import pytest

import orlop
from orlop import errors
from orlop.intake.platforms import PlatformChoice, host_platform, matches
from orlop.model.platform import Platform
from tests.unit.layouts import MANIFEST, NAME, REF, Layout, named, sha256, unpacked

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is the same everywhere."""
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: ARM64)


def load(images: orlop.ImageService, layout: Layout, **options: Any) -> orlop.LoadReport:
    return images.load(io.BytesIO(layout.pack()), **options)


def names(images: orlop.ImageService, image: object) -> list[str]:
    return [name.familiar for name in images.inspect(str(image)).references]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("annotations", "tag"),
    [
        ({REF: "example/app:1.0"}, "example/app:1.0"),
        ({REF: "localhost/app:1.0"}, "localhost/app:1.0"),
        ({REF: "docker.io/library/app:1.0"}, "app:1.0"),
        ({REF: "example/app"}, "example/app:latest"),
        ({REF: "registry.example.com:5000/app"}, "registry.example.com:5000/app:latest"),
        ({NAME: "docker.io/library/app:1.0", REF: "1.0"}, "app:1.0"),
        ({NAME: "docker.io/library/app", REF: "latest"}, "app:latest"),
        ({NAME: "app:2", REF: "other:1"}, "app:2"),
        ({NAME: "ocidir://app:1", REF: "1"}, None),
        ({NAME: "A:B:C", REF: "example/app:1"}, "example/app:1"),
        ({NAME: "sha256:" + "a" * 64, REF: "a" * 64}, None),
        # A tag alone names nothing, and the specification allows any other text.
        ({REF: "1.0"}, None),
        ({REF: "latest"}, None),
        ({REF: "Some Text"}, None),
        ({REF: ""}, None),
        ({}, None),
    ],
)
def test_annotations_give_names_and_a_bare_tag_invents_none(images, annotations, tag):
    layout = Layout()
    top = layout.image("hello", annotations=annotations)
    report = load(images, layout.top(top))
    (image,) = report.images
    assert report.format == "oci"
    if tag is None:
        assert names(images, image.id) == []
        assert report.messages() == (f"Loaded image ID: {image.id}",)
        return
    assert report.messages() == (f"Loaded image: {tag}",)
    repository = tag.rpartition(":")[0]
    assert names(images, image.id) == [tag, f"{repository}@{top['digest']}"]
    details = images.inspect(tag)
    assert [name.familiar for name in details.repo_tags] == [tag]
    assert [name.familiar for name in details.repo_digests] == [f"{repository}@{top['digest']}"]
    (summary,) = images.images(tag)
    assert (summary.repo_tags, summary.repo_digests) == (details.repo_tags, details.repo_digests)


def test_a_name_by_digest_is_kept_as_one(images):
    layout = Layout()
    top = layout.image("hello")
    digest = top["digest"]
    report = load(images, layout.top(top | named(f"example/app@{digest}")))
    assert names(images, report.images[0].id) == [f"example/app@{digest}"]
    assert images.inspect(f"example/app@{digest}").image.id == report.images[0].id


def test_an_image_under_two_names_is_one_image(images):
    layout = Layout()
    top = layout.image("hello")
    report = load(images, layout.top(top | named("a:1"), top | named("b:2")))
    assert report.messages() == ("Loaded image: a:1", "Loaded image: b:2")
    digest = top["digest"]
    assert names(images, report.images[0].id) == ["a:1", f"a@{digest}", "b:2", f"b@{digest}"]


def two_platforms(**more: Any) -> tuple[Layout, dict[str, Any], list[dict[str, Any]]]:
    layout = Layout()
    children = [layout.image("one", platform=True), layout.image("two", architecture="arm64", platform=True)]
    top = layout.index(*children, **more)
    return layout.top(top), top, children


def test_an_index_loads_all_platforms_and_names_the_one_of_this_machine(images):
    layout, top, (amd64, arm64) = two_platforms(**named("app:1"))
    report = load(images, layout)
    assert [str(image.platform) for image in report.images] == ["linux/amd64", "linux/arm64"]
    first, second = report.images
    assert names(images, second.id) == ["app:1", f"app@{top['digest']}"]
    # The other one is not lost: its own manifest names it.
    assert names(images, first.id) == [f"app@{amd64['digest']}"]
    assert report.messages() == ("Loaded image: app:1", f"Loaded image ID: {first.id}")
    assert images.inspect("app:1").image.architecture == "arm64"
    assert images.inspect(f"app@{amd64['digest']}").image.architecture == "amd64"
    assert images.inspect(f"app@{arm64['digest']}").image.id == second.id
    with pytest.raises(errors.ImageNotFound):
        images.inspect("app@sha256:" + "1" * 64)


def test_where_no_platform_is_this_machines_the_first_has_the_name(images, monkeypatch):
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "s390x"))
    layout, _, _ = two_platforms(**named("app:1"))
    load(images, layout)
    assert images.inspect("app:1").image.architecture == "amd64"


@pytest.mark.parametrize("asked", ["linux/amd64", Platform("linux", "amd64")])
def test_one_platform_can_be_asked_for(images, asked):
    layout, top, _ = two_platforms(**named("app:1"))
    report = load(images, layout, platform=asked)
    assert [str(image.platform) for image in report.images] == ["linux/amd64"]
    assert names(images, report.images[0].id) == ["app:1", f"app@{top['digest']}"]
    assert len(images.images(all=True)) == 1


def test_a_platform_that_is_not_there_is_an_error(images):
    layout, _, _ = two_platforms()
    with pytest.raises(errors.PlatformNotFound, match="it holds linux/amd64, linux/arm64"):
        load(images, layout, platform="linux/s390x")
    with pytest.raises(errors.InvalidPlatform):
        load(images, layout, platform="linux/")
    assert images.images(all=True) == []


def test_a_platform_can_be_asked_of_every_format(images, data):
    for archive in ("dockerd-20.10-overlay2/multi.tar", "other-tools/skopeo-dir.tar", "other-tools/legacy-v1-tiny.tar"):
        assert images.load(data / archive, platform="linux/amd64").images
        with pytest.raises(errors.PlatformNotFound, match="linux/amd64"):
            images.load(data / archive, platform="linux/arm64")


def test_what_an_index_names_and_the_archive_lacks_is_passed_over(images):
    layout, _, (amd64, _) = two_platforms(**named("app:1"))
    del layout.files["blobs/" + amd64["digest"].replace(":", "/")]
    report = load(images, layout)
    assert [str(image.platform) for image in report.images] == ["linux/arm64"]


def test_indexes_in_indexes(images):
    layout = Layout()
    inner = layout.index(layout.image("one", platform=True), layout.image("two", architecture="arm64", platform=True))
    middle = layout.index(inner)
    top = layout.index(middle, inner, **named("app:1"))
    report = load(images, layout.top(top))
    assert len(report.images) == 2
    kept = {str(digest) for digest in images.inspect("app:1").manifests}
    assert kept >= {inner["digest"], middle["digest"], top["digest"]}


def test_indexes_that_name_one_another_often_cost_no_more_than_once(images):
    layout = Layout()
    descriptor = layout.image("one")
    for _ in range(8):
        descriptor = layout.index(*[descriptor] * 50)
    assert len(load(images, layout.top(descriptor)).images) == 1


def attestation(layout: Layout, subject: dict[str, Any]) -> dict[str, Any]:
    """What buildx puts beside an image: a manifest of a statement about it."""
    statement = layout.document({"_type": "https://in-toto.io/Statement/v0.1"}, "application/vnd.in-toto+json")
    config = layout.document(
        {"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]}},
        "application/vnd.oci.image.config.v1+json",
    )
    return layout.document(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]},
        MANIFEST,
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={
            "vnd.docker.reference.digest": subject["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        },
    )


@pytest.mark.parametrize("platform", [None, "linux/amd64"])
def test_attestations_are_kept_with_their_image_and_are_none(images, platform):
    layout = Layout()
    children = [layout.image("one", platform=True), layout.image("two", architecture="arm64", platform=True)]
    about = [attestation(layout, child) for child in children]
    top = layout.index(*children, *about, **named("app:1"))
    report = load(images, layout.top(top), platform=platform)
    assert len(report.images) == (2 if platform is None else 1)
    for image, child, statement in zip(report.images, children, about, strict=False):
        kept = set(images.inspect(str(image.id)).manifests)
        assert kept == {top["digest"], child["digest"], statement["digest"]}
    with images._store.metadata.read() as rows:
        for row in rows.manifests(report.images[0].id):
            assert layout.files["blobs/" + str(row.digest).replace(":", "/")] == row.raw
            assert sha256(row.raw) == str(row.digest)


def test_artifacts_of_unknown_types_are_passed_over(images):
    layout = Layout()
    chart = layout.document(
        {
            "schemaVersion": 2,
            "config": layout.document({}, "application/vnd.cncf.helm.config.v1+json"),
            "layers": [],
        },
        MANIFEST,
    )
    other = layout.blob(b"anything", "application/x-thing")
    assert len(load(images, layout.top(chart, other, layout.image("hello"))).images) == 1


def test_two_forms_of_one_image_are_both_kept(images, tmp_path):
    layout = Layout()
    small, plain = layout.image("hello", **named("a:small")), layout.image("hello", compress=False, **named("a:plain"))
    report = load(images, layout.top(small, plain))
    assert len({image.id for image in report.images}) == 1
    assert names(images, report.images[0].id) == sorted(
        ["a:plain", "a:small", f"a@{small['digest']}", f"a@{plain['digest']}"]
    )
    blobs = {path.name for path in (tmp_path / "root" / "blobs" / "sha256").iterdir()}
    assert len(blobs) == 2
    for blob in blobs:
        assert (tmp_path / "root/blobs/sha256" / blob).read_bytes() == layout.files[f"blobs/sha256/{blob}"]


def test_digests_of_other_algorithms_are_verified_too(images):
    layout = Layout()
    top = layout.image("hello", **named("a:1"))
    raw = layout.files.pop("blobs/" + top["digest"].replace(":", "/"))
    digest = hashlib.sha512(raw).hexdigest()
    layout.files[f"blobs/sha512/{digest}"] = raw
    report = load(images, layout.top(top | {"digest": f"sha512:{digest}"}))
    assert names(images, report.images[0].id) == ["a:1", f"a@sha512:{digest}"]
    layout.files[f"blobs/sha512/{digest}"] = raw[:-1] + b" "
    with pytest.raises(errors.DigestMismatch):
        load(images, layout)


def test_removing_the_last_tag_removes_the_digests_of_its_repository(images):
    layout = Layout()
    top = layout.image("hello", **named("a:1"))
    load(images, layout.top(top))
    report = images.remove("a:1")
    assert report.untagged == ("a:1", f"a@{top['digest']}")
    assert images.images(all=True) == []


@pytest.mark.parametrize("way", ["directory", "tar", "tar of the directory", "compressed", "pipe"])
def test_every_way_to_a_layout_gives_the_same(images, tmp_path, way):
    layout, _, _ = two_platforms(**named("app:1"))
    folder = unpacked(layout.files, tmp_path / "layout")
    if way == "directory":
        report = images.load(folder)
    elif way == "pipe":
        report = images.load(io.BytesIO(layout.pack()))
    else:
        path = tmp_path / "layout.tar"
        if way == "tar of the directory":
            subprocess.run(["tar", "-C", folder, "-cf", path, "."], check=True)
        else:
            path.write_bytes(layout.pack() if way == "tar" else gzip.compress(layout.pack()))
        report = images.load(path)
    with orlop.open(tmp_path / "other") as others:
        assert others.load(io.BytesIO(layout.pack())) == report
        assert others.images(all=True) == images.images(all=True)
    again = images.load(folder)
    assert not any(image.created for image in again.images)


def test_known_layers_are_not_read_again(images, tmp_path):
    layout, _, _ = two_platforms()
    load(images, layout)
    events: list[object] = []
    (tmp_path / "layout.tar").write_bytes(layout.pack())
    images.load(tmp_path / "layout.tar", progress=events.append)
    assert events
    assert all(isinstance(event, orlop.LayerExists) for event in events)


def test_what_was_found_is_told(images):
    layout, top, (amd64, _) = two_platforms(**named("app:1"))
    report = load(images, layout)
    assert report.found() == (
        "found an OCI image layout with 2 images",
        f"{report.images[0].id} (linux/amd64, new): app@{amd64['digest']}",
        f"{report.images[1].id} (linux/arm64, new): app:1, app@{top['digest']}",
    )


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/x86_64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64", False),
        ("linux/aarch64", "linux/arm64", True),
        ("linux/arm", "linux/arm/v6", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
    ],
)
def test_platforms_match_as_people_mean_them(wanted, found, fits):
    assert matches(Platform.parse(wanted), Platform.parse(found)) is fits


def test_a_version_of_windows_counts_only_where_it_is_wanted():
    found = Platform("windows", "amd64", os_version="10.0.1")
    assert matches(Platform("windows", "amd64"), found)
    assert not matches(Platform("windows", "amd64", os_version="10.0.2"), found)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"), ("riscv64", "linux/riscv64")],
)
def test_this_machine_has_gos_name(monkeypatch, machine, platform):
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:4], machine)))
    assert str(host_platform()) == platform
    assert PlatformChoice(None, host_platform()).first([Platform.parse("linux/mips"), Platform.parse(platform)]) == 1


def test_plain_layers_of_a_docker_archive_give_no_digest(images, data):
    # Engines with graph drivers make such a manifest up whenever they save: no registry knows its digest.
    images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    assert images.inspect("example/tiny:1.0").repo_digests == ()
    assert images.inspect("example/tiny:1.0").manifests


def test_compressed_layers_of_a_docker_archive_give_the_digest_that_the_engine_shows(images, data):
    folder = data / "dockerd-29-containerd"
    images.load(folder / "multi.tar")
    for path in sorted((folder / "api").glob("inspect-*.json")):
        told = json.loads(path.read_text())
        found = [image for image in images.images() if set(told["RepoTags"]) & {n.familiar for n in image.repo_tags}]
        for image in found:
            assert [name.familiar for name in image.repo_digests] == told["RepoDigests"]
    assert images.inspect("example/tiny:1.0").repo_digests
