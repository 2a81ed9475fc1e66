"""How many bytes lie below the directories of a view; a file with several names counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.inside.info import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node

__all__ = ["size_below"]


def size_below(top: Node) -> dict[Node, int]:
    """Return the bytes of the files below each directory, each file at the first of its paths in order."""
    sizes: dict[Node, int] = {top: 0}
    counted: set[Node] = set()
    # Of each directory on the way what is still to come: a list of all that is in one would take much memory.
    stack = [(top, _in_order(top))]
    while stack:
        parent, following = stack[-1]
        node = next(following, None)
        if node is None:
            stack.pop()
            if stack:
                sizes[stack[-1][0]] += sizes[parent]
        elif node.children is not None:
            sizes[node] = 0
            stack.append((node, _in_order(node)))
        elif node.names == 1 or node not in counted:
            if node.names > 1:
                counted.add(node)
            sizes[parent] += node.size
    return sizes


def _in_order(node: Node) -> Iterator[Node]:
    children = node.children or {}
    return (children[name] for name in in_order(children))
