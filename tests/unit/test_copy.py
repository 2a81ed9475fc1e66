"""Copies between registries, layouts, archives and stores: equal digests, and nothing that is sent for nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.registry.hosts import Hosts, Rule, Server
from orlop.transfer import graph
from orlop.transfer.places import Kind, parse_place
from tests.layout_walk import walked
from tests.unit.layouts import LAYER, MANIFEST, Layout, named, sha256, unpacked
from tests.unit.pushed import placed, reached, simple, top_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

NAME = "docker.io/example/app:1.0"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def copy(place: Place, source: str, target: str, **options: Any) -> Any:
    return place.images.copy(source, target, place.registries, **options)


def platforms(name: str = NAME) -> Layout:
    layout = Layout()
    children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    return layout.top(layout.index(*children, **named(name)))


def signed(layout: Layout, name: str = NAME) -> Layout:
    """A layout of an image, and of a signature that refers to it."""
    image = layout.image("file", **named(name))
    layout.blob(b"{}", str(EMPTY["mediaType"]))
    signature = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": EMPTY,
        "layers": [layout.blob(b"signature", "application/octet-stream")],
        "subject": {key: image[key] for key in ("mediaType", "digest", "size")},
    }
    return layout.top(image, layout.document(signature, MANIFEST))


def test_places_are_read_as_users_write_them(tmp_path: Path):
    assert parse_place("docker://alpine:3", is_target=False).name == "alpine:3"
    for text, found in {
        "oci:a/b:c": (Kind.LAYOUT, "a/b", "c"),
        "oci-archive:a.tar:docker.io/x/y:1": (Kind.LAYOUT_ARCHIVE, "a.tar", "docker.io/x/y:1"),
        "docker-archive:a.tar": (Kind.DOCKER_ARCHIVE, "a.tar", ""),
        "dir:a:b": (Kind.DIRECTORY, "a:b", ""),
        "store:alpine": (Kind.STORE, "", "alpine"),
        "alpine:3": (Kind.STORE, "", "alpine:3"),
        "./new": (Kind.LAYOUT, "./new", ""),
        "./new.tar": (Kind.LAYOUT_ARCHIVE, "./new.tar", ""),
    }.items():
        place = parse_place(text, is_target=True)
        assert (place.kind, place.path, place.name) == found
    for text in ("", "docker:alpine", "docker://", "oci:"):
        with pytest.raises(errors.InvalidInput):
            parse_place(text, is_target=False)


FORMS = ("oci:{}/copy", "oci-archive:{}/copy.tar", "dir:{}/copy")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("all_platforms", [True, False])
def test_digests_stay_from_a_registry_to_files_and_back(place: Place, tmp_path: Path, form: str, all_platforms: bool):  # noqa: FBT001
    layout = platforms()
    unpacked(layout.files, tmp_path / "in")
    first = copy(place, f"oci:{tmp_path}/in", f"docker://{place.name('app:1.0')}", all_platforms=True)
    assert str(first.images[0].digest) == top_digest(layout) == place.there.repository("app").tags["1.0"]

    options = {"all_platforms": True} if all_platforms else {"platform": "linux/arm64"}
    files = form.format(tmp_path)
    out = copy(place, f"docker://{place.name('app:1.0')}", files, **options)
    back = copy(place, files, f"docker://{place.name('other:2')}", **options)

    digest = str(out.images[0].digest)
    assert digest == str(back.images[0].digest) == place.there.repository("other").tags["2"]
    assert (digest == top_digest(layout)) == all_platforms
    there = place.there
    for one, (_, raw) in there.repository("other").manifests.items():
        assert there.repository("app").manifests[one][1] == raw


def test_a_layout_has_the_name_that_was_asked_for(place: Place, tmp_path: Path):
    place.load(simple(place.name("app:1"), "a"))
    place.push("app:1")
    source = f"docker://{place.name('app:1')}"
    copy(place, source, f"oci:{tmp_path}/out:2")
    copy(place, source, f"oci:{tmp_path}/out:example.com/x:3")
    entries = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    names = {entry["annotations"]["io.containerd.image.name"] for entry in entries}
    assert names == {place.name("app:2"), "example.com/x:3"}
    walked(tmp_path / "out")
    with pytest.raises(errors.ImageNotFound, match="has no '9'"):
        copy(place, f"oci:{tmp_path}/out:9", "store:a/b")


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_an_image_of_several_tags_keeps_them_all(place: Place, tmp_path: Path, form: str):
    layout = Layout()
    image = layout.image("1")
    tags = [{"org.opencontainers.image.ref.name": tag} for tag in ("1.0", "latest")]
    unpacked(layout.top(*(image | {"annotations": tag} for tag in tags)).files, tmp_path / "in")
    for _ in range(2):
        place.images.copy(f"oci:{tmp_path}/in", f"{form}:{tmp_path}/out", place.registries)
        place.images.copy(f"{form}:{tmp_path}/out", f"oci:{tmp_path}/again", place.registries)
    found = json.loads((tmp_path / "again/index.json").read_bytes())["manifests"]
    assert [one["annotations"] for one in found] == tags


def test_within_one_registry_no_blob_moves(place: Place):
    place.load(simple(place.name("team/app:1"), "a", "b"))
    place.push("team/app:1")
    place.asked()
    copy(place, f"docker://{place.name('team/app:1')}", f"docker://{place.name('other/app:2')}")
    asked = place.asked()
    assert not [one for one in asked if one.startswith(("PATCH", "GET /v2/team/app/blobs", "PUT /v2/other/app/blobs"))]
    assert place.there.repository("other/app").tags["2"] == place.there.repository("team/app").tags["1"]
    copy(place, f"docker://{place.name('team/app:1')}", f"docker://{place.name('other/app:2')}")
    assert place.asked() == ["GET /v2/team/app/manifests/1", "HEAD /v2/other/app/manifests/2"]


def test_from_registry_to_registry_without_a_store(place: Place, tmp_path: Path):
    with placed(tmp_path / "other") as other:
        place.load(simple(place.name("app:1"), "a", "b"))
        place.push("app:1")
        report = copy(place, f"docker://{place.name('app:1')}", f"docker://{other.name('app')}")
        assert other.there.repository("app").tags == place.there.repository("app").tags
        assert report.images[0].name == other.name("app:1")
        assert report.images[0].is_new
        again = copy(place, f"docker://{place.name('app:1')}", f"docker://{other.name('app')}")
        assert not again.images[0].is_new


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ],
)
def test_a_layer_that_may_not_be_given_on_stays_where_it_is(place: Place, tmp_path: Path, media_type: str):
    layout = Layout()
    here, far = layout.blob(b"here", f"{LAYER}+gzip"), layout.blob(b"far away", media_type)
    far["urls"] = ["https://store.example.com/layer"]
    image = layout.image("a", changes={"layers": [here, far]}, **named(NAME))
    unpacked(layout.top(image).files, tmp_path / "in")
    copy(place, f"oci:{tmp_path}/in:{NAME}", f"docker://{place.name('app:1')}")
    there = place.there.repository("app")
    assert list(there.manifests) == [image["digest"]]
    assert here["digest"] in there.blobs
    assert not [one for one in place.asked() if far["digest"] in one]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("quirks", [{}, {"referrers": "none"}, {"referrers": "html"}])
def test_what_refers_to_an_image_goes_along(place: Place, tmp_path: Path, quirks: dict[str, Any]):
    place.quirks(**quirks)
    layout = signed(Layout())
    unpacked(layout.files, tmp_path / "in")
    image, signature = (one["digest"] for one in json.loads(layout.files["index.json"])["manifests"])
    source = f"docker://{place.name('app:1')}"

    report = copy(place, f"oci:{tmp_path}/in:{NAME}", source, referrers=True)
    assert report.referrers == 1
    assert {image, signature} <= place.there.repository("app").manifests.keys()

    place.there.repository("app").tags[f"{image.replace(':', '-')}.sig"] = signature
    copy(place, source, f"docker://{place.name('other:1')}", referrers=True)
    assert signature in place.there.repository("other").manifests
    assert copy(place, source, f"oci:{tmp_path}/out", referrers=True).referrers == 1
    found = {one["digest"] for one in json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]}
    assert found == {image, signature}
    copy(place, source, f"oci:{tmp_path}/bare")
    bare = {one["digest"] for one in json.loads((tmp_path / "bare" / "index.json").read_text())["manifests"]}
    assert bare == {image}


def test_the_store_is_a_place_too(place: Place, tmp_path: Path):
    layout = simple(NAME, "a", "b")
    unpacked(layout.files, tmp_path / "in")
    copy(place, f"oci:{tmp_path}/in", "store:example/app:1.0")
    assert place.images.inspect("example/app:1.0").image.rootfs.diff_ids
    report = copy(place, "example/app:1.0", f"docker://{place.name('app:1')}")
    assert str(report.images[0].digest) == top_digest(layout)
    copy(place, f"docker://{place.name('app:1')}", "store:again")
    assert place.images.inspect("again").image.id == place.images.inspect("example/app:1.0").image.id


def test_archives_of_docker_are_places(place: Place, tmp_path: Path):
    place.load(simple("docker.io/example/app:1.0", "a", "b"))
    image = place.images.inspect("example/app:1.0").image.id
    copy(place, "store:example/app:1.0", f"docker-archive:{tmp_path}/docker.tar")
    place.images.remove("example/app:1.0")
    assert str(place.images.load(tmp_path / "docker.tar").images[0].id) == str(image)
    copy(place, f"docker-archive:{tmp_path}/docker.tar", f"docker://{place.name('app:1')}")
    (_, raw), *_ = place.there.repository("app").manifests.values()
    assert json.loads(raw)["config"]["digest"] == str(image)


def test_a_platform_that_is_not_there_is_told_with_those_that_are(place: Place, tmp_path: Path):
    unpacked(platforms().files, tmp_path / "in")
    with pytest.raises(errors.PlatformNotFound, match="linux/amd64, linux/arm64"):
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", platform="linux/s390x")
    assert not (tmp_path / "out").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("target", [*FORMS, "docker://{there}/app:1", "store:new/name"])
@pytest.mark.parametrize("damage", ["blob", "manifest", "missing"])
def test_what_is_damaged_is_not_carried(place: Place, tmp_path: Path, target: str, damage: str):
    layout = simple(NAME, "a")
    manifest = json.loads(layout.files["blobs/" + top_digest(layout).replace(":", "/")])
    digest = top_digest(layout) if damage == "manifest" else manifest["layers"][0]["digest"]
    path = "blobs/" + digest.replace(":", "/")
    if damage == "missing":
        del layout.files[path]
    else:
        layout.files[path] = layout.files[path][:-1] + b"?"
    unpacked(layout.files, tmp_path / "in")
    with pytest.raises((errors.IntegrityError, errors.NotFound, errors.InvalidManifest)):
        copy(place, f"oci:{tmp_path}/in", target.format(tmp_path, there=place.there.authority))
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "copy.tar").exists()
    assert place.there.repository("app").tags == {}
    assert place.images.images() == []


@pytest.mark.parametrize("quirks", [{"corrupt": True}, {"longer": 5}, {"cut": 10, "cuts": 99}])
def test_a_registry_that_sends_something_else_leaves_nothing(place: Place, tmp_path: Path, quirks: dict[str, Any]):
    place.load(simple(place.name("app:1"), "a"))
    place.push("app:1")
    place.quirks(**quirks)
    with pytest.raises((errors.IntegrityError, errors.RegistryError)):
        copy(place, f"docker://{place.name('app:1')}", f"oci:{tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_a_directory_of_skopeo_s_is_not_overwritten(place: Place, tmp_path: Path):
    unpacked(simple(NAME, "a").files, tmp_path / "in")
    (tmp_path / "out").mkdir()
    with pytest.raises(errors.TargetExists):
        copy(place, f"oci:{tmp_path}/in", f"dir:{tmp_path}/out")


@pytest.mark.parametrize("end", ["/", "//"])
def test_a_directory_of_skopeo_s_may_be_named_with_a_slash(place: Place, tmp_path: Path, end: str):
    unpacked(simple(NAME, "a").files, tmp_path / "in")
    copy(place, f"oci:{tmp_path}/in", f"dir:{tmp_path}/out{end}")
    assert (tmp_path / "out" / "version").exists()


def test_indexes_that_lie_too_deep_are_refused(place: Place, tmp_path: Path):
    layout = Layout()
    descriptor = layout.image("a")
    for _ in range(70):
        descriptor = layout.index(descriptor)
    layout.top(descriptor | named(NAME))
    unpacked(layout.files, tmp_path / "in")
    with pytest.raises(errors.LimitExceeded):
        copy(place, f"oci:{tmp_path}/in", f"docker://{place.name('app:1')}", all_platforms=True)


def test_manifests_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with placed(tmp_path / "root") as place:
        layout = Layout()
        children = [layout.image(str(one), architecture=f"a{one}", platform=True) for one in range(8)]
        layout.top(layout.index(*children, **named(NAME)))
        unpacked(layout.files, tmp_path / "in")
        copy(place, f"oci:{tmp_path}/in", f"docker://{place.name('app:1')}", all_platforms=True)
        place.asked()
        monkeypatch.setattr(graph, "_BYTES", sum(one["size"] for one in children[:4]))
        with pytest.raises(errors.LimitExceeded, match="of manifests"):
            copy(place, f"docker://{place.name('app:1')}", f"oci:{tmp_path}/out", all_platforms=True)
        assert len(place.asked()) < 8
        assert not (tmp_path / "out").exists()


def test_an_index_of_many_platforms_is_told_in_a_sentence(place: Place, tmp_path: Path):
    layout = Layout()
    image = layout.image("a")
    children = [image | {"platform": {"os": "linux", "architecture": f"a{one}"}} for one in range(500)]
    layout.top(layout.index(*children, **named(NAME)))
    unpacked(layout.files, tmp_path / "in")
    with pytest.raises(errors.PlatformNotFound, match="and others") as raised:
        copy(place, f"oci:{tmp_path}/in", f"oci:{tmp_path}/out")
    assert len(str(raised.value)) < 1000


def test_a_mirror_that_is_away_is_passed_over(place: Place, tmp_path: Path):
    place.load(simple(place.name("app:1"), "a"))
    place.push("app:1")
    rule = Rule(prefix=place.there.authority, mirrors=(Server(location="127.0.0.1:1", plain_http=True),))
    with reached(hosts=Hosts([rule])) as registries:
        place.images.copy(f"docker://{place.name('app:1')}", f"oci:{tmp_path}/out", registries)
    assert (tmp_path / "out" / "index.json").exists()


def test_two_images_do_not_get_one_name(place: Place, tmp_path: Path):
    layout = Layout()
    layout.top(layout.image("a"), layout.image("b"))
    unpacked(layout.files, tmp_path / "in")
    for target in (f"docker://{place.name('app')}", f"docker://{place.name('app:1')}", f"oci:{tmp_path}/out:1"):
        with pytest.raises(errors.InvalidInput):
            copy(place, f"oci:{tmp_path}/in", target)
    assert place.there.repository("app").tags == {}
    assert not (tmp_path / "out").exists()
