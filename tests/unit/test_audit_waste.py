"""Waste is counted as images were made to have it: each case has what is known of it by how it was made."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

import orlop
from orlop.inside.audit import audit
from tests.unit.images_made import image, layer, sparse
from tests.unit.secrets_made import PLANTED

if TYPE_CHECKING:
    from pathlib import Path

MB: Final = 1_000_000
ONE, TWO, THREE = b"1" * MB, b"2" * MB, b"3" * MB


def test_holes_of_exabytes_take_no_time_and_what_is_between_them_is_searched(tmp_path: Path) -> None:
    token = f"x {PLANTED['gitlab-token']}\n".encode()
    size = 1 << 61
    (tmp_path / "image.tar").write_bytes(
        image(
            sparse(("log", {0: b"head\n", 1 << 40: token, 1 << 60: b"tail\n"}, size)), sparse(("same", {0: b"h"}, size))
        )
    )
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        found = audit(files)
        assert [one.path for one in found.findings if one.rule == "gitlab-token"] == ["/log"]
        assert (found.size, found.twice) == (2 * size, 0)
        lines = [(one.path, one.binary) for one in files.grep("tail")]
        assert lines == [("/log", True)]


class Waste(NamedTuple):
    """Bytes of content."""

    size: int
    overwritten: int = 0
    removed: int = 0
    unchanged: int = 0
    twice: int = 0


BOTH: Final = layer("d/", ("d/a", ONE), ("b", TWO))
CASES: Final = {
    "a file and its whiteout": ([BOTH, layer("d/.wh.a")], Waste(2 * MB, removed=MB)),
    "a directory and its whiteout": ([BOTH, layer(".wh.d")], Waste(2 * MB, removed=MB)),
    "a directory that is opaque": ([BOTH, layer("d/", "d/.wh..wh..opq")], Waste(2 * MB, removed=MB)),
    "a directory in place of which is a file": ([BOTH, layer(("d", b""))], Waste(2 * MB, removed=MB)),
    "a path in three layers": (
        [layer(("a", ONE)), layer(("a", TWO)), layer(("a", THREE))],
        Waste(3 * MB, overwritten=2 * MB),
    ),
    "a content at two paths": ([layer(("a", ONE)), layer(("b", ONE))], Waste(2 * MB, twice=MB)),
    "a large file that becomes small": (
        [layer(("a", ONE)), layer(("a", b"0123456789"))],
        Waste(MB + 10, overwritten=MB),
    ),
    "a hard link": ([layer(("a", ONE), "b=>a")], Waste(MB)),
    "a hard link to what is written over": ([layer(("a", ONE), "b=>a"), layer(("a", TWO))], Waste(2 * MB)),
    "a file that is sent again": ([layer(("a", ONE)), layer(("a", ONE))], Waste(2 * MB, overwritten=MB, unchanged=MB)),
    "removed, and made again": ([layer(("a", ONE)), layer(".wh.a"), layer(("a", TWO))], Waste(2 * MB, overwritten=MB)),
    "twice in one layer": ([layer(("a", ONE), ("a", TWO))], Waste(2 * MB, overwritten=MB)),
    "nothing": ([layer()], Waste(0)),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CASES)
def test_waste_is_what_the_image_was_made_to_have(name: str, tmp_path: Path) -> None:
    layers, waste = CASES[name]
    (tmp_path / "image.tar").write_bytes(image(*layers))
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        found = audit(files)
    assert Waste(found.size, found.overwritten, found.removed, found.unchanged, found.twice) == waste
    hidden = waste.overwritten + waste.removed
    assert found.hidden == hidden == sum(one.hidden for one in found.layers)
    assert found.efficiency == pytest.approx(1 - hidden / waste.size if waste.size else 1)
    # What is stored is what another reader of the tars counts.
    assert [one.size for one in found.layers] == [bytes_of_files(data) for data in layers]


def bytes_of_files(data: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return sum(one.size for one in tar if one.isreg())
