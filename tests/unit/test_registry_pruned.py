"""What `prune` leaves of what was pushed: an index stays whole as long as a tag of it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.hosted import described, digest_of, hosting, index_of
from tests.unit.layouts import INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.hosted import RegistryClient


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as found:
        yield found


@pytest.fixture
def registry(images: orlop.ImageService, tmp_path: Path) -> Iterator[RegistryClient]:
    with hosting(images, tmp_path) as client:
        yield client


def push_index(registry: RegistryClient, tag: str, *manifests: bytes, **more: object) -> bytes:
    index = index_of(*manifests, **more)
    assert registry.put(f"/v2/app/manifests/{tag}", index, INDEX).status == 201
    return index


def held(registry: RegistryClient, *manifests: bytes) -> list[bool]:
    return [registry.get(f"/v2/app/manifests/{digest_of(one)}").status == 200 for one in manifests]


def reasons(images: orlop.ImageService, **rules: bool | int) -> list[str]:
    report = images.prune(dry_run=True, **rules)  # type: ignore[arg-type]
    return sorted(f"{'-' if one.goes else '+'}{one.reason}" for one in report.images)


def test_images_without_tags_stay_as_long_as_an_index_with_a_tag_needs_them(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    loose = registry.push_image("app", None, "loose")
    inner = push_index(registry, "1", *pair)
    push_index(registry, "outer", manifests=[described(inner, INDEX)])
    assert reasons(images) == ["+index", "+named", "-dangling"]
    images.prune()
    assert held(registry, *pair, loose) == [True, True, False]
    # An index is needed by one tag as by two.
    images.remove("localhost:5000/app:1")
    images.prune()
    assert held(registry, *pair) == [True, True]
    images.remove("localhost:5000/app:outer")
    images.prune()
    assert held(registry, *pair) == [False, False]


def test_an_index_and_its_images_go_together(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    assert reasons(images, all=True) == ["-all", "-dangling"]
    images.prune(all=True)
    assert held(registry, *pair) == [False, False]


def test_an_old_tag_of_an_image_stays_with_it_where_a_newer_index_needs_it(registry, images):
    pair = [registry.push_image("app", f"{name}-1", name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    assert reasons(images, keep_last=1) == ["+index", "+newest"]
    images.prune(keep_last=1)
    assert held(registry, *pair) == [True, True]


def test_what_stays_for_one_index_keeps_the_index_that_it_is_the_name_of(registry, images):
    first, second, third = (registry.push_image("app", None, name) for name in ("one", "two", "three"))
    push_index(registry, "2", second, third)
    push_index(registry, "1", first, second)
    images.pin("localhost:5000/app:1")
    assert reasons(images, all=True) == ["+index", "+index", "+pinned"]
    images.prune(all=True)
    assert held(registry, first, second, third) == [True, True, True]
