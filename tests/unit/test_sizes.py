"""Sizes as users write them: one meaning, wherever one is given."""

from __future__ import annotations

import click
import pytest

from orlop.cli.clicked import command_of
from orlop.cli.commands.prune import prune
from orlop.cli.limits import read_number
from orlop.errors import InvalidInput
from orlop.model.limits import Limits
from orlop.model.sizes import human_size, parse_size

SIZES = {
    "0": 0,
    "10": 10,
    "10b": 10,
    "10k": 10 << 10,
    "10kB": 10_000,
    "10KiB": 10 << 10,
    "10m": 10 << 20,
    "10M": 10 << 20,
    "10MB": 10_000_000,
    "10mb": 10_000_000,
    "10 MB": 10_000_000,
    "10Mi": 10 << 20,
    "10MiB": 10 << 20,
    "1.5g": 3 << 29,
    "1.5GB": 1_500_000_000,
    "2t": 2 << 40,
    "1P": 1 << 50,
}
WRONG = [
    "",
    "x",
    "-1",
    "+1",
    "1.5",
    "1.5B",
    "10ib",
    "10i",
    "1e3",
    "10MM",
    "10mbit",
    "10 M B",
    ".5m",
    "1_0",
    "\u0661",
    "1" * 19,
]


def max_size(text: str) -> int:
    context = command_of(prune).make_context("prune", ["--max-size", text])
    found = context.params["max_size"]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_a_size_is_the_same_wherever_it_is_given(text: str, size: int):
    assert parse_size(text) == parse_size(f" {text} ") == max_size(text) == read_number(text, is_size=True) == size


@pytest.mark.parametrize("text", WRONG)
def test_what_is_not_a_size_is_refused_everywhere(text: str):
    with pytest.raises(InvalidInput, match="is not a size; give one such as 500MB"):
        parse_size(text)
    with pytest.raises(click.BadParameter, match="is not a size"):
        max_size(text)
    assert read_number(text, is_size=True) is None


def test_what_is_printed_is_read_as_what_it_says():
    for size in (0, 1, 999, 12_000, 123_000_000, 4_000_000_000):
        assert parse_size(human_size(size)) == size


def test_a_number_of_something_else_has_no_unit():
    assert read_number("10", is_size=False) == 10
    assert [read_number(text, is_size=False) for text in ("10m", "10B", "1.5", "10 ")] == [None] * 4
    assert read_number("none", is_size=True) == read_number("none", is_size=False) == Limits.UNLIMITED
