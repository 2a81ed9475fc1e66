"""A part of the merged view: single paths, from path tables instead of whole tables of contents.

What becomes of a path depends on few entries. So these are looked up in the path table of each layer, and merged by the
same `Merge` as whole layers are. The entries for a set of paths are, in each layer:

- the entries at these paths and at the directories above them;
- the whiteouts of these, and the opaque markers in them;
- of each directory, one member and one marker somewhere below, since these make a directory of what is there;
- all of this for both ends of each hard link, since names of one file share attributes and are counted.

This gives the same as a merge of whole layers if each layer is *plain*: no path of it leads through a link or file of
its own, no path is there twice except as a directory, and no marker lies in what another marker hides. Nearly all
layers are. Then the order among a layer's entries has no effect, except for hard links, whose ends are all there. If a
layer is not plain, or has no path table, or links of lower layers are followed (`resolve_links`), there is no slice,
and the caller merges whole layers.

What must never happen: that a slice differs from the whole. What it has beside the paths that it covers is incomplete,
so a caller looks only at paths in `Slice.covered`; tests compare slices with whole merges.
"""

from __future__ import annotations

from orlop.inside.markers import OPAQUE, WHITEOUT, is_marked, marker_of
from orlop.inside.merge import Merge, clean
from orlop.streams.path_table import MARKER, MEMBER, Row, packed_paths
from orlop.streams.tar_entry import TYPE_DIR, TYPE_HARDLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final

    from orlop.inside.node import Node
    from orlop.streams.path_table import PathTable
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Slice", "path_table"]

_DEEPEST: Final = 100
_LONGEST: Final = 4096
_MOST: Final = 10_000


class Slice:
    """Single paths of a merged view, to which more can be added.

    Args:
        tables: the path tables of the layers, bottom first; all of them are plain.
    """

    def __init__(self, tables: Sequence[PathTable]) -> None:
        self._tables = tables
        self._links: dict[str, set[str]] = {}
        for table in tables:
            for path, target in table.links:
                self._links.setdefault(path, set()).add(target)
                self._links.setdefault(target, set()).add(path)
        self.covered: set[str] = {""}
        """The paths that are as in the whole view, without a slash at either end."""
        self.root: Node
        """The root of the view."""
        self._found: list[dict[int, TarEntry]] = [{} for _ in tables]
        self._take("")
        self._merge()

    def add(self, path: str) -> bool:
        """Cover a path without links in it, too. Return whether it is covered now; if not, it depends on too much."""
        waiting = [path]
        while waiting:
            one = waiting.pop()
            while one not in self.covered:
                if len(self.covered) >= _MOST:
                    return False
                self.covered.add(one)
                self._take(one)
                waiting += self._links.get(one, ())
                one = one.rpartition("/")[0]
        self._merge()
        return True

    def steps(self) -> Iterator[Node]:
        """Yield the root after each layer, bottom first; it is the same tree, which changes."""
        merge = Merge()
        for found in self._found:
            merge.apply(found[number] for number in sorted(found))
            yield merge.root

    def _merge(self) -> None:
        for root in self.steps():
            self.root = root

    def _take(self, path: str) -> None:
        """Look up what affects one path."""
        folder, slash, name = path.rpartition("/")
        for table, found in zip(self._tables, self._found, strict=True):
            found.update(table.at(MEMBER, path))
            found.update(table.at(MARKER, f"{path}/{OPAQUE}" if path else OPAQUE))
            if path:
                found.update(table.at(MARKER, f"{folder}{slash}{WHITEOUT}{name}"))
                below = (table.first_below(kind, path) for kind in (MEMBER, MARKER))
                found.update(row for row in below if row is not None)


def path_table(entries: Iterable[TarEntry]) -> bytes:
    """Return the path table of a layer with these entries, packed. Errors of the iteration pass through."""
    rows: list[tuple[str, str, Row]] = []
    links: list[tuple[str, str]] = []
    facts = _Facts()
    for number, entry in enumerate(entries):
        path = clean(entry.name)
        if WHITEOUT in path and is_marked(path):
            marker = marker_of(path)
            if marker is not None:
                rows.append((MARKER, path, Row(number, entry)))
                facts.add_marker(*marker)
        elif path or entry.type == TYPE_DIR:
            rows.append((MEMBER, path, Row(number, entry)))
            facts.add_member(path, is_directory=entry.type == TYPE_DIR)
            if entry.type == TYPE_HARDLINK:
                target = clean(entry.linkname)
                links.append((path, target))
                facts.add_target(target)
        if not facts.plain:
            return packed_paths((), (), plain=False)
    plain = facts.is_plain()
    return packed_paths(rows if plain else (), links, plain=plain)


class _Facts:
    """What decides whether a layer is plain."""

    def __init__(self) -> None:
        self.plain = True
        """False as soon as it cannot be plain any more."""
        self._directories: set[str] = set()
        self._solid: set[str] = set()
        self._folders: set[str] = set()
        self._hidden: set[str] = set()
        self._opaque: set[str] = set()
        self._marked: set[str] = set()

    def add_member(self, path: str, *, is_directory: bool) -> None:
        self._look(path)
        if path in self._solid or (not is_directory and path in self._directories):
            self.plain = False
        (self._directories if is_directory else self._solid).add(path)
        self._folders.add(path.rpartition("/")[0])

    def add_marker(self, folder: str, name: str) -> None:
        self._look(folder)
        self._folders.add(folder)
        self._marked.add(folder)
        if name == OPAQUE:
            self._opaque.add(folder)
        else:
            self._hidden.add(f"{folder}/{name[len(WHITEOUT) :]}" if folder else name[len(WHITEOUT) :])

    def add_target(self, path: str) -> None:
        self._look(path)
        self._folders.add(path.rpartition("/")[0])

    def is_plain(self) -> bool:
        return (
            self.plain
            and _with_all_above(self._folders).isdisjoint(self._solid)
            and _with_all_above(self._marked).isdisjoint(self._hidden)
            and _with_all_above(one.rpartition("/")[0] for one in self._marked if one).isdisjoint(self._opaque)
        )

    def _look(self, path: str) -> None:
        if len(path) > _LONGEST or path.count("/") > _DEEPEST or "\0" in path:
            self.plain = False


def _with_all_above(folders: Iterable[str]) -> set[str]:
    """Return folders and those above them, without the root unless it is given."""
    found: set[str] = set()
    for folder in folders:
        one = folder
        while one not in found:
            found.add(one)
            one = one.rpartition("/")[0]
    return found
