"""Whatever a layout holds, in the form of whatever program: each way through a store and each format gives it back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.layout_walk import walked
from tests.unit.layouts import NAME, REF, Layout, unpacked
from tests.unit.odd_layouts import CASES

if TYPE_CHECKING:
    from pathlib import Path


def sizes(folder: Path) -> dict[str, int]:
    return {digest: size for digest, (_, size) in walked(folder).found.items()}


def texts(entries: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """The texts by which entries without a whole name are called."""
    said = [(entry["digest"], entry.get("annotations", {})) for entry in entries]
    return {(digest, notes[REF]) for digest, notes in said if REF in notes and NAME not in notes}


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", CASES)
def test_all_of_a_layout_comes_back_in_every_format(tmp_path: Path, name: str) -> None:
    layout = Layout()
    layout.top(*CASES[name](layout))
    wanted = walked(unpacked(layout.files, tmp_path / "in"))
    tops = list(dict.fromkeys(wanted.tops))
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(layout.pack()))
        assert images.gc().garbage == ()
        images.tree()
        images.save(tops, tmp_path / "out", format="oci-dir")
        for form in ("oci", "docker"):
            images.save(tops, tmp_path / f"{form}.tar", format=form)
    found = walked(tmp_path / "out")
    assert {digest: size for digest, (_, size) in found.found.items()} == sizes(tmp_path / "in")
    assert found.absent == wanted.absent
    # A text that is a whole name became one, which nobody asked for here.
    full = {text for text in texts(wanted.entries) if "/" in text[1] and text[1].islower() and ".." not in text[1]}
    assert texts(wanted.entries) - full <= texts(found.entries)
    for source in ("in", "oci.tar", "docker.tar"):
        with orlop.open(tmp_path / f"from-{source}") as images:
            images.load(tmp_path / source)
            images.save(tops, tmp_path / f"again-{source}", format="oci-dir")
        assert sizes(tmp_path / f"again-{source}") == sizes(tmp_path / "in")
        assert orlop.stores.fsck(tmp_path / f"from-{source}").problems == ()
