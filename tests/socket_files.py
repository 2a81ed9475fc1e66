"""Sockets as files, wherever a test keeps its files: an address has 107 bytes, and a `TMPDIR` may have more."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_socket(path: Path) -> None:
    """Leave a socket at a path, to which nobody listens."""
    with socket.socket(socket.AF_UNIX) as one, short(path) as address:
        one.bind(address)


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Return an address for a path, which is good in this process until the block ends."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
