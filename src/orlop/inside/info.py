"""What is known of a path of a view, as values for callers."""

from __future__ import annotations

from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_BLOCK, TYPE_CHAR, TYPE_FILE, TYPE_SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from orlop.inside.node import Node
    from orlop.model.digest import DiffID

__all__ = ["FileInfo", "ImageLayer", "Version", "in_order", "info_of"]

_DEVICES: Final = frozenset((TYPE_CHAR, TYPE_BLOCK))


class ImageLayer(NamedTuple):
    """A layer of an image: its ``number``, from 1 at the bottom, its ``diff_id``, and the step that made it."""

    number: int
    diff_id: DiffID
    created_by: str


class FileInfo(NamedTuple):
    """What an image has at a path.

    Attributes:
        path: from the root, such as ``/etc/passwd``; bytes that are not UTF-8 are surrogate escapes.
        type: ``file``, ``dir``, ``symlink``, ``char``, ``block``, ``fifo`` or ``other``.
        mode: permissions, with setuid, setgid and the sticky bit, without those of the type.
        uid, gid: the owner and group.
        size: bytes of content; 0 for what is not a regular file.
        mtime: seconds since 1970 (floor) and nanoseconds.
        target: where a symbolic link leads, as it is written; else empty.
        device: the major and minor number of a device, else None.
        xattrs: extended attributes.
        links: how many names lead to the same file.
        layer: the number, from 1, of the layer that last named it; 0 for a directory that no layer has an entry for.
        inode: a number that names of the same file share in one view, and no other file has.
    """

    path: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: tuple[int, int]
    target: str
    device: tuple[int, int] | None
    xattrs: Mapping[str, bytes]
    links: int
    layer: int
    inode: int

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self.mtime[0] * 1_000_000_000 + self.mtime[1]


class Version(NamedTuple):
    """What a layer did to a path.

    ``action`` is ``added``, ``changed`` (the attributes of a directory or link), ``replaced`` or ``removed``; ``info``
    is what is there since then, None after a removal.
    """

    layer: ImageLayer
    action: str
    info: FileInfo | None


def info_of(path: str, node: Node) -> FileInfo:
    """Return what is known of a node under one of its names."""
    content, attributes = node.content, node.attributes
    kind = content.type
    return FileInfo(
        path,
        kind,
        node.mode,
        attributes.uid,
        attributes.gid,
        content.size if kind == TYPE_FILE else 0,
        attributes.mtime,
        content.linkname if kind == TYPE_SYMLINK else "",
        (content.devmajor, content.devminor) if kind in _DEVICES else None,
        node.xattrs,
        node.names,
        node.layer + 1,
        _inode(node),
    )


def _inode(node: Node) -> int:
    """Return the number of the entry that made a node; of an implied directory a negative number."""
    return -id(node) if node.origin < 0 else (node.origin << 44) + (node.content.header_offset >> 9) + 1


def in_order(children: Iterable[str]) -> list[str]:
    """Return the names in a directory in the order of their bytes."""
    names = sorted(children)
    # Only surrogate escapes have another place among code points than among bytes.
    if names and not "".join(names).isascii():
        names.sort(key=_bytes)
    return names


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
