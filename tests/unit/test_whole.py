"""Pushes and copies of artifacts and of what refers to images: out of the store, and into it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.model.digest import Digest
from tests.unit.artifacts import attestation, blobs_of, chart, signature
from tests.unit.layouts import Layout, named
from tests.unit.pulling import push as put
from tests.unit.pushed import placed, simple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

BOTH = [{}, {"referrers": "none"}, {"referrers": "html"}]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def copy(place: Place, source: str, target: str, **options: Any) -> Any:
    return place.images.copy(source, target, place.registries, **options)


def signed(place: Place, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Load an image with a signature, and a signature of that; return their descriptors."""
    layout = Layout()
    image = layout.image("file", **named(place.name(name)))
    first = signature(layout, image)
    second = signature(layout, first, b"signed again")
    place.load(layout.top(image, first, second))
    return image, [first, second]


def test_an_artifact_is_pushed_by_its_name_with_its_digest(place: Place):
    layout = Layout()
    found = chart(layout)
    place.load(layout.top(found | named(place.name("charts/one:1"))))

    (tag,) = place.push("charts/one:1").tags

    there = place.there.repository("charts/one")
    assert there.tags == {"1": found["digest"]} == {"1": str(tag.digest)}
    assert there.blobs.keys() | there.manifests.keys() == blobs_of(layout)
    place.asked()
    assert not place.push("charts/one:1").tags[0].is_new
    assert len(place.asked()) == 1


def test_a_first_push_of_an_artifact_asks_three_times_for_each_blob(place: Place):
    layout = Layout()
    place.load(layout.top(chart(layout) | named(place.name("charts/one:1"))))
    place.push("charts/one:1")
    assert len(place.asked()) <= 3 * 2 + 2


def test_all_tags_are_those_of_artifacts_too(place: Place):
    layout = Layout()
    place.load(layout.top(chart(layout) | named(place.name("team/app:chart"))))
    place.load(simple(place.name("team/app:image"), "a"))
    assert [one.reference.tag for one in place.push("team/app", all_tags=True).tags] == ["chart", "image"]


def test_what_is_not_there_sends_nothing(place: Place):
    with pytest.raises(errors.ReferenceNotFound, match="does not exist locally"):
        place.push("charts/none:1")
    assert place.asked() == []


@pytest.mark.parametrize("quirks", BOTH)
def test_what_refers_to_an_image_is_pushed_along(place: Place, quirks: dict[str, Any]):
    place.quirks(**quirks)
    image, referrers = signed(place, "team/app:1")
    digests = {one["digest"] for one in referrers}
    there = place.there.repository("team/app")

    assert place.push("team/app:1").referrers == 0
    assert not digests & there.manifests.keys()
    report = place.push("team/app:1", referrers=True)
    assert report.referrers == 2
    assert not report.tags[0].is_new
    assert digests <= there.manifests.keys()
    client, path = place.registries.to_push(report.tags[0].reference)
    for subject, referrer in ((image, referrers[0]), *pairwise(referrers)):
        assert [str(one.digest) for one in client.referrers(path, Digest.parse(subject["digest"]))] == [
            referrer["digest"]
        ]

    place.asked()
    place.push("team/app:1", referrers=True)
    assert {one.partition(" ")[0] for one in place.asked()} <= {"HEAD", "GET"}


def test_a_list_that_lost_a_referrer_gets_it_back(place: Place):
    place.quirks(referrers="none")
    image, _ = signed(place, "team/app:1")
    place.push("team/app:1", referrers=True)
    tags = place.there.repository("team/app").tags
    del tags[image["digest"].replace(":", "-")]
    place.push("team/app:1", referrers=True)
    assert image["digest"].replace(":", "-") in tags


def test_a_signed_index_of_which_a_part_is_nowhere_goes_alone(place: Place):
    layout = Layout()
    here = layout.image("one", platform=True)
    other = {**layout.image("two", architecture="arm64", platform=True), "digest": f"sha256:{'0' * 64}"}
    index = layout.index(here, other)
    place.load(layout.top(index | named(place.name("team/app:1")), signature(layout, here)))
    report = place.push("team/app:1")
    assert report.tags[0].alone
    assert place.push("team/app:1", referrers=True).referrers == 1


