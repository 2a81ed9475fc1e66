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


@pytest.mark.parametrize("fill", [b"\0", b"\xff", None])
def test_every_page_in_turn_is_damaged(raw, daemon, tmp_path, fill):
    """What is whole comes out, what is not is noted, and nothing else than what was there comes out."""
    whole, _ = everything(raw)
    noise = random.Random(7)
    used = [page for page in range(len(raw) // PAGE) if raw[page * PAGE : (page + 1) * PAGE].strip(b"\0")]
    assert len(used) > 10
    noticed = 0
    for page in used:
        junk = noise.randbytes(PAGE) if fill is None else fill * PAGE
        rows, damage = everything(raw[: page * PAGE] + junk + raw[(page + 1) * PAGE :])
        # One transaction older, or less.
        assert damage or rows == whole or page < 2
        noticed += bool(damage)
    assert noticed > 3
    with pytest.raises(RootDamaged, match="no whole meta page"):
        opened(b"\0" * 2 * PAGE + raw[2 * PAGE :])


def test_a_meta_that_is_lost_leaves_the_other(raw):
    whole, _ = everything(raw)
    for page in (0, 1):
        rows, _ = everything(raw[: page * PAGE] + bytes(PAGE) + raw[(page + 1) * PAGE :])
        assert len(rows & whole) > len(whole) * 0.9


def leaf(number: int, *elements: tuple[bytes, bytes, int], kind: int = 2) -> bytes:
    page = number.to_bytes(8, "little") + kind.to_bytes(2, "little") + len(elements).to_bytes(2, "little") + bytes(4)
    table, body = b"", b""
    for place, (key, value, flags) in enumerate(elements):
        start = (len(elements) - place) * 16 + len(body)
        numbers = (flags, start, len(key), len(value))
        table += b"".join(one.to_bytes(4, "little") for one in numbers)
        body += key + value
    return (page + table + body).ljust(PAGE, b"\0")


def file_of(*pages: bytes) -> bytes:
    metas = b""
    for number in (0, 1):
        meta = (0xED0CDAED).to_bytes(4, "little") + (2).to_bytes(4, "little") + PAGE.to_bytes(4, "little") + bytes(4)
        meta += (2).to_bytes(8, "little") + bytes(8) + bytes(8) + (9).to_bytes(8, "little")
        meta += number.to_bytes(8, "little")
        meta += fnv1a(meta).to_bytes(8, "little")
        metas += (number.to_bytes(8, "little") + (4).to_bytes(2, "little") + bytes(6) + meta).ljust(PAGE, b"\0")
    return metas + b"".join(pages)


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


def test_the_database_of_a_root_gives_names(daemon):
    with Folder.open(str(daemon)) as root:
        found = named(root, DEFAULT_LIMITS)
    assert not found.damage
    assert {image.namespace for image in found.images} == {"default", "k8s.io"}
