"""Searching files of images: what expressions fit, what is read, and how the work grows."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orlop
from orlop.errors import InvalidFilter, PathNotFound
from orlop.inside.automaton import Automaton
from orlop.inside.expression import parse
from orlop.inside.grep import Search
from tests.needs import need
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.inside.automaton import _State
    from orlop.inside.view import ImageFiles

LAYERS = (
    layer("etc/", ("etc/a", b"one\nTwo words\nthree\n"), ("etc/gone", b"two old\n"), ("etc/changed", b"two before\n")),
    layer(("etc/changed", b"two after"), "etc/.wh.gone", ("bin", b"\0two\n\0two"), "etc/same=>etc/changed"),
)


@pytest.fixture(params=[False, True], ids=["plain", "gzip"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageFiles]:
    (tmp_path / "made.tar").write_bytes(image(*LAYERS, compressed=request.param))
    with orlop.open(tmp_path / "root") as images:
        images.load(tmp_path / "made.tar")
        with images.files("made:1") as found:
            yield found


def test_lines_are_found_in_the_order_of_layers(files: ImageFiles) -> None:
    found = [(one.path, one.layer, one.line, one.text, one.binary) for one in files.grep("two", ignore_case=True)]
    assert found == [
        ("/etc/a", 1, 2, b"Two words", False),
        ("/etc/changed", 2, 1, b"two after", False),
        ("/bin", 2, 0, b"", True),
    ]
    assert [one.path for one in files.grep("two", "/etc/same")] == ["/etc/same"]
    assert [one.path for one in files.grep("t", "etc/a", "/bin", max_size=12)] == ["/bin"]
    assert not list(files.grep("Two.", fixed=True))
    with pytest.raises(PathNotFound):
        list(files.grep("x", "/none"))


def test_hidden_files_are_found_where_asked(files: ImageFiles) -> None:
    found = [(one.layer, one.path) for one in files.grep("^two (old|before)$", hidden=True)]
    assert found == [(1, "/etc/gone"), (1, "/etc/changed")]
    assert [one.path for one in files.grep("two", "/etc/gone", hidden=True)] == ["/etc/gone"]


ATOMS = st.sampled_from(["a", "b", "é", ".", "[ab]", "[^a]", "[a-c]", r"\w", r"\.", r"\d", "^", "$"])
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, COUNTS).map(lambda two: f"({two[0]}){two[1]}"),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("abcé1. \n", max_size=30))
def test_lines_are_those_that_a_backtracking_matcher_finds(pattern: str, text: str) -> None:
    data = text.encode()
    # Of one byte each, as for grep in the C locale; `$` of `re` fits before a newline too, so lines are apart.
    other = re.compile(pattern.replace("é", "(?:é)").encode().replace(rb"[^a]", rb"[^a\n]"))
    expected = [number for number, line in enumerate(data.split(b"\n")) if other.search(line)]
    found = [data.count(b"\n", 0, start) for start, _ in Automaton(parse(pattern)).lines(data)]
    assert found == expected


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("cat", "cat", True),
        ("cat", "a cat.", True),
        ("cat", "concatenate", False),
        ("cat", "concat cat", True),
        ("^cat", "cat", True),
        ("a+", "aab aa", True),
        ("a+", "aab", False),
    ],
)
def test_words_are_whole(pattern: str, text: str, *, fits: bool) -> None:
    assert bool(list(Search(pattern, word=True).lines([text.encode()]))) is fits


@given(PATTERNS, st.text("abcé1. \n", max_size=30), st.integers(1, 12))
def test_lines_that_do_not_fit_are_the_others(pattern: str, text: str, piece: int) -> None:
    data = text.encode()
    chunks = [data[at : at + piece] for at in range(0, len(data), piece)]
    every = [*enumerate(data.removesuffix(b"\n").split(b"\n"), 1)] if data else []
    fitting = [*Search(pattern).lines(chunks)]
    assert [*Search(pattern, invert=True).lines(chunks)] == [one for one in every if one not in fitting]


def test_a_long_line_is_not_the_other_if_any_piece_of_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.inside.grep._PIECE", 10_000)
    monkeypatch.setattr("orlop.inside.grep._LOOKED_AT", 0)
    for start, end, found in (("xx", "", []), ("", "xx", []), ("", "", [2])):
        text = f"xx\n{start}{'a' * 50_000}{end}\nxx\nb".encode()
        chunks = [text[at : at + 4000] for at in range(0, len(text), 4000)]
        numbers = [one[0] for one in Search("xx", invert=True).lines(chunks) if one]
        assert numbers == [*found, 4]


@pytest.mark.parametrize(
    "pattern",
    ["a****", "a|*b", "*b", "(*b)", "(|*b)", "+b", "^*b", "$*", "a|+b", "{1}b", "ba+?b", "ba?+b", "ba*{2}+b", "x??+y"],
)
def test_repetitions_mean_what_they_mean_to_grep(pattern: str) -> None:
    lines = ["b", "*b", "xb", "a", "a*", "", "c", "{1}b", "bb", "bab", "baab", "x", "xy", "xxy", "y", "+b"]
    asked = [need("grep"), "-n", "-E", "-e", pattern]
    told = subprocess.run(asked, input="\n".join(lines).encode(), env={"LC_ALL": "C"}, capture_output=True, check=True)
    found = [one[0] for one in Search(pattern).lines(["\n".join(lines).encode()]) if one]
    assert found == [int(line.partition(b":")[0]) for line in told.stdout.splitlines()]


@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize(
    "pattern",
    ["[^a]", "[^A-Z]", "[^[:upper:]b]", r"\W", "[a-c]", r"[\.]", r"[^\a]", r"[a\]", r"x[\]]", "[]a]", "[^]a]"],
)
def test_brackets_mean_what_they_mean_to_grep(pattern: str, *, ignore_case: bool) -> None:
    lines = [bytes((byte,)) for byte in range(1, 256) if byte != 10] + [b"x\\]", b"x]"]
    asked = [need("grep"), "-a", "-n", "-E", *(["-i"] if ignore_case else []), "-e", pattern]
    told = subprocess.run(asked, input=b"\n".join(lines), env={"LC_ALL": "C"}, capture_output=True, check=True)
    found = [one[0] for one in Search(pattern, ignore_case=ignore_case).lines([b"\n".join(lines)]) if one]
    assert found == [int(line.partition(b":")[0]) for line in told.stdout.splitlines()]


@pytest.mark.parametrize("pattern", [r"\<a", r"a\>", r"\`a", r"a\'", r"\ba", "[:digit:]", "[[.a.]]", "[[=a=]]"])
def test_what_grep_takes_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidFilter):
        Search(pattern)


def test_lines_of_a_binary_file_are_counted(files: ImageFiles) -> None:
    assert len(list(files.grep("two", "/bin"))) == 1
    assert list(Search("two").lines([b"\0two\n\0two\nno\ntwo two"], every=True)) == [None] * 3


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "a{", "a{2,1}", "a{1}{2}{1}{2}", "(?=a)", r"(a)\1", "\\", "[[:x:]]", "a\nb", "((a{99}){99}){99}"],
)
def test_what_cannot_be_matched_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidFilter):
        Search(pattern)


@pytest.mark.sampled(2)
def test_refusals_do_not_depend_on_how_deep_a_pattern_is() -> None:
    for pattern in ("(" * 10_000, "a" + "{1}" * 10_000, "(" * 10_000 + "a" + ")" * 10_000):
        with pytest.raises(InvalidFilter):
            Search(pattern)
    assert list(Search("xa" + "*+?" * 10_000).lines([b"y\nx"])) == [(2, b"x")]


class _Counting(Automaton):
    """Counts the states that are made."""

    made = 0

    def _step(self, state: _State, byte: int) -> _State:
        self.made += 1
        return super()._step(state, byte)


@pytest.mark.parametrize(("pattern", "piece"), [("(a|aa)+$", b"a"), ("(.*)*x.*y", b"xx"), ("(a?){30}a{30}b", b"a")])
def test_a_line_made_to_stop_a_matcher_does_not(pattern: str, piece: bytes) -> None:
    """A matcher that backtracks takes years for these; here all but the first few steps are known already."""
    made = []
    for count in (2_000, 4_000):
        automaton = _Counting(parse(pattern))
        assert not list(automaton.lines(piece * count + b"!"))
        made.append(automaton.made)
    assert made[0] == made[1] <= 200


@pytest.mark.sampled(2)
def test_states_are_bounded() -> None:
    automaton = _Counting(parse("(a|b)*a(a|b){12}c"))
    number = 1
    line = bytearray()
    for _ in range(20_000):
        number = number * 1103515245 + 12345 & 0x7FFFFFFF
        line += b"ab"[number >> 16 & 1 :][:1]
    assert not list(automaton.lines(bytes(line) + b"\nc"))
    assert automaton.made <= 20_002
    assert len(automaton._states) <= 500


@pytest.mark.sampled(2)
def test_long_lines_are_searched_in_pieces() -> None:
    long = b"x" * (3 << 20) + b"needle" + b"y" * (2 << 20)
    chunks = [b"first\n", *(long[at : at + 70_000] for at in range(0, len(long), 70_000)), b"\nneedle\n"]
    found = list(Search("needle").lines(chunks))
    assert [one and one[0] for one in found] == [2, 3]
    assert all(one and len(one[1]) <= 2 << 20 for one in found)
    assert not list(Search("^y").lines(chunks))
    assert not list(Search("x$").lines(chunks))


def test_a_file_is_binary_however_it_is_cut() -> None:
    assert list(Search("a").lines([b"a\n", b"b", b"\0a"])) == [None]
    assert list(Search("^$").lines([b"a\n\nb\n"])) == [(2, b"")]
