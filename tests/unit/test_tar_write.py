from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.streams.tar import END, MTIME_MAX, TarReader, member_header, padding
from orlop.streams.tar_entry import TarEntry
from orlop.streams.tar_write import common_header, entry_header

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("folder", ["dockerd-20.10-overlay2", "dockerd-29-overlay2"])
def test_archives_of_daemons_are_rebuilt_byte_for_byte(data: Path, folder: str) -> None:
    archives = [path for path in sorted((data / folder).glob("*.tar")) if path.name != "data-root.tar"]
    assert archives
    for archive in archives:
        raw = archive.read_bytes()
        rebuilt = b""
        reader = TarReader(io.BytesIO(raw))
        for entry in reader:
            assert entry.type in ("file", "dir", "symlink")
            rebuilt += member_header(
                entry.name,
                size=entry.size,
                mode=entry.mode,
                mtime=entry.mtime[0],
                type=entry.type,  # type: ignore[arg-type]
                linkname=entry.linkname,
                uname=entry.uname,
                gname=entry.gname,
            )
            rebuilt += b"".join(reader.chunks()) + padding(entry.size)
        assert rebuilt + END == raw


def test_a_time_beyond_eleven_digits_is_written_as_go_does() -> None:
    written = member_header("dir/base", mode=0o644, mtime=8835955200, uname="root", gname="root")
    assert len(written) == 1536
    pax, body, real = written[:512], written[512:1024], written[1024:]
    assert pax[:100].rstrip(b"\0") == b"dir/PaxHeaders.0/base"
    assert pax[100:148] == b"0000000\0" * 3 + b"00000000024\x0000000000000\0"
    assert pax[156:157] == b"x"
    assert pax[257:] == b"ustar\x0000" + bytes(247)
    assert body == b"20 mtime=8835955200\n".ljust(512, b"\0")
    assert real == member_header("dir/base", mode=0o644, uname="root", gname="root")


def test_the_pax_header_of_a_directory_lies_in_it() -> None:
    written = member_header("D/", mode=0o755, type="dir", mtime=MTIME_MAX)
    assert written[:100].rstrip(b"\0") == b"D/PaxHeaders.0"
    assert member_header("f", mode=0, mtime=MTIME_MAX)[:100].rstrip(b"\0") == b"PaxHeaders.0/f"


@pytest.mark.parametrize("mtime", [-1, -62135596800, MTIME_MAX + 1])
def test_times_that_cannot_be_said_are_zero(mtime: int) -> None:
    assert member_header("f", mode=0o644, mtime=mtime) == member_header("f", mode=0o644)


def test_the_last_number_of_eleven_octal_digits_needs_no_pax() -> None:
    assert len(member_header("f", mode=0, size=8589934591, mtime=8589934591)) == 512
    assert len(member_header("f", mode=0, size=8589934592)) == 1536


def read_one(header: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(header + END)) as archive:
        [member] = archive.getmembers()
        return member


@pytest.mark.parametrize(
    "name",
    [
        "a" * 100,
        "a" * 101,
        "p" * 155 + "/" + "b" * 100,
        "p" * 156 + "/" + "b",
        "ä/ö",
        "d/" * 120 + "f",
        "d/" * 50,
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("linkname", ["target", "t" * 101, "ü"])
def test_names_and_links_of_any_length_and_letters(name: str, linkname: str) -> None:
    written = member_header(name, mode=0o777, type="symlink", linkname=linkname, mtime=8589934592)
    member = read_one(written)
    assert (member.name.rstrip("/"), member.linkname, member.mtime) == (name.rstrip("/"), linkname, 8589934592)
    [entry] = TarReader(io.BytesIO(written))
    assert (entry.name, entry.linkname, entry.mtime) == (name, linkname, (8589934592, 0))


def test_a_long_path_is_split_into_prefix_and_name_where_that_suffices() -> None:
    written = member_header("p" * 155 + "/" + "b" * 100, mode=0)
    assert len(written) == 512
    assert written[345:500] == b"p" * 155


def test_a_name_cut_at_a_slash_does_not_look_like_a_directory() -> None:
    written = member_header("a" * 99 + "/" + "bä", mode=0)
    assert written[-512:][:100].rstrip(b"\0") == b"a" * 99


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "a\0b"}, {"linkname": "\0"}, {"size": -1}, {"uname": "u" * 33}, {"gname": "\0"}]
)
def test_what_no_tar_can_say_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no tar member"):
        member_header(**{"name": "f", "mode": 0, **wrong})  # type: ignore[arg-type]


def test_padding_fills_blocks() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
    assert bytes(1024) == END


@given(
    st.one_of(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=101), st.just("é")),
    st.sampled_from(["file", "dir", "symlink", "fifo"]),
    st.integers(0, 0o177777),
    st.one_of(st.integers(0, 1 << 20), st.sampled_from([0o77777777777, 0o100000000000])),
    st.tuples(st.one_of(st.integers(-1, 1 << 33), st.just(0o100000000000)), st.sampled_from([0, 0, 1])),
)
def test_a_common_header_is_the_one_that_an_entry_gets(
    name: str, kind: str, mode: int, size: int, mtime: tuple[int, int]
) -> None:
    entry = TarEntry(name, kind, mode, 0, 0, size, mtime, "", "", "", 0, 0, {}, 0, 0, 0)
    slow = entry_header(entry, name=name)
    quick = common_header(name, type=kind, mode=mode, size=size, mtime=mtime)
    if quick is None:
        assert kind not in {"file", "dir"} or len(slow) > 512
    else:
        assert quick == slow
