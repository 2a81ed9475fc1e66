"""Pruning a store that holds more than layers: opaque blobs count, and no quota takes one platform of a named index."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from tests.unit.artifacts import EMPTY, about, attestation
from tests.unit.layouts import MANIFEST, Layout, named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 50_000


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    """Two releases for two platforms, each with attestations and a large signature; the first is the older one."""
    with orlop.open(tmp_path / "root") as service:
        for number in (1, 2):
            service.load(io.BytesIO(release(number).pack()))
        yield service


def release(number: int) -> Layout:
    layout = Layout()
    made = [layout.image(f"{number}{one}", architecture=one, platform=True) for one in ("amd64", "arm64")]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": layout.blob(b"{}", EMPTY),
        "layers": [layout.blob(bytes([number]) * LARGE, "application/vnd.example")],
        "subject": about(made[0]),
    }
    index = layout.index(*made, *(attestation(layout, one) for one in made), **named(f"docker.io/example/app:{number}"))
    return layout.top(index, layout.document(document, MANIFEST))


def on_disk(root: Path) -> int:
    files = (path for folder in ("blobs", "toc") for path in (root / folder).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())


def test_what_is_planned_is_what_the_disk_gets_back(images: orlop.ImageService, tmp_path: Path) -> None:
    before = on_disk(tmp_path / "root")
    planned = images.prune(max_size=before - 1, dry_run=True)
    done = images.prune(max_size=before - 1)
    after = on_disk(tmp_path / "root")
    assert (planned.stored, planned.freed, planned.left) == (done.stored, done.freed, done.left)
    assert (done.stored, done.freed, done.left) == (before, before - after, after)
    assert done.freed > LARGE


def test_a_quota_takes_all_platforms_of_a_name_or_none(images: orlop.ImageService) -> None:
    images.prune(max_size=images.prune(max_size=1 << 40, dry_run=True).stored - 1)
    [tree] = images.tree()
    assert tree.names == ("example/app:2",)
    assert all(one.available for child in tree.children for one in (child, *child.children))
    assert len(images.images(all=True)) == 2


def test_a_platform_that_is_used_often_keeps_the_others(images: orlop.ImageService) -> None:
    """The image that the name means was saved last; the other platform of its index never was."""
    images.save(["example/app:1"], io.BytesIO())
    images.prune(max_size=images.prune(max_size=1 << 40, dry_run=True).stored - 1)
    assert [tree.names for tree in images.tree()] == [("example/app:1",)]


def test_opaque_blobs_of_what_is_pinned_do_not_fit_either(images: orlop.ImageService) -> None:
    for number in (1, 2):
        images.pin(f"example/app:{number}")
    with pytest.raises(errors.QuotaExceeded):
        images.prune(max_size=LARGE)
    assert len(images.images(all=True)) == 4
