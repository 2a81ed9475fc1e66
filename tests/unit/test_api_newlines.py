"""Names that end with a newline, or have one inside: they are those of no image, whatever a pattern of paths says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.api.engine.app import ENDPOINTS
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.served import Client

TINY = "example/tiny:1.0"


@pytest.fixture
def images(tmp_path: Path, data: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images: orlop.ImageService, tmp_path: Path) -> Iterator[Client]:
    with served(images, tmp_path) as client:
        yield client


def held(images: orlop.ImageService) -> list[str]:
    return sorted(reference.familiar for image in images.images(all=True) for reference in image.references)


@pytest.mark.parametrize("name", [f"{TINY}%0a", f"%0a{TINY}", f"{TINY}%0A?force=1", "example/tiny%0a:1.0"])
def test_no_other_image_is_deleted_or_tagged(images: orlop.ImageService, client: Client, name: str):
    before = held(images)
    assert client.delete(f"/images/{name}").status == 404
    path, _, query = name.partition("?")
    assert client.post(f"/images/{path}/tag?repo=x&{query}").status == 404
    assert client.post(f"/images/{TINY}/tag%0a?repo=x").status == 404
    for end in ("json", "history", "get", "json%0a"):
        assert client.get(f"/images/{path}/{end}").status == 404
    assert client.post("/images/prune%0a").status == 404
    assert held(images) == before


def test_no_pattern_of_a_path_fits_a_newline():
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{name:path}", TINY)
        assert endpoint.path_regex.match(path), path
        assert not endpoint.path_regex.match(f"{path}\n"), path
