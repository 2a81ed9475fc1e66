"""The merged view of layers: a tree of nodes that layers are applied to, one after another, bottom first.

Only headers are read. A layer is applied in three phases (OCI image-spec, layer.md, "Whiteouts"):

1. Its whiteouts and opaque markers remove from the lower view, wherever in the tar they stand. What they remove is
   remembered until the layer is done, since a hard link of the same layer may still lead there.
2. Its entries are applied in order. A directory keeps what is in it and gets new attributes; anything else replaces
   what was at its path. A directory that has no entry is implied as 0755 root:root, unless the lower view has it.
3. Hard links whose target was not there yet are resolved. One that leads to nothing is taken back.

The specification leaves open, or programs disagree on, what an entry below a symbolic link does. Every overlay engine
unpacks a layer into a directory of its own, so a link of the same layer is followed, while one of a lower layer is
hidden by a real directory. That is the default here. With ``resolve_links`` all links are followed, as programs do
that unpack layers over each other. Links never lead out of the root; ``..`` at the root is the root.

What must never happen: that a name leads out of the tree, that links are followed without end (`orlop.inside.trail`),
or that the work grows faster than the entries. The place of the last parent directories is remembered (`_folders`) as
long as nothing was replaced that could lie on a path. Recursion is avoided; a path may be as deep as the limits of the
layer allow.

What programs disagree on is recorded as a `Finding`, and never changes the view. Of very many, some are only counted.
"""

from __future__ import annotations

import posixpath
from stat import S_ISGID

from orlop.inside.markers import OPAQUE, WHITEOUT, again, is_marked, marker_of
from orlop.inside.node import IMPLICIT, NO_LAYER, Finding, Node
from orlop.inside.oddities import leads_up, oddities
from orlop.inside.trail import Allowance, Trail
from orlop.inside.walk import NO_NAMES, Walk
from orlop.streams.tar_entry import TYPE_DIR, TYPE_HARDLINK, TYPE_SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from orlop.inside.markers import Marker
    from orlop.inside.rest import Rest
    from orlop.inside.waiting_link import WaitingLink
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Merge", "clean"]


_FINDINGS: Final = 10_000
_REMEMBERED: Final = 1 << 12
_NOT_LINKED: Final = frozenset((TYPE_DIR, TYPE_HARDLINK))


def clean(path: str) -> str:
    """Return a path in its one form: relative to the root, without ``.``, ``..``, or a slash at either end."""
    path = path.removesuffix("/").removeprefix("./")
    if path and path[0] not in "./" and path[-1] != "/" and "//" not in path and "/." not in path:
        return path
    return posixpath.normpath("/" + path.lstrip("/"))[1:]


