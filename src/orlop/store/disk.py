"""The files of a store, each with what it is for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.store.root import QUARANTINE
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOB: Final = "blob"
TOC: Final = "toc"
DATABASE: Final = "database"
UNFINISHED: Final = "unfinished"
TRASH: Final = "trash"
QUARANTINED: Final = "quarantine"
OTHER: Final = "other"

_ROOMS: Final = {
    "blobs/sha256": BLOB,
    "toc/sha256": TOC,
    "ingest": UNFINISHED,
    "trash": TRASH,
    QUARANTINE: QUARANTINED,
}
_WAYS: Final = {*_ROOMS, "blobs", "toc", "leases"}
_DATABASE_NAME: Final = "metadata.db"


class StoredFile(NamedTuple):
    """A file of a store: the ``kind`` of thing that it is for, its ``folder`` from the root on, ``name`` and ``size``.

    ``freed`` is the bytes that its removal gives back: none where it has another name, as in a copy that shares files.
    """

    kind: str
    folder: str
    name: str
    size: int
    freed: int


def files_below(root: str) -> Iterator[StoredFile]:
    """Give what lies in the directories of a store; what goes meanwhile may be missed.

    Everything that is no directory is a file, as long as the system says, which is what its bytes are, not the blocks
    that they fill. A link is what it says itself, but a part of the store that lies elsewhere belongs to it.

    Raises:
        StorageError: a part of the store cannot be read.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        kind = _kind(folder)
        for entry in entries_of(root, folder):
            if not entry.is_file(follow_symlinks=False):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=path in _WAYS):
                    waiting.append(path)
                    continue
            if folder and (file := _file(kind, folder, entry)) is not None:
                yield file


def files_at(root: str) -> Iterator[StoredFile]:
    """Give the files that lie beside these directories: the database, its log, and a few small ones."""
    for entry in entries_of(root, ""):
        if not entry.is_dir(follow_symlinks=entry.name in _WAYS):
            kind = DATABASE if entry.name.startswith(_DATABASE_NAME) else OTHER
            if (file := _file(kind, "", entry)) is not None:
                yield file


def _kind(folder: str) -> str:
    # A repair may keep what it sets aside in directories of its own.
    return _ROOMS.get(folder) or (QUARANTINED if folder.startswith(f"{QUARANTINE}/") else OTHER)


def _file(kind: str, folder: str, entry: os.DirEntry[str]) -> StoredFile | None:
    try:
        state = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return StoredFile(kind, folder, entry.name, state.st_size, state.st_size if state.st_nlink == 1 else 0)


def entries_of(root: str, folder: str) -> list[os.DirEntry[str]]:
    """Give what lies in a directory of a store; nothing where it is not there, or is no part of the store and shut.

    Raises:
        StorageError: a part of the store cannot be read.
    """
    directory = os.path.join(root, folder)
    with explaining("read", directory):
        try:
            with os.scandir(directory) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            # What is no part of the store may stay shut: lost+found, where the root is a file system of its own.
            if not folder or folder in _WAYS:
                raise
            return []
