"""BoltDB files: read as they are, and damaged in every page."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from orlop.errors import RootDamaged
from orlop.foreign.bolt import Bolt, Bucket, fnv1a
from orlop.foreign.database import named, zigzag
from orlop.foreign.disk import Folder
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.compression import Compression, decompressed
from tests.foreign_roots import CONTAINERD, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096


@pytest.fixture(scope="module")
def daemon(data, tmp_path_factory):
    return unpack(data, CONTAINERD, tmp_path_factory.mktemp("root") / "disk") / "containerd" / "daemon"


@pytest.fixture(scope="module")
def raw(daemon):
    return (daemon / "io.containerd.metadata.v1.bolt" / "meta.db").read_bytes()


def opened(raw: bytes, *, most: int = 100_000) -> Bolt:
    return Bolt(lambda offset, count: raw[offset : offset + count], len(raw), "meta.db", most=most)


def walked(bucket: Bucket, *path: bytes) -> Iterator[tuple[bytes, ...]]:
    for key, value in bucket.items():
        if isinstance(value, Bucket):
            yield from walked(value, *path, key)
        else:
            yield (*path, key, value)


def everything(raw: bytes) -> tuple[set[tuple[bytes, ...]], list[str]]:
    bolt = opened(raw)
    return {row for bucket in bolt.roots() for row in walked(bucket)}, bolt.damage


def test_all_keys_and_values_are_read(raw):
    rows, damage = everything(raw)
    assert not damage
    assert (b"v1", b"version", b"\x06") in rows
    assert len({row[1] for row in rows if row[:1] == (b"v1",) and len(row) > 3}) == 2


@pytest.mark.sampled(3)
@pytest.mark.parametrize("fill", [b"\0", b"\xff", None])
def test_every_page_in_turn_is_damaged(raw, fill):
    """What is whole comes out, what is not is noted, and nothing else than what was there comes out."""
    whole, _ = everything(raw)
    noise = random.Random(7)
    used = [page for page in range(len(raw) // PAGE) if raw[page * PAGE : (page + 1) * PAGE].strip(b"\0")]
    assert len(used) > 10
    noticed = 0
    for page in used:
        junk = noise.randbytes(PAGE) if fill is None else fill * PAGE
        rows, damage = everything(raw[: page * PAGE] + junk + raw[(page + 1) * PAGE :])
        # Of the metas each leads to a tree that is whole, one of them as it was one transaction before.
        assert damage or rows == whole
        assert rows <= whole or page < 2
        noticed += bool(damage)
    assert noticed > 3
    with pytest.raises(RootDamaged, match="no whole meta page"):
        opened(b"\0" * 2 * PAGE + raw[2 * PAGE :])


def test_a_meta_that_is_lost_leaves_the_other(raw):
    whole, _ = everything(raw)
    for page in (0, 1):
        rows, damage = everything(raw[: page * PAGE] + bytes(PAGE) + raw[(page + 1) * PAGE :])
        assert len(rows & whole) > len(whole) * 0.9
        assert damage == ["one of its two meta pages is damaged, so that its last change may be missing"]


@pytest.mark.parametrize("size", [512, 1024, 4096, 16384, 65536])
@pytest.mark.parametrize("lost", [None, 0, 1])
def test_pages_have_the_size_of_those_of_the_machine_that_wrote_them(size, lost):
    raw = file_of(leaf(2, (b"key", b"value", 0)), size=size)
    if lost is not None:
        raw = raw[: lost * size] + bytes(size) + raw[(lost + 1) * size :]
    rows, damage = everything(raw)
    assert rows == {(b"key", b"value")}
    assert bool(damage) == (lost is not None)


def leaf(number: int, *elements: tuple[bytes, bytes, int], kind: int = 2) -> bytes:
    page = number.to_bytes(8, "little") + kind.to_bytes(2, "little") + len(elements).to_bytes(2, "little") + bytes(4)
    table, body = b"", b""
    for place, (key, value, flags) in enumerate(elements):
        start = (len(elements) - place) * 16 + len(body)
        numbers = (flags, start, len(key), len(value))
        table += b"".join(one.to_bytes(4, "little") for one in numbers)
        body += key + value
    return (page + table + body).ljust(PAGE, b"\0")


def file_of(*pages: bytes, size: int = PAGE) -> bytes:
    """Return a file with these pages from page 2 on; of another size than `PAGE` they are short ones."""
    metas = b""
    for number in (0, 1):
        meta = (0xED0CDAED).to_bytes(4, "little") + (2).to_bytes(4, "little") + size.to_bytes(4, "little") + bytes(4)
        meta += (2).to_bytes(8, "little") + bytes(8) + bytes(8) + (9).to_bytes(8, "little")
        meta += number.to_bytes(8, "little")
        meta += fnv1a(meta).to_bytes(8, "little")
        metas += (number.to_bytes(8, "little") + (4).to_bytes(2, "little") + bytes(6) + meta).ljust(size, b"\0")
    return metas + b"".join(page if size == PAGE else page[:size].ljust(size, b"\0") for page in pages)


def test_of_very_many_pages_that_are_not_there_the_first_are_noted():
    children = b"".join(bytes([16, *bytes(7)]) + (1000 + number).to_bytes(8, "little") for number in range(250))
    branch = (2).to_bytes(8, "little") + (1).to_bytes(2, "little") + (250).to_bytes(2, "little") + bytes(4) + children
    damage = everything(file_of(branch.ljust(PAGE, b"\0")))[1]
    assert (len(damage), damage[0]) == (100, "page 1000 is not there, or says that it is another one")


def test_pages_that_lead_back_to_themselves_end():
    branch = (2).to_bytes(8, "little") + (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(4)
    branch += (16).to_bytes(4, "little") + bytes(4) + (2).to_bytes(8, "little")
    assert everything(file_of(branch.ljust(PAGE, b"\0")))[1] == ["page 2 is met twice"]


def test_buckets_that_contain_themselves_end():
    this = (2).to_bytes(8, "little") + bytes(8)
    many = [(bytes([65 + place]), this, 1) for place in range(50)]
    bolt = opened(file_of(leaf(2, *many)), most=10_000)
    rows = [row for bucket in bolt.roots() for row in walked(bucket)]
    assert not rows
    assert "it has more than 10000 keys" in bolt.damage


def test_buckets_that_lead_to_the_same_large_page_end():
    size, read = 1 << 20, 0
    there = (3).to_bytes(8, "little") + bytes(8)
    many = [(place.to_bytes(2, "big"), there, 1) for place in range(100)]
    large = bytearray(size)
    large[:16] = leaf(3)[:12] + (size // PAGE - 1).to_bytes(4, "little")
    raw = file_of(leaf(2, *many).ljust(PAGE, b"\0"), bytes(large))

    def counted(offset, count):
        nonlocal read
        read += len(raw[offset : offset + count])
        return raw[offset : offset + count]

    bolt = Bolt(counted, len(raw), "it", most=1_000_000)
    assert not [row for bucket in bolt.roots() for _ in range(3) for row in walked(bucket)]
    assert "its pages lead to each other too often" in bolt.damage
    assert read < 90 * len(raw)


def test_elements_beyond_a_page_are_left_out():
    whole = leaf(2, (b"key", b"value", 0), (b"other", b"", 0))
    assert everything(file_of(whole))[0] == {(b"key", b"value"), (b"other", b"")}
    torn = bytearray(whole)
    torn[28:32] = (1 << 31).to_bytes(4, "little")
    rows, damage = everything(file_of(bytes(torn)))
    assert rows == {(b"other", b"")}
    assert damage == ["a leaf has an element beyond its end"]
    torn[10:12] = b"\xff\xff"
    assert "a page has more elements than there is room for" in everything(file_of(bytes(torn)))[1]


def test_numbers_of_variable_length_are_read():
    assert [zigzag(raw) for raw in (b"\xcc\x06", b"\x80\x80\x02", b"\x01", b"", b"\xff" * 20)][:4] == [
        422,
        16384,
        -1,
        0,
    ]


def test_a_file_that_was_compacted_has_the_same_rows(raw, data):
    """bbolt 1.4.3 wrote the database of the root into a new file, whose pages are full and in their order."""
    packed = data / "foreign-roots" / "bolt-compacted" / "containerd-1.6.meta.db.zst"
    with packed.open("rb") as file:
        plain = decompressed(file, Compression.ZSTD)
        compacted = b"".join(iter(lambda: plain.read(PAGE), b""))
    assert everything(compacted) == everything(raw)


def test_the_database_of_a_root_gives_names(daemon):
    with Folder.open(str(daemon)) as root:
        found = named(root, DEFAULT_LIMITS)
    assert not found.damage
    assert {image.namespace for image in found.images} == {"default", "k8s.io"}
