"""`orlop tags` and `orlop manifest`: looks into registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.testing.registry.fake import FakeRegistry
from tests.unit.layouts import Layout
from tests.unit.pulling import REPOSITORY, command, push

if TYPE_CHECKING:
    from pathlib import Path


def test_looks_fetch_no_layer_and_need_no_store(tmp_path: Path):
    with FakeRegistry() as registry:
        layout = Layout()
        image = layout.image("one", architecture="s390x", platform=True)
        digest = push(registry, layout, layout.index(image), "1")
        name = f"docker://{registry.authority}/{REPOSITORY}"
        assert command(tmp_path, "tags", name).stdout == "1\n"
        index = command(tmp_path, "manifest", f"{name}:1").stdout.encode()
        assert index == layout.files[f"blobs/sha256/{digest[7:]}"]
        found = command(tmp_path, "manifest", "--platform", "linux/s390x", f"{name}:1").stdout.encode()
        assert found == layout.files["blobs/" + image["digest"].replace(":", "/")]
        assert command(tmp_path, "manifest", "--platform", "linux/arm64", f"{name}:1").returncode == 4
        assert sum("/blobs/" in one.path for one in registry.requests) == 1
        assert not (tmp_path / "root").exists()
