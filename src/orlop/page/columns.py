"""The paths of an image as columns: what a page needs of each, in as few characters as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orlop.inside.info import in_order
from orlop.page.paths import ACTIONS
from orlop.page.rows import MOST_ROWS, Rows, front_coded, text_length
from orlop.streams.tar_entry import TYPE_DIR, TYPE_SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node
    from orlop.page.paths import PathRecord

__all__ = ["path_columns"]


def path_columns(root: PathRecord, *, most: int = MOST_ROWS) -> dict[str, Any]:
    """Return the paths of an image.

    Rows are in depth-first order. ``names`` are front-coded; ``children`` is 0 of what was never a directory, else one
    more than the number of rows that are directly in it; ``sizes`` are bytes of content that the view shows, of a file
    with several names only at the first; ``layers`` are numbers from 1 of the layers that named a path last, or 0;
    ``kinds`` are places in ``attributes``: a type, a mode and an owner. The others name rows: ``hidden`` bytes, those
    that are ``gone``, other names of a file (``again``), ``targets`` of symbolic links, ``events`` where they are more
    than that a layer added the path (four times the layer and the place in `ACTIONS`, and the size), and ``rest``, how
    many paths a row sums up.
    """
    rows, records, again = _rows(root)
    sizes, hidden = rows.columns
    kinds: dict[tuple[object, ...], int] = {}
    table: dict[str, Any] = {"names": [], "children": [], "sizes": [], "layers": [], "kinds": []}
    sparse: dict[str, list[Any]] = {name: [] for name in ("hidden", "gone", "again", "targets", "events", "rest")}
    places: dict[int, int] = {}
    for row, rest in rows.shortened(most):
        place = len(table["names"])
        if row or rest:
            table["children"][places[row if rest else rows.parents[row]]] += 1
        own = [sizes[row], hidden[row]] if rest is None else rest.sums
        if own[1]:
            sparse["hidden"].append([place, own[1]])
        table["names"].append(rows.names[row] if rest is None else "")
        table["sizes"].append(own[0])
        if rest is not None:
            sparse["rest"].append([place, rest.count])
            fact: tuple[object, ...] = ("rest", 0, 0, 0)
            table["children"].append(0)
            table["layers"].append(0)
        else:
            places[row] = place
            record = records[row]
            fact = _fact(record.last)
            table["children"].append(1 if rows.folders[row] else 0)
            table["layers"].append(_layer(record))
            if row in again:
                sparse["again"].append(place)
            _tell(record, place, sparse)
        table["kinds"].append(kinds.setdefault(fact, len(kinds)))
    table["names"] = front_coded(table["names"])
    return {**table, "attributes": [list(fact) for fact in kinds], **sparse}


def _rows(root: PathRecord) -> tuple[Rows, list[PathRecord], set[int]]:
    """Return rows of the paths, what each is, and the numbers of those whose file has an earlier name."""
    sizes: list[int] = []
    hidden: list[int] = []
    rows = Rows(columns=(sizes, hidden))
    records: list[PathRecord] = []
    counted: set[Node] = set()
    again: set[int] = set()
    stack = [("", -1, root)]
    while stack:
        name, parent, record = stack.pop()
        row, node, children = len(records), record.node, record.children
        records.append(record)
        rows.names.append(name)
        rows.parents.append(parent)
        rows.texts.append(text_length(record.last.content.linkname) if record.last is not None else 0)
        rows.folders.append(bool(children) or (record.last is not None and record.last.type == TYPE_DIR))
        hidden.append(record.hidden)
        if node is None or (node.names > 1 and node in counted):
            sizes.append(0)
            if node is not None:
                again.add(row)
        else:
            sizes.append(node.size)
            if node.names > 1:
                counted.add(node)
        if children:
            stack += [(one, row, children[one]) for one in reversed(in_order(children))]
    return rows, records, again


def _fact(node: Node | None) -> tuple[object, ...]:
    if node is None:
        return ("file", 0, 0, 0)
    return node.type, node.mode, node.attributes.uid, node.attributes.gid


def _layer(record: PathRecord) -> int:
    if record.node is not None:
        return record.node.layer + 1
    return record.events[-1].layer if record.events else 0


def _tell(record: PathRecord, place: int, sparse: dict[str, list[Any]]) -> None:
    """Add what only some rows have."""
    if record.node is None:
        sparse["gone"].append(place)
    if record.last is not None and record.last.type == TYPE_SYMLINK:
        sparse["targets"].append([place, record.last.content.linkname])
    events = record.events
    if len(events) != 1 or events[0].action != "added" or events[0].layer != _layer(record):
        sparse["events"].append([place, *_coded(record)])


def _coded(record: PathRecord) -> Iterator[int]:
    for event in record.events:
        yield event.layer * len(ACTIONS) + ACTIONS.index(event.action)
        yield event.size
