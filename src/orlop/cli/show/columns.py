"""Columns of text as Docker's command line aligns them: like Go's ``text/tabwriter``, but by width on a terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


_MINIMUM: Final = 10
_PADDING: Final = 3
_JOINER: Final = "\u200d"
_ELLIPSIS: Final = "…"
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Mn", "Me", "Zl", "Zp"})


def align(text: str) -> str:
    """Align cells that end in a tab.

    A column is as wide as its widest cell and three spaces, at least ten characters. It reaches over those lines in a
    row that have a cell in it: a line without one, such as the second line of a comment, ends it. What follows a line's
    last tab belongs to no column. A form feed ends a line and all columns.
    """
    return "\n".join(_align_section(section) for section in text.split("\f"))


def width(text: str) -> int:
    """Count the columns of a terminal that a text fills: wide characters two, those that are not seen none."""
    # What lists cut off ends in an ellipsis, which fills one column.
    plain = text.replace(_ELLIPSIS, ".")
    if plain.isascii() and plain.isprintable():
        return len(plain)
    from unicodedata import category  # noqa: PLC0415 - most lists are ASCII

    columns = 0
    previous = ""
    for character in text:
        # What a joiner joins is drawn in place of the character before it.
        if category(character) not in _INVISIBLE and previous != _JOINER:
            columns += _columns(character)
        previous = character
    return columns


def ellipsis(text: str, limit: int) -> str:
    """Cut a text that is wider than ``limit`` columns, and put an ellipsis in place of what is missing.

    As Docker does it, characters that are not seen count here too.
    """
    if text[:limit].isascii():
        return text if len(text) <= limit else f"{text[: limit - 1]}{_ELLIPSIS}"
    filled = kept = 0
    for number, character in enumerate(text):
        filled += _columns(character)
        if filled < limit:
            kept = number + 1
    return text if filled <= limit else f"{text[:kept]}{_ELLIPSIS}"


def _columns(character: str) -> int:
    from unicodedata import east_asian_width  # noqa: PLC0415 - most lists are ASCII

    return 2 if east_asian_width(character) in "WF" else 1


def _align_section(text: str) -> str:
    lines = [line.replace("\v", "\t").split("\t") for line in text.split("\n")]
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
