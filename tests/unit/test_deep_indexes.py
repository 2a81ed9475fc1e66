"""Indexes that lie in others deeper than readers follow them, which older versions let into a store."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import InvalidArchive
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_INDEX
from orlop.store.rows.metadata import ManifestRow, TopRow
from tests.unit.artifacts import chart
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from pathlib import Path

NAME = "example.com/deep"
FORMS = ("docker", "oci", "oci-dir")


def nest(root: Path, levels: int, *, is_image: bool) -> None:
    """Fill a store with an index in so many others, where the tag of each tells how many are below it."""
    layout = Layout()
    inner = layout.image("a", architecture="amd64", platform=True) if is_image else chart(layout)
    layout.top(layout.index(inner, **named(f"{NAME}:0")))
    with orlop.open(root) as images:
        images.load(io.BytesIO(layout.pack()))
        with images._store.metadata.write() as rows:
            (top,) = (row for row in rows.tops() if row.suffix == ":0")
            found = rows.manifest(top.digest)
            assert found is not None
            came = rows.images_of(found.digest)
            for level in range(1, levels + 1):
                below = {"mediaType": OCI_INDEX, "digest": str(found.digest), "size": len(found.raw)}
                raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [below]}).encode()
                found = ManifestRow(Digest.of(raw), OCI_INDEX, raw)
                rows.put_manifest(found, came)
                rows.put_top(TopRow(top.name, f":{level}", found.digest, top.updated))


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_too_deep_is_refused_in_one_sentence(tmp_path, form, capsys):
    nest(tmp_path / "root", 600, is_image=False)
    words = ["save", "--format", form, "-o", str(tmp_path / "saved"), f"{NAME}:600"]
    assert run(["--root", str(tmp_path / "root"), *words]) == 3
    assert capsys.readouterr().err == "Error: indexes are nested more than 64 deep; they are refused\n"
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("form", FORMS)
def test_so_is_what_lies_too_deep_once_it_is_all_together(tmp_path, form, capsys):
    """None of them leads far to what another one has not brought before."""
    nest(tmp_path / "root", 600, is_image=False)
    names = [f"{NAME}:{level}" for level in range(60, 601, 60)]
    words = ["save", "--format", form, "-o", str(tmp_path / "saved"), *names]
    assert run(["--root", str(tmp_path / "root"), *words]) == 3
    assert capsys.readouterr().err == "Error: indexes are nested more than 64 deep; they are refused\n"


@pytest.mark.parametrize("is_image", [False, True])
def test_what_readers_follow_is_saved(tmp_path, is_image):
    nest(tmp_path / "root", 64, is_image=is_image)
    with orlop.open(tmp_path / "root") as images, orlop.open(tmp_path / "other") as others:
        out = io.BytesIO()
        images.save([f"{NAME}:63"], out, format="oci")
        others.load(io.BytesIO(out.getvalue()))
        others.save([f"{NAME}:63"], io.BytesIO(), format="oci")
        with pytest.raises(InvalidArchive, match="nested more than 64 deep"):
            images.save([f"{NAME}:64"], io.BytesIO(), format="oci")
