"""A part of a merged view as one tar: the same files give the same bytes, however they are spread over layers.

Members stand in the order of a walk: a directory before what is in it, names in the order of their bytes. Each path
stands there once, and so does every directory above it, implied ones too. Of names that are hard links to each other
the first has the content, and the others lead to it. Headers are PAX, with times to the nanosecond and extended
attributes; names of owners, which layers need not agree on, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.inside.node import NO_LAYER
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE, TYPE_OTHER, TYPE_SYMLINK, TarEntry
from orlop.streams.tar_write import archive_chunks, common_header, entry_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["export_chunks", "first_names", "top_name"]


def export_chunks(files: ImageFiles, path: str = "/", *, follow: bool = True, verify: bool = True) -> Iterator[bytes]:
    """Yield a tar of what is at a path and below; the root's members have their paths, others begin with its name.

    Args:
        files: the view.
        path: what to export; of a directory that is named with ``/.`` at the end, what is in it, as of the root.
        follow: export what a symbolic link at the path leads to, under the name it has there, instead of the link.
        verify: read each layer that has content to its end, and fail before the end of the tar where it is damaged.

    Raises:
        PathNotFound: nothing is there. Beside it, what reading layers raises.
    """
    top = files.real_path(path, follow=follow)
    members = [one for one in files.below(top) if one[1].type != TYPE_OTHER]
    # A link with a slash behind it is the name of a directory, and is so without `follow` too.
    own = top_name(path if path.endswith(("/", "/.")) or not follow else top, top)
    return archive_chunks(_pieces(files, members, _Names(top, own), verify=verify))


def _pieces(
    files: ImageFiles, members: Sequence[tuple[str, Node]], names: _Names, *, verify: bool
) -> Iterator[bytes | memoryview]:
    firsts = first_names(members)
    # A name that is not the first has no content of its own.
    wanted = [node for path, node in members if node.type == TYPE_FILE and node.size and firsts.get(node, path) == path]
    with files.contents(wanted, verify=verify) as contents:
        for path, node in members:
            name = names.of(path)
            if not name:
                if node.origin == NO_LAYER:
                    continue
                name = "."
            first = firsts.get(node, path)
            if first != path:
                yield entry_header(_entry(node), name=name, linkname=names.of(first))
                continue
            if node.type != TYPE_FILE:
                yield _header(node, f"{name}/" if node.type == TYPE_DIR else name)
                continue
            yield _header(node, name)
            if size := node.content.size:
                place = node.origin, node.content
                whole = contents.whole(place)
                if whole is None:
                    yield from contents.chunks(place)
                else:
                    yield whole
                yield padding(size)
        contents.finish()


class _Names:
    """The names of the members of a tar.

    Args:
        top: the path of all that is in it.
        own: what the top is called; nothing where the others have their paths below it.
    """

    def __init__(self, top: str, own: str) -> None:
        self._own = own
        self._cut = len(top.rstrip("/")) + (not own)

    def of(self, path: str) -> str:
        """Return the name of a path."""
        return (self._own + path[self._cut :]).removesuffix("/")


def top_name(path: str, real: str) -> str:
    """Return what a copy of a path is called; nothing where only what is in a directory is copied.

    Args:
        path: the path as it was asked for.
        real: where it leads.
    """
    last = path.rstrip("/").rpartition("/")[2]
    if last in {"", "."}:
        return ""
    return real.rpartition("/")[2] if last == ".." else last


def _header(node: Node, name: str) -> bytes:
    """Return the header of a node under its first name; most have the common form."""
    attributes = node.attributes
    if not (attributes.uid or attributes.gid or node.xattrs):
        found = common_header(name, type=node.type, mode=node.mode, size=node.size, mtime=attributes.mtime)
        if found is not None:
            return found
    return entry_header(_entry(node), name=name)


def first_names(members: Sequence[tuple[str, Node]]) -> dict[Node, str]:
    """Return the first path of each file that has several among some members."""
    found: dict[Node, str] = {}
    for path, node in members:
        if node.names > 1:
            found.setdefault(node, path)
    return found


def _entry(node: Node) -> TarEntry:
    """Return what a header says of a node."""
    content, attributes = node.content, node.attributes
    return TarEntry(
        "",  # the name is written apart
        content.type,
        node.mode,
        attributes.uid,
        attributes.gid,
        node.size,
        attributes.mtime,
        content.linkname if content.type == TYPE_SYMLINK else "",
        "",
        "",
        content.devmajor,
        content.devminor,
        dict(node.xattrs),
        0,
        0,
        0,
        False,
    )
