"""What a path of the merged view leads to: a file, directory, link or device, under one name or several."""

from __future__ import annotations

from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import NO_XATTRS, TYPE_DIR, TYPE_FILE, TYPE_SYMLINK, TarEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

__all__ = ["IMPLICIT", "NO_LAYER", "Finding", "Node"]

NO_LAYER: Final = -1
"""The layer of what no layer has an entry for."""

IMPLICIT: Final = TarEntry("", TYPE_DIR, 0o755, 0, 0, 0, (0, 0), "", "", "", 0, 0, NO_XATTRS, 0, 0, 0, sparse=False)
"""The attributes of a directory that no layer has an entry for."""

_OVERLAY: Final = "trusted.overlay."


class Node:
    """An inode of the merged view. Names that are hard links to each other lead to the same one.

    Attributes:
        content: the entry that made it: its type, size, target, device and place in the layer.
        attributes: the entry that says mode, owner, time and extended attributes; usually the same.
        origin: the number of the layer that `content` stands in, from 0; `NO_LAYER` for an implied directory.
        layer: the number of the layer that last named it.
        children: of a directory, what is in it, by name; else None.
        names: how many names lead to it.
    """

    __slots__ = ("attributes", "children", "content", "layer", "names", "origin")

    def __init__(self, entry: TarEntry, layer: int) -> None:
        self.content = entry
        self.attributes = entry
        self.origin = layer
        self.layer = layer
        self.names = 1
        self.children: dict[str, Node] | None = {} if entry.type == TYPE_DIR else None

    @property
    def type(self) -> str:
        """One of the ``TYPE_*`` constants of `orlop.streams.tar`; never a hard link."""
        return self.content.type

    @property
    def mode(self) -> int:
        """The permissions, without the bits of the type; those of a symbolic link are always 0777."""
        return 0o777 if self.content.type == TYPE_SYMLINK else self.attributes.mode & 0o7777

    @property
    def size(self) -> int:
        """Bytes of content; of what is not a regular file 0."""
        return self.content.size if self.content.type == TYPE_FILE else 0

    @property
    def xattrs(self) -> Mapping[str, bytes]:
        """The extended attributes, without those that an overlay file system keeps for itself."""
        found = self.attributes.xattrs
        if self.attributes is not self.content and self.content.xattrs:
            found = {**self.content.xattrs, **found}
        if any(name.startswith(_OVERLAY) for name in found):
            return {name: value for name, value in found.items() if not name.startswith(_OVERLAY)}
        return found


class Finding(NamedTuple):
    """Something in a layer that programs read in different ways, or refuse.

    ``layer`` counts from 0; ``kind`` is one of the keys of `orlop.inside.oddities.KINDS`; ``path`` is where.
    """

    layer: int
    kind: str
    path: str
