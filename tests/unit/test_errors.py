"""Errors: each has facts of its own, and the reference lists them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def every(kind: type[errors.OrlopError] = errors.OrlopError) -> Iterator[type[errors.OrlopError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in every()]
    assert len(codes) == len(set(codes))


def test_the_reference_lists_every_error_as_it_is(data: Path):
    reference = (data.parents[1] / "docs" / "errors.md").read_text()
    rows = [line for line in reference.splitlines() if "| `" in line and line.count("|") == 6]
    assert len(rows) == len(list(every()))
    for kind in every():
        assert f"`{kind.__name__}` | `{kind.code}` | {kind.exit_code} | {kind.http_status} |" in reference
