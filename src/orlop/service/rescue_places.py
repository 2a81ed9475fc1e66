"""Where a rescue must not write: nothing may get below a root, however its place is named or mounted.

That holds of temporary files, too. Python tries by writing a file which directory will do for them, so that its
candidates are judged before it does that.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.store.opening import url_of
from orlop.streams.filesystems import place_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.foreign.root import ForeignRoot
    from orlop.store.opening import Root

_TEMPORARY: Final = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - where Python looks, after what the user wants


def check_outside(foreign: ForeignRoot, path: str) -> None:
    """Check that something does not lie in the root, links and mounts followed. Raises `InvalidInput`."""
    where = os.path.realpath(path)
    above = set(_directories(where))
    for place in dict.fromkeys((*foreign.places, *foreign.data_roots)):
        inside = os.path.realpath(place)
        if (
            _is_below(where, inside)
            or not above.isdisjoint(_directories(inside, most=1))
            or _is_below_on_disk(where, inside)
        ):
            msg = f"{path} lies in {place}, where orlop writes nothing; choose a place on another disk"
            raise InvalidInput(msg)


def _is_below(path: str, above: str) -> bool:
    return os.path.commonpath([path, above]) == above


def _is_below_on_disk(path: str, above: str) -> bool:
    """Return whether a path lies below another one on a disk, some part of which may be mounted elsewhere, too."""
    ours, theirs = place_on_disk(path), place_on_disk(above)
    return ours is not None and theirs is not None and ours[0] == theirs[0] and _is_below(ours[1], theirs[1])


def _directories(path: str, *, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the identity of a path, and of each directory above it, however they are mounted."""
    ways = [path]
    while ways[-1] != os.path.dirname(ways[-1]):
        ways.append(os.path.dirname(ways[-1]))
    for way in ways[:most]:
        with suppress(OSError):
            state = os.stat(way)
            yield state.st_dev, state.st_ino


def check_store(foreign: ForeignRoot, place: Root, temporary: str | None) -> None:
    """Check that a store, and what it writes on this machine, do not lie in the root. Raises `InvalidInput`.

    Args:
        foreign: the root.
        place: the directory or the URL of the store.
        temporary: where the user wants temporary files, if anywhere.
    """
    url = url_of(place)
    if url is None:
        check_outside(foreign, os.fspath(place))  # type: ignore[arg-type]  # a path
        return
    from orlop.store.remote import directories_of  # noqa: PLC0415 - most stores are directories

    for directory in directories_of(url):
        check_outside(foreign, directory)
    check_temporary(foreign, temporary)


def check_temporary(foreign: ForeignRoot, wanted: str | None) -> None:
    """Check that temporary files do not get into the root. Raises `InvalidInput`.

    Args:
        foreign: the root.
        wanted: where the user wants them, if anywhere.
    """
    for directory in _temporary_directories(wanted):
        check_outside(foreign, directory)
        if tempfile.tempdir is None and os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK):
            return


def _temporary_directories(wanted: str | None) -> Iterator[str]:
    """Yield the directory that Python has found for temporary files, or else those that it tries, in its order."""
    if wanted is not None:
        yield wanted
    if tempfile.tempdir is not None:
        yield os.fsdecode(tempfile.tempdir)
        return
    yield from _TEMPORARY
    with suppress(OSError):
        yield os.getcwd()