def whole(place: Place, repository: str = "team/app") -> tuple[Layout, str]:
    """Put an index into the registry, with attestations and a signature."""
    layout = Layout()
    images = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    index = layout.index(*images, *(attestation(layout, one) for one in images))
    signature(layout, index)
    return layout, put(place.there, layout, index, "1", repository)


def digests(folder: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (folder / "blobs/sha256").iterdir()}


def test_a_copy_into_the_store_is_a_pull(place: Place, tmp_path: Path):
    layout, digest = whole(place)
    source = f"docker://{place.name('team/app:1')}"
    report = copy(place, source, "store:mine:2", all_platforms=True, referrers=True)
    assert [(str(one.digest), one.name, one.is_new) for one in report.images] == [(digest, "mine:2", True)]
    assert report.referrers == 1
    place.images.save(["mine:2"], str(tmp_path / "out"), format="oci-dir", platform="all")
    assert digests(tmp_path / "out") == blobs_of(layout)

    place.asked()
    again = copy(place, source, "store:mine:2", all_platforms=True)
    assert not again.images[0].is_new
    assert len(place.asked()) == 1
    copy(place, source, "store:another", all_platforms=True)
    assert not [one for one in place.asked() if "/blobs/" in one]
    assert place.images.inspect("another").image.id == place.images.inspect("mine:2").image.id


def test_a_copy_of_one_platform_into_the_store_has_its_digest(place: Place):
    layout, _ = whole(place)
    report = copy(place, f"docker://{place.name('team/app:1')}", "store:mine", platform="linux/arm64")
    assert str(report.images[0].digest) in blobs_of(layout)
    assert place.images.inspect("mine").image.architecture == "arm64"
    assert not [one for one in place.asked() if one.startswith("PUT")]


@pytest.mark.parametrize("target", ["docker://{}", "oci:{}"])
def test_a_copy_out_of_the_store_takes_referrers_along(place: Place, tmp_path: Path, target: str):
    image, referrers = signed(place, "team/app:1")
    wanted = {image["digest"], *(one["digest"] for one in referrers)}
    is_registry = target.startswith("docker")
    where = target.format(place.name("other:1") if is_registry else tmp_path / "out")
    found: list[set[str]] = []
    for with_them in (False, True):
        report = copy(place, place.name("team/app:1"), where, referrers=with_them)
        assert report.referrers == (2 if with_them else 0)
        there = set(place.there.repository("other").manifests) if is_registry else digests(tmp_path / "out")
        found.append(there & wanted)
    assert found == [{image["digest"]}, wanted]


def test_an_artifact_is_copied_out_of_the_store(place: Place, tmp_path: Path):
    layout = Layout()
    found = chart(layout)
    put(place.there, layout, found, "1", "charts/one")
    copy(place, f"docker://{place.name('charts/one:1')}", "store:chart:1")
    copy(place, "store:chart:1", f"docker://{place.name('charts/two:1')}")
    assert place.there.repository("charts/two").tags == {"1": found["digest"]}
    copy(place, "store:chart:1", f"oci:{tmp_path}/out")
    assert digests(tmp_path / "out") == blobs_of(layout)


def test_a_copy_asks_for_nothing_of_an_image_that_is_there(place: Place):
    image, _ = signed(place, "team/app:1")
    place.push("team/app:1")
    target = f"docker://{place.name('team/app:1')}"
    place.asked()
    assert copy(place, place.name("team/app:1"), target, referrers=True).referrers == 2
    layers = json.loads(place.there.repository("team/app").manifests[image["digest"]][1])["layers"]
    assert not [one for one in place.asked() if layers[0]["digest"] in one]


def test_pulled_content_is_pushed_with_equal_digests(place: Place):
    layout, digest = whole(place)
    place.images.pull(place.name("team/app:1"), place.registries, platform="all", referrers=True)
    place.images.tag(place.name("team/app:1"), place.name("other:1"))
    report = place.push("other:1", platform="all", referrers=True)
    assert str(report.tags[0].digest) == digest
    there = place.there.repository("other")
    assert there.blobs.keys() | there.manifests.keys() == blobs_of(layout)
