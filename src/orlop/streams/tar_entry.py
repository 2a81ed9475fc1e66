"""What a tar says of one member: an entry."""

from __future__ import annotations

from types import MappingProxyType

from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

__all__ = [
    "BLOCK",
    "NO_XATTRS",
    "TYPE_BLOCK",
    "TYPE_CHAR",
    "TYPE_DIR",
    "TYPE_FIFO",
    "TYPE_FILE",
    "TYPE_HARDLINK",
    "TYPE_OTHER",
    "TYPE_SYMLINK",
    "TarEntry",
]

BLOCK: Final = 512
"""The bytes of a header; content is padded to a multiple of it."""
TYPE_FILE: Final = "file"
TYPE_HARDLINK: Final = "hardlink"
TYPE_SYMLINK: Final = "symlink"
TYPE_CHAR: Final = "char"
TYPE_BLOCK: Final = "block"
TYPE_DIR: Final = "dir"
TYPE_FIFO: Final = "fifo"
TYPE_OTHER: Final = "other"
NO_XATTRS: Final = MappingProxyType[str, bytes]({})
"""What an entry without extended attributes has for them."""


class TarEntry(NamedTuple):
    """One member of a tar, with what its extended headers say.

    Attributes:
        name: path as in the tar, decoded from UTF-8 with surrogate escapes; that of a directory usually ends in "/".
        type: one of the ``TYPE_*`` constants.
        mode: as in the tar; some writers include the bits of the file's type.
        uid, gid: numeric owner and group.
        size: bytes of content, for a sparse file including its holes; 0 for members without content.
        mtime: seconds since 1970 (floor) and nanoseconds (0 to 999,999,999).
        linkname: target of a hard or symbolic link, decoded like the name.
        uname, gname: names of owner and group, often empty.
        devmajor, devminor: numbers of a device.
        xattrs: extended attributes (``SCHILY.xattr.*``) by their names.
        header_offset: bytes before the member's first header, extended headers included: a reader that starts there
            yields this entry first.
        headers_size: bytes of its headers. stored_size: bytes at ``offset`` that belong to it, without padding. sparse:
            whether the stored bytes are only the pieces between holes.
    """

    name: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: tuple[int, int]
    linkname: str
    uname: str
    gname: str
    devmajor: int
    devminor: int
    xattrs: Mapping[str, bytes]
    header_offset: int
    headers_size: int
    stored_size: int
    sparse: bool = False

    @property
    def offset(self) -> int:
        """The bytes before its content (for a sparse file: before its stored bytes, including a map at the start)."""
        return self.header_offset + self.headers_size
