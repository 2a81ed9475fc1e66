"""Tar: everything that the rest of the package needs of it, under one name.

`TarScanner` is fed a layer and checks it in passing, `TarReader` walks through an archive, `member_header` writes one.
"""

from orlop.streams.tar_header import (
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
