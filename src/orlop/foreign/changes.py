"""What a container has changed, as a layer: the tar that an engine would make of the container's own directory.

Graph drivers keep the files that a container wrote in a directory of their own, and what it removed as marks. A layer
has files in place of these marks, as the OCI image specification says (layer, "Whiteouts"):

- overlay: a removed name is a character device 0:0, and a directory that hides the lower one has an attribute
  ``overlay.opaque``, in the namespace ``trusted``, or ``user`` where the engine ran without root;
- fuse-overlayfs: the same, or files as in a layer, and an attribute of its own; owners and modes may be attributes too;
- aufs: files as in a layer, and some of its own at the top.

The driver vfs copies all that is below instead. What a container has changed there is what differs from the directory
that it began with: in type, mode, owner or attributes, a link in its target, and what else is not a directory in size
or time. Directories above something that differs come along.

The tar has names in the order of their bytes, a directory before what is in it. Of several names of a file the first
has its content. Attributes that other machines understand are kept: capabilities, and those of users.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import RootDamaged
from orlop.foreign.disk import DEEPEST, Walker, close, reading
from orlop.streams.files import CHUNK
from orlop.streams.tar_entry import TYPE_BLOCK, TYPE_CHAR, TYPE_DIR, TYPE_FIFO, TYPE_FILE, TYPE_SYMLINK, TarEntry
from orlop.streams.tar_write import archive_chunks, entry_header, padding

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from orlop.foreign.disk import Folder

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_OF_AUFS: Final = frozenset({".wh..wh.aufs", ".wh..wh.orph", ".wh..wh.plnk"})
_OPAQUE_ATTRIBUTES: Final = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque")
_RENAMED: Final = ("trusted.overlay.redirect", "user.overlay.redirect")
_OVERRIDES: Final = ("user.fuseoverlayfs.override_stat", "user.containers.override_stat")
_NOTED: Final = re.compile(rb"([0-9]{1,10}):([0-9]{1,10}):([0-7]{1,11})(?::.*)?", re.DOTALL).fullmatch
_HIGHEST: Final = 0xFFFFFFFF  # of an owner or a mode
_OF_ENGINES: Final = ("user.overlay.", "user.fuseoverlayfs.", "user.containers.")
_TYPES: Final = {
    stat.S_IFREG: TYPE_FILE,
    stat.S_IFDIR: TYPE_DIR,
    stat.S_IFLNK: TYPE_SYMLINK,
    stat.S_IFCHR: TYPE_CHAR,
    stat.S_IFBLK: TYPE_BLOCK,
    stat.S_IFIFO: TYPE_FIFO,
}


def changes_chunks(folder: Folder, lower: Folder | None = None) -> Generator[bytes]:
    """Yield, as an uncompressed tar, what a container's own directory has.

    Args:
        folder: the directory.
        lower: what the container began with, where its directory has all that is below it.

    Raises:
        RootDamaged: something cannot be read, or a directory was renamed in a way that only the driver understands.
    """
    with Walker(folder) as walker, Walker(lower or folder) as before:
        packing = _Packing(walker) if lower is None else _Comparing(walker, before)
        yield from archive_chunks(packing.pieces())


@dataclass(slots=True)
class _Facts:
    """What attributes say of a name: those that a layer keeps, and those that an engine made."""

    kept: dict[str, bytes]
    is_opaque: bool = False
    owners: tuple[int, int, int] | None = None


class _Packing:
    """A tar under way."""

    _has_marks = True
    """Whether the driver leaves marks for what was removed."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._firsts: dict[tuple[int, int], str] = {}
        # The directories on the way to where it is, each with the names that are still to come, the last one first.
        self._waiting: list[tuple[tuple[str, ...], list[str]]] = []

    def pieces(self) -> Iterator[bytes]:
        """Yield the headers and the contents of all members."""
        self._enter(())
        while self._waiting:
            parts, names = self._waiting.pop()
            folder = self._walker.folder(parts)
            while names:
                name = names.pop()
                yield from self._changed(folder, name, parts)
                if folder.is_directory(name):
                    self._waiting.append((parts, names))
                    self._enter((*parts, name))
                    break

    def _enter(self, parts: tuple[str, ...]) -> None:
        folder = self._walker.folder(parts)
        if len(parts) > DEEPEST:
            raise RootDamaged(f"{folder.path} lies more than {DEEPEST} directories deep, where no path leads to")
        self._waiting.append((parts, sorted(self._names(folder, parts), key=os.fsencode, reverse=True)))

    def _names(self, folder: Folder, parts: tuple[str, ...]) -> Iterable[str]:  # noqa: ARG002 - see `_Comparing`
        return folder.all_names()

    def _changed(self, folder: Folder, name: str, parts: tuple[str, ...]) -> Iterator[bytes]:
        """Yield a member as far as it was changed."""
        return self._member(folder, name, "/".join((*parts, name)))

    def _member(self, folder: Folder, name: str, path: str) -> Iterator[bytes]:
        state = folder.state(name)
        if state is None:
            raise RootDamaged(f"{folder.path_of(name)} cannot be read")
        kind = _TYPES.get(stat.S_IFMT(state.st_mode))
        if kind is None or (path == name and name in _OF_AUFS):
            # A tar has no sockets.
            return
        if name.startswith(_WHITEOUT) and not self._has_marks:
            raise RootDamaged(f"{folder.path_of(name)} would be a mark in a layer, and is a file of the container")
        if kind == TYPE_CHAR and state.st_rdev == 0:
            yield _mark(f"{path.removesuffix(name)}{_WHITEOUT}{name}", state)
            return
        facts = _facts(folder, name)
        if kind == TYPE_DIR:
            yield entry_header(_entry(state, kind, facts), name=f"{path}/")
            if facts.is_opaque and self._has_marks:
                yield _mark(f"{path}/{_OPAQUE}", state)
            return
        first = self._firsts.setdefault((state.st_dev, state.st_ino), path) if state.st_nlink > 1 else path
        if first != path:
            yield entry_header(_entry(state, kind, facts), name=path, linkname=first)
        elif kind == TYPE_FILE:
            yield from _file(folder, name, path, facts)
        else:
            target = folder.link(name) if kind == TYPE_SYMLINK else ""
            yield entry_header(_entry(state, kind, facts, linkname=target), name=path)


