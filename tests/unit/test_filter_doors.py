"""There is one list of filters: each name in it works at every door, and is told at every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.cli.main import run
from orlop.service.listing.filters import LIST_FILTERS, PRUNE_FILTERS
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.served import Client

DESCRIBED = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
VALUES = {"before": "example/tiny:1.0", "since": "example/tiny:1.0", "until": "24h", "dangling": "true"}


@pytest.fixture
def images(tmp_path: Path, data: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images: orlop.ImageService, tmp_path: Path) -> Iterator[Client]:
    with served(images, tmp_path) as client:
        yield client


def described(method: str, path: str) -> set[str]:
    """The names of filters that the description of the API has for an endpoint."""
    parameters: list[dict[str, Any]] = DESCRIBED["paths"][path][method]["parameters"]
    (schema,) = (one["content"]["application/json"]["schema"] for one in parameters if one["name"] == "filters")
    return {name for form in schema["anyOf"] for name in form["properties"]}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", sorted(LIST_FILTERS))
def test_a_filter_of_lists_works_at_every_door(
    images: orlop.ImageService, client: Client, data: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    text = f"{name}={VALUES.get(name, 'x')}"
    found = {str(image.id) for image in images.images(filters=[text])}
    assert run(["--root", str(images.root), "images", "-q", "--no-trunc", "--filter", text]) == 0
    assert set(capsys.readouterr().out.split()) == found
    answer = client.get("/images/json", {"filters": json.dumps({name: [VALUES.get(name, "x")]})})
    assert {image["Id"] for image in answer.json} == found
    with orlop.ArchiveService(data / "dockerd-20.10-overlay2" / "multi.tar") as archive:
        archive.images(filters=[text])


@pytest.mark.parametrize("name", sorted(PRUNE_FILTERS))
def test_a_filter_of_prunings_works_at_every_door(images: orlop.ImageService, client: Client, name: str):
    text = f"{name}={VALUES.get(name, 'x')}"
    images.prune(filters=[text], dry_run=True)
    for command in (["image", "prune", "-f"], ["prune", "-f"]):
        assert run(["--root", str(images.root), *command, "--filter", text]) == 0
    assert client.post("/images/prune", {"filters": json.dumps({name: [VALUES.get(name, "x")]})}).status == 200


def test_what_is_not_in_the_list_is_refused_at_every_door(images: orlop.ImageService, client: Client):
    for name in ("nosuch", "label!"):
        assert client.get("/images/json", {"filters": json.dumps({name: ["x"]})}).status == 400
        assert run(["--root", str(images.root), "images", "--filter", f"{name}=x"]) == 3
    for name in ("nosuch", "reference"):
        assert client.post("/images/prune", {"filters": json.dumps({name: ["x"]})}).status == 400
        assert run(["--root", str(images.root), "image", "prune", "-f", "--filter", f"{name}=x"]) == 3


def test_the_description_of_the_api_tells_every_filter():
    assert described("get", "/images/json") == LIST_FILTERS
    assert described("post", "/images/prune") == PRUNE_FILTERS
