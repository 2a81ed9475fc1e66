"""Filters of lists, and pruning by them."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import ImageNotFound, InvalidFilter
from orlop.model.durations import parse_duration
from orlop.model.reference import Reference
from orlop.service.listing.filters import LIST_FILTERS, Filters, parse_filters
from orlop.service.listing.moments import parse_moment
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).parents[1] / "data" / "dockerd-20.10-overlay2"
TINY, DUP, IMPORTED = "example/tiny:1.0", "example/dup:v1", "example/imported:latest"
COMMITTED = "registry.example.com:5000/team/committed:2.0"
SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    """The four images of an engine."""
    with orlop.open(tmp_path / "store") as service:
        service.load(FOLDER / "multi.tar")
        service.load(FOLDER / "dup.tar")
        yield service


def root(content: bytes = b"hi\n") -> io.BytesIO:
    return io.BytesIO(member_header("f", size=len(content), mode=0o644) + content + padding(len(content)) + END)


def named(found: Sequence[orlop.ImageSummary]) -> list[str]:
    return sorted(reference.familiar for image in found for reference in image.references)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        # What Engine 20.10 answered about the same images.
        (["dangling=false"], [DUP, IMPORTED, TINY, COMMITTED]),
        (["dangling=true"], []),
        (["label=x"], [IMPORTED]),
        (["label=x=y"], [IMPORTED]),
        (["label=x=z"], []),
        ([" Label =x"], [IMPORTED]),
        (["label= x"], []),
        (["label=x "], []),
        (["reference= example/tiny"], []),
        (["label=x", "label=q"], []),
        (["label="], []),
        (["reference=ex*/t*"], [TINY]),
        (["reference=example/tiny"], [TINY]),
        (["reference=tiny"], []),
        (["reference=*/*:1.0"], [TINY]),
        (["reference=*"], []),
        (["reference=x", "reference=example/*"], [DUP, IMPORTED, TINY]),
        # To Engine 20.10 names that are canonical fit nothing.
        (["reference=docker.io/example/tiny"], [TINY]),
        (["reference=docker.io/example/*:1.0"], [TINY]),
        (["reference=docker.io/*"], []),
        (["reference=registry*/*/*"], [COMMITTED]),
        ([f"before={TINY}"], []),
        ([f"since={TINY}"], [DUP, IMPORTED, COMMITTED]),
        (["", "until=2020-01-01"], []),
        (["until=2100-01-01T00:00:00Z"], [DUP, IMPORTED, TINY, COMMITTED]),
        ([f"since={TINY}", f"before={IMPORTED}", "dangling=0"], [DUP, COMMITTED]),
    ],
)
def test_lists_are_filtered_as_docker_filters_them(
    images: orlop.ImageService, filters: list[str], names: list[str]
) -> None:
    assert named(images.images(filters=filters)) == sorted(names)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("ex*/*", [DUP, IMPORTED, TINY]),
        ("example/*:1.0", [TINY]),
        ("example/t[a-j]ny", [TINY]),
        ("example/t[^i]ny", []),
        ("example/tin?", [TINY]),
        ("*", []),
    ],
)
def test_a_name_may_be_a_pattern(images: orlop.ImageService, name: str, names: list[str]) -> None:
    assert named(images.images(name)) == sorted(names)


def test_an_image_without_a_name_dangles(images: orlop.ImageService) -> None:
    image = images.import_image(root())
    assert [found.id for found in images.images(filters=["dangling=true"])] == [image]
    assert [found.id for found in images.images(filters=["dangling=1"], all=True)] == [image]
    assert image not in {found.id for found in images.images(filters=["dangling=false"])}
    assert image not in {found.id for found in images.images(filters=["reference=*/*"])}


def test_archives_and_stores_give_the_same_parts_of_a_second(images: orlop.ImageService) -> None:
    with orlop.ArchiveService(FOLDER / "multi.tar") as archive:
        expected = {image.id: (image.created, image.nanosecond) for image in archive.images()}
    found = {image.id: (image.created, image.nanosecond) for image in images.images()}
    assert expected.items() <= found.items()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "text", ["foo=bar", "dangling", "dangling=x", "reference=[", "reference=[]", "reference=a\\", "until=x", "label!=x"]
)
def test_a_filter_that_is_none_is_refused(images: orlop.ImageService, text: str) -> None:
    with pytest.raises(InvalidFilter):
        images.iter_images(filters=[text])


def test_an_image_that_is_not_there_tells_no_time(images: orlop.ImageService) -> None:
    with pytest.raises(ImageNotFound, match="No such image: nope:latest"):
        images.iter_images(filters=["before=nope"])


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a*", "abc:1", True),
        ("a*", "a/b:1", False),
        ("a/*", "a/b:1", True),
        ("a?c", "abc:1", True),
        ("a[b-d]c", "acc:1", True),
        ("a[d-b]c", "acc:1", False),
        ("a[^d-b]c", "acc:1", True),
        ("a[\\-x]c", "axc:1", True),
        ("a\\bc", "abc:1", True),
        ("a.c", "abc:1", False),
        ("a[/]c", "a/c:1", True),
        ("abc@sha256:*", f"abc@sha256:{64 * 'a'}", True),
    ],
)
def test_patterns_are_those_of_go(pattern: str, name: str, fits: bool) -> None:  # noqa: FBT001 - a table's column
    assert Filters(references=(pattern,)).match_reference(Reference.parse(name)) is fits


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - 86400 * SECOND),
        ("1h30m", NOW - 5400 * SECOND),
        ("1.5s", NOW - 1_500_000_000),
        ("-10m", NOW + 600 * SECOND),
        ("1136073845", 1_136_073_845 * SECOND),
        ("1136073845.000000001", 1_136_073_845 * SECOND + 1),
        ("2006-01-02T15:04:05Z", 1_136_214_245 * SECOND),
        ("2006-01-02T15:04:05.5+07:00", 1_136_189_045 * SECOND + 500_000_000),
        ("2006-01-02Z", 1_136_160_000 * SECOND),
        ("2006-01-02", 1_136_156_400 * SECOND),
        ("2006-01-02T15", 1_136_210_400 * SECOND),
        ("2006-01-02T15:04", 1_136_210_640 * SECOND),
        ("2006-01-02T15:04:05+24:60", 1_136_124_245 * SECOND),
        ("2006-01-02T15:04:05-23:60", 1_136_300_645 * SECOND),
        ("0000-01-01Z", -62_167_219_200 * SECOND),
        ("0000-01-01", -62_167_222_800 * SECOND),
    ],
)
def test_moments_are_read_as_docker_reads_them(text: str, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        assert parse_moment(text, NOW) == moment
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "1d",
            "h",
            "1h 2m",
            "2006-13-01",
            "2006-02-30",
            "2006-02-30Z",
            "2006-01-02T25",
            "2006-01-02T15:04:60",
        ),
        *("2006-01-02T15:04:05+99:99", "2006-01-02T15:04:05+25:00", "2006-01-02T15:04:05-00:61"),
    ],
)
def test_what_is_no_moment_or_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(repr(text))} is not a time; give a duration"):
        parse_moment(text, NOW)
    with pytest.raises(ValueError):
        parse_duration(text)


def test_a_duration_has_a_unit_and_an_end() -> None:
    with pytest.raises(ValueError, match="'24' is not a duration"):
        parse_duration("24")
    with pytest.raises(ValueError, match="too long"):
        parse_duration("99999999h")


def test_a_filter_names_what_there_is() -> None:
    with pytest.raises(InvalidFilter, match=f"is one of {', '.join(sorted(LIST_FILTERS))}$"):
        parse_filters(["x=y"], now=NOW)


def test_prune_removes_what_dangles_and_tells_what_it_gained(images: orlop.ImageService) -> None:
    gone = images.import_image(root(b"hello"))
    kept = images.import_image(root(), "kept")
    report = images.prune()
    assert report.deleted[0] == str(gone)
    assert report.reclaimed == 5
    assert images.inspect("kept").image.id == kept
    again = images.prune()
    assert (again.lines, again.reclaimed, again.freed) == ((), 0, 0)


def test_prune_of_all_leaves_nothing(images: orlop.ImageService) -> None:
    sizes = {image.id: image.size for image in images.images()}
    report = images.prune(all=True)
    assert set(report.untagged) == {TINY, DUP, IMPORTED, COMMITTED}
    assert {str(image) for image in sizes} <= set(report.deleted)
    assert images.images(all=True) == []
    assert images.layer_store.map() == {}
    assert report.reclaimed > 0


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["until=2020-01-01"], [DUP, IMPORTED, TINY, COMMITTED]),
        (["label=x"], [DUP, TINY, COMMITTED]),
        (["label!=x"], [IMPORTED]),
        (["label!=x=z"], []),
    ],
)
def test_prune_leaves_what_filters_do_not_name(images: orlop.ImageService, filters: list[str], left: list[str]) -> None:
    images.prune(all=True, filters=filters)
    assert named(images.images()) == sorted(left)


def test_prune_may_be_asked_for_all_by_a_filter(images: orlop.ImageService) -> None:
    assert len(images.prune(filters=["dangling=false"]).untagged) == 4
    with pytest.raises(InvalidFilter):
        images.prune(filters=["reference=x"])


def test_an_image_with_a_digest_only_dangles(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "data" / "other-tools"
    layouts = [path for path in source.iterdir() if "oci" in path.name and path.suffix == ".tar"]
    assert layouts
    with orlop.open(tmp_path / "store") as images:
        for layout in layouts:
            images.load(layout)
        for image in images.images():
            for reference in image.repo_tags:
                images.references.delete(reference)
        left = images.images(filters=["dangling=true"])
        assert {image.id for image in left} == {image.id for image in images.images()}
        report = images.prune()
        assert images.images(all=True) == []
        assert all("@sha256:" in name for name in report.untagged)
    assert json.dumps(report.lines)
