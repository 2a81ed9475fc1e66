"""Stores as things: what they hold, whether they are whole, copies of them, other places for them.

Each call takes the directory of a store, or the URL of one beyond this machine, opens it for itself and closes it. None
but `init` makes a store where there is none. A URL that is a text takes what it does not say from the usual variables
of the environment, a `StoreURL` from what it was given. All of them are to be had as ``orlop.stores``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, NotSupported, TargetExists
from orlop.model.given import check_text
from orlop.store.local import local_store
from orlop.store.opening import open_store, url_of
from orlop.store.place.copy import CopyReport
from orlop.store.place.info import StoreInfo, store_info
from orlop.store.upkeep.problem import CheckReport, FsckReport, Problem, Repair
from orlop.streams.given import path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from orlop.model.limits import Limits
    from orlop.model.progress import Progress
    from orlop.model.store_url import StoreURL
    from orlop.store.opening import Root

__all__ = [
    "CheckReport",
    "CopyReport",
    "FsckReport",
    "MigrateReport",
    "Problem",
    "Repair",
    "StoreInfo",
    "backup",
    "check",
    "copy",
    "fsck",
    "info",
    "init",
    "migrate",
    "move",
]

_TARGET: Final = "the target"
_MOST_GROUPS: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class MigrateReport:
    """What was done to a store's rows: they are of schema ``new`` now, and were of ``old`` before.

    ``kept`` is the path of a copy of the old database, or nothing where nothing had to be done.
    """

    old: int
    new: int
    kept: str | None


def init(
    root: Root,
    *,
    group: int | str | None = None,
    adopt: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    warn: Callable[[str], object] = lambda _: None,
) -> StoreInfo:
    """Make an empty store. One that is there already, for the same users, is success.

    Args:
        root: its directory: nothing, or an empty directory. Or a URL, whose database and bucket are prepared.
        group: a name or number of a group whose members may do everything in it. Its directories get the mode 2770, its
            files 0660 or 0440, whatever the umask. Without one it is for its owner alone.
        adopt: let rows that were restored or copied have the bucket of a URL, whoever had it before.
        allow_network: make it on a network or FUSE file system too, see `orlop.open`.
        allow_foreign: write also to a store of another user, see `orlop.open`.
        warn: called with what people should know of the bucket of a URL.

    Raises:
        StoreInUse: the bucket of a URL belongs to another store. InvalidInput: there is no such group.
        TargetExists: there is a store for other users. PermissionDenied: one is not a member of the group, or may not
        write there. NotSupported: a URL has no group, and a directory no bucket. UnsafeFileSystem, StorageError: it
        cannot be made.
    """
    number = None if group is None else group_number(group)
    url = url_of(_named(root))
    if url is not None:
        return _init_elsewhere(url, number, adopt=adopt, warn=warn)
    if adopt:
        raise NotSupported("only a bucket is adopted, and a directory has none; leave out --adopt")
    place = path_text(root, "the root of a store")  # type: ignore[arg-type]  # a path, or refused here
    with local_store(place, group=number, allow_network=allow_network, allow_foreign=allow_foreign) as store:
        found = store_info(store)
    if found.group != number:
        whose = "for its owner alone" if found.group is None else f"shared by the group {found.group}"
        msg = f"there is a store at {found.root} already, {whose}; name a new directory"
        raise TargetExists(msg)
    return found


def _init_elsewhere(url: StoreURL, group: int | None, *, adopt: bool, warn: Callable[[str], object]) -> StoreInfo:
    from orlop.store.remote import init_store  # noqa: PLC0415 - most stores are directories

    if group is not None:
        raise NotSupported(
            "only a store in a directory belongs to a group; grant roles of PostgreSQL the tables instead"
        )
    with init_store(url, adopt=adopt, warn=warn) as store:
        return store_info(store)


def info(root: Root) -> StoreInfo:
    """Return what a store is and how much it holds. The time it takes grows with the number of its files.

    Raises:
        StoreNotFound: there is none. StoreTooNew, StoreDamaged, StorageError: it cannot be read.
    """
    with open_store(_named(root), create=False) as store:
        return store_info(store)


def check(root: Root, *, verify: bool = False) -> CheckReport:
    """Look for what is wrong in a store; others may use it meanwhile. Nothing is repaired; `fsck` does that.

    Args:
        root: the store's directory.
        verify: read everything and compare it with its digest. Else files are compared by their sizes only.

    Raises:
        StoreNotFound: there is none. StoreTooNew, PermissionDenied, StorageError: it cannot be read.
    """
    report = fsck(root, quick=not verify)
    return CheckReport(report.root, verify, report.problems)


def fsck(
    root: Root,
    *,
    quick: bool = False,
    repair: bool = False,
    sources: Sequence[BinaryIO | str | os.PathLike[str]] = (),
    empty_quarantine: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> FsckReport:
    """Look through a store for everything that is wrong, and put it right if that is asked for.

    Others may use the store meanwhile. A repair touches nothing that is what its digest says. Bad blobs are moved into
    the store's directory ``quarantine``; tables of contents, sums and whatever else follows from content is made again;
    what is missing is looked for in the quarantine, in other forms of the same layer, and in ``sources``. Each step is
    atomic; a repair that was interrupted can be run again. Names that can be asked for are never removed.

    Args:
        root: the store's directory.
        quick: compare rows and the sizes of files only. Else every byte is read: the digest of every blob, the diff ID
            and the table of contents of every layer, every config and every manifest.
        repair: put right what can be put right, then look again.
        sources: archives, of any format that is loaded, from which a repair takes what is missing or damaged: paths, or
            binary files or streams. One that is damaged itself is a note in the report.
        empty_quarantine: remove for good what earlier repairs have set aside.
        allow_network: repair on a network or FUSE file system too, see `orlop.open`.
        allow_foreign: write also to a store of another user, see `orlop.open`.
        limits: what archives may ask for; else `orlop.Limits` with its defaults.
        progress: called with events, by threads of the look; its layers are blobs.

    A database that cannot be read is a problem in the report, and nothing is touched then.

    Raises:
        StoreNotFound: there is none. InvalidInput: there are sources, and no repair. NotFound: a source is not there.
        ReadOnlyStore, UnsafeFileSystem: the store cannot be written, and a repair was asked for.
        StoreTooNew, PermissionDenied, NoSpace, StorageError: it cannot be read, or written.
    """
    from orlop.service.fsck import fsck  # noqa: PLC0415 - one verb needs one verb's code

    return fsck(
        _named(root),
        quick=quick,
        repair=repair,
        sources=sources,
        empty_quarantine=empty_quarantine,
        allow_network=allow_network,
        allow_foreign=allow_foreign,
        limits=limits,
        progress=progress,
    )


def copy(
    root: Root,
    target: Root,
    *,
    link: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Make a second store that holds what one holds at this moment, while others may write to it.

    The copy appears whole, on disk, or not at all. Every byte is verified on the way. What no image needs stays behind.

    Args:
        root: the store's directory, or its URL.
        target: nothing, or an empty directory, which is for the same users as the store; or the URL of an empty store.
            A copy to or from a store beyond this machine that was interrupted goes on where it was, for a day.
        link: give the content's files one more name instead of copying them, where the file system can; then it is not
            read, and damage of a file is damage in both stores.
        allow_network: write on a network or FUSE file system too, see `orlop.open`.
        allow_foreign: write also to a store of another user, see `orlop.open`.
        progress: called with events, by threads of the copy; its layers are blobs.

    Raises:
        StoreNotFound: there is no store. TargetExists: something is there.
        InvalidInput: the target lies inside the store.
        IntegrityError, ContentNotFound: a blob is damaged or missing, see `check`.
        StorageError: a part cannot be read or written.
    """
    from orlop.store.place.between import copy_between, is_between  # noqa: PLC0415 - one verb needs one verb's code
    from orlop.store.place.copy import copy_store  # noqa: PLC0415 - as above

    with open_store(_named(root), create=False, allow_foreign=allow_foreign) as store:
        if is_between(store, target):
            _refuse_links(link=link)
            return copy_between(store, _named(target), allow_network=allow_network, progress=progress)
        return copy_store(store, _path(target), link=link, allow_network=allow_network, progress=progress)


