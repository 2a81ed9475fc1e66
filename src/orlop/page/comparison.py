"""How an image differs from another one, as columns: the paths that were added, removed or changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orlop.inside.difference import compare
from orlop.inside.info import in_order
from orlop.page.rows import MOST_ROWS, Rows, front_coded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.inside.difference import Change
    from orlop.inside.view import ImageFiles

__all__ = ["CHANGES", "comparison_document"]

CHANGES: Final = ("", "added", "removed", "changed")
"""What a number of the column ``changes`` stands for; the first is a directory in which something differs."""


@dataclass(slots=True, eq=False)
class _Place:
    """A path that differs, or that something below differs of."""

    change: Change | None = None
    children: dict[str, _Place] = field(default_factory=dict)


def comparison_document(
    old: tuple[str, ImageFiles], new: tuple[str, ImageFiles], *, most: int = MOST_ROWS
) -> dict[str, Any]:
    """Return how an image differs from another one: names and views of both.

    Contents of equal size in different layers are not compared; ``uncertain`` counts these files. The columns are like
    those of `orlop.page.columns`: ``before`` and ``after`` are bytes, ``changes`` places in `CHANGES`, and
    ``differing`` places in ``facts``.

    Raises:
        What reading tables of contents raises.
    """
    found = compare(old[1], new[1])
    return {
        "old": old[0],
        "new": new[0],
        "uncertain": found.uncertain,
        "columns": _columns(found.changes, most),
    }


def _columns(changes: Iterable[Change], most: int) -> dict[str, Any]:
    rows, found = _rows(changes)
    before, after = rows.columns
    facts: dict[tuple[str, ...], int] = {}
    table: dict[str, Any] = {
        name: [] for name in ("names", "children", "before", "after", "changes", "differing", "rest")
    }
    places: dict[int, int] = {}
    for row, rest in rows.shortened(most):
        place = len(table["names"])
        if row or rest:
            table["children"][places[row if rest else rows.parents[row]]] += 1
        change = None if rest else found[row]
        table["names"].append("" if rest else rows.names[row])
        table["children"].append(1 if rows.folders[row] and not rest else 0)
        for name, sums in (("before", before[row]), ("after", after[row])):
            table[name].append(sums if rest is None else rest.sums[name == "after"])
        table["changes"].append(0 if change is None else CHANGES.index(change.kind))
        table["differing"].append(facts.setdefault(() if change is None else change.facts, len(facts)))
        if rest is None:
            places[row] = place
        else:
            table["rest"].append([place, rest.count])
    table["names"] = front_coded(table["names"])
    return {**table, "facts": [list(one) for one in facts]}


def _rows(changes: Iterable[Change]) -> tuple[Rows, list[Change | None]]:
    top = _Place()
    for change in changes:
        place = top
        for name in change.path[1:].split("/") if change.path != "/" else ():
            place = place.children.setdefault(name, _Place())
        place.change = change
    before: list[int] = []
    after: list[int] = []
    rows = Rows(columns=(before, after))
    found: list[Change | None] = []
    stack = [("", -1, top)]
    while stack:
        name, parent, place = stack.pop()
        row, differs = len(found), place.change
        found.append(differs)
        rows.names.append(name)
        rows.parents.append(parent)
        rows.folders.append(bool(place.children))
        before.append(0 if differs is None or differs.before is None else differs.before.size)
        after.append(0 if differs is None or differs.after is None else differs.after.size)
        stack += [(one, row, place.children[one]) for one in reversed(in_order(place.children))]
    return rows, found
