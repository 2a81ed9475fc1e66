"""The files of a store, each with what it is for."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.model.digest import DiffID
from orlop.store.trust import BLOBS_ON_DEMAND, INCOMING, PARTIAL, QUARANTINE
from orlop.streams.directory import ForeignFile
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.blobs.store import BlobStore
    from orlop.store.rows.metadata import Rows
    from orlop.streams.directory import Directory

BLOB: Final = "blob"
TOC: Final = "toc"
DATABASE: Final = "database"
UNFINISHED: Final = "unfinished"
TRASH: Final = "trash"
QUARANTINED: Final = "quarantine"
OTHER: Final = "other"

_ROOMS: Final = {
    "blobs/sha256": BLOB,
    **dict.fromkeys(BLOBS_ON_DEMAND, BLOB),
    "toc/sha256": TOC,
    "ingest": UNFINISHED,
    PARTIAL: UNFINISHED,
    INCOMING: UNFINISHED,
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


def files_below(root: Directory) -> Iterator[StoredFile]:
    """Yield what lies in the directories of a store; what goes meanwhile may be missed.

    Everything that is not a directory is a file, as long as the system says, which is what its bytes are, not the
    blocks that they fill. A link is what it says itself.

    Raises:
        StorageError: a part of the store cannot be read.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        kind = _kind(folder)
        for name, state in states_of(root, folder):
            if stat.S_ISDIR(state.st_mode):
                waiting.append(f"{folder}/{name}" if folder else name)
            elif folder:
                yield _file(kind, folder, name, state)


def objects_of(blobs: BlobStore, rows: Rows) -> Iterator[StoredFile]:
    """Yield what a store of blobs keeps that has no files here, in the places that files would have."""
    for digest, size in blobs.all_sizes():
        if isinstance(digest, DiffID):
            yield StoredFile(TOC, "toc/sha256", f"{digest.hex}.zst", size, size)
        else:
            yield StoredFile(BLOB, f"blobs/{digest.algorithm}", digest.hex, size, size)
    for one in blobs.unfinished():
        yield StoredFile(UNFINISHED, "ingest", f"{one.owner}.{one.key}", one.size, one.size)
    for one in blobs.partials():
        yield StoredFile(UNFINISHED, PARTIAL, one.key, one.size, one.size)
    for one in blobs.trash(rows):
        yield StoredFile(TRASH, "trash", one.key, one.size, one.size)


def files_at(root: Directory) -> Iterator[StoredFile]:
    """Yield the files that lie beside these directories: the database, its log, and a few small ones."""
    for name, state in states_of(root, ""):
        if not stat.S_ISDIR(state.st_mode):
            yield _file(DATABASE if name.startswith(_DATABASE_NAME) else OTHER, "", name, state)


def _kind(folder: str) -> str:
    # A repair may keep what it sets aside in directories of its own.
    return _ROOMS.get(folder) or (QUARANTINED if folder.startswith(f"{QUARANTINE}/") else OTHER)


def _file(kind: str, folder: str, name: str, state: os.stat_result) -> StoredFile:
    return StoredFile(kind, folder, name, state.st_size, state.st_size if state.st_nlink == 1 else 0)


def states_of(root: Directory, folder: str) -> list[tuple[str, os.stat_result]]:
    """Return what lies in a directory of a store; nothing where it is not there, or is not part of the store and shut.

    Raises:
        StorageError: a part of the store cannot be read.
    """
    with explaining("read", os.path.join(root.path, folder)):
        try:
            return list(_below(root, folder).states())
        except (FileNotFoundError, ForeignFile):
            return []
        except PermissionError:
            # What is not a part of the store may stay shut: lost+found, where the root is a file system of its own.
            if not folder or folder in _WAYS:
                raise
            return []


def _below(root: Directory, folder: str) -> Directory:
    """Open a directory for the moment: what is not part of the store may be deep, and is not kept open."""
    found = root
    for name in folder.split("/") if folder else ():
        found = found.below(name)
    return found
