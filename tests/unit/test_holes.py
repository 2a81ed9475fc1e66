"""Sparse files: a few bytes of a layer can be a file of exabytes, and where its holes are changes nothing in it."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import pytest

import orlop
from orlop.inside.audit import audit
from orlop.inside.cause import first_cause
from orlop.inside.content import Contents
from orlop.inside.difference import compare
from orlop.inside.extract import extract
from orlop.service.files import _OutsideContent
from tests.unit.images_made import image, layer, sparse
from tests.unit.secrets_made import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.inside.view import ImageFiles
    from orlop.streams.compression import Readable

HUGE: Final = 1 << 60


@contextmanager
def opened(tmp_path: Path, *images: bytes) -> Iterator[list[ImageFiles]]:
    """Yield the views of images."""
    with ExitStack() as stack:
        views = []
        for number, data in enumerate(images):
            path = tmp_path / f"{number}.tar"
            path.write_bytes(data)
            archive = stack.enter_context(orlop.ArchiveService(path))
            views.append(stack.enter_context(archive.files(None)))
        yield views


def changed(old: ImageFiles, new: ImageFiles) -> list[str]:
    return [one.path for one in compare(old, new, contents=True).changes if one.kind == "changed"]


def test_files_of_exabytes_are_compared_by_what_is_not_in_holes(tmp_path: Path) -> None:
    old = {"same": {0: b"a", 1 << 50: b"b"}, "moved": {1 << 50: b"b"}, "other": {1 << 59: b"b"}}
    new = {"same": {0: b"a\0\0", (1 << 50) - 2: b"\0\0b"}, "moved": {(1 << 50) + 1: b"b"}, "other": {1 << 59: b"c"}}
    layers = [sparse(*((name, pieces, HUGE) for name, pieces in side.items())) for side in (old, new)]
    with opened(tmp_path, *map(image, layers)) as (before, after):
        assert changed(before, after) == ["/moved", "/other"]


def test_the_cause_is_found_beside_files_of_exabytes(tmp_path: Path) -> None:
    first, second, third = (sparse(("a", {0: b"x"}, HUGE), ("b", {9: data}, HUGE)) for data in (b"1", b"2", b"1\0"))
    with opened(tmp_path, image(first), image(second), image(third)) as (one, other, split):
        assert first_cause(one, other).kind == "content"
        assert "'b'" in first_cause(one, other).text
        assert first_cause(one, split).kind == "headers"


def cut(content: bytes, chance: random.Random) -> dict[int, bytes]:
    """Return a content as pieces with holes between them, some of which are empty or begin and end with zeros."""
    pieces: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        data = content[at : at + chance.choice([1, 511, 4096, 5000, 9000])]
        if data.strip(b"\0") or chance.random() < 0.2:
            pieces[at] = data
        elif chance.random() < 0.5:
            pieces[at] = b""
        at += len(data)
    return pieces


@pytest.mark.parametrize("seed", range(30))
def test_where_holes_are_changes_nothing_in_a_content(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(40_000)
    for _ in range(chance.randrange(6)):
        at = chance.randrange(len(content))
        content[at : at + 3] = b"xyz"[: len(content) - at]
    other = bytearray(content)
    other[chance.choice([0, 4095, 4096, len(other) - 1, chance.randrange(len(other))])] ^= 1
    one, two = bytes(content), bytes(other)
    forms = {
        "plain": layer(("f", one)),
        **{f"holes {number}": sparse(("f", cut(one, chance), len(one))) for number in range(3)},
    }
    others = (layer(("f", two)), sparse(("f", cut(two, chance), len(two))))
    with opened(tmp_path, *map(image, forms.values()), *map(image, others)) as views:
        for view in views[: len(forms)]:
            assert view.read("/f") == one
            assert [changed(view, same) for same in views[: len(forms)]] == [[]] * len(forms)
            assert [changed(view, differing) for differing in views[len(forms) :]] == [["/f"]] * 2
            extract(view, "/f", str(tmp_path / "copy"))
            assert (tmp_path / "copy").read_bytes() == one


def test_contents_are_the_same_only_if_what_is_in_them_lies_at_the_same_places(tmp_path: Path) -> None:
    size = 1 << 20
    lower = sparse(("again", {5000: b"x"}, size), ("moved", {5000: b"y"}, size))
    upper = sparse(("again", {4999: b"\0x\0"}, size), ("moved", {9000: b"y"}, size), ("twice", {5000: b"x"}, size))
    with opened(tmp_path, image(lower, upper)) as (view,):
        found = audit(view)
    assert (found.twice, found.unchanged) == (size, size)


def test_a_copy_has_holes_where_the_layer_has_them(tmp_path: Path) -> None:
    size = 1 << 34
    with opened(tmp_path, image(sparse(("f", {1 << 33: b"x"}, size)))) as (view,):
        extract(view, "/f", str(tmp_path / "copy"))
    state = (tmp_path / "copy").stat()
    assert (state.st_size, state.st_blocks < 1000) == (size, True)
    with (tmp_path / "copy").open("rb") as file:
        file.seek(1 << 33)
        assert file.read(2) == b"x\0"


def test_a_file_of_exabytes_with_a_secret_is_not_what_a_package_ships(tmp_path: Path) -> None:
    claim = ("var/lib/dpkg/info/p.md5sums", hashlib.md5(b"x").hexdigest().encode() + b"  opt/p/key\n")
    text = f"{PLANTED['gitlab-token']}\n".encode()
    with opened(tmp_path, image(layer(claim), sparse(("opt/p/key", {0: text}, HUGE)))) as (view,):
        found = [one for one in audit(view).findings if one.rule == "gitlab-token"]
    assert [(one.path, one.severity) for one in found] == [("/opt/p/key", "high")]


def test_sparse_files_out_of_order_are_kept_by_what_they_take_in_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    data = image(sparse(*((f"{number}", {1 << 50: b"%d" % number}, (1 << 50) + 9) for number in range(count))))
    begun: Counter[str] = Counter()
    at = _OutsideContent.at

    def counted(self: _OutsideContent, offset: int) -> AbstractContextManager[Readable]:
        begun["passes"] += 1
        return at(self, offset)

    monkeypatch.setattr(_OutsideContent, "at", counted)
    with opened(tmp_path, data) as (view,):
        entries = [node.content for _, node in view.below() if node.size][::-1]
        with Contents(view.content_layers, [(0, entry) for entry in entries], longest_hole=0) as contents:
            found = [b"".join(contents.chunks((0, entry))) for entry in entries]
    assert found == [entry.name.encode() for entry in entries]
    assert begun["passes"] == 1
