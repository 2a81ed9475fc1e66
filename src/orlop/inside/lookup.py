"""Looking up a path in a merged view, through symbolic links, as a container does."""

from __future__ import annotations

import sys

from orlop.errors import PathNotFound
from orlop.inside.trail import Trail
from orlop.model.given import check_text
from orlop.streams.tar_entry import TYPE_SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Final

    from orlop.inside.node import Node
    from orlop.inside.trail import Allowance

__all__ = ["NotCovered", "find_path"]


_NO_NAMES: Final = frozenset(("", ".", ".."))


class NotCovered(Exception):
    """A look leads to a path that a slice does not cover; `path` is that one and what would follow."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def find_path(
    root: Node, path: str, allowance: Allowance, *, follow: bool, covered: Container[str] | None = None
) -> tuple[str, Node]:
    """Return where a path leads, without links in it, and the node there.

    Args:
        root: the root of the view.
        path: from the root; a leading slash may be left out.
        allowance: that of the view.
        follow: follow a symbolic link there; links in the directories above are followed always.
        covered: the paths that the view is right about; None for all.

    Raises:
        PathNotFound: nothing is there, or a link leads nowhere, in a circle, or too far. NotCovered: it leads to
        another path.
    """
    check_text(path, "a path in an image")
    stack: list[tuple[str, Node]] = [("", root)]
    parts = path.split("/")[::-1]
    trail = Trail(allowance)
    link, behind = "", sys.maxsize  # the last one that was followed, and how many names there are behind it
    while parts:
        part = parts.pop()
        node = stack[-1][1]
        if part in _NO_NAMES:
            # As for Linux, a slash may follow directories only.
            if node.children is None:
                raise PathNotFound(f"{_path(stack)} is not a directory, which {path!r} says; leave out what follows it")
            if part == ".." and len(stack) > 1:
                stack.pop()
            continue
        if covered is not None and node.children is not None:
            _check_covered([*(name for name, _ in stack[1:]), part], parts, covered)
        child = None if node.children is None else node.children.get(part)
        if child is None:
            if len(parts) >= behind:
                raise PathNotFound(f"the link {link!r} leads to nothing in the image, so {path!r} is not there")
            raise PathNotFound(f"the image has nothing at {path!r}; `orlop ls` lists what it has")
        if child.type == TYPE_SYMLINK and (follow or parts):
            target = child.content.linkname
            names = trail.names(target)
            if names is None:
                raise PathNotFound(f"{trail.refusal(target)} at {path!r}; name a path without it")
            link, behind = _path([*stack, (part, child)]), len(parts)
            if target.startswith("/"):
                del stack[1:]
            parts += names
            continue
        stack.append((part, child))
    return _path(stack), stack[-1][1]


def _path(stack: list[tuple[str, Node]]) -> str:
    return "/" + "/".join(name for name, _ in stack[1:])


def _check_covered(names: list[str], rest: list[str], covered: Container[str]) -> None:
    """Raise `NotCovered` unless a path is covered, with as much of the rest as surely belongs to it."""
    if "/".join(names) in covered:
        return
    for part in reversed(rest):
        if part == "..":
            break
        if part not in {"", "."}:
            names.append(part)
    raise NotCovered("/".join(names))