class Merge:
    """A tree that layers are applied to.

    Args:
        resolve_links: whether an entry below a symbolic link of a lower layer is put where that link leads.
    """

    def __init__(self, *, resolve_links: bool = False) -> None:
        self.root = Node(IMPLICIT, NO_LAYER)
        """The directory that all others are in."""
        self.findings: list[Finding] = []
        """What programs disagree on, of which the first `_FINDINGS` are kept."""
        self.more: dict[str, Rest] = {}
        """What is beyond these, by kinds."""
        self.layers = 0
        """How many layers were applied."""
        self._resolve_links = resolve_links
        self._allowance = Allowance()
        self._layer = NO_LAYER
        self._removed: dict[str, Node] = {}
        self._symlinks: dict[str, tuple[int, str]] = {}
        self._own: dict[str, int] = {}
        self._passed: dict[int, tuple[str, int, Node]] = {}
        self._folders: dict[str, dict[str, Node]] = {}
        self._pending: list[WaitingLink] = []
        self._inheriting: list[tuple[str, Node]] = []  # implied directories in setgid ones
        self._nowhere: list[tuple[str, str]] = []  # markers in folders that the lower view has not

    def apply(self, entries: Iterable[TarEntry]) -> None:
        """Apply the next layer. Errors of the iteration pass through, before anything has changed."""
        paths: list[str] = []  # two lists, since a million pairs take as much memory as the tree of them
        members: list[TarEntry] = []
        markers: list[Marker] = []
        layer = self._layer = self.layers
        folders = self._folders
        self.layers += 1
        self._symlinks = {}
        for entry in entries:
            name = entry.name
            path = clean(name)
            if ".." in name and leads_up(name):
                self._find("outside", name)
            if WHITEOUT in path and is_marked(path):
                self._mark(path, markers, len(members))
                continue
            if entry.type == TYPE_SYMLINK:
                self._symlinks.setdefault(path, (len(members), entry.linkname))
            paths.append(path)
            members.append(entry)
        if markers:
            if self._resolve_links:
                self._own = {path: place for place, path in reversed([*enumerate(paths)])}
            for folder, name, place in markers:
                self._hide(folder, name, place)
            self._own = {}
            for kind, path in again(markers, paths, members, self._removed):
                self._find(kind, path)
        for path, entry in zip(paths, members, strict=True):
            for kind in oddities(path, entry):
                self._find(kind, path)
            folder, _, name = path.rpartition("/")
            children = folders.get(folder)
            if not path or children is None or name in children or entry.type == TYPE_HARDLINK:
                self._add(path, entry)
            else:
                # Nearly all entries are so, and there are many.
                children[name] = Node(entry, layer)
        for folder, name in self._nowhere:
            # What the layer has itself, an engine need not make.
            self._find("hides-nothing" if self._at(folder) else "marker-without-directory", f"{folder}/{name}")
        self._nowhere.clear()
        self._resolve()
        self._compare_implied()
        self._removed.clear()
        self._folders.clear()

    def _find(self, kind: str, path: str) -> None:
        if len(self.findings) < _FINDINGS:
            self.findings.append(Finding(self._layer, kind, path))
        else:
            from orlop.inside.rest import Rest  # noqa: PLC0415 - hardly any image has so many

            self.more.setdefault(kind, Rest()).add(f"{self._layer}\0{path}")

    def _mark(self, path: str, markers: list[Marker], place: int) -> None:
        """Note a whiteout or an opaque marker, and how many members come before it."""
        marker = marker_of(path)
        if marker is not None:
            markers.append((*marker, place))
        else:
            nothing = path.rpartition("/")[2][len(WHITEOUT) :] in NO_NAMES and not is_marked(path.rpartition("/")[0])
            self._find("whiteout-of-nothing" if nothing else "reserved-name", path)

    def _hide(self, folder: str, name: str, place: int) -> None:
        """Remove from the lower view what a marker hides."""
        node, way = self._lower(folder, place)
        if node is None:
            self._nowhere.append((folder, name))
            return
        if node.children is None:
            # An engine puts the marker into a directory of the upper layer, which hides the link or file below.
            self._find("below-link" if node.type == TYPE_SYMLINK else "below-file", f"{folder}/{name}")
            if not self._resolve_links:
                self._put(way, Node(IMPLICIT, NO_LAYER))
            return
        if name == OPAQUE:
            if not folder:
                self._find("opaque-root", name)
            elif not node.children:
                self._find("hides-nothing", f"{folder}/{name}")
            for child, gone in node.children.items():
                self._removed[f"{way}/{child}" if way else child] = gone
            _unname_all(node.children.values())
            node.children.clear()
            return
        hidden = name[len(WHITEOUT) :]
        gone_one = node.children.pop(hidden, None)
        if gone_one is not None:
            self._removed[f"{way}/{hidden}" if way else hidden] = gone_one
            _unname_all((gone_one,))
        else:
            self._find("hides-nothing", f"{folder}/{name}" if folder else name)

    def _lower(self, folder: str, place: int) -> tuple[Node | None, str]:
        """Return what a folder is in the lower view, seen through the links that may be followed, and its real path.

        A link of the same layer is followed if it comes before the marker at a place, and one of a lower layer if the
        layer has not put something else there before. Returns a node that is not a directory for the first part of the
        path that is neither one nor followed.
        """
        stack = [(self.root, "")]
        parts = folder.split("/")[::-1] if folder else []
        trail = Trail(self._allowance)
        while parts:
            part = parts.pop()
            if part in NO_NAMES:
                if part == ".." and len(stack) > 1:
                    stack.pop()
                continue
            node, way = stack[-1]
            path = f"{way}/{part}" if way else part
            child = None if node.children is None else node.children.get(part)
            link = None
            own, linkname = self._symlinks.get(path, (place, ""))
            if own < place:
                self._find("below-own-link", folder)
                link = linkname
            elif child is not None and child.type == TYPE_SYMLINK and self._resolve_links:
                link = child.content.linkname if self._own.get(path, place) >= place else None
            if link is not None:
                names = trail.names(link)
                if names is None:
                    return None, path
                if link.startswith("/"):
                    del stack[1:]
                parts += names
                continue
            if child is None:
                return None, path
            if child.children is None:
                return child, path
            stack.append((child, path))
            self._passed.setdefault(id(child), (path, -1, child))
        return stack[-1]

    def _at(self, path: str) -> Node | None:
        """Return what is at a real path, without following anything."""
        node: Node | None = self.root
        for part in path.split("/") if path else ():
            if node is None or node.children is None:
                return None
            node = node.children.get(part)
        return node

    def _compare_implied(self) -> None:
        """Record directories that the layer leads through, without an entry that says what they are."""
        for folder, depth, node in self._passed.values():
            if node.layer != self._layer and node.origin != NO_LAYER and _is_special(node):
                self._find("implied-attributes", folder if depth < 0 else "/".join(folder.split("/", depth)[:depth]))
        self._passed.clear()
        for path, node in self._inheriting:
            if node.origin == NO_LAYER:
                self._find("implied-setgid", path)
        self._inheriting.clear()

    def _add(self, path: str, entry: TarEntry) -> None:
        """Apply one entry."""
        layer = self._layer
        if not path:
            if entry.type == TYPE_DIR:
                self.root.content = self.root.attributes = entry
                self.root.origin = self.root.layer = layer
            else:
                self._find("below-file", entry.name)
            return
        folder, _, name = path.rpartition("/")
        children = self._folders.get(folder)
        if children is None:
            parent = self._parent(folder)
            if parent is None or parent.children is None:
                self._find("below-file", path)
                return
            if len(self._folders) >= _REMEMBERED:
                self._folders.clear()
            children = self._folders[folder] = parent.children
        old = children.get(name)
        if entry.type == TYPE_DIR and old is not None and old.children is not None:
            if old.layer == layer:
                self._find("twice", path)
            old.content = old.attributes = entry
            old.origin = old.layer = layer
        elif entry.type == TYPE_HARDLINK:
            self._link(path, entry, children, name, old)
            return
        else:
            children[name] = Node(entry, layer)
            if old is not None:
                self._replaced(path, old)

    def _replaced(self, path: str, old: Node) -> None:
        """Note that something else is at a path now."""
        if old.layer == self._layer and old.origin != NO_LAYER:
            self._find("twice", path)
        self._loses(path, old)
        if old.children is not None or old.type == TYPE_SYMLINK:
            self._folders.clear()
        _unname_all((old,))

    def _loses(self, path: str, old: Node) -> None:
        """Record a directory that the layer has an entry for, below one that something else replaces."""
        stack = [*(old.children or {}).values()]
        while stack:
            node = stack.pop()
            if node.children is not None and node.layer == self._layer:
                self._find("lost-directory", path)
                return
            stack += (node.children or {}).values()

    def _put(self, path: str, node: Node) -> Node:
        """Put a node at a real path whose parent is there, in place of what is."""
        folder, _, name = path.rpartition("/")
        parent = self._at(folder)
        assert parent is not None
        assert parent.children is not None
        old = parent.children.get(name)
        parent.children[name] = node
        if old is not None:
            self._folders.clear()
            _unname_all((old,))
        return node

    def _parent(self, folder: str) -> Node | None:
        """Return the directory that an entry goes to, and make it where it is missing.

        Returns nothing where the path leads through a file of the same layer, or a loop of links.
        """
        walk = Walk(self.root, folder, self._allowance)
        told = False
        for part in walk.names():
            children = walk.node.children
            assert children is not None
            child = children.get(part)
            if walk.has_followed and not told and not self._is_own(child):
                self._find("below-own-link", folder)
                told = True
            if child is None:
                child = self._implied(walk, part, folder)
            elif child.children is None:
                same = child.layer == self._layer
                if child.type == TYPE_SYMLINK and (same or self._resolve_links):
                    if not same:
                        self._find("below-link", folder)
                        told = True
                    if not walk.follow(child):
                        return None
                    continue
                if same and not self._resolve_links:
                    return None
                self._find("below-link" if child.type == TYPE_SYMLINK else "below-file", folder)
                self._folders.clear()
                _unname_all((child,))
                child = self._implied(walk, part, folder)
            walk.enter(child)
            if not walk.has_followed:
                self._passed.setdefault(id(child), (folder, walk.depth, child))
        return walk.node

    def _implied(self, walk: Walk, part: str, folder: str) -> Node:
        """Make a directory that has no entry, where a walk has come to."""
        parent = walk.node
        assert parent.children is not None
        child = parent.children[part] = Node(IMPLICIT, NO_LAYER)
        if parent.layer == self._layer and parent.mode & S_ISGID:
            path = folder if walk.has_followed else "/".join(folder.split("/", walk.depth + 1)[: walk.depth + 1])
            self._inheriting.append((path, child))
        return child

    def _is_own(self, child: Node | None) -> bool:
        """Return whether the layer itself has something, or has led through it without a link."""
        return child is not None and (child.layer == self._layer or id(child) in self._passed)

    # Hard links.

    def _link(self, path: str, entry: TarEntry, children: dict[str, Node], name: str, old: Node | None) -> None:
        target = clean(entry.linkname)
        found = self._target(target)
        if found is not None and found.origin == self._layer and found.type not in _NOT_LINKED:
            if found is old:
                self._find("twice", path)
                return
            self._join(found, entry, children, name, path)
            if old is not None:
                self._replaced(path, old)
            return
        from orlop.inside.waiting_link import WaitingLink  # noqa: PLC0415 - most links follow their targets

        # The target may come later in the layer, or be what whiteouts have removed.
        waiting = Node(entry, self._layer)
        children[name] = waiting
        if old is not None and (old.children is not None or old.type == TYPE_SYMLINK):
            self._loses(path, old)
            self._folders.clear()
        self._pending.append(
            WaitingLink(path, target, entry, children=children, name=name, waiting=waiting, old=old, first=found)
        )

    def _join(self, found: Node, entry: TarEntry, children: dict[str, Node], name: str, path: str) -> None:
        """Make a name lead to a node, which gets the attributes that the link's entry states, as engines do it."""
        children[name] = found
        found.names += 1
        before, first = found.attributes.xattrs, found.content.xattrs
        differ = any(before.get(name, first.get(name)) != value for name, value in entry.xattrs.items())
        if differ or _attributes(found.attributes, found.type) != _attributes(entry, found.type):
            self._find("link-with-attributes", path)
        if before:
            # What an earlier link added stays, though the next one does not say it.
            if entry.xattrs:
                before = before if isinstance(before, _Gathered) else _Gathered(before)
                before.update(entry.xattrs)
            entry = entry._replace(xattrs=before)
        found.attributes = entry
        found.layer = self._layer

    def _target(self, path: str) -> Node | None:
        """Return what a hard link leads to, through links that are followed below a directory only."""
        folder, _, name = path.rpartition("/")
        walk = Walk(self.root, folder, self._allowance)
        for part in walk.names():
            child = None if walk.node.children is None else walk.node.children.get(part)
            if child is None:
                return None
            if child.type == TYPE_SYMLINK and (child.layer == self._layer or self._resolve_links):
                if not walk.follow(child):
                    return None
                continue
            walk.enter(child)
        return None if walk.node.children is None else walk.node.children.get(name)

    def _hidden_target(self, path: str) -> Node | None:
        """Return what was at a path before the whiteouts of this layer."""
        above, rest = path if self._removed else "", ""
        while above:
            node = self._removed.get(above)
            if node is not None:
                for part in rest.split("/") if rest else ():
                    node = None if node is None or node.children is None else node.children.get(part)
                return node
            above, _, last = above.rpartition("/")
            rest = f"{last}/{rest}" if rest else last
        return None

    def _resolve(self) -> None:
        """Resolve the hard links that wait. Each is looked at once: chains are followed, not searched again."""
        waiting = {id(link.waiting): link for link in self._pending}
        for link in self._pending:
            chain: list[WaitingLink] = []
            at: WaitingLink | None = link
            while at is not None and not at.done:
                at.done = True
                chain.append(at)
                at.found = self._target(at.target)
                if at.found is None or at.found.children is not None:
                    at.found = self._hidden_target(at.target) or at.first
                at = None if at.found is None else waiting.get(id(at.found))
            end = chain[-1].found if chain else None
            if at is not None and chain:
                # A chain that leads to itself, or to one whose end is known.
                end = at.end if at.end is not None else at.old
            for one in reversed(chain):
                one.end = end if end is not None and end.type not in _NOT_LINKED else None
        # From the last one on: what was there before a link may be what waits for another one.
        for link in reversed(self._pending):
            if link.end is None:
                self._take_back(link)
        for link in self._pending:
            if link.end is not None:
                self._settle(link, link.end)
        self._pending = []

    def _settle(self, link: WaitingLink, end: Node) -> None:
        """Put what a link leads to in its place, unless something else is there by now."""
        if link.still_waits:
            self._find("link-before-target" if end.origin == self._layer else "link-to-lower", link.path)
            self._join(end, link.entry, link.children, link.name, link.path)
        if link.old is not None:
            _unname_all((link.old,))

    def _take_back(self, link: WaitingLink) -> None:
        self._find("link-to-nothing", link.path)
        if not link.still_waits:
            if link.old is not None:
                _unname_all((link.old,))
        elif link.old is None:
            del link.children[link.name]
        else:
            link.children[link.name] = link.old


class _Gathered(dict[str, bytes]):
    """Extended attributes that several links have set; of the merge alone, so that it may grow."""


def _is_special(node: Node) -> bool:
    """Return whether a directory is other than an engine makes one that has no entry."""
    return node.mode != IMPLICIT.mode or node.attributes.uid > 0 or node.attributes.gid > 0 or bool(node.xattrs)


def _attributes(entry: TarEntry, kind: str) -> tuple[object, ...]:
    """Return what all names of a file share; the mode of a symbolic link means nothing."""
    return entry.mode & 0o7777 if kind != TYPE_SYMLINK else 0, entry.uid, entry.gid, entry.mtime


def _unname_all(nodes: Iterable[Node]) -> None:
    """Count a name less for each file that goes, with all below."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node.children is None:
            node.names -= 1
        else:
            stack += node.children.values()
