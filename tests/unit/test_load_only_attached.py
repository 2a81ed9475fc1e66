"""What is loaded by name brings along what speaks of it, however that is attached."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import Layout, named, tagged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def full(tag: str) -> dict[str, Any]:
    return named(f"docker.io/example/app:{tag}")


@pytest.mark.parametrize("under", [full, tagged])
def test_what_a_tag_attaches_comes_with_its_image(tmp_path: Path, under: Callable[[str], dict[str, Any]]):
    layout = Layout()
    one, two = layout.image("one"), layout.image("two")
    tags = [image["digest"].replace(":", "-") + ".sig" for image in (one, two)]
    mine, other = chart(layout, b"mine"), chart(layout, b"other")
    layout.top(
        one | named("docker.io/example/app:1"),
        two | named("docker.io/example/app:2"),
        signature(layout, one, b"refers"),
        mine | under(tags[0]),
        other | under(tags[1]),
    )
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.pack()), only=["example/app:1"])
        assert images.counts()["manifests"] == 3
        images.save(["example/app:1"], tmp_path / "saved.tar", format="oci")
    assert mine["digest"].encode() in (tmp_path / "saved.tar").read_bytes()
