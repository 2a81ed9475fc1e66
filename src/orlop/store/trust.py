"""Whom a store belongs to, and whether what has its names is what a store has there.

Whoever may write in a store's directory decides what a program finds in it. Descriptors keep links from leading out of
it (see `orlop.streams.directory`); this is about what is in it:

- A store in which something has the place of one of its directories or files is refused: something else is at work.
- A store that another user owns, or in which everybody may write, is read and not written, as git's `safe.directory`
  has it: nobody gains by getting another user, or root, to work in a directory of theirs. Trusted are oneself, root,
  and in a store for a group everybody in it.
"""

from __future__ import annotations

import os
import stat

from orlop.streams.directory import ForeignFile, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from orlop.streams.directory import Directory

DIRECTORIES: Final = ("blobs", "blobs/sha256", "toc", "toc/sha256", "ingest", "trash", "leases")
"""What a store has beside its database and its lock, each after what it lies in."""

BLOBS_ON_DEMAND: Final = ("blobs/sha384", "blobs/sha512")
"""Directories that a store has once content is named by these algorithms."""

QUARANTINE: Final = "quarantine"
"""A directory that a store has once a repair has set something aside."""

PARTIAL: Final = "partial"
"""A directory that a store has once something was pulled: what was fetched of layers that are not complete."""

UPLOADS: Final = "uploads"
"""A directory that a store has once something large was pushed from it: notes, of which none is needed."""

INCOMING: Final = "incoming"
"""A directory that a store has once something was pushed to it: what has come of uploads that are under way."""

DATABASE: Final = "metadata.db"
FILES: Final = (
    DATABASE,
    f"{DATABASE}-journal",
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
    f"{DATABASE}.reserve",
    "write.lock",
    "backup",
)
"""The files that lie beside a store's directories."""

_ALLOW: Final = "allow it (--allow-foreign-owner, allow_foreign=True) if you trust everyone who can"


def survey(root: Directory, *, directories: bool = True) -> Mapping[str, os.stat_result]:
    """Return what the system says of a store's own directories and files, as far as they are there.

    Args:
        root: the store's directory.
        directories: also refuse what is in the place of a directory.

    Raises:
        ForeignFile: one of them is of another kind.
    """
    found = {"": root.state()}
    for name in (*DIRECTORIES, *BLOBS_ON_DEMAND, QUARANTINE, PARTIAL, INCOMING):
        # What a link in place of the folder above leads to is not looked at.
        if "/" not in name or os.path.dirname(name) in found:
            state = _state(root, name)
            if state is not None and stat.S_ISDIR(state.st_mode):
                found[name] = state
            elif state is not None and directories:
                raise ForeignFile(os.path.join(root.path, name), kind_of(state), "a directory")
    for name in FILES:
        state = _state(root, name)
        if state is not None and not stat.S_ISREG(state.st_mode):
            raise ForeignFile(os.path.join(root.path, name), kind_of(state), "a file")
        if state is not None:
            found[name] = state
    return found


def _state(root: Directory, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=root.descriptor, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def distrust(
    root: Directory, found: Mapping[str, os.stat_result], *, shared: bool, mending: bool = False
) -> str | None:
    """Return why a store should not be written by this user, as a sentence; nothing where it may be.

    Args:
        root: the store's directory.
        found: what `survey` found.
        shared: whether the store is for a group.
        mending: whether the modes of files and directories are about to be put right.
    """
    group = found[""].st_gid
    is_ours = shared and group in {os.getegid(), *os.getgroups()}
    refused = f"cannot change the store at {root.path}"
    for name, state in found.items():
        path = os.path.join(root.path, name) if name else root.path
        if state.st_mode & stat.S_IWOTH and not (mending and name):
            return f"{refused}: anyone can write to {path}; run chmod o-w on it, or {_ALLOW}"
        if state.st_uid not in {0, os.geteuid()} and not (is_ours and state.st_gid == group):
            return f"{refused}: {path} belongs to the user {state.st_uid}; use your own store, or {_ALLOW}"
    return None


def second_name(root: Directory, found: Mapping[str, os.stat_result]) -> str | None:
    """Return why a database whose files are known by other names as well is not written; nothing where they are not."""
    for name in FILES:
        if name in found and found[name].st_nlink > 1:
            path = os.path.join(root.path, name)
            return (
                f"cannot change the store at {root.path}: {path} is a hard link, and the file has another name too;"
                " give the store a copy of its own"
            )
    return None
