"""Filters of a pruning without a value: what engines keep is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.served import served

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("version", ["/v1.41", ""])
@pytest.mark.parametrize(
    ("filters", "status"),
    [
        ({"label!": []}, 200),
        ({"label!": None}, 200),
        ({"label!": {}}, 200),
        ({"label!": [], "dangling": ["false"]}, 200),
        ({"label!": [], "label": ["x"], "dangling": ["false"]}, 200),
        ({"until": []}, 400),
        ({"until": {}, "dangling": ["false"]}, 400),
        ({"until": None}, 400),
    ],
)
def test_nothing_is_pruned(tmp_path: Path, data: Path, version: str, filters: dict[str, object], status: int):
    with orlop.open(tmp_path / "root") as images, served(images, tmp_path) as client:
        for name in ("multi", "dup-by-id"):
            images.load(data / "dockerd-20.10-overlay2" / f"{name}.tar")
        before = {image.id for image in images.images(all=True)}
        answer = client.post(f"{version}/images/prune", {"filters": json.dumps(filters)})
        assert answer.status == status
        assert status != 200 or answer.json == {"ImagesDeleted": None, "SpaceReclaimed": 0}
        assert {image.id for image in images.images(all=True)} == before
        for path in ("containers", "networks"):
            expected = 400 if "until" in filters else None
            given = {"filters": json.dumps({name: value for name, value in filters.items() if name != "dangling"})}
            assert client.post(f"{version}/{path}/prune", given).status == (expected or 200)