class _Comparing(_Packing):
    """A tar of what differs from another directory."""

    _has_marks = False

    def __init__(self, walker: Walker, lower: Walker) -> None:
        super().__init__(walker)
        self._lower = lower
        # The directories down to where it is that are as they were, so far.
        self._unchanged: list[tuple[tuple[str, ...], bytes]] = []

    def _names(self, folder: Folder, parts: tuple[str, ...]) -> Iterable[str]:
        before = self._lower.there(parts)
        return {*folder.all_names(), *(() if before is None else before.all_names())}

    def _changed(self, folder: Folder, name: str, parts: tuple[str, ...]) -> Iterator[bytes]:
        path = "/".join((*parts, name))
        while self._unchanged and self._unchanged[-1][0] != parts[: len(self._unchanged[-1][0])]:
            self._unchanged.pop()
        before = self._lower.there(parts)
        was = None if before is None else before.state(name)
        now = folder.state(name)
        if was is not None and (now is None or stat.S_ISSOCK(now.st_mode)) and not stat.S_ISSOCK(was.st_mode):
            pieces: Iterator[bytes] = iter([_mark(f"{path.removesuffix(name)}{_WHITEOUT}{name}", was)])
        else:
            pieces = self._member(folder, name, path)
            if before is not None and _is_same(folder, before, name):
                if folder.is_directory(name):
                    self._unchanged.append(((*parts, name), b"".join(pieces)))
                return
        for _, header in self._unchanged:
            yield header
        self._unchanged.clear()
        yield from pieces


def _is_same(folder: Folder, before: Folder, name: str) -> bool:
    """Return whether a name is what it was before; the content of a file is not read."""
    now, was = folder.state(name), before.state(name)
    if now is None or was is None:
        return False
    if (now.st_mode, now.st_uid, now.st_gid, now.st_rdev) != (was.st_mode, was.st_uid, was.st_gid, was.st_rdev):
        return False
    if (now.st_size, now.st_mtime_ns) != (was.st_size, was.st_mtime_ns) and not stat.S_ISDIR(now.st_mode):
        # What copies a data root may not keep the time of a link.
        return stat.S_ISLNK(now.st_mode) and folder.link(name) == before.link(name)
    return _facts(folder, name) == _facts(before, name)


def _file(folder: Folder, name: str, path: str, facts: _Facts) -> Iterator[bytes]:
    descriptor, size = folder.open_file(name)
    try:
        with reading(folder.path_of(name)):
            state = os.fstat(descriptor)
            yield entry_header(_entry(state, TYPE_FILE, facts, size=size), name=path)
            left = size
            while left:
                chunk = os.read(descriptor, min(CHUNK, left))
                if not chunk:
                    raise RootDamaged(f"{folder.path_of(name)} became shorter while it was read")
                left -= len(chunk)
                yield chunk
    finally:
        close(descriptor)
    yield padding(size)


def _facts(folder: Folder, name: str) -> _Facts:
    facts = _Facts({})
    for attribute, value in folder.attributes(name).items():
        if attribute in _RENAMED:
            raise RootDamaged(f"{folder.path_of(name)} was renamed by the driver, which only the driver can follow")
        if attribute in _OPAQUE_ATTRIBUTES:
            facts.is_opaque |= value == b"y"
        elif attribute in _OVERRIDES:
            facts.owners = _owners(value)
        elif attribute == "security.capability" or (
            # A tar has no way to write a name with an equals sign.
            attribute.startswith("user.") and not attribute.startswith(_OF_ENGINES) and "=" not in attribute
        ):
            facts.kept[attribute] = value
    return facts


def _owners(value: bytes) -> tuple[int, int, int] | None:
    """Return the user, the group and the mode that an engine without root has noted, if they can be read."""
    found = _NOTED(value)
    if found is None:
        return None
    owners = int(found[1]), int(found[2]), int(found[3], 8)
    return owners if max(owners) <= _HIGHEST else None


def _mark(path: str, state: os.stat_result) -> bytes:
    """Return the header of an empty file that stands for something that was removed."""
    return entry_header(_entry(state, TYPE_FILE, _Facts({}), mode=0o600), name=path)


def _entry(
    state: os.stat_result, kind: str, facts: _Facts, *, size: int = 0, linkname: str = "", mode: int | None = None
) -> TarEntry:
    uid, gid, noted = facts.owners or (state.st_uid, state.st_gid, state.st_mode)
    is_device = kind in {TYPE_CHAR, TYPE_BLOCK}
    return TarEntry(
        name="",
        type=kind,
        mode=stat.S_IMODE(noted) if mode is None else mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime=divmod(state.st_mtime_ns, 1_000_000_000),
        linkname=linkname,
        uname="",
        gname="",
        devmajor=os.major(state.st_rdev) if is_device else 0,
        devminor=os.minor(state.st_rdev) if is_device else 0,
        xattrs=facts.kept,
        header_offset=0,
        headers_size=0,
        stored_size=0,
    )
