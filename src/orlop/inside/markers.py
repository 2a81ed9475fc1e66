"""Whiteouts and opaque markers: how they are named, and what of a layer they contradict."""

from __future__ import annotations

from orlop.inside.walk import NO_NAMES
from orlop.streams.tar_entry import TYPE_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Final

    from orlop.inside.node import Node
    from orlop.streams.tar_entry import TarEntry

__all__ = ["OPAQUE", "WHITEOUT", "Marker", "again", "is_marked", "marker_of"]

WHITEOUT: Final = ".wh."
"""What the name of a whiteout begins with."""

OPAQUE: Final = ".wh..wh..opq"
"""The name of an opaque marker."""

_RESERVED: Final = ".wh..wh."

Marker = tuple[str, str, int]
"""A folder, the name of a marker in it, and how many members of the layer come before it."""


def marker_of(path: str) -> tuple[str, str] | None:
    """Return the folder and name of a whiteout or opaque marker; None if a path with such a name means nothing."""
    folder, _, name = path.rpartition("/")
    if is_marked(folder) or (name.startswith(_RESERVED) and name != OPAQUE) or name[len(WHITEOUT) :] in NO_NAMES:
        return None
    return folder, name


def is_marked(path: str) -> bool:
    """Return whether a name in a path is that of a whiteout or marker."""
    return path.startswith(WHITEOUT) or f"/{WHITEOUT}" in path


def again(
    markers: Sequence[Marker], paths: Sequence[str], members: Sequence[TarEntry], removed: Mapping[str, Node]
) -> Iterator[tuple[str, str]]:
    """Yield what a layer both hides and has, and markers in what another one hides, each with its kind of finding.

    Args:
        markers: those of the layer.
        paths: those of its other entries.
        members: these entries.
        removed: what the markers have removed from the lower view, by real paths.
    """
    hidden: set[str] = set()
    opaque: set[str] = set()
    for folder, name, _ in markers:
        known, path = hidden, f"{folder}/{name[len(WHITEOUT) :]}" if folder else name[len(WHITEOUT) :]
        if name == OPAQUE:
            known, path = opaque, folder
        if path in known:
            yield "twice", f"{folder}/{name}" if folder else name
        known.add(path)
    if not hidden:
        return
    lies_in = _Hidden(hidden)
    anew: set[str] = set()
    for path, entry in zip(paths, members, strict=True):
        if path in hidden:
            anew.add(path)
            old = removed.get(path)
            # Only a directory has old content that could be seen again.
            merges = entry.type == TYPE_DIR and old is not None and old.children is not None
            yield "directory-made-anew" if merges else "hidden-and-there", path
    for path in paths:
        above = lies_in[path.rpartition("/")[0]]
        if above and above not in anew:
            # A directory that has no entry is made anew.
            anew.add(above)
            yield "hidden-and-there", above
    for folder, name, _ in markers:
        if lies_in[folder]:
            yield "marker-in-hidden", f"{folder}/{name}"


class _Hidden(dict[str, str]):
    """The hidden path that each folder is, or lies in; an empty text for one that is not hidden."""

    def __init__(self, hidden: AbstractSet[str]) -> None:
        super().__init__()
        self._hidden = hidden

    def __missing__(self, folder: str) -> str:
        above, way = folder, [folder]
        # Deep folders have nearly all that is above them in common.
        while above and above not in self._hidden and above not in self:
            way.append(above)
            above = above.rpartition("/")[0]
        found = above if above in self._hidden else self.get(above, "")
        self.update(dict.fromkeys(way, found))
        return found
