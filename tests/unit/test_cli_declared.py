"""What is read without a parser is what click reads, and runs the same."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.cli import plain
from orlop.cli.clicked import command_of
from orlop.cli.declared import DeclaredGroup, WrongUsage
from orlop.cli.flagged import Switch, rewritten
from orlop.cli.root import orlop
from tests.crash import pace
from tests.interop.programs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orlop.cli.declared import Declared


def commands(group: DeclaredGroup, *above: str) -> Iterator[tuple[str, Declared]]:
    for name in group.places:
        found = group.find(name)
        assert found is not None
        words = (*above, name)
        yield " ".join(words), found
        if isinstance(found, DeclaredGroup):
            yield from commands(found, *words)


ALL = {"": orlop, **dict(commands(orlop))}
#: `image ls` and `images` are one and the same.
DIFFERENT = list({id(declared): name for name, declared in ALL.items()}.values())
VALUES = [
    "",
    "-",
    "a",
    "a/b:1",
    "table",
    "json",
    "{{.ID}}",
    "10GB",
    "1",
    "0",
    "linux/arm64",
    "members=3",
    "é",
    "--",
    "x=y",
]


@pytest.mark.parametrize("width", [60, 70, 78, 80])
def test_help_breaks_no_line_after_a_hyphen(width: int) -> None:
    for name in DIFFERENT:
        command = command_of(ALL[name])
        text = command.get_help(command.make_context(name, [], resilient_parsing=True, terminal_width=width))
        assert [line for line in text.splitlines() if re.search(r"\w-$", line)] == [], name
        assert "\u2011" not in text


def words_of(declared: Declared) -> st.SearchStrategy[list[str]]:
    """Words of a command, most of which fit."""
    options = [word for one in declared.parameters for word in one.words]
    odd = [
        "--nope",
        "-x",
        "-qa",
        "--format=json",
        "--filter=a=b",
        "-fjson",
        "-f=json",
        "-q=false",
        "-qf",
        "-qaf=x=y",
        "-aq=false",
        "-n5",
        "--no-tr",
        "--no-trunc=maybe",
        "\udcff",
        "--filter=\udcff",
        "x" * (1 << 20),
        "---",
        "-=",
        "--=",
        "--help",
        "-h",
        "--root=/a",
    ]
    short = [word[1] for word in options if len(word) == 2]
    joined = [f"-{one}{other}{end}" for one in short for other in short for end in ("", "x", "=", "=x", "=0")]
    cut = [word[:-1] for word in options if len(word) > 4]
    given = [f"{word}={value}" for word in options for value in ("true", "", "--", "=", "-q", "\udcff")]
    several = st.sampled_from([*options, *VALUES, *odd, *joined, *cut, *given])
    values = st.sampled_from([*VALUES, *options, *given])
    pairs = st.tuples(st.sampled_from(options or ["-q"]), values).map(list)
    return st.lists(st.one_of(several.map(lambda word: [word]), pairs), max_size=6).map(lambda many: [*chain(*many)])


def clicked(declared: Declared, words: list[str], variables: Mapping[str, str]) -> dict[str, object] | None:
    """The values that click gives to a command's parameters, or nothing where it refuses the words or ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ORLOP_ROOT", "ORLOP_ALLOW_NETWORK_FS"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            with command_of(declared).make_context("x", list(words)) as context:
                return {one.dest: context.params[one.dest] for one in declared.parameters}
        except (click.ClickException, click.exceptions.Exit):
            return None


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", DIFFERENT)
@settings(max_examples=pace.examples(30))
@given(data=st.data())
def test_plain_words_mean_what_click_reads(name, data):
    declared = ALL[name]
    words = data.draw(words_of(declared))
    variables = data.draw(
        st.sampled_from([{}, {"ORLOP_ROOT": "/r"}, {"ORLOP_ROOT": ""}, {"ORLOP_ALLOW_NETWORK_FS": "1"}])
    )
    rest = list(words)
    try:
        read = plain.read(declared, rest, variables)
    except WrongUsage:
        read = None
    if isinstance(declared, DeclaredGroup) and (not rest or rest[0] not in declared.places):
        # Then there is no command to run, and click explains it.
        return
    if read is not None:
        assert read == clicked(declared, words, variables)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_looks_like_a_flag_is_left_as_it_is_where_it_is_a_value(name: str) -> None:
    options = {word: Switch(None) if one.is_flag else None for one in ALL[name].parameters for word in one.words}
    flags = [word for word, flag in options.items() if flag]
    for option in options.keys() - flags:
        for word in (*(f"{flag}=false" for flag in flags), "--", "-", ""):
            assert [*rewritten([option, word, "a"], options)] == [option, word, "a"]
        if not option.startswith("--"):
            assert [*rewritten([f"{option}=a=b"], options)] == [option, "a=b"]
            assert [*rewritten([f"{option}a=b"], options)] == [option, "a=b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-aq=false", "-a"),
        ("-aq=1", "-a -q"),
        ("-q=false", ""),
        ("-qaf=x", "-qaf x"),
        ("-qf x=y", "-qf x=y"),
        ("-qf --quiet=false --quiet=true", "-qf --quiet=false --quiet"),
        ("-- --quiet=false", "-- --quiet=false"),
        ("a --quiet=false -b=1", "a -b=1"),
    ],
)
def test_flags_and_short_options_take_values_as_with_docker(words: str, expected: str) -> None:
    options = {"-a": Switch(None), "-q": Switch(None), "--quiet": Switch(None), "-f": None}
    assert [*rewritten(words.split(), options)] == expected.split()


def test_a_group_takes_such_words_before_a_command_alone() -> None:
    options = {"--quiet": Switch(None), "--root": None}
    words = ["--root", "--quiet=false", "--quiet=false", "images", "--quiet=false"]
    assert [*rewritten(words, options, only_first=True)] == ["--root", "--quiet=false", "images", "--quiet=false"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ALL)
def test_a_command_without_words_is_plain_where_it_may_be(name):
    declared = ALL[name]
    if not isinstance(declared, DeclaredGroup):
        assert plain.read(declared, [], {}) in (None, clicked(declared, [], {}))


@pytest.mark.parametrize(
    "words",
    [
        ["images"],
        ["images", "-a", "--no-trunc", "--filter", "dangling=true", "--format", "{{.ID}}"],
        ["image", "ls", "-q"],
        ["inspect", "a", "b", "--format", "{{.Id}}"],
        ["history", "-q", "a"],
        ["tag", "a", "b"],
        ["rmi", "-f", "a", "b"],
    ],
)
def test_what_people_write_often_is_plain(words):
    declared: Declared = orlop
    rest = ["--root", "/r", *words]
    while isinstance(declared, DeclaredGroup):
        assert plain.read(declared, rest, {}) is not None
        found = declared.find(rest.pop(0))
        assert found is not None
        declared = found
    assert plain.read(declared, rest, {}) is not None


_RUN = """
import sys
from orlop.cli.main import run

status = run(sys.argv[1:])
sys.exit("click was imported" if "click" in sys.modules else 0)
"""


@pytest.mark.parametrize("words", ["images", "tag a:1 b:1", "history a:1", "inspect a:1", "--version"])
def test_a_plain_command_imports_no_parser(tmp_path: Path, words: str) -> None:
    argv = [sys.executable, "-c", _RUN, *words.split()]
    done = subprocess.run(
        argv, env=environment(ORLOP_ROOT=str(tmp_path / "root")), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
