from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidTar
from orlop.streams.tar import END, TarReader, TarScanner, TarSummary, member_header, padding

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.model.limits import Limits

EMPTY_LAYER = bytes(1024)


def file(name: str, size: int = 0) -> bytes:
    return member_header(name, mode=0o644, size=size) + bytes(size) + padding(size)


def link(name: str, target: str) -> bytes:
    return member_header(name, mode=0o777, type="symlink", linkname=target)


def scan(data: bytes, **kwargs: Limits) -> TarSummary:
    scanner = TarScanner(**kwargs)  # type: ignore[arg-type]
    scanner.feed(data)
    return scanner.close()


def made_with_tarfile(*members: tuple[str, bytes, int, str], format_: int = tarfile.USTAR_FORMAT) -> bytes:
    data = b""
    for name, kind, size, target in members:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname, info.mtime = (
            kind,
            size,
            target,
            1.5 if format_ == tarfile.PAX_FORMAT else 1,
        )
        data += info.tobuf(format_)  # type: ignore[arg-type]
        data += bytes(size) + padding(size) if kind in b"07\0" else b""
    return data


@pytest.mark.parametrize("data", [b"", EMPTY_LAYER, bytes(512)])
def test_an_empty_layer(data: bytes) -> None:
    assert scan(data) == TarSummary(entries=0, content_size=0, tar_size=len(data))


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_content_is_regular_files_and_targets_of_symbolic_links(format_: int) -> None:
    """overlay2: regular files plus the byte length of each symlink's target, each inode once."""
    data = made_with_tarfile(
        ("file", tarfile.REGTYPE, 1000, ""),
        ("old", tarfile.AREGTYPE, 100, ""),
        ("contiguous", tarfile.CONTTYPE, 10, ""),
        ("dir", tarfile.DIRTYPE, 0, ""),
        ("hard", tarfile.LNKTYPE, 0, "file"),
        ("soft", tarfile.SYMTYPE, 0, "tärget"),
        ("softer", tarfile.SYMTYPE, 0, "t" * 100),
        ("softest", tarfile.SYMTYPE, 0, "t" * 90),
        ("fifo", tarfile.FIFOTYPE, 0, ""),
        ("char", tarfile.CHRTYPE, 0, ""),
        ("block", tarfile.BLKTYPE, 0, ""),
        ("dir/.wh.gone", tarfile.REGTYPE, 50, ""),
        (".wh..wh..opq", tarfile.REGTYPE, 50, ""),
        ("x.wh.y", tarfile.REGTYPE, 1, ""),
        format_=format_,
    )
    assert scan(data) == TarSummary(14, 1110 + 7 + 190 + 1, len(data))


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("path", [".wh.gone", "dir/.wh.gone", "./.wh.gone", f"{'d' * 120}/.wh.gone"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
def test_whiteouts_count_nothing_whatever_they_are(format_: int, path: str, kind: bytes) -> None:
    size, target = (50, "") if kind == tarfile.REGTYPE else (0, "target")
    data = made_with_tarfile(("file", tarfile.REGTYPE, 7, ""), (path, kind, size, target), format_=format_)
    assert scan(data) == TarSummary(2, 7, len(data))


def test_names_that_are_not_ascii_are_compared_like_others() -> None:
    data = made_with_tarfile(("dir/ä", tarfile.REGTYPE, 5, ""), ("dir/ö", tarfile.REGTYPE, 6, ""))
    assert scan(data) == TarSummary(2, 11, len(data))
    assert scan(data + data).content_size == 11
    assert scan(data + made_with_tarfile(("./dir//ö", tarfile.REGTYPE, 1, ""))).content_size == 6


def test_a_checksum_is_that_of_all_bytes() -> None:
    """Each part of a header is summed up by its own: a byte that changes in any of them must be noticed."""
    good = file("some/name", 3)
    assert scan(good + good).entries == 2
    for place in set(range(512)) - set(range(148, 156)):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(InvalidTar, match="checksum"):
            scan(good + bytes(bad))


def test_long_targets_count_in_full() -> None:
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = made_with_tarfile(("n" * 200, tarfile.SYMTYPE, 0, "t" * 500), format_=format_)
        assert scan(data).content_size == 500


def test_a_pax_size_counts() -> None:
    data = member_header("f", mode=0, size=8 << 30)
    scanner = TarScanner()
    scanner.feed(data)
    megabyte = bytes(1 << 20)
    for _ in range(8 << 10):
        scanner.feed(megabyte)
    assert scanner.close().content_size == 8 << 30


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/b", "a/b"),
        ("a/b", "./a/b"),
        ("a/b", "a//b"),
        ("a/b", "a/./b"),
        ("a/b", "a/x/../b"),
        ("a/b", "/a/b"),
        ("a", "./a/."),
    ],
)
def test_of_equal_paths_the_last_counts_and_the_summary_is_partial(first: str, second: str) -> None:
    for names in ((first, second), (second, first)):
        summary = scan(file(names[0], 1000) + file("other", 5) + file(names[1], 10) + END)
        assert summary.content_size == 15
        assert summary.partial
        assert repr(first) in summary.reason


