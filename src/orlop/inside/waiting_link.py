"""A hard link of a layer whose target was not there when the link was met."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.inside.node import Node
    from orlop.streams.tar_entry import TarEntry

__all__ = ["WaitingLink"]


class WaitingLink:
    """A hard link whose target is looked for when its layer is done.

    ``children`` are those of its directory; ``waiting`` stands at its path meanwhile, and ``old`` was there. ``first``
    is what the target was when the link was met.
    """

    __slots__ = ("children", "done", "end", "entry", "first", "found", "name", "old", "path", "target", "waiting")

    def __init__(
        self,
        path: str,
        target: str,
        entry: TarEntry,
        *,
        children: dict[str, Node],
        name: str,
        waiting: Node,
        old: Node | None,
        first: Node | None,
    ) -> None:
        self.path = path
        self.target = target
        self.entry = entry
        self.children = children
        self.name = name
        self.waiting = waiting
        self.old = old
        self.first = first
        self.done = False
        self.found: Node | None = None
        self.end: Node | None = None

    @property
    def still_waits(self) -> bool:
        """Whether nothing else is at its path by now, and its directory was not replaced."""
        return self.waiting.names > 0 and self.children.get(self.name) is self.waiting
