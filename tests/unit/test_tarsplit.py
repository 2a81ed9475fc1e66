"""tar-split: made of a tar and read again, and what goes beyond the engines in rebuilding one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import DigestMismatch, LimitExceeded, RootDamaged
from orlop.foreign import tarsplit
from orlop.foreign.disk import Folder
from orlop.foreign.rebuilt import Rebuilt, UnpackedLayer
from orlop.foreign.tarsplit import Segment
from orlop.model.limits import DEFAULT_LIMITS, Limits
from orlop.streams.crc64 import EMPTY, crc64, finished, updated
from orlop.streams.meter import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.foreign.tarsplit import Content

TABLE = []
for number in range(256):
    value = number
    for _ in range(8):
        value = (value >> 1) ^ (0xD800000000000000 if value & 1 else 0)
    TABLE.append(value)


def slow_crc64(data: bytes) -> bytes:
    state = (1 << 64) - 1
    for byte in data:
        state = TABLE[(state ^ byte) & 0xFF] ^ (state >> 8)
    return (state ^ ((1 << 64) - 1)).to_bytes(8)


def test_the_crc_has_the_value_that_its_catalogue_gives():
    assert crc64(b"123456789").hex() == "b90956c775a41001"
    assert crc64(b"") == bytes(8)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_is_that_of_a_table_in_one_piece_or_two(one, other):
    assert finished(updated(updated(EMPTY, one), other)) == crc64(one + other) == slow_crc64(one + other)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_001])
def test_the_crc_of_more_than_one_piece_is_that_of_a_table(size):
    data = hashlib.shake_128(b"seed").digest(size)
    assert crc64(data) == slow_crc64(data)


def split_of(tar: bytes) -> bytes:
    lines: list[bytes] = []
    tarsplit.write(io.BytesIO(tar), lines.append)
    return gzip.compress(b"".join(lines))


def parts_of(split: bytes, limits: Limits = DEFAULT_LIMITS) -> list[Segment | Content]:
    return list(tarsplit.read(io.BytesIO(split), what="a tar-split", limits=limits))


def unpacked(tar: bytes) -> dict[bytes, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as members:
        return {
            member.name.encode(errors="surrogateescape"): file.read()
            for member in members
            if member.isfile() and (file := members.extractfile(member)) is not None
        }


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=120).filter(
    lambda name: name.strip(". ")
)


@given(
    st.dictionaries(NAMES, st.one_of(st.binary(max_size=2000), st.none()), max_size=8),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.binary(max_size=700),
)
def test_a_tar_that_is_taken_apart_is_put_together_again(members, form, junk):
    """ "Segments are written as they are, and for each content the file of that name." """
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    whole = raw.getvalue() + junk
    files = {name.rstrip(b"/"): data for name, data in unpacked(whole).items()}
    again = b""
    for part in parts_of(split_of(whole)):
        if isinstance(part, Segment):
            again += part.data
        elif part.size:
            assert crc64(files[part.name]) == part.crc
            again += files[part.name]
    assert again == whole


def layer(tmp_path: Path, split: bytes, files: dict[str, bytes]) -> UnpackedLayer:
    (tmp_path / "split.gz").write_bytes(split)
    for name, data in files.items():
        path = tmp_path / "diff" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "diff").mkdir(exist_ok=True)
    return UnpackedLayer(Folder.open(str(tmp_path)), ("split.gz",), ("diff",))


def first_whole(one: UnpackedLayer, wanted: bytes) -> bytes:
    """Return the tar that the attempts end with, as a source takes it: the first one with the right digest."""
    digest = hashlib.sha256(wanted).digest()
    for reader in one.attempts(Meter(DEFAULT_LIMITS)):
        data = b""
        try:
            while chunk := reader.read(1 << 16):
                data += chunk
        except RootDamaged:
            continue
        if hashlib.sha256(data).digest() == digest:
            return data
    raise DigestMismatch(one.reason)


def tar_of(*members: tuple[str, bytes | str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.LNKTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def test_a_file_that_is_lost_is_taken_from_another_name_of_it(tmp_path):
    tar = tar_of(("lost", b"content"), ("link", "lost"))
    assert first_whole(layer(tmp_path, split_of(tar), {"link": b"content"}), tar) == tar


def test_a_file_that_is_changed_is_taken_from_wherever_it_is_whole(tmp_path):
    tar = tar_of(("etc/changed", b"content"), ("etc/other", b"x" * 2000))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "copy").write_bytes(b"content")
    assert (
        first_whole(layer(tmp_path, split_of(tar), {"etc/changed": b"CONTENT", "etc/other": b"x" * 2000}), tar) == tar
    )


def test_the_first_damaged_member_is_named(tmp_path):
    tar = tar_of(("a", b"content"), ("b", b"other content"), ("c", b"third"))
    one = layer(tmp_path, split_of(tar), {"a": b"content", "b": b"OTHER content", "c": b"third!"})
    with pytest.raises(DigestMismatch, match='its file "b" is damaged: its CRC is another one, and 1 more'):
        first_whole(one, tar)
    (tmp_path / "diff" / "b").unlink()
    with pytest.raises(DigestMismatch, match=r'its file "b" is lost: .*diff/b is missing'):
        first_whole(one, tar)


def line(kind: int, payload: bytes, **fields: object) -> bytes:
    return (
        json.dumps({"type": kind, "payload": base64.b64encode(payload).decode(), "position": 0, **fields}).encode()
        + b"\n"
    )


def test_a_member_with_a_size_and_no_bytes_has_none(tmp_path):
    """ "A content whose CRC is that of no bytes had none in the tar, whatever its size." """
    split = gzip.compress(line(2, b"head") + line(1, bytes(8), name="link", size=7) + line(2, b"tail"))
    assert first_whole(layer(tmp_path, split, {}), b"headtail") == b"headtail"


def test_a_crc_is_that_of_no_bytes_however_it_is_written(tmp_path):
    header = tar_of(("link", b""))[:512]
    lines = b'{"type":2,"payload":"%s","position":0}\n' % base64.b64encode(header)
    lines += b'{"type":1,"name":"link","size":7,"payload":"AAAAAAAAAAB=","position":1}\n'
    one = layer(tmp_path, gzip.compress(lines), {})
    assert first_whole(one, header) == header
    assert not one.reason


def test_a_content_whose_crc_is_that_of_nothing_by_chance_is_tried_as_well(tmp_path):
    split = gzip.compress(line(2, b"head") + line(1, bytes(8), name="file", size=4) + line(2, b"tail"))
    assert first_whole(layer(tmp_path, split, {"file": b"body"}), b"headbodytail") == b"headbodytail"


@pytest.mark.parametrize("name", ["../outside", "/../outside", "a/../../outside", "..", "link/outside"])
def test_a_name_that_leads_out_of_the_layer_is_not_followed(tmp_path, name):
    (tmp_path / "outside").write_bytes(b"secret!")
    (tmp_path / "diff").mkdir()
    (tmp_path / "diff" / "link").symlink_to("..")
    split = gzip.compress(line(1, crc64(b"secret!"), name=name, size=7))
    one = layer(tmp_path, split, {})
    reader = next(one.attempts(Meter(DEFAULT_LIMITS)))
    with pytest.raises(RootDamaged):
        reader.read(100)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"not gzip",
        gzip.compress(b"{}\n"),
        gzip.compress(b"[" * 100_000),
        gzip.compress(line(1, b"", name="a", size=-1)),
        gzip.compress(line(1, b"", name="a", size=10**4300 - 1)),
        gzip.compress(
            b'{"type":2,"payload":"","position":0}\n{"type":1,"name":"a","size":01,"payload":"","position":1}\n'
        ),
        gzip.compress(b'{"type":2,"payload":"!!"}'),
        gzip.compress(line(2, b"x" * 5000))[:-20],
    ],
    ids=["empty", "plain", "no-keys", "deep", "negative", "large", "zero", "base64", "cut"],
)
def test_a_damaged_tar_split_is_said_to_be_one(damaged):
    with pytest.raises(RootDamaged, match="a tar-split"):
        parts_of(damaged)


def test_a_tar_split_is_read_within_limits():
    with pytest.raises(RootDamaged, match="line of more than"):
        parts_of(gzip.compress(b"x" * (9 << 20)))
    with pytest.raises(LimitExceeded):
        parts_of(gzip.compress(line(2, b"x") * 100), Limits(layer_entries=20))


def test_several_gzip_members_are_one_tar_split():
    assert parts_of(gzip.compress(line(2, b"a")) + gzip.compress(line(2, b"b"))) == [Segment(b"a"), Segment(b"b")]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("nothing", [b"\n" * (1 << 20), b'{"type":2,"payload":""' + b" " * (1 << 20) + b"}\n"])
def test_lines_that_say_nothing_do_not_go_on_for_ever(nothing):
    member = gzip.compress(nothing)

    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            # A chain of members: it is as long as somebody reads on.
            assert self.given < 100, "it is still read"
            self.given += 1
            return member

    with pytest.raises(RootDamaged, match=r"a tar-split is damaged: it has [0-9]+ bytes that say nothing"):
        list(tarsplit.read(Endless(), what="a tar-split"))


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
@pytest.mark.parametrize("checked", [True, False])
def test_zeros_behind_it_are_not_read_to_their_end(tmp_path, pack, checked):
    path = tmp_path / "split"
    path.write_bytes(pack(line(2, b"a") + line(2, b"b")))
    os.truncate(path, 1 << 40)
    with path.open("rb") as file:
        runs = tarsplit.read_runs(file, what="a tar-split", checked=checked)
        if pack is bytes:
            with pytest.raises(RootDamaged, match="has a line that is not one of tar-split"):
                list(runs)
        else:
            assert list(runs) == [Segment(b"a"), Segment(b"b")]
        assert file.tell() < 100 << 20


def test_very_many_chunks_of_no_bytes_take_no_memory():
    reader = Rebuilt(chain(repeat(b"", 500_000), [b"a"]))
    tracemalloc.start()
    try:
        assert reader.read(1000) == b"a"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.sampled(3)
def test_lines_with_long_names_say_something():
    names = [f"{number:05}" + "<" * 4000 for number in range(2000)]
    # Go writes each of these characters as six; the name is in the segments, too.
    split = b"".join(
        line(2, name.encode() + bytes(2000)) + line(1, bytes(8), name=name).replace(b"<", b"\\u003c") for name in names
    )
    found = parts_of(gzip.compress(split))
    assert [part.name.decode() for part in found if not isinstance(part, Segment)] == names