def test_a_directory_is_equal_with_and_without_its_slash() -> None:
    assert scan(member_header("d/", mode=0, type="dir") + member_header("d", mode=0, type="dir")).partial
    assert scan(member_header("./", mode=0, type="dir") + member_header(".", mode=0, type="dir")).partial


def test_equal_paths_are_found_across_pieces() -> None:
    scanner = TarScanner()
    for name, size in (("a", 100), ("b", 20), ("c", 3), ("a", 4), ("b", 50), ("d", 600)):
        scanner.feed(file(name, size))
    summary = scanner.close()
    assert summary.content_size == 3 + 4 + 50 + 600
    assert "'a'" in summary.reason


def test_different_paths_are_no_reason() -> None:
    names = ["a", "a.", ".a", "..a", "a/b", "b/a", ".wh.a", "a/.wh.b", "a/...", "A", " a", "a "]
    assert not scan(b"".join(map(file, names))).partial


def test_beyond_the_limit_paths_are_not_compared_and_the_summary_says_so() -> None:
    scanner = TarScanner(distinct_paths=3)
    for name, size in (("a", 1), ("a", 2), ("b", 4), ("c", 8), ("b", 16)):
        scanner.feed(file(name, size))
    assert scanner.close() == TarSummary(5, 30, 5 * 1024, partial=True, reason="two members have the path 'a'")
    scanner = TarScanner(distinct_paths=1)
    scanner.feed(file("a", 1))
    scanner.feed(file("a", 2))
    summary = scanner.close()
    assert (summary.content_size, summary.partial) == (3, True)
    assert "more than 1 members" in summary.reason


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 1000])
def test_pieces_may_have_any_size_and_kind(piece: int) -> None:
    data = (
        file("a", 700)
        + made_with_tarfile(("p", b"0", 9, ""), format_=tarfile.PAX_FORMAT)
        + link("l", "a")
        + END
        + b"rest"
    )
    scanner = TarScanner()
    for at in range(0, len(data), piece):
        scanner.feed(memoryview(data)[at : at + piece])
        scanner.feed(bytearray())
    assert scanner.close() == scan(data) == TarSummary(3, 710, len(data))


def test_the_number_in_an_error_counts_all_members_before() -> None:
    good = b"".join(file(str(number), 10) for number in range(5))
    with pytest.raises(InvalidTar, match=rf"tar member 6 \(at byte {len(good)}\)"):
        scan(good + b"x" * 512)
    slow = made_with_tarfile(*[("ü" * 60 + str(n), b"0", 9, "") for n in range(5)], format_=tarfile.GNU_FORMAT)
    with pytest.raises(InvalidTar, match=rf"tar member 11 \(at byte {len(good + slow)}\)"):
        scan(good + slow + b"x" * 512)


@pytest.mark.sampled(2)
def test_memory_of_many_paths_is_small() -> None:
    count = 10_000
    block = bytearray(member_header("some/rather/long/folder/file-00000000", mode=0o644))
    pieces = []
    for number in range(count):
        block[29:37] = b"%08d" % number
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
        pieces.append(bytes(block))
    data = b"".join(pieces)
    tracemalloc.start()
    try:
        scanner = TarScanner()
        for at in range(0, len(data), 1 << 18):
            scanner.feed(memoryview(data)[at : at + (1 << 18)])
        assert tracemalloc.get_traced_memory()[0] < count * 200
    finally:
        tracemalloc.stop()
    assert scanner.close() == TarSummary(count, 0, len(data))


def test_claims_in_headers_take_no_memory() -> None:
    huge = tarfile.TarInfo("f")
    huge.size = 1 << 62
    tracemalloc.start()
    try:
        scanner = TarScanner()
        scanner.feed(huge.tobuf(tarfile.GNU_FORMAT))
        piece = bytes(1 << 20)
        for _ in range(50):
            scanner.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(InvalidTar, match="content"):
        scanner.close()


def test_what_the_receiver_of_headers_raises_passes_through() -> None:
    def fail(_: bytes) -> None:
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        TarScanner(headers=fail).feed(file("a"))


def test_headers_are_handed_over_while_the_layer_passes() -> None:
    sink = io.BytesIO()
    scanner = TarScanner(headers=sink.write)
    scanner.feed(file("a", 5000))
    assert len(sink.getvalue()) == 504


@pytest.mark.parametrize("folder", ["dockerd-20.10-overlay2", "dockerd-29-overlay2"])
@pytest.mark.parametrize(("archive", "inspected"), [("tiny", "example_tiny_1.0"), ("dup", "example_dup_v1")])
def test_the_size_of_an_image_is_what_daemons_with_overlay2_say(
    data: Path, folder: str, archive: str, inspected: str
) -> None:
    contents, links = {}, {}
    with (data / folder / f"{archive}.tar").open("rb") as file:
        reader = TarReader(file)
        for entry in reader:
            contents[entry.name] = b"".join(reader.chunks())
            links[entry.name] = entry.linkname.removeprefix("../")
    layers = json.loads(contents["manifest.json"])[0]["Layers"]
    sizes = [scan(contents[links[layer] or layer]).content_size for layer in layers]
    assert sum(sizes) == json.loads((data / folder / "api" / f"inspect-{inspected}.json").read_text())["Size"]
