"""Tars of every kind, whole, cut and damaged: the pulling reader, the scanner and the table of contents must agree."""

from __future__ import annotations

import contextlib
import io
import posixpath
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orlop.errors import InvalidTar, LimitExceeded
from orlop.streams.tar import END, MTIME_MAX, TarReader, TarScanner, member_header, padding
from orlop.streams.toc import TocWriter, read_toc

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.streams.tar import TarEntry, TarSummary

LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
NAMES = st.text(LETTERS, min_size=1, max_size=140) | st.text("ab./", min_size=1, max_size=300)
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(NAMES))
    info.type = draw(st.sampled_from(list(KINDS)))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 1 << 24)), draw(st.integers(0, 1 << 24))
    info.uname, info.gname = draw(st.text("user", max_size=32)), draw(st.text("gröp", max_size=15))
    info.mtime = draw(st.integers(0, 1 << 35) | st.sampled_from([1.5, 1700000000.25, -3.5]))
    if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = draw(NAMES)
    content = draw(st.binary(max_size=1500)) if info.isreg() and not info.name.endswith("/") else b""
    info.size = len(content)
    return info, content


@st.composite
def archives(draw: st.DrawFn) -> tuple[bytes, list[tuple[tarfile.TarInfo, bytes]]]:
    data, written = b"", []
    for info, content in draw(st.lists(members(), max_size=5)):
        format_ = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
        if format_ != tarfile.PAX_FORMAT:
            info.mtime = int(info.mtime)
        try:
            header = info.tobuf(format_, "utf-8", "surrogateescape")  # type: ignore[arg-type]
        except ValueError:
            continue
        data += header + content + padding(len(content))
        written.append((info, content))
    return data + draw(st.sampled_from([b"", bytes(512), END, END + b"rest", END + bytes(8192)])), written


def scan(data: bytes, piece: int) -> tuple[list[TarEntry], TarSummary]:
    sink = io.BytesIO()
    writer = TocWriter(sink)
    scanner = TarScanner(headers=writer.add)
    for at in range(0, len(data), piece):
        scanner.feed(data[at : at + piece])
    summary = scanner.close()
    writer.close()
    sink.seek(0)
    entries = list(read_toc(sink))
    if not summary.partial:
        assert summary.content_size == content_size(entries)
    return entries, summary


def content_size(entries: list[TarEntry]) -> int:
    total = 0
    for entry in entries:
        if entry.type == "symlink":
            total += len(entry.linkname.encode("utf-8", "surrogateescape"))
        elif entry.type == "file" and not posixpath.basename(posixpath.normpath(entry.name)).startswith(".wh."):
            total += entry.size
    return total


@given(archive=archives(), piece=st.integers(1, 3000), step=st.integers(1, 2000))
@settings(deadline=None)
def test_what_tarfile_writes_comes_back(
    archive: tuple[bytes, list[tuple[tarfile.TarInfo, bytes]]], piece: int, step: int
) -> None:
    data, written = archive
    reader = TarReader(io.BytesIO(data))
    entries = []
    for (info, content), entry in zip(written, reader, strict=False):
        entries.append(entry)
        assert b"".join(reader.chunks(step)) == content
        assert entry.name.rstrip("/") == info.name.rstrip("/")
        assert entry.type == ("dir" if info.type == tarfile.AREGTYPE and entry.name.endswith("/") else KINDS[info.type])
        assert (entry.mode, entry.uid, entry.gid, entry.size) == (info.mode, info.uid, info.gid, len(content))
        assert entry.linkname == info.linkname
        assert entry.mtime[0] + entry.mtime[1] / 1e9 == info.mtime
        assert (entry.uname, entry.gname) == (info.uname, info.gname)
    assert len(entries) == len(written)
    assert next(reader, None) is None
    found, summary = scan(data, piece)
    assert found == entries
    assert (summary.entries, summary.tar_size) == (len(entries), len(data))


@pytest.mark.sampled(2)
@given(archive=archives())
@settings(deadline=None)
def test_offsets_are_those_of_tarfile(archive: tuple[bytes, list[tuple[tarfile.TarInfo, bytes]]]) -> None:
    data, _ = archive
    with tarfile.open(fileobj=io.BytesIO(data + END)) as other:
        expected = [(member.offset, member.offset_data) for member in other]
    assert [(entry.header_offset, entry.offset) for entry in TarReader(io.BytesIO(data))] == expected


def verdict(attempt: Callable[[], list[TarEntry]]) -> tuple[str, list[TarEntry]]:
    try:
        return "fine", attempt()
    except (InvalidTar, LimitExceeded) as error:
        return type(error).__name__, []


@pytest.mark.sampled(2)
@given(archive=archives(), data=st.data(), piece=st.integers(1, 3000))
@settings(deadline=None)
def test_of_a_cut_archive_reader_and_scanner_think_alike(
    archive: tuple[bytes, list[tuple[tarfile.TarInfo, bytes]]], data: st.DataObject, piece: int
) -> None:
    cut = archive[0][: data.draw(st.integers(0, len(archive[0])))]
    assert verdict(lambda: list(TarReader(io.BytesIO(cut)))) == verdict(lambda: scan(cut, piece)[0])


