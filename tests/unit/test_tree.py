"""Trees of what names mean: what is below an index, and what speaks of it, as often as somebody says so."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.cli.show.tree import tree_lines
from orlop.service.listing.tree import DEEPEST
from tests.unit.artifacts import attestation, chart, signature
from tests.unit.layouts import INDEX, MANIFEST, REF, Layout, named, sha256
from tests.unit.test_content import layout as unpacked_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPOKEN_OF = "vnd.docker.reference.digest"


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as service:
        yield service


def shown(tree: Any) -> list[Any]:
    """The digests of a tree, each with those below it."""
    return [str(tree.digest), *(shown(child) for child in tree.children)]


def test_an_attestation_of_two_platforms_stands_below_both(images: orlop.ImageService) -> None:
    layout = Layout()
    made = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    about = attestation(layout, made[0])
    entries = [about, about, about | {"annotations": {SPOKEN_OF: made[1]["digest"]}}]
    images.load(io.BytesIO(layout.top(layout.index(*made, *entries, **named("app:1"))).pack()))
    [tree] = images.tree()
    assert shown(tree)[1:] == [[one["digest"], [about["digest"]]] for one in made]


@pytest.mark.parametrize("of_itself", [True, False])
def test_what_speaks_in_a_circle_is_shown(images: orlop.ImageService, *, of_itself: bool) -> None:
    layout = Layout()
    image = layout.image("file", platform=True)
    first, second = (attestation(layout, {"digest": sha256(text)}) for text in (b"1", b"2"))
    first["annotations"][SPOKEN_OF] = (first if of_itself else second)["digest"]
    second["annotations"][SPOKEN_OF] = first["digest"]
    images.load(io.BytesIO(layout.top(layout.index(image, first, second, **named("app:1"))).pack()))
    [tree] = images.tree()
    assert sorted(one[0] for one in shown(tree)[1:]) == sorted(one["digest"] for one in (image, first, second))


@pytest.mark.parametrize("kind", ["artifacts", "indexes"])
def test_a_long_chain_of_referrers_is_shown_whole(images: orlop.ImageService, kind: str) -> None:
    layout = Layout()
    chain = [layout.image("file", **named("app:1"))]
    empty = layout.document({}, "application/vnd.oci.empty.v1+json")
    for number in range(1200):
        subject = {key: chain[-1][key] for key in ("mediaType", "digest", "size")}
        said = {"schemaVersion": 2, "artifactType": "a/b", "subject": subject}
        if kind == "indexes" and number % 3 == 0:
            own = layout.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": []}, MANIFEST)
            chain.append(layout.document(said | {"mediaType": INDEX, "manifests": [own]}, INDEX))
        else:
            said |= {"mediaType": MANIFEST, "config": empty, "layers": [empty]}
            chain.append(layout.document(said, MANIFEST))
    images.load(io.BytesIO(layout.top(*chain).pack()))
    [tree] = images.tree("app:1")
    digests = {one["digest"] for one in chain}
    assert sorted(found for found in (str(each.digest) for each in every(tree)) if found in digests) == sorted(digests)
    assert [str(one.digest) for one in images.tree()] == [chain[0]["digest"]]
    lines = list(tree_lines(images.tree()))
    assert len(lines) == sum(1 for _ in every(tree))
    assert max(map(len, lines)) < 10 * DEEPEST


def every(tree: Any) -> Iterator[Any]:
    """All of a tree."""
    yield tree
    for child in tree.children:
        yield from every(child)


def test_what_refers_to_an_image_of_two_indexes_stands_below_both(images: orlop.ImageService) -> None:
    layout = Layout()
    image, other = (layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64"))
    about = signature(layout, image)
    layout.top(layout.index(image, **named("app:1")), layout.index(image, other, **named("app:2")), about)
    images.load(io.BytesIO(layout.pack()))
    for tree in images.tree():
        assert shown(tree)[1] == [image["digest"], [about["digest"]]]


def test_an_index_that_is_named_again_and_again_is_entered_once(images: orlop.ImageService) -> None:
    layout = Layout()
    index = layout.image("file", platform=True)
    for _ in range(40):
        index = layout.index(index, index)
    images.load(io.BytesIO(layout.top(index | named("app:1")).pack()))
    [tree] = images.tree()
    for _ in range(40):
        assert [one.digest for one in tree.children] == [tree.children[0].digest] * 2
        assert tree.children[1].children == ()
        tree = tree.children[0]
    assert tree.kind == "image"


def tag_of(entry: dict[str, Any], suffix: str) -> dict[str, Any]:
    return {"annotations": {REF: f"{entry['digest'].replace(':', '-')}.{suffix}"}}


@pytest.mark.parametrize("named_too", [True, False])
def test_what_a_tag_attaches_stands_below_its_image(images: orlop.ImageService, *, named_too: bool) -> None:
    """As in a layout that skopeo filled, or, with names, in a store that pulled from a registry."""
    layout = Layout()
    image = layout.image("file")
    about = chart(layout)
    text = tag_of(image, "sbom")["annotations"][REF]
    how = named(f"example.com/app:{text}") if named_too else tag_of(image, "sbom")
    images.load(io.BytesIO(layout.top(image | named("example.com/app:1"), about | how).pack()))
    [tree] = images.tree()
    assert shown(tree) == [image["digest"], [about["digest"]]]
    assert tree.children[0].names == ((f"example.com/app:{text}",) if named_too else ())
    assert [shown(one) for one in images.tree("example.com/app:1")] == [shown(tree)]


def test_what_has_another_name_too_stands_for_itself_as_well(images: orlop.ImageService) -> None:
    layout = Layout()
    image, about = layout.image("file"), chart(layout)
    tops = [image | named("app:1"), about | tag_of(image, "sbom"), about | named("chart:1")]
    images.load(io.BytesIO(layout.top(*tops).pack()))
    assert sorted(map(str, map(shown, images.tree()))) == sorted(
        map(str, [[image["digest"], [about["digest"]]], [about["digest"]]])
    )


@pytest.mark.parametrize("attached", ["to what is absent", "to itself", "in a circle"])
def test_what_is_attached_to_nothing_that_is_shown_stands_for_itself(images: orlop.ImageService, attached: str) -> None:
    layout = Layout()
    first, second = chart(layout), signature(layout, None)
    absent = [{"digest": sha256(text)} for text in (b"1", b"2")]
    ends = {"to what is absent": absent, "to itself": (first, second), "in a circle": (second, first)}
    tops = [one | tag_of(end, "sbom") for one, end in zip((first, second), ends[attached], strict=True)]
    images.load(io.BytesIO(layout.top(*tops).pack()))
    found = str([shown(tree) for tree in images.tree()])
    assert all(one["digest"] in found for one in (first, second))


@pytest.mark.parametrize("name", ["cosign-save", "cosign-tags"])
def test_signatures_of_a_layout_of_cosign_stand_below_its_image(
    images: orlop.ImageService, data: Path, tmp_path: Path, name: str
) -> None:
    """``cosign save`` gives them no tags, but says of which kind they are; `orlop save` gives them the tags."""
    folder = unpacked_fixture(data, name, tmp_path)
    entries = [one["digest"] for one in json.loads((folder / "index.json").read_text())["manifests"]]
    images.load(folder)
    [tree] = images.tree()
    assert shown(tree) == [entries[0], *([one] for one in entries[1:])]
    images.tag(str(tree.image), "app:1")
    images.save(["app:1"], str(tmp_path / "out"), format="oci-dir", platform="all")
    written = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    tags = {one["annotations"].get(REF): one["digest"] for one in written}
    suffixes = ("sig", "att", "sbom")[: len(entries) - 1]
    assert tags == {"1": entries[0]} | {
        tag_of({"digest": entries[0]}, suffix)["annotations"][REF]: digest
        for suffix, digest in zip(suffixes, entries[1:], strict=True)
    }
