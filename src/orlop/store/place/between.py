"""``orlop store copy``, ``backup`` and ``move`` where one of the two stores is beyond this machine."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import InvalidInput, NotSupported, StoreInUse, TargetExists
from orlop.store.local import local_store
from orlop.store.opening import open_store, url_of
from orlop.store.place.copy import CopyReport, backup_source, leave_mark
from orlop.store.place.new_root import part_name, remove_tree, target_of
from orlop.store.place.transfer import Transfer, empty, fingerprint
from orlop.store.upkeep.gc import collect_garbage
from orlop.store.upkeep.lost_rows import require_no_lost_rows, require_refreshable
from orlop.streams.directory import Directory
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.progress import Progress
    from orlop.store.opening import Root
    from orlop.store.root import Store


def is_between(store: Store, target: Root) -> bool:
    """Return whether a copy of a store to a target is one between kinds, and not from a directory to another."""
    return not store.is_local or url_of(target) is not None


def copy_between(store: Store, target: Root, *, allow_network: bool, progress: Progress | None) -> CopyReport:
    """See `orlop.stores.copy`."""
    with _target(store, target, allow_network=allow_network)() as kept:
        return _copied(store, kept, progress)[0]


def back_up_between(
    store: Store, target: Root, *, allow_network: bool, allow_foreign: bool, progress: Progress | None
) -> CopyReport:
    """See `orlop.stores.backup`."""
    if url_of(target) is not None:
        raise NotSupported("a backup is a directory; use `orlop store copy` to fill a store beyond this machine")
    path = os.path.abspath(os.fspath(target))  # type: ignore[arg-type]  # a path
    with Directory(path) as directory:
        source = backup_source(directory) if os.path.isdir(path) else None
    if source not in {None, store.root}:
        raise TargetExists(f"{path} holds the backup of {source}; name a new directory, or the backup of {store.root}")
    if source is not None:
        require_refreshable(store)
    with _target(store, path, allow_network=allow_network, allow_foreign=allow_foreign)() as kept:
        report, _ = _copied(store, kept, progress, refresh=source is not None)
        if source is None:
            leave_mark(kept, store.root)
        collect_garbage(kept)
        return report


def move_between(store: Store, target: Root, *, allow_network: bool, progress: Progress | None) -> CopyReport:
    """See `orlop.stores.move`. A directory goes; a store beyond this machine stays, and is empty."""
    if store.leases.others():
        raise StoreInUse(f"the store at {store.root} is in use by another program; wait until it ends")
    with store.metadata.read() as rows:
        require_no_lost_rows(store, rows, "what no row names would not come along")
    with _target(store, target, allow_network=allow_network)() as kept:
        report, expected = _copied(store, kept, progress)
    if store.is_local:
        _remove(store, expected)
    else:
        empty(store, expected)
        collect_garbage(store)
    return report


def _target(store: Store, target: Root, *, allow_network: bool, allow_foreign: bool = False) -> Callable[[], Store]:
    """Return what opens a target, and may make it: only where the rows of the store that is copied are sound."""
    url = url_of(target)
    if url is not None:
        if str(url) == store.root:
            raise InvalidInput("the target is the store itself; name another one")
        store.metadata.require_sound()
        return partial(open_store, target)
    path = target_of(store.root, os.fspath(target)) if store.is_local else os.path.abspath(os.fspath(target))  # type: ignore[arg-type]
    store.metadata.require_sound()
    return partial(local_store, path, allow_network=allow_network, allow_foreign=allow_foreign)


def _copied(store: Store, kept: Store, progress: Progress | None, *, refresh: bool = False) -> tuple[CopyReport, str]:
    transfer = Transfer(store, kept, refresh=refresh, progress=progress)
    expected = transfer.run()
    with kept.metadata.read() as rows:
        counts = rows.counts()
    report = CopyReport(kept.root, counts["images"], counts["blobs"], counts["blob_bytes"], transfer.added)
    return report, expected


def _remove(store: Store, expected: str) -> None:
    """Remove the directory of a store that was copied; a process that waits to write to it fails with `StoreMoved`."""
    root = os.path.realpath(store.root)
    with store.metadata.write() as rows:
        if store.leases.others() or fingerprint(rows) != expected:
            msg = f"the store at {store.root} is in use by another program; it was copied, and stays as it is"
            raise StoreInUse(msg)
        old = Directory(os.path.dirname(root)).at(os.path.basename(root))
        aside = old.named(part_name())
        with explaining("move", root):
            old.rename(aside)
    left = remove_tree(aside)
    if left is not None:
        with explaining("remove", aside.path):
            raise left
