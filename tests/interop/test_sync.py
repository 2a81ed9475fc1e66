"""Syncs between two of Debian's docker-registry, and over a layout that skopeo reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.interop.registries import debian_registry
from tests.interop.test_push import digest_at, top, two_platforms
from tests.unit.pushed import simple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Orlop, Program

pytestmark = pytest.mark.interop


@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as authority:
        yield authority


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("mirror")) as authority:
        yield authority


@pytest.mark.sampled(2)
def test_a_mirror_has_the_digests_and_loses_what_was_dropped(
    orlop: Orlop, skopeo: Program, there: str, mirror: str, tmp_path: Path
):
    layout = two_platforms(f"{there}/team/app:1.0")
    orlop("load", "-q", stdin=layout.pack())
    for tag in ("1.0", "1.1", "2.0"):
        orlop("tag", f"{there}/team/app:1.0", f"{there}/team/app:{tag}")
        orlop("push", "-q", "--platform", "all", f"{there}/team/app:{tag}")
    file, media = tmp_path / "sync.toml", tmp_path / "media"
    entries = {
        f"docker://{there}/team/app": f"docker://{mirror}/copy/",
        f"docker://{mirror}/copy/team/app": f"oci:{media}",
    }
    rules = 'versions = "<2"\nmirror = true\n'
    file.write_text(
        "".join(f'[[sync]]\nsource = "{one}"\ntarget = "{other}"\n{rules}' for one, other in entries.items())
    )
    summary = orlop("sync", "--state", str(tmp_path / "state"), str(file)).splitlines()[-1]
    assert summary.startswith("4 copied, 0 unchanged, 0 failed")
    for tag in ("1.0", "1.1"):
        assert digest_at(skopeo, f"{mirror}/copy/team/app:{tag}") == digest_at(skopeo, f"{there}/team/app:{tag}")
    assert json.loads(skopeo("inspect", "--raw", f"oci:{media}:1.1"))["manifests"]
    assert top(layout) == digest_at(skopeo, f"{mirror}/copy/team/app:1.0")
    # This registry deletes manifests, not tags.
    orlop("load", "-q", stdin=simple(f"{mirror}/copy/team/app:1.9", "other").pack())
    orlop("push", "-q", f"{mirror}/copy/team/app:1.9")
    again = orlop("sync", "--state", str(tmp_path / "state"), "--delete", str(file)).splitlines()
    assert again[-1].startswith("0 copied, 4 unchanged, 1 removed, 0 failed")
    assert sorted(orlop("tags", f"docker://{mirror}/copy/team/app").split()) == ["1.0", "1.1"]
