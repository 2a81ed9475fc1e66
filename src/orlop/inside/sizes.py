"""How many bytes lie below the directories of a view; a file with several names counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.inside.info import in_order

if TYPE_CHECKING:
    from orlop.inside.node import Node

__all__ = ["size_below"]


def size_below(top: Node) -> dict[Node, int]:
    """Return the bytes of the files below each directory, each file at the first of its paths in order."""
    order: list[tuple[Node, Node | None]] = []
    stack: list[tuple[Node, Node | None]] = [(top, None)]
    sizes: dict[Node, int] = {}
    counted: set[Node] = set()
    while stack:
        node, parent = stack.pop()
        if node.children is not None:
            order.append((node, parent))
            sizes[node] = 0
            children = node.children
            stack += [(children[name], node) for name in reversed(in_order(children))]
        elif parent is not None and (node.names == 1 or node not in counted):
            if node.names > 1:
                counted.add(node)
            sizes[parent] += node.size
    for node, parent in reversed(order):
        if parent is not None:
            sizes[parent] += sizes[node]
    return sizes
