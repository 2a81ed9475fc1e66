"""What each layer did to each path: a tree of all paths that an image ever had, those that are gone included.

The layers are merged once more, one after another. After each, the paths that the layer names are compared with what
was known of them; paths that it does not name cannot have changed. There is one exception: an entry below a symbolic
link that is followed changes a path which its name does not tell. After a layer with such links everything is
compared. So the work grows with the entries of the layers, not with layers times paths.

Hidden bytes are those that `orlop.inside.audit` counts: content of entries that the view of all layers does not show.
They belong to the path that the entry names, which may be one that no view ever had.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, Final

from orlop.inside.merge import clean
from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_FILE, TYPE_HARDLINK, TYPE_SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.inside.merge import Merge
    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles
    from orlop.streams.tar_entry import TarEntry

__all__ = ["ACTIONS", "Event", "PathRecord", "record_paths"]

ACTIONS: Final = ("added", "changed", "replaced", "removed")
"""What a layer may do to a path; the words are those of `orlop.inside.info.Version`."""

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_OVERLAY: Final = "trusted.overlay."


class Event(NamedTuple):
    """What a layer did: its number, from 1, one of `ACTIONS`, and the bytes of content there since then."""

    layer: int
    action: str
    size: int


class PathRecord:
    """A path.

    Attributes:
        node: what the view of all layers has there, or nothing.
        last: what was there last.
        events: what layers did, bottom first.
        hidden: bytes of content that layers have for this path and that the view does not show.
        children: what is or was below it, by name.
    """

    __slots__ = ("_stated", "children", "events", "hidden", "last", "node")

    def __init__(self) -> None:
        self.node: Node | None = None
        self.last: Node | None = None
        self.events: tuple[Event, ...] = ()
        self.hidden = 0
        self.children: dict[str, PathRecord] | None = None
        self._stated: TarEntry | None = None

    def child(self, name: str) -> PathRecord:
        """Return what is known below a name, which may be nothing yet."""
        if self.children is None:
            self.children = {}
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = PathRecord()
        return found

    def see(self, node: Node, layer: int) -> bool:
        """Note what a layer has left at the path; return whether something else was there."""
        old, stated = self.node, self._stated
        self.node = self.last = node
        self._stated = node.attributes
        if old is node:
            if stated is not node.attributes and stated is not None and _differ(stated, node.attributes):
                self.events += _event(layer, "changed", node.size)
            return False
        self.events += _event(layer, "added" if old is None else "replaced", node.size)
        return old is not None

    def lose(self, layer: int) -> None:
        """Note that a layer has removed the path, with all below."""
        stack = [self]
        while stack:
            record = stack.pop()
            if record.node is not None:
                record.node = None
                record.events += _event(layer, "removed", 0)
                stack += (record.children or {}).values()


@lru_cache(1 << 12)
def _event(layer: int, action: str, size: int) -> tuple[Event]:
    """Return a history of one event. Most paths have one like that, and many share it."""
    return (Event(layer, action, size),)


def record_paths(files: ImageFiles) -> PathRecord:
    """Return the root of the paths of an image. Raises what reading tables of contents raises."""
    root = PathRecord()
    contents: list[tuple[list[str], list[TarEntry]]] = []
    merge, layers = files.replay()
    root.see(merge.root, 1)
    root.events = ()
    for index, entries in enumerate(layers):
        paths = [clean(entry.name) for entry in entries]
        # All that is there after the first layer is new.
        whole = not index or files.resolve_links or _follows_links(entries, paths)
        named = None if whole else _named(entries, paths, merge)
        merge.apply(entries)
        _compare(root, merge.root, index + 1, named)
        with_content = [bool(entry.size) and entry.type == TYPE_FILE for entry in entries]
        contents.append(([*compress(paths, with_content)], [*compress(entries, with_content)]))
    _count_hidden(root, contents)
    return root


def _follows_links(entries: Sequence[TarEntry], paths: Sequence[str]) -> bool:
    """Return whether entries of a layer may go where their names do not say."""
    links = {path for path, entry in zip(paths, entries, strict=True) if entry.type == TYPE_SYMLINK}
    folders = {path.rpartition("/")[0] for path in paths} if links else ()
    return any(folder in links or not links.isdisjoint(_above(folder)) for folder in folders)


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _named(entries: Iterable[TarEntry], paths: Iterable[str], merge: Merge) -> dict[str, set[str]]:
    """Return the names that a layer has something for, by the directories that they are in."""
    named: dict[str, set[str]] = {}
    for entry, path in zip(entries, paths, strict=True):
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            for hidden in _names_in(merge.root, folder):
                _name(named, folder, hidden)
        # A whiteout that is not one hides a name that is not there.
        _name(named, folder, name.removeprefix(_WHITEOUT))
        if entry.type == TYPE_HARDLINK:
            folder, _, name = clean(entry.linkname).rpartition("/")
            _name(named, folder, name)
    return named


def _name(named: dict[str, set[str]], folder: str, name: str) -> None:
    while True:
        names = named.get(folder)
        if names is not None:
            names.add(name)
            return
        named[folder] = {name}
        if not folder:
            return
        folder, _, name = folder.rpartition("/")


def _names_in(root: Node, folder: str) -> list[str]:
    node: Node | None = root
    for part in folder.split("/") if folder else ():
        node = None if node is None or node.children is None else node.children.get(part)
    return [] if node is None else list(node.children or ())


def _compare(root: PathRecord, top: Node, layer: int, named: dict[str, set[str]] | None) -> None:
    """Compare a view with what is known, at the names that a layer has something for, or everywhere."""
    root.see(top, layer)
    stack: list[tuple[str, PathRecord, Node, bool]] = [("", root, top, named is None)]
    while stack:
        folder, record, node, whole = stack.pop()
        children, known = node.children or {}, record.children or {}
        names: Iterable[str] = (named or {}).get(folder, ())
        if whole:
            names = {**children, **known} if known else children
        for name in names:
            child, found = children.get(name), known.get(name)
            if child is None:
                if found is not None:
                    found.lose(layer)
                continue
            found = record.child(name)
            replaced = found.see(child, layer)
            if child.children is not None:
                path = f"{folder}/{name}" if folder else name
                # Another directory in the place of one: what was below it is gone unless the new one has it too.
                stack.append((path, found, child, named is None or replaced))
            elif replaced:
                for gone in (found.children or {}).values():
                    gone.lose(layer)


def _count_hidden(root: PathRecord, contents: Sequence[tuple[Sequence[str], Sequence[TarEntry]]]) -> None:
    """Count content that the view does not show at the path that its entry names: of each layer paths and entries."""
    seen: dict[int, set[int]] = {}
    stack = [root]
    while stack:
        record = stack.pop()
        node = record.node
        if node is not None and node.type == TYPE_FILE:
            seen.setdefault(node.origin, set()).add(node.content.header_offset)
        stack += (record.children or {}).values()
    for index, (paths, entries) in enumerate(contents):
        shown = seen.get(index, ())
        for path, entry in zip(paths, entries, strict=True):
            if entry.header_offset in shown or f"/{_WHITEOUT}" in f"/{path}":
                continue
            record = root
            # What is named like the root is not a child of it.
            for part in path.split("/") if path else ():
                record = record.child(part)
            record.hidden += entry.size


def _differ(before: TarEntry, after: TarEntry) -> bool:
    return _stated(before) != _stated(after)


def _stated(entry: TarEntry) -> tuple[object, ...]:
    """Return what may change of a directory or a link that stays."""
    xattrs = {name: value for name, value in entry.xattrs.items() if not name.startswith(_OVERLAY)}
    return entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime, xattrs
