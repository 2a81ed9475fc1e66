"""What a store is and how much it holds."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import SizeMismatch
from orlop.store.place.copy import backup_source
from orlop.store.place.disk import states_of
from orlop.streams.files import SHARED, explaining
from orlop.streams.filesystems import file_system_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.directory import Directory


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What is known of a store.

    Where it is: its ``root``; the ``schema`` of its rows; the ``file_system`` that it lies on, as in ``mount -t``, or
    nothing where that is not known; ``read_only`` with the reason, or nothing where it can be written; ``group``, the
    number of the group that shares it, or nothing; ``backup_of``, the root that it is a backup of, or nothing.

    What it holds: the number of ``images``, of their ``names``, of ``layers`` (contents) and ``chains`` (layers in
    their place), of ``blobs`` and ``manifests``; ``blob_bytes``, the sizes of all blobs; ``disk_bytes``, what all of
    its files fill.

    What is at work, or was left: ``leases`` of living owners, ``ingests`` (files on their way in) and ``trash`` (on
    their way out), all as numbers. The leases of a store that cannot be written are not known.
    """

    root: str
    schema: int
    file_system: str | None
    read_only: str | None
    group: int | None
    backup_of: str | None
    images: int
    names: int
    layers: int
    chains: int
    blobs: int
    manifests: int
    blob_bytes: int
    disk_bytes: int
    leases: int | None
    ingests: int
    trash: int


def store_info(store: Store) -> StoreInfo:
    """See `orlop.stores.info`."""
    if not store.is_local:
        return _elsewhere(store)
    found = file_system_of(store.root)
    with store.metadata.read() as rows:
        counts = rows.counts()
        blobs = rows.blobs()
    _require_sizes(store, blobs)
    directory, modes, *_ = store.files
    with explaining("read", store.root):
        return StoreInfo(
            root=store.root,
            schema=int(store.metadata.facts()["schema"]),
            file_system=None if found is None else found.type,
            read_only=store.why_read_only() or None,
            group=directory.state().st_gid if modes is SHARED else None,
            backup_of=backup_source(directory),
            **counts,
            disk_bytes=sum(_sizes(directory)),
            leases=None if store.read_only else len(store.leases.others()),
            ingests=len((directory / "ingest").names()),
            trash=len((directory / "trash").names()),
        )


def _elsewhere(store: Store) -> StoreInfo:
    """Return what is known of a store that is not in a directory: its bytes are those that it keeps, named or not."""
    blobs = store.blobs
    with store.metadata.read() as rows:
        counts = rows.counts()
        trash = list(blobs.trash(rows))
    unfinished = list(blobs.unfinished())
    sizes = [size for _, size in blobs.all_sizes()]
    return StoreInfo(
        root=store.root,
        schema=int(store.metadata.facts()["schema"]),
        file_system=None,
        read_only=store.why_read_only() or None,
        group=None,
        backup_of=None,
        **counts,
        disk_bytes=sum(sizes) + sum(one.size for one in (*unfinished, *trash)),
        leases=None if store.read_only else len(store.leases.others()),
        ingests=len(unfinished),
        trash=len(trash),
    )


def _require_sizes(store: Store, blobs: Iterable[BlobRow]) -> None:
    """Raise `SizeMismatch` where a file has another size than is counted; one that is missing is not looked at."""
    for blob in blobs:
        size = store.blobs.size_of(blob.digest).size
        if size not in {0, blob.size}:
            msg = f"the blob {blob.digest} has {size} bytes instead of {blob.size}; run `orlop fsck`"
            raise SizeMismatch(msg)


def _sizes(root: Directory, folder: str = "") -> Iterator[int]:
    """Yield the bytes that each file and directory fills on disk; what goes meanwhile is not counted."""
    for name, state in states_of(root, folder):
        yield state.st_blocks * 512
        if stat.S_ISDIR(state.st_mode):
            yield from _sizes(root, f"{folder}/{name}" if folder else name)
