"""`orlop archive ls` and `orlop.Archive` of archives that hold other things than images."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.streams.compression import zstd_module
from tests.unit.test_cli_archive import printed
from tests.unpacked import unpack

if TYPE_CHECKING:
    from pathlib import Path

_EXPECTED = {
    "artifact-zoo": "application/vnd.cncf.helm.config.v1+json",
    "buildx-provenance": "application/vnd.docker.attestation.manifest.v1+json",
    "referrers-untagged": "application/",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", _EXPECTED)
def test_every_manifest_has_a_line(data: Path, tmp_path: Path, name: str) -> None:
    raw = zstd_module().decompress((data / "oci" / f"{name}.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        unpack(tar, tmp_path)
    layout = tmp_path / name if (tmp_path / name).is_dir() else tmp_path
    rows = [json.loads(line) for line in printed(tmp_path / "none", "archive", "ls", "--json", layout).splitlines()]
    blobs = [path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()]
    documents = [json.loads(blob) for blob in blobs if blob.startswith(b"{") and b'"schemaVersion"' in blob]
    manifests = [document for document in documents if "layers" in document]
    artifacts = {row["Digest"]: row for row in rows if row["Type"] != "image"}
    with orlop.Archive(layout) as archive:
        assert {str(one.digest) for one in archive.artifacts} == artifacts.keys()
        # Each manifest is an image's or has a line of its own.
        alone = [one for one in archive.artifacts if "index" not in one.type]
        listed = len(archive.images) + len(alone)
        # Of one layout a referrer is only a blob, which no index names.
        assert listed == len(manifests) - (name == "referrers-untagged")
    assert any(row["Type"].startswith(_EXPECTED[name]) for row in artifacts.values())
    assert all(row["ID"] == "<none>" and int(row["Bytes"]) > 0 for row in artifacts.values())
    assert len(printed(tmp_path / "none", "archive", "ls", layout).splitlines()) == len(rows) + 1
