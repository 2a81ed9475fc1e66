"""Tricks with whiteouts: such layers are loaded, and neither merging them nor their history harms anything."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.streams.squash import Squash, cut
from orlop.streams.tar import TarReader
from orlop.streams.tar_write import END
from tests.hostile import tars
from tests.hostile.made import config, content, hardlink, symlink
from tests.unit.layouts import sha256

if TYPE_CHECKING:
    from pathlib import Path

BELOW = tars.tar(
    tars.header(b"a/", kind=b"5"),
    tars.member(b"a/keep", b"1"),
    tars.member(b"a/gone", b"2"),
    tars.header(b"b/", kind=b"5"),
    tars.member(b"b/keep", b"3"),
    tars.member(b"keep", b"4"),
)
TRICKS: dict[str, bytes] = {
    "no name": tars.member(b".wh."),
    "no name, in a folder": tars.member(b"a/.wh."),
    "the folder itself": tars.member(b"a/.wh.."),
    "the folder above": tars.member(b"a/.wh..."),
    "all of the root": tars.member(b".wh.."),
    "above the root": tars.member(b".wh..."),
    "behind two dots": tars.member(b"a/../../.wh.../.wh.x"),
    "a folder of that name": tars.header(b".wh.../", kind=b"5") + tars.member(b".wh.../x", b"5"),
    "a path in its name": tars.pax({b"path": b".wh.../../keep"}) + tars.member(b"x"),
    "a reserved name": tars.member(b".wh..wh.plnk/1.2") + tars.member(b".wh..wh.aufs"),
    "opaque in a place that is not there": tars.member(b"nowhere/.wh..wh..opq"),
    "a link that is one": hardlink(b".wh.nothing", b"keep") + symlink(b".wh.else", b"../../keep"),
    "a link to one": hardlink(b"link", b".wh.nothing") + symlink(b"sym", b".wh.keep"),
    "a device that is one": tars.header(b"a/.wh.nothing", kind=b"3"),
    "content in one": tars.member(b".wh.nothing", b"content" * 100),
    "of itself": tars.member(b".wh..wh.keep"),
    "escapes": tars.member(b".wh.\x1b[2J") + tars.member(b".wh.\xff\xfe"),
}


def merged(*layers: bytes, keep_whiteouts: bool = False) -> bytes:
    squash = Squash(keep_whiteouts=keep_whiteouts)
    plans = [squash.add(TarReader(io.BytesIO(layer))) for layer in reversed(layers)]
    return b"".join(piece for layer in layers for piece in cut([layer], plans.pop())) + END


def names(tar: bytes) -> set[str]:
    return {posixpath.normpath(entry.name) for entry in TarReader(io.BytesIO(tar))}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_hides_nothing_that_it_does_not_name(trick: str) -> None:
    above = tars.tar(TRICKS[trick], tars.member(b"a/.wh.gone"))
    assert names(merged(BELOW, above)) >= {"a", "a/keep", "b", "b/keep", "keep"}
    assert "a/gone" not in names(merged(BELOW, above))
    # On a layer that stays below, the whiteouts are kept as they stand, for the program that applies them.
    assert names(merged(BELOW, above, keep_whiteouts=True)) >= {"a/keep", "b/keep", "keep"}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_in_an_image_harms_nothing(tmp_path: Path, trick: str) -> None:
    layers = [BELOW, tars.tar(TRICKS[trick])]
    history = [{"created_by": "below"}, {"created_by": ".wh..wh..opq"}]
    listed = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["0", "1"]}]
    files = {"manifest.json": json.dumps(listed).encode(), "0": layers[0], "1": layers[1]}
    files["c.json"] = config(*map(sha256, layers), history=history)
    around = tmp_path / "around"
    around.mkdir()
    with orlop.open(around / "root") as images:
        (image,) = images.load(io.BytesIO(content(files))).images
        chain = images.image_store.get(image.id).rootfs.chain_id()
        assert chain is not None
        layer = images.layer_store.get(chain)
        tar = b"".join(layer.tar_chunks_from(None))
        assert {"a/keep", "a/gone", "b/keep", "keep"} <= names(tar)
        assert [step.created_by for step in images.history("a:1")] == [".wh..wh..opq", "below"]
        below = layer.parent
        assert b"".join(layer.tar_chunks_from(below)) == layers[1]
        images.layer_store.release(layer)
    assert [path.name for path in around.iterdir()] == ["root"]


@pytest.mark.sampled(2)
def test_a_long_chain_of_hidden_links_is_followed_once() -> None:
    count = 3000
    links = b"".join(hardlink(b"%d" % number, b"%d" % (number + 1)) for number in range(count))
    below = tars.tar(tars.member(b"%d" % count, b"content"), links, *(hardlink(b"k%d" % n, b"0") for n in range(count)))
    above = tars.tar(*(tars.member(b".wh.%d" % number) for number in range(count + 1)))
    with tarfile.open(fileobj=io.BytesIO(merged(below, above))) as tar:
        found = tar.getmembers()
    assert sorted(member.name for member in found) == sorted(f"k{number}" for number in range(count))
    assert {member.linkname for member in found[1:]} == {"k0"}
    assert found[0].size == 7


def test_links_in_a_circle_are_refused_where_layers_become_one() -> None:
    below = tars.tar(hardlink(b"a", b"b"), hardlink(b"b", b"a"), hardlink(b"c", b"a"))
    above = tars.tar(tars.member(b".wh.a"), tars.member(b".wh.b"))
    with pytest.raises(orlop.OrlopError, match="hard link to itself"):
        merged(below, above)
