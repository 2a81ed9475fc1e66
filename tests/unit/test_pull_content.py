"""Pulls of what is not an image: artifacts, attestations, and what refers to an image."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.registry.credentials import Credentials
from tests.unit.artifacts import attestation, blobs_of, chart, signature
from tests.unit.layouts import INDEX, Layout, named, sha256
from tests.unit.odd_layouts import a_table_of_contents_of_stargz, encrypted_layers
from tests.unit.pulling import REPOSITORY, pulling, push

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.pulling import Pulled

ME = Credentials(user="me", password="secret")
HOST = orlop.Platform("linux", "amd64")


@pytest.fixture(autouse=True)
def _on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: HOST)


def saved(there: Pulled, folder: Path, name: str | None = None) -> tuple[list[str], set[str]]:
    """Save what was pulled as a layout, and return the digests of its entries and of all that it has."""
    there.images.save([name or there.name()], str(folder), format="oci-dir", platform="all")
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    return [one["digest"] for one in entries], {f"sha256:{path.name}" for path in (folder / "blobs/sha256").iterdir()}


def test_an_index_of_all_platforms_comes_with_its_attestations(tmp_path: Path):
    layout = Layout()
    images = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    index = layout.index(*images, *(attestation(layout, one) for one in images))
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, index, "1")
        report = there.pull(platform="all")
        assert len(report.images.images) == 2
        assert saved(there, tmp_path / "out") == ([digest], blobs_of(layout))
        there.pull(platform="all")
        assert there.asked == ["HEAD manifests"]
        there.images.remove(there.name())
        assert not there.images.store.content.tops()


def test_of_one_platform_no_attestation_is_fetched(tmp_path: Path):
    layout = Layout()
    image = layout.image("one", platform=True)
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.index(image, attestation(layout, image)), "1")
        there.pull()
        assert there.asked == ["GET manifests", "GET manifests", "GET blobs", "GET blobs"]


def encrypted(layout: Layout) -> dict[str, Any]:
    """Add an image that nobody can unpack without a key."""
    return encrypted_layers(layout)[0]


def table_of_contents(layout: Layout) -> dict[str, Any]:
    """Add what looks like an image, but for its config."""
    return a_table_of_contents_of_stargz(layout)[1]


@pytest.mark.parametrize("kind", [encrypted, table_of_contents])
@pytest.mark.parametrize("platform", [None, "all"])
def test_what_nobody_can_unpack_is_pulled_as_it_is(tmp_path: Path, kind: Any, platform: str | None):
    layout = Layout()
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, kind(layout), "1")
        report = there.pull(platform=platform)
        assert [str(one.digest) for one in report.images.artifacts] == [digest]
        assert not report.images.images
        tops, blobs = saved(there, tmp_path / "out")
        assert tops == [digest]
        assert len(blobs) == 3


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [chart, lambda layout: signature(layout, None)])
@pytest.mark.parametrize("every", [True, False])
def test_an_artifact_is_pulled_by_its_name(tmp_path: Path, kind: Any, *, every: bool):
    layout = Layout()
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, kind(layout), "1")
        report = there.pull(platform="all" if every else None)
        assert sorted(there.asked) == ["GET blobs", "GET blobs", "GET manifests"]
        assert [str(one.digest) for one in report.images.artifacts] == [digest]
        assert report.messages() == (f"Digest: {digest}", f"Status: Downloaded newer artifact for {there.name()}")
        assert saved(there, tmp_path / "out") == ([digest], blobs_of(layout))
        assert there.name() in str(there.images.tree())

        again = there.pull(platform="all" if every else None)
        assert there.asked == ["HEAD manifests"]
        assert again.messages()[1] == f"Status: Artifact is up to date for {there.name()}"


def test_an_artifact_that_is_loaded_again_stays(tmp_path: Path):
    layout = Layout()
    layout.top(chart(layout) | named("example/chart:1"))
    with orlop.open(tmp_path / "root") as images:
        first = images.load(io.BytesIO(layout.pack()))
        assert images.load(io.BytesIO(layout.pack())).artifacts == first.artifacts
        assert images.tree("example/chart:1")


def test_an_artifact_is_pulled_by_its_digest(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, chart(layout), "1")
        there.pull(f"@{digest}")
        assert saved(there, tmp_path / "out", there.name(f"@{digest}")) == ([digest], blobs_of(layout))
        there.pull(f"@{digest}")
        assert there.asked == []
        there.images.remove(there.name(f"@{digest}"))
        assert not there.images.store.content.has(orlop.Digest.parse(digest))


def test_a_tag_moves_between_an_image_and_an_artifact(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image("one"), "1")
        there.pull()
        digest = push(there.registry, layout, chart(layout), "1")
        assert there.pull().changed
        with pytest.raises(errors.ImageNotFound):
            there.images.inspect(there.name())
        assert saved(there, tmp_path / "out")[0] == [digest]
        push(there.registry, layout, layout.image("two"), "1")
        assert there.pull().changed
        assert there.images.inspect(there.name()).image.os == "linux"


def test_an_artifact_is_for_no_platform(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, chart(layout), "1")
        with pytest.raises(errors.InvalidManifest, match="holds no image"):
            there.pull(platform="linux/arm64")
        assert "GET blobs" not in there.asked


def test_an_index_without_images_is_pulled_whole(tmp_path: Path):
    layout = Layout()
    cache = layout.blob(b"not a manifest", "application/vnd.buildkit.cacheconfig.v0")
    lost = {"mediaType": "application/vnd.example.lost", "digest": sha256(b"lost"), "size": 4}
    with pulling(tmp_path, ME, users={"me": "secret"}, auth="bearer") as there:
        digest = push(there.registry, layout, layout.index(chart(layout), cache, lost), "1")
        there.pull()
        assert not [one for one in there.registry.requests if "push" in one.target]
        assert saved(there, tmp_path / "out") == ([digest], blobs_of(layout))


def test_wrong_bytes_of_an_artifact_are_refused(tmp_path: Path):
    layout, found = Layout(), b"a chart"
    with pulling(tmp_path) as there:
        push(there.registry, layout, chart(layout, found), "1")
        there.registry.repository(REPOSITORY).blobs[sha256(found)] = b"a catch"
        with pytest.raises(errors.IntegrityError):
            there.pull()
        assert not there.images.store.content.tops()


def test_a_list_that_lies_about_a_size_is_refused(tmp_path: Path):
    layout = Layout()
    blob = layout.blob(b"12345", "application/octet-stream") | {"size": 4}
    with pulling(tmp_path) as there:
        push(there.registry, layout, chart(layout, layers=[blob]), "1")
        with pytest.raises((errors.IntegrityError, errors.RegistryError)):
            there.pull()
        assert not there.images.store.content.tops()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("quirks", [{}, {"referrers": "none"}, {"referrers": "html"}])
@pytest.mark.parametrize("platform", ["all", None])
def test_what_refers_to_an_image_comes_along(tmp_path: Path, quirks: dict[str, Any], platform: str | None):
    layout = Layout()
    image = layout.image("one", platform=True)
    index = layout.index(image)
    signed = signature(layout, index)
    second = signature(layout, signed, b"the signature is signed")
    layout.index(signature(layout, image, b"of the image"))
    with pulling(tmp_path, **quirks) as there:
        digest = push(there.registry, layout, index, "1")
        if quirks:
            for subject, referrer in ((index, [signed]), (signed, [second])):
                listed = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrer}).encode()
                tag = subject["digest"].replace(":", "-")
                there.registry.add_manifest(REPOSITORY, listed, INDEX, tag=tag)
        report = there.pull(platform=platform, referrers=True)
        wanted = {digest, signed["digest"], second["digest"]}
        found = set(saved(there, tmp_path / "out")[0])
        assert wanted <= found
        assert report.referrers == len(found) - 1 == (2 if quirks else 3)
        assert not there.pull(platform=platform, referrers=True).changed
        assert not [one for one in there.asked if one == "GET blobs"]
        there.images.remove(there.name())
        assert not there.images.store.content.has(orlop.Digest.parse(signed["digest"]))


def test_a_plain_pull_asks_for_no_referrers(tmp_path: Path):
    layout = Layout()
    image = layout.image("one")
    signed = signature(layout, image)
    with pulling(tmp_path) as there:
        push(there.registry, layout, image, "1")
        assert there.pull().referrers == 0
        assert sorted(there.asked) == ["GET blobs", "GET blobs", "GET manifests"]
        assert there.pull(referrers=True).changed
        assert there.images.store.content.has(orlop.Digest.parse(signed["digest"]))


def test_what_cosign_keeps_by_tags_comes_with_its_tag(tmp_path: Path):
    layout = Layout()
    image = layout.image("one")
    signed = signature(layout, None)
    tag = f"{image['digest'].replace(':', '-')}.sig"
    with pulling(tmp_path) as there:
        push(there.registry, layout, signed, tag)
        push(there.registry, layout, image, "1")
        there.pull(referrers=True)
        assert saved(there, tmp_path / "out", there.name(tag))[0] == [signed["digest"]]


def test_a_list_of_referrers_is_not_believed(tmp_path: Path):
    layout = Layout()
    image, other = layout.image("one"), layout.image("two")
    stranger = signature(layout, other)
    with pulling(tmp_path, referrers="none") as there:
        push(there.registry, layout, image, "1")
        listed = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [stranger]}).encode()
        there.registry.add_manifest(REPOSITORY, listed, INDEX, tag=image["digest"].replace(":", "-"))
        assert there.pull(referrers=True).referrers == 0
        assert not there.images.store.content.has(orlop.Digest.parse(stranger["digest"]))
