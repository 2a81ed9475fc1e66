"""Sparse files of very many pieces: what a look inside reads and hashes grows with the layer, not with the holes."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.inside import content as contents_module
from orlop.inside.audit import audit
from orlop.inside.grep import Search, grep
from orlop.inside.holes import LONGEST_HOLE, HoleDigest
from tests.unit.images_made import image, layer, sparse
from tests.unit.secrets_made import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.inside.view import ImageFiles

COUNT = 5000
SHAPES = {
    "far": {place * 12_288: b"x" for place in range(COUNT)},
    "near": {place * 300: b"x" for place in range(COUNT)},
    "ends": {place * 2048 + 2047 * (place % 2): b"x" for place in range(COUNT)},
    "stored zeros": {place * 4096: b"\0" for place in range(COUNT)},
    "nothing": {place * 4096: b"" for place in range(COUNT)},
}


class Counting:
    """A digest that counts what it is given, and keeps it."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def update(self, data: bytes) -> None:
        self.given.append(bytes(data))

    def digest(self) -> bytes:
        return hashlib.sha256(b"".join(self.given)).digest()

    @property
    def size(self) -> int:
        return sum(map(len, self.given))


def opened(tmp_path: Path, *layers: bytes) -> Iterator[ImageFiles]:
    path = tmp_path / "a.tar"
    path.write_bytes(image(*layers))
    with orlop.ArchiveService(path) as archive, archive.files(None) as view:
        yield view


@pytest.mark.parametrize("shape", SHAPES)
def test_a_digest_takes_little_more_than_the_pieces_in_a_layer(tmp_path: Path, shape: str) -> None:
    pieces = SHAPES[shape]
    size = max(pieces) + 9
    stored = sparse(("f", pieces, size))
    for view in opened(tmp_path, stored):
        counting: Any = Counting()
        digest = HoleDigest(counting, size)
        with view.places([(0, view.node("/f").content)], longest_hole=0) as contents:
            for at, piece in contents.located((0, view.node("/f").content)):
                digest.update(at, piece)
        digest.digest()
        assert counting.size < 40 * len(stored)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_search_takes_little_more_than_the_pieces_in_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    pieces = SHAPES[shape]
    stored = sparse(("f", pieces, max(pieces) + 9))
    chunks: list[int] = []
    joined = contents_module.joined

    def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in joined(pieces):
            chunks.append(len(chunk))
            yield chunk

    monkeypatch.setattr("orlop.inside.audit.joined", counted)
    monkeypatch.setattr("orlop.inside.content.joined", counted)
    for view in opened(tmp_path, stored):
        audit(view)
        assert chunks
        assert (len(chunks) < 3, sum(chunks) < 6 * len(stored)) == (True, True)
        chunks.clear()
        assert [one.binary for one in grep(view, Search("x|^"), ["/"])] in ([], [True])
        assert (0 < len(chunks) < 3, sum(chunks) < 6 * len(stored)) == (True, True)


def test_a_secret_between_holes_is_found_and_none_is_made_by_a_hole(tmp_path: Path) -> None:
    token = PLANTED["gitlab-token"].encode()
    near = {0: token[:9], 9 + 1: token[9:], 4096: b"y", 5000: token}
    far = {0: token[:9], 1 << 40: token[9:], (1 << 40) + 4096: b"y"}
    for view in opened(tmp_path, sparse(("both", near, 9000), ("none", far, 1 << 50))):
        found = [(one.path, one.rule) for one in audit(view).findings if one.kind == "secret"]
        assert found == [("/both", "gitlab-token")]


@pytest.mark.parametrize("seed", range(20))
def test_a_content_has_one_digest_however_it_comes(seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(chance.choice([0, 255, 256, 257, 5000, 20_000]))
    for _ in range(chance.randrange(5)):
        if content:
            at = chance.randrange(len(content))
            length = chance.choice([1, 256, 300, 3000])
            content[at : at + length] = chance.randbytes(length)[: len(content) - at]
    found = set()
    for _ in range(10):
        digest = HoleDigest(hashlib.sha256(), len(content))
        at = 0
        while at < len(content):
            piece = bytes(content[at : at + chance.choice([1, 100, 255, 256, 257, 1000, 9000])])
            if piece.strip(b"\0") or chance.random() < 0.3:
                digest.update(at, piece)
            at += len(piece)
        found.add(digest.digest())
    assert len(found) == 1
    for at in {0, len(content) // 2, len(content) - 1} if content else ():
        other = bytearray(content)
        other[at] ^= 1
        digest = HoleDigest(hashlib.sha256(), len(other))
        digest.update(0, bytes(other))
        assert digest.digest() not in found


@pytest.mark.parametrize("first", ["plain", "sparse"])
def test_sparse_and_plain_files_of_one_content_are_counted_as_twice(tmp_path: Path, first: str) -> None:
    size = 100_000
    content = bytearray(size)
    content[50_000:50_003] = b"abc"
    plain = layer(("plain", bytes(content)), ("other", bytes(size - 1) + b"x"))
    holed = sparse(("sparse", {50_000: b"abc"}, size), ("moved", {50_001: b"abc"}, size))
    for view in opened(tmp_path, *((plain, holed) if first == "plain" else (holed, plain))):
        assert audit(view).twice == size


def test_a_sparse_file_that_is_sent_again_as_a_plain_one_is_unchanged(tmp_path: Path) -> None:
    size = 100_000
    for view in opened(tmp_path, sparse(("f", {1: b"a"}, size)), layer(("f", (b"\0a" + bytes(size))[:size]))):
        assert audit(view).unchanged == size
    for view in opened(tmp_path, layer(("f", (b"\0a" + bytes(size))[:size])), sparse(("f", {1: b"a"}, size))):
        assert audit(view).unchanged == size


def test_zeros_of_holes_part_what_lies_around_them(tmp_path: Path) -> None:
    for view in opened(tmp_path, sparse(("f", {0: b"a", 500: b"b"}, 501))):
        entry = view.node("/f").content
        with view.places([(0, entry)], longest_hole=LONGEST_HOLE) as contents:
            assert b"".join(contents.chunks((0, entry))) == b"a" + bytes(LONGEST_HOLE) + b"b"
