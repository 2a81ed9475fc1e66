"""White space around the value of a filter: docker's command takes it away, and engines take it as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.served import Client


@pytest.fixture
def images(tmp_path: Path, data: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images: orlop.ImageService, tmp_path: Path) -> Iterator[Client]:
    with served(images, tmp_path) as client:
        yield client


@pytest.mark.parametrize("text", ["reference= example/tiny", "reference=example/tiny ", "label= x", "LABEL=x "])
def test_the_command_takes_it_away(images: orlop.ImageService, capsys: pytest.CaptureFixture[str], text: str):
    assert run(["--root", str(images.root), "images", "-q", "--filter", text]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert run(["--root", str(images.root), "prune", "-f", "--filter", "until= 1h"]) == 0
    assert run(["--root", str(images.root), "image", "prune", "-f", "--filter", "until=1h "]) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("reference", " example/tiny"), ("reference", "example/tiny "), ("label", " x"), ("label", "x ")],
)
def test_the_api_takes_it_as_it_is(client: Client, name: str, value: str):
    assert client.get("/images/json", {"filters": json.dumps({name: [value]})}).json == []


@pytest.mark.parametrize("value", [" 1h", "1h ", " ", "\t1h"])
def test_a_time_with_space_prunes_nothing(images: orlop.ImageService, client: Client, value: str):
    before = {image.id for image in images.images(all=True)}
    filters = json.dumps({"until": [value], "dangling": ["false"]})
    assert client.post("/images/prune", {"filters": filters}).status == 400
    assert {image.id for image in images.images(all=True)} == before
