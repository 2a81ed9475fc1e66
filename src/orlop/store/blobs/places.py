"""Where content lies below a store's root: a path for each digest, and folders that are made when they are needed."""

from __future__ import annotations

import os

from orlop.errors import InvalidDigest
from orlop.store.trust import BLOBS_ON_DEMAND
from orlop.streams.files import explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.digest import DiffID, Digest
    from orlop.streams.directory import Directory


def blob_name(digest: Digest) -> str:
    """Return the path of a blob below a store's root. Raises `InvalidDigest` for what is not one, but may be a path."""
    return "/".join(("blobs", *_parts(digest)))


def make_room_for(root: Directory, digest: Digest, mode: int) -> None:
    """Make the folder of a blob below a store's root, if it is one that not every store has."""
    folder, _, _ = blob_name(digest).rpartition("/")
    if folder in BLOBS_ON_DEMAND:
        with explaining("write", os.path.join(root.path, folder)):
            root.make_room(folder, mode)


def blob_folders(root: Directory) -> list[str]:
    """Return the folders of blobs below a store's root that are there; that of sha256 always is."""
    there = [folder for folder in BLOBS_ON_DEMAND if root.place(folder).state() is not None]
    return ["blobs/sha256", *there]


def toc_name(diff_id: DiffID) -> str:
    """Return the path of a table of contents below a store's root. Raises `InvalidDigest`."""
    return f"{'/'.join(('toc', *_parts(diff_id)))}.zst"


def _parts(digest: Digest) -> tuple[str, str]:
    if not digest.is_valid:
        msg = f"{str(digest)!r} is not a digest, and no file can have it as its name"
        raise InvalidDigest(msg)
    return digest.algorithm, digest.hex
