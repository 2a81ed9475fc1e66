"""Working copies of a database, which a repair makes in the store's directory, where others may write.

Whoever shares a store may put a link in the place of such a copy at any moment. What is read and written here is a
regular file of that directory all the same, see `orlop.store.rows.sqlite.open`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orlop.store.rows.sqlite.open import connect, make
from orlop.streams.directory import Directory

if TYPE_CHECKING:
    import sqlite3


def connected(path: str) -> sqlite3.Connection:
    """Open a database at a path; an empty one is made where nothing is there. Raises as `connect` does."""
    file = Directory(os.path.dirname(os.path.abspath(path))).at(os.path.basename(path))
    if file.state() is None:
        make(file, 0o600)
    return connect(file)


def opened(path: str, mode: str = "rb") -> Any:
    """Open a file as it is. Raises OSError where it is a link."""
    return open(path, mode, opener=_opener)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
