"""What the specification of layouts asks of readers, and what programs write: a test for each such sentence."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from tests.layout_walk import walked
from tests.unit.layouts import MANIFEST, Layout, named, tagged, unpacked
from tests.unit.pushed import placed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = "blake3:" + "0" * 506
STRANGE = [
    "blake3:" + "0" * 64,
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
]


def entry(digest: str, media_type: str = MANIFEST) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": 3, "annotations": {"a": "b"}}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("media_type", [MANIFEST, "application/xml"])
@pytest.mark.parametrize("digest", STRANGE)
def test_an_entry_by_an_algorithm_that_is_not_known_is_passed_over_and_told(
    tmp_path: Path, digest: str, media_type: str
):
    """Nothing is kept that cannot be verified, and the others are not refused for it."""
    layout = Layout()
    layout.top(entry(digest, media_type), layout.image("a", **named("app:1")))
    with orlop.open(tmp_path / "root") as images:
        report = images.load(io.BytesIO(layout.pack()))
        assert [name.familiar for image in report.images for name in image.references] == ["app:1"]
        assert report.warnings() == (f"passed over {digest}: orlop does not know its algorithm, and cannot verify it",)
        assert len(images.tree()) == 1


@pytest.mark.parametrize(
    "digest", ["sha256:../../x", "SHA256:" + "0" * 64, "sha256:" + "A" * 64, "blake3:a/b", "x", LONG]
)
def test_a_digest_outside_the_grammar_is_refused_with_its_layout(tmp_path: Path, digest: str):
    layout = Layout()
    layout.top(entry(digest), layout.image("a", **named("app:1")))
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidManifest, match="invalid digest"):
        images.load(io.BytesIO(layout.pack()))


def test_a_layout_with_such_an_entry_is_copied_by_name_and_not_whole(tmp_path: Path):
    """Positions count all entries, so they are not told either."""
    layout = Layout()
    layout.top(entry(STRANGE[0]), layout.image("a", **tagged("1")))
    place = unpacked(layout.files, tmp_path / "in")
    with placed(tmp_path / "root") as at:
        for whole in (f"oci:{place}", f"oci:{place}:@1"):
            with pytest.raises(errors.InvalidManifest, match="name what is to be copied"):
                at.images.copy(whole, f"oci:{tmp_path / 'out'}", at.registries)
        at.images.copy(f"oci:{place}:1", f"oci:{tmp_path / 'out'}:1", at.registries)
    assert len(walked(tmp_path / "out").entries) == 1


def readme(layout: Layout) -> None:
    layout.files |= {"README": b"x", "blobs/README": b"x", "blobs/sha256/README": b"x", "blobs/odd/x": b"x"}


def unreferenced(layout: Layout) -> None:
    layout.blob(b"nobody names this", "a/b")
    layout.image("nobody", "names", "these")


def more_fields(layout: Layout) -> None:
    layout.files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0", "more": [1]}'
    index = json.loads(layout.files["index.json"])
    layout.files["index.json"] = json.dumps(
        index | {"artifactType": "application/x", "annotations": {"a": ""}, "more": {"b": None}}
    ).encode()


def ingest(layout: Layout) -> None:
    layout.files |= {"ingest/half": b"x", "repositories.txt": b"{}"}


@pytest.mark.parametrize("change", [readme, unreferenced, more_fields, ingest])
@pytest.mark.parametrize("form", ["directory", "tar"])
def test_what_else_a_layout_holds_is_not_an_error_and_not_kept(
    tmp_path: Path, change: Callable[[Layout], None], form: str
):
    layout = Layout()
    layout.top(layout.image("a", **named("app:1")))
    wanted = set(layout.files) - {"oci-layout", "index.json"}
    change(layout)
    source = unpacked(layout.files, tmp_path / "in") if form == "directory" else io.BytesIO(layout.pack())
    with orlop.open(tmp_path / "root") as images:
        report = images.load(source)
        assert report.warnings() == ()
        images.save(["app:1"], tmp_path / "out", format="oci-dir")
    assert {f"blobs/{path.parent.name}/{path.name}" for path in (tmp_path / "out/blobs/sha256").iterdir()} == wanted


@pytest.mark.parametrize("count", [1, 20, 21, 300])
def test_of_very_many_entries_by_algorithms_that_are_not_known_some_are_told(tmp_path: Path, count: int):
    layout = Layout()
    digests = [f"blake3:{number:064x}" for number in range(count)]
    layout.top(layout.image("a"), *map(entry, digests))
    with orlop.open(tmp_path / "root") as images:
        report = images.load(io.BytesIO(layout.pack()))
    assert report.strange == tuple(digests)
    told = report.warnings()
    assert len(told) == min(count, 21)
    assert told[-1].startswith(f"passed over {digests[-1] if count <= 20 else f'{count - 20} more'}")
