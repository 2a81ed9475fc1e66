"""Unified diffs of texts: they lead from one to the other, and no pair of texts takes long."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.inside import lines
from orlop.inside.lines import unified

if TYPE_CHECKING:
    from pathlib import Path


def patched(old: bytes, diff: list[bytes]) -> bytes:
    """Apply a unified diff as its form says, and check its numbers."""
    before = old.split(b"\n")
    ends = [b"\n"] * (len(before) - 1) + [b""]
    whole = [line + end for line, end in zip(before, ends, strict=True) if line + end]
    out: list[bytes] = []
    at = 0
    for place, line in enumerate(diff[2:], 2):
        bare = place + 1 < len(diff) and diff[place + 1].startswith(b"\\")
        text = line[1:] + (b"" if bare else b"\n")
        if line.startswith(b"@@"):
            first, _, size = line.split()[1][1:].partition(b",")
            start = int(first) - (size != b"0")
            out += whole[at:start]
            at = start
        elif line[:1] in {b" ", b"-"}:
            assert whole[at] == text
            out += [text] if line[:1] == b" " else []
            at += 1
        elif line[:1] == b"+":
            out.append(text)
    return b"".join([*out, *whole[at:]])


@given(st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\r\n", b"\n", b"e"])), st.data())
def test_a_diff_leads_from_one_text_to_the_other(parts: list[bytes], data: st.DataObject) -> None:
    changed = data.draw(
        st.permutations(parts) | st.lists(st.sampled_from([*parts, b"x\n", b"y"]) if parts else st.just(b"z"))
    )
    old, new = b"".join(parts), b"".join(changed)
    diff = [*unified(old, new, "a", "b")]
    assert (diff == []) is (old == new)
    if diff:
        assert patched(old, diff) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"a\nb\n", b"a\r\nb\n"),
        (b"a\nb\n", b"a\nb"),
        (b"", b"a"),
        (b"a\x0cb\x85\n", b"a\x0cb\n"),
        (b"a\n" * 30, b"a\n" * 9),
    ],
)
def test_only_a_newline_ends_a_line_and_nothing_is_left_out(old: bytes, new: bytes) -> None:
    for one, other in ((old, new), (new, old)):
        assert patched(one, [*unified(one, other, "a", "b")]) == other


def test_a_diff_is_as_short_as_a_person_would_write_it() -> None:
    old = b"".join(b"%d\n" % number for number in range(20))
    new = old.replace(b"5\n", b"five\n", 1).replace(b"17\n", b"")
    assert [*unified(old, new, "a/x", "b/x")] == [
        *(b"--- a/x", b"+++ b/x", b"@@ -3,7 +3,7 @@", b" 2", b" 3", b" 4", b"-5", b"+five", b" 6", b" 7", b" 8"),
        *(b"@@ -15,6 +15,5 @@", b" 14", b" 15", b" 16", b"-17", b" 18", b" 19"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x", "a/x"),
        ("x y", "a/x y\t"),
        ("x ", '"a/x "'),
        ("x\ty", '"a/x\\ty"'),
        ('x"y\\z', '"a/x\\"y\\\\z"'),
        ("x\n--- a/y", '"a/x\\n--- a/y"'),
        ("\x01\x7f\x1b", '"a/\\001\\177\\033"'),
        ("caf\udce8 \xe9", "a/caf\udce8 \xe9\t"),
    ],
)
def test_names_are_written_as_patch_reads_them(name: str, shown: str) -> None:
    header, other, *_ = unified(b"1\n", b"2\n", f"a/{name}", "b/x")
    assert header == f"--- {shown}".encode("utf-8", "surrogateescape")
    assert other == b"+++ b/x"


@pytest.mark.needs("patch")
@pytest.mark.parametrize(
    "name", ["x y", "x ", "x 2020-01-01 y", "x\ty", 'x"y', "x\\y", "x\ny", "x'y", "\x01\x7f", "\udce8"]
)
def test_patch_finds_each_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1\n")
    diff = b"\n".join([*unified(b"1\n", b"2\n", f"a/{name}", f"b/{name}"), b""])
    subprocess.run(["patch", "-p1", "-d", tmp_path], input=diff, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / name).read_bytes() == b"2\n"


class Counted(bytes):
    """A line that counts how often such lines are compared."""

    times = 0
    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.times += 1
        return bytes.__eq__(self, other)


def texts(kind: str, size: int) -> tuple[list[bytes], list[bytes]]:
    numbers = [b"%d" % number for number in range(size)]
    if kind == "a line more after each":
        return numbers, [line for number in numbers for line in (number, b"n" + number)]
    if kind == "backwards":
        return numbers, numbers[::-1]
    if kind == "two of each":
        return [*numbers, *numbers], [*numbers[::-1], *numbers[::-1]]
    return [b"a", b"b"] * size, [b"b", b"b", b"a"] * size


@pytest.mark.parametrize("kind", ["a line more after each", "backwards", "two of each", "few that are often there"])
def test_the_work_grows_with_the_texts_only(kind: str) -> None:
    work = []
    for size in (1000, 4000):
        Counted.times = 0
        old, new = ([Counted(line) for line in side] for side in texts(kind, size))
        assert lines._changes(old, new)
        work.append(Counted.times)
    assert work[1] < 6 * max(work[0], 1000)