def mend(block: bytearray) -> None:
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)


FIELDS = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (265, 32),
    (297, 32),
]
FIELDS += [(329, 8), (337, 8), (345, 155), (476, 12), (500, 12), (508, 4)]
FIELD_BYTES = (
    st.binary(max_size=12)
    | st.text("01234567 \0", max_size=12).map(str.encode)
    | st.sampled_from(
        [b"\0", b"x", b"g", b"L", b"K", b"0", b"2", b"5", b"7", b"./a/", b"a/", b"ustar  \0", b"ustar\x0000", b"tar\0"]
    )
)


@pytest.mark.sampled(2)
@given(archive=archives(), data=st.data(), piece=st.integers(1, 3000))
@settings(deadline=None)
def test_of_damaged_headers_reader_and_scanner_think_alike(
    archive: tuple[bytes, list[tuple[tarfile.TarInfo, bytes]]], data: st.DataObject, piece: int
) -> None:
    damaged = bytearray(archive[0])
    entries = list(TarReader(io.BytesIO(archive[0])))
    for _ in range(data.draw(st.integers(1, 3)) if entries else 0):
        entry = data.draw(st.sampled_from(entries))
        start = data.draw(st.sampled_from([entry.header_offset, entry.offset - 512]))
        block = damaged[start : start + 512]
        at, width = data.draw(st.sampled_from(FIELDS))
        value = data.draw(FIELD_BYTES)[:width]
        block[at : at + len(value)] = value
        if data.draw(st.integers(0, 9)):
            mend(block)
        damaged[start : start + 512] = block
    whole = bytes(damaged)
    expected = verdict(lambda: list(TarReader(io.BytesIO(whole))))
    assert verdict(lambda: scan(whole, piece)[0]) == expected
    assert verdict(lambda: scan(whole, 1 << 20)[0]) == expected


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["path", "linkpath", "size", "mtime", "atime", "uid", "uname", "comment", "SCHILY.xattr.user.a", "x", ""]
        ),
        st.text("0123456789.-+ =\n\0aä", max_size=12) | st.integers(0, 3000).map(str),
    ),
    max_size=4,
)


@given(
    records=RECORDS,
    shift=st.integers(-1, 1),
    every=st.integers(0, 4),
    content=st.binary(max_size=600),
    kind=st.sampled_from(b"0257"),
)
@settings(deadline=None)
@example(records=[("path", "a\n9 size=5")], shift=0, every=1, content=b"", kind=ord("0"))
@example(records=[("x", "1\n10 path=ab")], shift=0, every=1, content=b"", kind=ord("2"))
def test_of_any_pax_records_reader_and_scanner_think_alike(
    records: list[tuple[str, str]], shift: int, every: int, content: bytes, kind: int
) -> None:
    body = b""
    for number, (key, value) in enumerate(records):
        text = f" {key}={value}\n".encode()
        length = next(n for n in range(len(text), len(text) + 6) if len(str(n)) + len(text) == n)
        body += b"%d" % (length + (shift if number == every else 0)) + text
    block = bytearray(member_header("f", mode=0o644, size=len(content)))
    block[156] = kind
    mend(block)
    extension = bytearray(member_header("x", mode=0, size=len(body)))
    extension[156] = ord("x")
    mend(extension)
    data = bytes(extension) + body + padding(len(body)) + bytes(block) + content + padding(len(content)) + END
    assert verdict(lambda: scan(data, 1 << 20)[0]) == verdict(lambda: list(TarReader(io.BytesIO(data))))


@given(data=st.binary(max_size=3000))
@settings(deadline=None)
def test_anything_at_all_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidTar):
        list(TarReader(io.BytesIO(data)))
    with contextlib.suppress(InvalidTar):
        scan(data, 700)


@given(
    name=st.text(LETTERS, min_size=1, max_size=300),
    linkname=st.text(LETTERS, max_size=200),
    size=st.integers(0, 1 << 40),
    mode=st.integers(0, 0o177777),
    mtime=st.integers(0, MTIME_MAX),
    kind=st.sampled_from(["file", "dir", "symlink"]),
)
def test_every_header_that_is_written_is_read_back(
    name: str, linkname: str, size: int, mode: int, mtime: int, kind: str
) -> None:
    header = member_header(name, size=size, mode=mode, mtime=mtime, type=kind, linkname=linkname)  # type: ignore[arg-type]
    entry = next(TarReader(io.BytesIO(header)))
    assert (entry.name, entry.linkname, entry.mode, entry.mtime) == (name, linkname, mode, (mtime, 0))
    assert entry.size == (size if kind == "file" else 0)
    assert entry.offset == len(header)
    info = tarfile.TarInfo.frombuf(header[-512:], "utf-8", "surrogateescape")
    assert info.mode == mode
