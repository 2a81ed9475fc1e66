"""Columns of text, aligned as Docker's command line aligns them (its copy of Go's ``text/tabwriter``)."""

from __future__ import annotations

import re
from typing import Final

_MINIMUM: Final = 10
_PADDING: Final = 3
_CELL_END: Final = re.compile("[\t\v]")


def align(text: str) -> str:
    """Align cells that end in a tab.

    A column is as wide as its widest cell and three spaces, at least ten characters. It reaches over those lines in a
    row that have a cell in it: a line without one, such as the second line of a comment, ends it. What follows a line's
    last tab belongs to no column. A form feed ends a line and all columns.
    """
    return "\n".join(_align_section(section) for section in text.split("\f"))


def width(text: str) -> int:
    """Count the columns of a terminal that a text fills: two for a wide East Asian character, one for any other."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width  # noqa: PLC0415 - most lists are ASCII

    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def ellipsis(text: str, limit: int) -> str:
    """Cut a text that is wider than ``limit`` columns, and put an ellipsis in place of what is missing."""
    if width(text) <= limit:
        return text
    kept = filled = 0
    for kept, character in enumerate(text):  # noqa: B007 - used below
        filled += width(character)
        if filled > limit - 1:
            break
    return f"{text[:kept]}…"


def _align_section(text: str) -> str:
    lines = [_CELL_END.split(line) for line in text.split("\n")]
    # For each column, the lines in a row that have a cell in it so far.
    columns: list[list[list[str]]] = []
    for line in [*lines, [""]]:
        cells = len(line) - 1
        for number in range(cells, len(columns)):
            _pad(columns[number], number)
        del columns[cells:]
        columns.extend([] for _ in range(len(columns), cells))
        for column in columns:
            column.append(line)
    return "\n".join("".join(line) for line in lines)


def _pad(lines: list[list[str]], number: int) -> None:
    widths = [width(line[number]) for line in lines]
    wanted = max(_MINIMUM, max(widths) + _PADDING)
    for line, filled in zip(lines, widths, strict=True):
        line[number] += " " * (wanted - filled)