def backup(
    root: Root,
    target: Root,
    *,
    link: bool = False,
    allow_network: bool = False,
    allow_foreign: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Make a copy as `copy` does, or bring an earlier backup of the same store up to date: only what is new is copied.

    A backup is at every moment the old one or the new one, whole. Images that were removed from the store go from the
    backup too. It is a store: open it, or copy it back. Takes and raises what `copy` does; the target may also be an
    earlier backup.
    """
    from orlop.store.place.between import back_up_between, is_between  # noqa: PLC0415 - one verb needs one verb's code
    from orlop.store.place.copy import back_up_store  # noqa: PLC0415 - as above

    with open_store(_named(root), create=False, allow_foreign=allow_foreign) as store:
        if is_between(store, target):
            _refuse_links(link=link)
            return back_up_between(
                store, _named(target), allow_network=allow_network, allow_foreign=allow_foreign, progress=progress
            )
        return back_up_store(
            store,
            _path(target),
            link=link,
            allow_network=allow_network,
            allow_foreign=allow_foreign,
            progress=progress,
        )


def move(
    root: Root,
    target: Root,
    *,
    allow_network: bool = False,
    allow_foreign: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Move a store to another place.

    Within a file system that is one step. To another one it is copied, the copy is verified, and the old one is removed
    when the new one is on disk: at every moment one of them is whole. Processes that try to write meanwhile wait, and
    then fail with `StoreMoved`.

    Args:
        root: the store's directory.
        target: nothing, or an empty directory; or the URL of an empty store. A store beyond this machine stays where
            it was, without images.
        allow_network: write on a network or FUSE file system too, see `orlop.open`.
        allow_foreign: write also to a store of another user, see `orlop.open`.
        progress: called with events, by threads of the copy.

    Raises:
        StoreInUse: another program, or another part of this one, has the store open. ReadOnlyStore: it cannot be
        removed. Beside it what `copy` raises; the store is then where it was.
    """
    from orlop.store.place.between import is_between, move_between  # noqa: PLC0415 - one verb needs one verb's code
    from orlop.store.place.copy import move_store  # noqa: PLC0415 - as above

    with open_store(_named(root), create=False, allow_network=allow_network, allow_foreign=allow_foreign) as store:
        if is_between(store, target):
            return move_between(store, _named(target), allow_network=allow_network, progress=progress)
        return move_store(store, _path(target), allow_network=allow_network, progress=progress)


def migrate(root: Root, *, allow_network: bool = False, allow_foreign: bool = False) -> MigrateReport:
    """Bring a store that an older orlop made up to date, and keep a copy of its old database beside it. Idempotent.

    That happens by itself when such a store is used; here it is done at a moment of one's choice. Programs with an
    older orlop cannot use the store any more.

    Raises:
        StoreNotFound: there is none. StoreTooNew: a newer orlop made it. ReadOnlyStore, StorageError: it cannot be
        written.
    """
    with open_store(_named(root), create=False, allow_network=allow_network, allow_foreign=allow_foreign) as store:
        old, kept = store.metadata.update()
        return MigrateReport(old, int(store.metadata.facts()["schema"]), kept)


def _named(root: Root) -> Root:
    """Return a directory as it is, and the URL of a store with what it leaves unsaid."""
    if isinstance(root, str) and "://" in root:
        from orlop.model.store_url import StoreURL, is_store_url  # noqa: PLC0415 - most stores are directories

        return StoreURL.parse(root, os.environ) if is_store_url(root) else root
    return root


def _path(target: Root) -> str:
    return path_text(target, _TARGET)  # type: ignore[arg-type]  # a path, or refused here


def _refuse_links(*, link: bool) -> None:
    if link:
        raise NotSupported("only files of one file system can be linked; copy without --link")


def group_number(group: int | str) -> int:
    """Return the number of a group that is named, or numbered; raises `InvalidInput` where there is none."""
    import grp  # noqa: PLC0415 - few stores are shared

    if isinstance(group, bool) or not isinstance(group, int):
        check_text(group, "a group, unless it is a number,")
    if isinstance(group, str) and group.isascii() and group.isdecimal() and len(group) <= len(str(_MOST_GROUPS)):
        group = int(group)
    if isinstance(group, int):
        # The number behind the last one means that a file keeps its group.
        if not 0 <= group < _MOST_GROUPS:
            raise InvalidInput(
                f"{group} is not the number of a group; give a number from 0 to {_MOST_GROUPS - 1}, or a name"
            )
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError) as error:
        msg = f"there is no group {group!r}; name one that the system knows"
        raise InvalidInput(msg) from error
