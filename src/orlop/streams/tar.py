"""Tar: everything that the rest of the package needs of it, in one module.

`TarScanner` checks a layer that passes through it, `TarReader` walks through an archive, and `member_header` helps to
write one.
"""

from orlop.streams.tar_entry import (
    TYPE_BLOCK,
    TYPE_CHAR,
    TYPE_DIR,
    TYPE_FIFO,
    TYPE_FILE,
    TYPE_HARDLINK,
    TYPE_OTHER,
    TYPE_SYMLINK,
    TarEntry,
)
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_scan import TarScanner, TarSummary
from orlop.streams.tar_write import END, MTIME_MAX, member_header, padding

__all__ = [
    "END",
    "MTIME_MAX",
    "TYPE_BLOCK",
    "TYPE_CHAR",
    "TYPE_DIR",
    "TYPE_FIFO",
    "TYPE_FILE",
    "TYPE_HARDLINK",
    "TYPE_OTHER",
    "TYPE_SYMLINK",
    "TarEntry",
    "TarReader",
    "TarScanner",
    "TarSummary",
    "member_header",
    "padding",
]
