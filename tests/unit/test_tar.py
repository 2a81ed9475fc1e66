"""What the reader and the scanner of tars must agree on: each case here goes through both."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidTar, LimitExceeded
from orlop.model.limits import Limits
from orlop.streams.tar import END, TarReader, TarScanner, member_header, padding
from orlop.streams.toc import TocWriter, read_toc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.streams.tar import TarEntry

USTAR, GNU = b"ustar\x0000", b"ustar  \0"


def header(
    name: bytes = b"f",
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    magic: bytes = USTAR,
    link: bytes = b"",
    signed: bool = False,
    **fields: bytes,
) -> bytes:
    """Make one header block, checksum included; `at123=b"..."` puts bytes at 123."""
    block = bytearray(512)
    values = {
        0: name,
        100: b"0000644\0" + b"0000000\0" * 2,
        124: size if isinstance(size, bytes) else b"%011o\0" % size,
        136: b"00000000000\0",
        148: b"        ",
        156: kind,
        157: link,
        257: magic,
        **{int(key[2:]): value for key, value in fields.items()},
    }
    for at, value in values.items():
        block[at : at + len(value)] = value
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    if 148 not in {int(key[2:]) for key in fields}:
        block[148:156] = b"%06o\0 " % total
    return bytes(block)


def member(content: bytes = b"", **fields: object) -> bytes:
    return header(size=len(content), **fields) + content + padding(len(content))  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 4
    while len(b"%d %s=%s\n" % (length, key, value)) != length:
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return member(b"".join(record(*each) for each in records), name=b"PaxHeaders.0/f", kind=kind)


def read(data: bytes, limits: Limits = Limits()) -> tuple[list[TarEntry], list[bytes]]:  # noqa: B008 - frozen
    reader = TarReader(io.BytesIO(data), limits=limits)
    entries, contents = [], []
    for entry in reader:
        entries.append(entry)
        contents.append(b"".join(reader.chunks(1000)))
    return entries, contents


def scan(data: bytes, piece: int = 1 << 20, limits: Limits = Limits()) -> list[TarEntry]:  # noqa: B008 - frozen
    """Feed the scanner, and return what its table of contents says."""
    sink = io.BytesIO()
    writer = TocWriter(sink)
    scanner = TarScanner(headers=writer.add, limits=limits)
    for at in range(0, len(data), piece):
        scanner.feed(memoryview(data)[at : at + piece])
    summary = scanner.close()
    writer.close()
    sink.seek(0)
    reader = read_toc(sink)
    entries = list(reader)
    assert reader.summary == summary
    assert (summary.entries, summary.tar_size) == (len(entries), len(data))
    return entries


def both(data: bytes) -> list[tuple[TarEntry, bytes]]:
    """Read the entries in every way, which must give the same, and return them with their contents."""
    entries, contents = read(data)
    assert scan(data) == entries
    assert scan(data, 100) == entries
    return list(zip(entries, contents, strict=True))


def refused(data: bytes, match: str = "", error: type[Exception] = InvalidTar) -> None:
    tries: list[Callable[[], object]] = [lambda: read(data), lambda: scan(data), lambda: scan(data, 100)]
    for attempt in tries:
        with pytest.raises(error, match=match):
            attempt()


def one(data: bytes) -> TarEntry:
    [(entry, _)] = both(data)
    return entry


# Ends.


@pytest.mark.parametrize("end", [b"", bytes(512), END, END + bytes(9216), END + b"anything at all"])
@pytest.mark.parametrize("start", [b"", member(b"content"), member()])
def test_a_missing_end_and_bytes_behind_the_end_are_fine(start: bytes, end: bytes) -> None:
    assert [content for _, content in both(start + end)] == (
        [] if not start else [b"content" if len(start) > 512 else b""]
    )


def test_missing_padding_at_the_end_is_fine() -> None:
    assert both((member() + member(b"content"))[:-505])[1][1] == b"content"


def test_extended_headers_without_an_entry_are_fine() -> None:
    assert both(member() + pax((b"path", b"x")))[0][0].name == "f"
    assert both(pax((b"path", b"x")) + END) == []
    assert both(pax((b"path", b"x"))[:-400]) == []


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (member()[:-1], r"member 1 \(at byte 0\): .* inside its header"),
        (member() + b"x", r"member 2 \(at byte 512\): .* inside its header"),
        (bytes(512) + b"x", "inside its header"),
        (member(b"content")[:518], "content"),
        (member(bytes(5000))[:-1000], "content"),
        (member(name=b"g") + pax((b"path", b"x"))[:520], r"member 2 \(at byte 512\): .* inside its extended header"),
        (pax((b"path", b"x")) + member()[:100], "inside its header"),
        (bytes(512) + member(), "zero block"),
        (bytes(512) + b"x" * 512, "zero block"),
    ],
)
def test_an_early_end_is_refused(data: bytes, match: str) -> None:
    refused(data, match)


# Checksums.


@pytest.mark.parametrize("name", [b"ascii", b"\xc3\xa4", b"\xff" * 100])
def test_checksums_of_unsigned_and_of_signed_bytes_are_accepted(name: bytes) -> None:
    full = {f"at{at}": b"\xff" * 30 for at in (157, 190, 220, 265, 297)} if name[0] == 0xFF else {}
    for signed in (False, True):
        assert one(header(name, signed=signed, **full)).name == name.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("stated", [b"0000000\0", b"012345\0 ", b"zzzzzz\0 ", b"        ", b"-00001\0 "])
def test_a_wrong_checksum_is_refused(stated: bytes) -> None:
    refused(member() + header(at148=stated), r"member 2 \(at byte 512\): its checksum")


def test_a_checksum_that_is_wrong_by_the_modulus_of_adler_is_refused() -> None:
    right = int(header()[148:154], 8)
    refused(header(at148=b"%07o\0" % (right + 65521)), "checksum")
    full = header(b"\xff" * 100, **{f"at{at}": b"\xff" * 90 for at in (157, 265)}, at345=b"\xff" * 150)  # type: ignore[arg-type]
    total = int(full[148:154], 8)
    assert total > 65521
    refused(full[:148] + b"%06o\0 " % (total - 65521) + full[156:], "checksum")


@pytest.mark.parametrize("form", [b"%06o\0 ", b"%07o\0", b"%07o ", b" %06o\0", b"%6o\0 ", b"%08o"])
def test_checksums_are_read_in_every_form(form: bytes) -> None:
    total = int(header()[148:154], 8)
    assert one(header(at148=form % total)).name == "f"


# Numbers.


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"00000000017\0", 15),
        (b"000000000017", 15),
        (b"         17\0", 15),
        (b"17\0garbage-", 15),
        (b"17          ", 15),
        (b"00000000017 ", 15),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0", 0),
        (b"            ", 0),
        (b"\x80\0\0\0\0\0\0\0\0\0\0\x0f", 15),
    ],
)
def test_sizes_are_read_in_every_form(raw: bytes, value: int) -> None:
    assert one(header(size=raw) + bytes(512 if value else 0)).size == value


@pytest.mark.parametrize(
    "raw", [b"0000000001_\0", b"0000000008\0\0", b"       1 7\0\0", b"+0000000001\0", b"0x000000001\0"]
)
def test_what_is_no_number_is_refused(raw: bytes) -> None:
    refused(header(size=raw), "size is not an octal number")
    refused(header(at136=raw), "time is not an octal number")


@pytest.mark.parametrize("raw", [b"\xff" * 12, b"\xff\xff\xff\xff" + bytes(8)])
def test_negative_and_enormous_sizes_are_refused(raw: bytes) -> None:
    refused(header(size=raw), "size")


def test_a_size_of_nearly_64_bits_costs_nothing_and_is_an_early_end() -> None:
    refused(header(size=b"\x80\0\0\0\x7f" + b"\xff" * 7) + bytes(3000), "content")
    refused(pax((b"size", b"9223372036854775807")) + header() + bytes(3000), "content")
    refused(pax((b"size", b"9223372036854775808")) + header() + bytes(3000), "64 bits")
    refused(pax((b"size", b"-1")) + header() + bytes(3000), "negative")


def test_negative_times_and_large_owners_in_base_256() -> None:
    entry = one(header(at136=b"\xff" * 12, at108=b"\x80\0\0\0\x7f\xff\xff\xff", magic=GNU))
    assert (entry.mtime, entry.uid) == ((-1, 0), 0x7FFFFFFF)


def test_numbers_of_devices_count_in_every_entry_but_not_in_v7() -> None:
    device = one(header(kind=b"3", at329=b"0000010\x000000007\0"))
    assert (device.devmajor, device.devminor) == (8, 7)
    refused(header(at329=b"garbage\0"), "device")
    assert one(header(at329=b"garbage\0", magic=bytes(8))).devmajor == 0


# Names.


def test_prefixes_of_ustar_and_star() -> None:
    assert one(header(b"base", at345=b"some/prefix")).name == "some/prefix/base"
    assert one(header(b"b" * 100, at345=b"p" * 155)).name == "p" * 155 + "/" + "b" * 100
    star = {"at345": b"p" * 131, "at476": b"00000000001\x0000000000002\0", "at508": b"tar\0"}
    assert one(header(b"base", **star)).name == "p" * 131 + "/base"  # type: ignore[arg-type]
    assert one(header(b"base", at345=b"prefix", magic=bytes(8))).name == "base"
    refused(header(b"base", at476=b"no time", at508=b"tar\0"), "time")


def test_gnu_headers_have_times_where_ustar_has_a_prefix_unless_they_are_no_times() -> None:
    times = b"14000000000\x0014000000001\0"
    assert one(header(b"base", magic=GNU, at345=times)).name == "base"
    assert one(header(b"base", magic=GNU, at345=b"some/prefix")).name == "some/prefix/base"
    assert one(header(b"base", magic=GNU, at345=b"\xc3\xa4/prefix")).name == "base"


def test_names_end_at_a_nul_and_may_be_any_bytes() -> None:
    assert one(header(b"name\0garbage")).name == "name"
    assert one(header(b"n" * 100, link=b"l" * 100, kind=b"2")).linkname == "l" * 100
    assert one(header(b"\xff\xfe")).name == "\udcff\udcfe"
    assert one(header(b"")).name == ""


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return member(name, name=b"././@LongLink", kind=kind, magic=GNU)


def test_gnu_long_names_and_links() -> None:
    name, link = b"n" * 300, b"l" * 5000
    entry = one(
        long_name(link + b"\0", b"K") + long_name(name + b"\0") + header(b"n" * 100, b"2", link=b"l", magic=GNU)
    )
    assert (entry.name, entry.linkname) == (name.decode(), link.decode())
    assert (entry.header_offset, entry.offset) == (0, 512 * 14)


def test_a_long_name_beats_a_pax_path_and_ends_at_a_nul() -> None:
    assert one(long_name(b"long\0garbage") + pax((b"path", b"pax")) + header()).name == "long"
    assert one(long_name(b"\0") + header()).name == "f"


def test_extended_headers_count_for_one_entry_only() -> None:
    first, second = both(pax((b"path", b"x")) + header() + header(b"g"))
    assert (first[0].name, second[0].name) == ("x", "g")
    assert (first[0].header_offset, second[0].header_offset) == (0, 512 * 3)


# Types.


def test_types() -> None:
    kinds = b"\x0001234567SZX"
    names = ["file", "file", "hardlink", "symlink", "char", "block", "dir", "fifo", "file", "file", "other", "other"]
    entries = both(b"".join(header(b"%d" % n, bytes([kind]), magic=GNU) for n, kind in enumerate(kinds)))
    assert [entry.type for entry, _ in entries] == names


def test_a_v7_name_with_a_slash_at_its_end_is_a_directory() -> None:
    assert one(header(b"d/", b"\0", magic=bytes(8))).type == "dir"
    assert one(header(b"d/", b"0")).type == "file"


@pytest.mark.parametrize("kind", list("123456"))
def test_links_directories_and_devices_have_no_content_whatever_size_they_state(kind: str) -> None:
    entries = both(
        header(b"a", kind.encode(), 1000) + pax((b"size", b"7")) + header(b"b", kind.encode()) + header(b"c")
    )
    assert [(entry.name, entry.size) for entry, _ in entries] == [("a", 0), ("b", 0), ("c", 0)]


@pytest.mark.parametrize("kind", list("07Z"))
def test_everything_else_has_content(kind: str) -> None:
    assert both(member(b"content", kind=kind.encode()) + member())[0][1] == b"content"


# PAX.


def test_pax_records_of_an_entry() -> None:
    entry = one(
        pax(
            (b"path", "pfad/ä".encode()),
            (b"linkpath", b"link"),
            (b"uid", b"3000000"),
            (b"gid", b"4000000"),
            (b"uname", b"user"),
            (b"gname", b"group"),
            (b"mtime", b"1700000000.1234567891"),
            (b"atime", b"1"),
            (b"ctime", b"-1.5"),
            (b"comment", b"a=b"),
            (b"SCHILY.xattr.user.a=b", b"\0\n\xff"),
            (b"SCHILY.xattr.security.capability", b"\1\0"),
            (b"SCHILY.xattr.user.empty", b""),
        )
        + header(kind=b"2")
    )
    assert (entry.name, entry.linkname) == ("pfad/ä", "link")
    assert (entry.uid, entry.gid, entry.uname, entry.gname) == (3000000, 4000000, "user", "group")
    assert entry.mtime == (1700000000, 123456789)
    assert entry.xattrs == {"user.a": b"b=\0\n\xff", "security.capability": b"\1\0", "user.empty": b""}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"0", (0, 0)),
        (b"1.", (1, 0)),
        (b"1.5", (1, 500_000_000)),
        (b"-1.5", (-2, 500_000_000)),
        (b"-0.000000001", (-1, 999_999_999)),
        (b"-1.0", (-1, 0)),
        (b"+7.0000000019", (7, 1)),
        (b"9223372036854775807", (9223372036854775807, 0)),
    ],
)
def test_pax_times(text: bytes, time: tuple[int, int]) -> None:
    assert one(pax((b"mtime", text)) + header()).mtime == time


def test_of_a_repeated_record_the_last_counts_and_an_empty_one_changes_nothing() -> None:
    assert one(pax((b"path", b"a"), (b"path", b"b")) + header()).name == "b"
    assert one(pax((b"path", b""), (b"mtime", b""), (b"size", b"")) + header(b"n")).name == "n"
    assert one(pax((b"path", b"a")) + pax((b"mtime", b"5")) + header()).name == "f"


def test_of_a_global_header_only_the_form_is_checked_and_it_changes_no_entry() -> None:
    entry = one(pax((b"path", b"x"), (b"mtime", b"5"), kind=b"g") + header())
    assert (entry.name, entry.mtime, entry.header_offset) == ("f", (0, 0), 1024)
    assert one(pax((b"path", b"x")) + pax((b"comment", b"c"), kind=b"g") + header()).name == "f"
    assert one(pax((b"mtime", b"never"), (b"size", b"-1"), (b"uid", b"1e3"), kind=b"g") + header()).name == "f"
    refused(member(b"no record", kind=b"g") + header(), "PAX")


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 512, 1 << 62])
def test_a_size_that_no_file_can_have_is_an_early_end(size: int) -> None:
    data = header(size=b"\x80" + size.to_bytes(11, "big")) + b"A" * 1024
    with pytest.raises(InvalidTar, match="ends inside its content"):
        list(TarReader(io.BytesIO(data)))


@pytest.mark.parametrize(
    "body",
    [
        b"path=x\n",
        b"7 path=x\n",
        b"99 path=x\n",
        b"9 path=x ",
        b"8 path=x\n",
        b"11 path=x\n",
        b"9 path x\n",
        b"5 =x\n\n",
        b"-9 path=x\n",
        b"9_ path=x\n",
        b"4 =\n",
        b"0 a=b\n",
        b"11 path=x\0y\n",
        b"9 a\0th=x\n",
        b"9 path=x\n\0\0\0",
        b"9 path=x\n9",
        b"\xd9\xa9 path=x\n",
    ],
)
def test_malformed_pax_records_are_refused(body: bytes) -> None:
    refused(member() + member(body, kind=b"x") + header(), r"member 2 \(at byte 512\): ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"mtime", b"x"),
        (b"mtime", b".5"),
        (b"mtime", b"1.-5"),
        (b"mtime", b"1e5"),
        (b"mtime", b"1_0"),
        (b"mtime", b"9223372036854775808"),
        (b"atime", b"1,5"),
        (b"ctime", b" 5"),
        (b"uid", b"x"),
        (b"gid", b"1.5"),
        (b"size", b"0x5"),
        (b"size", b"1" * 5000),
    ],
)
def test_pax_values_that_are_no_numbers_are_refused(key: bytes, value: bytes) -> None:
    refused(pax((key, value)) + header(), r"member 1 \(at byte 0\): ")


def test_a_pax_size_replaces_the_size() -> None:
    assert both(pax((b"size", b"7")) + header() + b"content" + padding(7) + header(b"g"))[0][1] == b"content"


@pytest.mark.parametrize("kind", list("xgLK"))
def test_extended_headers_beyond_the_limit_are_refused_before_they_are_read(kind: str) -> None:
    refused(header(kind=kind.encode(), size=(1 << 20) + 1), "limit extension-size is 1048576", LimitExceeded)
    huge = b"\x80\0\0\0\x7f" + b"\xff" * 7
    refused(header(kind=kind.encode(), size=huge), "limit extension-size is 1048576", LimitExceeded)
    refused(header(kind=kind.encode(), size=b"\xff" * 12), "negative")


def test_an_extended_header_as_large_as_the_limit_is_read() -> None:
    name = b"n" * ((1 << 20) - 16)
    data = pax((b"path", name)) + header()
    assert len(data) > 1 << 20
    assert scan(data, 70000, Limits(name_length=1 << 20)) == read(data)[0]
    assert read(data)[0][0].name == name.decode()


def test_extended_headers_without_end_before_a_member_are_refused() -> None:
    one = pax((b"comment", b"more"))
    most = Limits().extensions
    both(one * most + header())
    # The next member may have as many, and so may one that is read on the quick way.
    both((one * most + header() + pax((b"path", b"name")) + header(b"f")) * 3)
    refused(one * (most + 1) + header(), r"member 1 \(at byte 102400\): it has 101 .*extensions is 100", LimitExceeded)
    global_ones = pax((b"comment", b"more"), kind=b"g") * (most + 1)
    refused(header() + global_ones + header(), "member 2 .*limit extensions", LimitExceeded)


# Sparse files.


def sparse_table(*pieces: tuple[int, int]) -> bytes:
    return b"".join(b"%011o\0%011o\0" % piece for piece in pieces)


def test_old_gnu_sparse_files() -> None:
    fields = {"at386": sparse_table((512, 5), (2000, 0)), "at483": b"%011o\0" % 2000}
    head = header(b"s", b"S", 5, magic=GNU, **fields)  # type: ignore[arg-type]
    [(entry, content), _] = both(head + b"12345" + padding(5) + header(b"next"))
    assert content == bytes(512) + b"12345" + bytes(2000 - 517)
    assert (entry.type, entry.size, entry.stored_size, entry.sparse, entry.offset) == ("file", 2000, 5, True, 512)


def test_old_gnu_sparse_files_go_by_their_own_map() -> None:
    records = pax((b"GNU.sparse.map", b"0,3"), (b"GNU.sparse.numblocks", b"7"), (b"GNU.sparse.name", b"other"))
    content_first = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
    head = header(b"s", b"S", 2, magic=GNU, at386=sparse_table((1, 2)), at483=b"%011o\0" % 4)
    for extension in (records, content_first):
        [(entry, content)] = both(extension + head + b"ab" + padding(2))
        assert (entry.name, entry.size, content) == ("s", 4, b"\0ab\0")


def test_old_gnu_sparse_files_with_more_blocks() -> None:
    pieces = [(n * 10, 1) for n in range(4 + 21 + 3)]
    head = header(
        b"s", b"S", len(pieces), magic=GNU, at386=sparse_table(*pieces[:4]), at482=b"\1", at483=b"00000000477\0"
    )
    more = sparse_table(*pieces[4:25]) + b"\1" + bytes(7) + sparse_table(*pieces[25:]).ljust(512, b"\0")
    stored = bytes(range(65, 65 + len(pieces)))
    [(entry, content), _] = both(head + more + stored + padding(len(stored)) + header(b"next"))
    assert content == b"".join(bytes([byte]) + bytes(9) for byte in stored)[:0o477].ljust(0o477, b"\0")
    assert entry.offset == 512 * 3
    refused(head + more[:700], "sparse map")


def test_sparse_maps_beyond_the_limit_are_refused() -> None:
    limits = Limits(sparse_pieces=100)
    endless = header(b"s", b"S", 0, magic=GNU, at482=b"\1") + (sparse_table(*[(1, 0)] * 21) + b"\1" + bytes(7)) * 10
    for attempt in (read, lambda data, limits: scan(data, limits=limits)):
        with pytest.raises(LimitExceeded, match="sparse"):
            attempt(endless, limits)
    many = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + member(
        (b"101\n" + b"0\n0\n" * 101).ljust(512, b"\0")
    )
    with pytest.raises(LimitExceeded, match="sparse"):
        read(many, limits)
    many = pax((b"GNU.sparse.numblocks", b"101"), (b"GNU.sparse.map", b"0,0" + b",0,0" * 100)) + member(b"")
    with pytest.raises(LimitExceeded, match="sparse"):
        read(many, limits)


PAX_SPARSE = [
    (  # 0.0
        pax(
            (b"GNU.sparse.size", b"2000"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"512"),
            (b"GNU.sparse.numbytes", b"3"),
            (b"GNU.sparse.offset", b"1998"),
            (b"GNU.sparse.numbytes", b"2"),
        ),
        b"",
    ),
    (  # 0.1
        pax(
            (b"GNU.sparse.name", b"f"),
            (b"GNU.sparse.size", b"2000"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.map", b"512,3,1998,2"),
        ),
        b"",
    ),
    (  # 1.0
        pax(
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", b"f"),
            (b"GNU.sparse.realsize", b"2000"),
        ),
        b"2\n512\n3\n1998\n2\n".ljust(512, b"\0"),
    ),
]


@pytest.mark.parametrize(("records", "table"), PAX_SPARSE)
def test_pax_sparse_files(records: bytes, table: bytes) -> None:
    [(entry, content), (following, _)] = both(
        records + member(table + b"12345", name=b"GNUSparseFile.0/f") + header(b"next")
    )
    assert content == bytes(512) + b"123" + bytes(1998 - 515) + b"45"
    assert (entry.size, entry.stored_size, entry.sparse) == (2000, len(table) + 5, True)
    assert following.name == "next"


@pytest.mark.parametrize(
    "table",
    [
        b"1\n0\n",
        b"x\n",
        b"-1\n",
        b"1\n5\n-3\n",
        b"2\n5\n3\n6\n1\n",
        b"1\n1999\n2\n",
        b"0" * 600,
        b"1\n1\n1" + b"1" * 600,
    ],
)
def test_malformed_sparse_maps_are_refused(table: bytes) -> None:
    refused(PAX_SPARSE[2][0] + member(table.ljust(512 if len(table) < 512 else 1024, b"\0") + b"12345"), "spars")


def test_a_sparse_map_must_name_exactly_the_content() -> None:
    for content, match in ((b"1234", "names more"), (b"123456", "more content")):
        refused(PAX_SPARSE[2][0] + member(PAX_SPARSE[2][1] + content), match)
        refused(PAX_SPARSE[0][0] + member(content), match)
    map_of_two = sparse_table((0, 5), (2000, 0))
    for stored, match in ((4, "names more"), (6, "more content")):
        head = header(b"s", b"S", stored, magic=GNU, at386=map_of_two, at483=b"%011o\0" % 2000)
        refused(head + bytes(stored) + padding(stored), match)


def test_malformed_maps_in_headers_are_refused() -> None:
    facts = ((b"GNU.sparse.size", b"9"), (b"GNU.sparse.numblocks", b"2"))
    for table in (b"0,1", b"5,1,0,1", b"0,-1,1,1", b"0,1,8,2", b"0,x,1,1", b"0,1,2,9223372036854775808"):
        refused(pax(*facts, (b"GNU.sparse.map", table)) + member(b"ab"), "sparse map")
    for piece in (b"99999999999\0" * 2, b"00000000005\0" * 2 + b"00000000001\0" * 2, b"\xff" * 12 + b"00000000001\0"):
        head = header(b"s", b"S", 1, magic=GNU, at386=piece, at483=b"00000000011\0")
        refused(head + b"x" + padding(1), "sparse map")


def test_a_map_before_the_content_may_end_anywhere_in_a_piece_of_the_stream() -> None:
    table = b"".join(b"%d\n" % number for number in (200, *(n for at in range(200) for n in (at * 10, 1))))
    table = table.ljust(-(-len(table) // 512) * 512, b"\0")
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"5000")]
    data = pax(*records) + member(table + b"x" * 200) + header(b"next")
    [(entry, content), (following, _)] = both(data)
    assert (entry.size, content.count(b"x"), following.name) == (5000, 200, "next")
    for piece in (512, 700, 1024, 3000):
        assert scan(data, piece) == [entry, following]
    refused(data[:2048], "ends inside its")


def test_sparse_records_of_an_unknown_version_are_only_records() -> None:
    entry = one(pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.size", b"9")) + member(b"123"))
    assert (entry.size, entry.sparse) == (3, False)


def test_other_sparse_oddities_are_refused() -> None:
    refused(header(b"s", b"S"), "GNU")
    refused(PAX_SPARSE[1][0] + header(kind=b"5"), "regular")
    refused(pax((b"GNU.sparse.map", b"0,0"), (b"GNU.sparse.size", b"x")) + header(), "real size")
    refused(pax((b"GNU.sparse.map", b"0,0"), (b"GNU.sparse.size", b"-5")) + header(), "negative")
    refused(pax((b"GNU.sparse.numbytes", b"1")) + header(), "out of order")
    refused(pax((b"GNU.sparse.offset", b"1"), (b"GNU.sparse.offset", b"1")) + header(), "out of order")


# What real programs write.


@pytest.mark.parametrize("format_", ["v7", "oldgnu", "gnu", "ustar", "posix"])
@pytest.mark.parametrize("sparse", [[], ["-S"], ["-S", "--sparse-version=0.0"], ["-S", "--sparse-version=0.1"]])
def test_what_gnu_tar_writes(tmp_path: Path, format_: str, sparse: list[str]) -> None:
    if sparse and (format_ in ("v7", "ustar") or (len(sparse) > 1 and format_ != "posix")):
        sparse = []
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "file").write_bytes(b"content")
    (tree / "empty").touch()
    (tree / "link").symlink_to("file")
    (tree / "hard").hardlink_to(tree / "file")
    with (tree / "sub" / "holes").open("wb") as file:
        for at in range(30):
            file.seek(at << 16)
            file.write(b"%d" % at * 100)
        file.truncate(3 << 20)
    if format_ not in ("v7", "ustar"):
        (tree / "sub" / ("long" * 50)).write_bytes(b"long name")
        (tree / "sub" / "long link").symlink_to("target/" * 30)
    archive = tmp_path / "archive.tar"
    command = ["tar", "-C", str(tree), f"--format={format_}", *sparse, "--sort=name", "-cf", str(archive), "."]
    subprocess.run(command, check=True)
    entries = both(archive.read_bytes())
    listed = subprocess.run(
        ["tar", "-tf", str(archive)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert [entry.name for entry, _ in entries] == listed
    by_name = {entry.name: (entry, content) for entry, content in entries}
    for path in tree.rglob("*"):
        entry, content = by_name[
            "./" + str(path.relative_to(tree)) + ("/" if path.is_dir() and not path.is_symlink() else "")
        ]
        status = path.lstat()
        assert entry.mode & 0o7777 == status.st_mode & 0o7777
        assert entry.mtime[0] == int(status.st_mtime)
        assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid)
        if path.is_symlink():
            assert entry.linkname == str(path.readlink()) + ("/" if path.name == "long link" else "")
        elif path.is_file() and entry.type == "file":
            assert content == path.read_bytes()
            assert entry.size == len(content)
    assert {entry.type for entry, _ in entries} == {"dir", "file", "symlink", "hardlink"}
    if sparse:
        assert by_name["./sub/holes"][0].stored_size < 200_000


def test_archives_of_daemons(data: Path) -> None:
    archives = sorted(data.glob("dockerd-*/*.tar"))
    assert archives
    for archive in archives:
        with tarfile.open(archive) as expected:
            members = expected.getmembers()
        entries, _ = read(archive.read_bytes())
        assert [(entry.name.rstrip("/"), entry.size, entry.header_offset, entry.offset) for entry in entries] == [
            (member.name, member.size, member.offset, member.offset_data) for member in members
        ]


# The reader alone.


class Pipe:
    """A source that cannot seek and gives few bytes at a time."""

    def __init__(self, data: bytes, most: int = 100) -> None:
        self.file, self.most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, self.most))


def test_a_pipe_gives_the_same_as_a_file() -> None:
    data = member(b"x" * 1000) + pax((b"path", b"p")) + member(b"y" * 5000) + END
    reader = TarReader(Pipe(data))
    assert [(entry, b"".join(reader.chunks(333))) for entry in reader] == both(data)


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_content_that_is_not_read_is_passed_over(source: Callable[[bytes], io.BytesIO]) -> None:
    data = member(b"x" * 200_001) + member(b"y" * 70_000, name=b"g") + member(b"z", name=b"h") + END
    reader = TarReader(source(data))
    assert next(reader).name == "f"
    assert len(reader.read(100)) == 100
    assert [entry.name for entry in reader] == ["g", "h"]
    assert reader.read() == b""


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
@pytest.mark.parametrize("cut", [600, 100_000, 200_000])
def test_passing_over_content_notices_an_early_end(source: Callable[[bytes], io.BytesIO], cut: int) -> None:
    reader = TarReader(source(member(b"x" * 200_001)[:-cut]))
    next(reader)
    with pytest.raises(InvalidTar, match=r"member 1 \(at byte 0\): .* content"):
        next(reader)


def test_a_member_can_be_read_alone_from_its_header_offset() -> None:
    data = member(b"a") + PAX_SPARSE[2][0] + member(PAX_SPARSE[2][1] + b"12345") + END
    source = io.BytesIO(data)
    source.seek(both(data)[1][0].header_offset)
    reader = TarReader(source)
    assert next(reader).name == "f"
    assert b"".join(reader.chunks()) == both(data)[1][1]


def test_reading_ends_with_the_archive_and_drain_reads_the_rest() -> None:
    source = io.BytesIO(member(b"a") + END + b"rest")
    reader = TarReader(source)
    assert len(list(reader)) == 1
    assert list(reader) == []
    assert source.tell() == 2048
    assert reader.drain() == 4


def test_what_is_written_is_read() -> None:
    data = member_header("d/", mode=0o755, type="dir") + member_header("d/l", mode=0o777, type="symlink", linkname="x")
    data += member_header("d/f", mode=0o644, size=3, mtime=7, uname="u", gname="g") + b"abc" + padding(3) + END
    entries = [entry for entry, _ in both(data)]
    assert [(entry.name, entry.type, entry.mode) for entry in entries] == [
        ("d/", "dir", 0o755),
        ("d/l", "symlink", 0o777),
        ("d/f", "file", 0o644),
    ]
    assert (entries[2].mtime, entries[2].uname, entries[2].gname, entries[1].linkname) == ((7, 0), "u", "g", "x")


@pytest.mark.parametrize("digits", [b"000644 \0", b"0000644 ", b"   644 \0", b"644\0\0\0\0\0"])
def test_modes_and_owners_are_read_in_every_form(digits: bytes) -> None:
    entry = one(header(size=b"00000000000 ", at100=digits * 3, at136=b"00000000007 ", at329=b"000000 \x00000000 \0"))
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o644, 0o644, 0o644, (7, 0))
    refused(header(at100=digits, at108=b"6 44\0\0\0\0"), "owner")
