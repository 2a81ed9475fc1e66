"""A walk along a path of the merged view, which follows links without ever leaving the root."""

from __future__ import annotations

from orlop.inside.trail import Trail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.inside.node import Node
    from orlop.inside.trail import Allowance

__all__ = ["NO_NAMES", "Walk"]

NO_NAMES: Final = frozenset(("", ".", ".."))
"""Parts of a path that name nothing."""


class Walk:
    """A walk from the root along a path, through the links that are followed on the way."""

    __slots__ = ("_allowance", "_parts", "_stack", "_trail")

    def __init__(self, root: Node, path: str, allowance: Allowance) -> None:
        self._stack = [root]
        self._parts = path.split("/")[::-1]
        self._allowance = allowance
        self._trail: Trail | None = None

    @property
    def node(self) -> Node:
        """Where it has come to."""
        return self._stack[-1]

    def names(self) -> Iterator[str]:
        """Yield each name to look up where the walk has come to; ``..`` goes up, but not above the root."""
        while self._parts:
            part = self._parts.pop()
            if part not in NO_NAMES:
                yield part
            elif part == ".." and len(self._stack) > 1:
                self._stack.pop()

    def enter(self, node: Node) -> None:
        """Go on below a node."""
        self._stack.append(node)

    @property
    def has_followed(self) -> bool:
        """Whether a link has been followed."""
        return self._trail is not None

    @property
    def depth(self) -> int:
        """How many directories lie between the root and where it has come to."""
        return len(self._stack) - 1

    def follow(self, link: Node) -> bool:
        """Go on along a symbolic link; return False if it is one too many, or leads nowhere."""
        if self._trail is None:
            self._trail = Trail(self._allowance)
        target = link.content.linkname
        names = self._trail.names(target)
        if names is None:
            return False
        if target.startswith("/"):
            del self._stack[1:]
        self._parts += names
        return True
