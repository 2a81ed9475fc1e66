"""Trees of what names mean: what is below an index, and what speaks of it, as often as somebody says so."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.unit.artifacts import attestation, signature
from tests.unit.layouts import Layout, named, sha256

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
