"""What a path of a view takes in memory: there may be a million of them in one directory."""

from __future__ import annotations

import io
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.inside.audit import audit
from orlop.inside.sizes import size_below
from orlop.inside.view import ImageFiles
from orlop.streams.tar_entry import NO_XATTRS
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 10_000


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path_factory.mktemp("store")) as service:
        members = [(f"d/f{number:07}", f"{number:08}".encode()) for number in range(COUNT)]
        service.load(io.BytesIO(image(layer("d/", *members))))
        yield service


def peak_of(work: Callable[[], object], *, count: int = COUNT) -> float:
    """Return how many bytes some work takes at most for each of so many files."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / count
    finally:
        tracemalloc.stop()


@pytest.mark.sampled(4)
def test_a_path_takes_half_a_kilobyte_while_layers_are_merged(images: orlop.ImageService) -> None:
    with images.files("made:1") as files:
        assert peak_of(lambda: files.node("/")) < 490


@pytest.mark.sampled(4)
def test_an_audit_takes_little_more(images: orlop.ImageService) -> None:
    with images.files("made:1") as files:
        files.node("/")
        assert peak_of(lambda: audit(files)) < 150
        assert peak_of(lambda: size_below(files.node("/"))) < 20


@pytest.mark.sampled(3)
def test_an_audit_takes_little_more_for_directories(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "store") as service:
        made = layer(*(f"d{number // 100}/e{number}/" for number in range(2 * COUNT)))
        service.load(io.BytesIO(image(made)))
        with service.files("made:1") as files:
            files.node("/")
            assert peak_of(lambda: audit(files), count=2 * COUNT) < 60


def test_what_has_no_attributes_shares_that(images: orlop.ImageService) -> None:
    with images.files("made:1") as files:
        assert isinstance(files, ImageFiles)
        assert {id(node.attributes.xattrs) for _, node in files.below("/d")} == {id(NO_XATTRS)}
    with pytest.raises(TypeError):
        NO_XATTRS["user.a"] = b""  # type: ignore[index]
