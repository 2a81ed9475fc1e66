"""What programs disagree on when they unpack layers, or what is to no purpose: kinds of `Finding`."""

from __future__ import annotations

from orlop.inside.attributes import are_refused
from orlop.inside.trail import LONGEST
from orlop.streams.tar_entry import TYPE_CHAR, TYPE_DIR, TYPE_FILE, TYPE_HARDLINK, TYPE_OTHER, TYPE_SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.streams.tar_entry import TarEntry

__all__ = ["KINDS", "leads_up", "oddities"]

KINDS: Final = {
    "attribute-refused": "an extended attribute is one that ext4 does not take there; programs refuse or drop it",
    "below-file": "an entry lies below a file; most engines refuse it, or put a directory in the file's place",
    "below-link": "an entry lies below a symbolic link of a lower layer: engines hide the link, umoci follows it",
    "below-own-link": "an entry lies below a link of its layer that leads to what the layer lacks; engines refuse it",
    "directory-made-anew": "a directory is hidden and made anew in one layer; overlay engines show its old content",
    "hidden-and-there": "a path is hidden and made anew in one layer; some engines refuse it",
    "hides-nothing": "a whiteout or an opaque marker hides nothing; some containers list a name that nobody can read",
    "implied-attributes": "a directory has no entry in a layer; Docker and podman reset its mode and owner",
    "implied-setgid": "a directory has no entry and lies in a setgid one; programs give it that bit, some the group",
    "link-before-target": "a hard link comes before its target; most engines refuse it",
    "link-to-lower": "a hard link leads to a file of a lower layer; most engines refuse it",
    "link-to-nothing": "a hard link leads to nothing, and is left out",
    "link-with-attributes": "a hard link states other attributes than its target; the last ones count",
    "lost-directory": "something else replaces a directory that has one with an entry of the layer; engines refuse it",
    "marker-in-hidden": "a whiteout lies in a directory that the same layer hides; some engines refuse it",
    "marker-without-directory": "a whiteout lies in a directory that is not there; some engines make the directory",
    "no-owner": "its owner or group is not a number from 0 to 4294967294: programs leave root, or cut the number off",
    "not-for-a-disk": "Linux takes no name over 255 bytes, path over 4094, or link to an empty path or one over 4095",
    "opaque-root": "the root is opaque: overlay engines ignore that and show what lies below",
    "outside": "a name leads out of the root, and is taken as if the root had no parent",
    "overlay-attribute": "an attribute of overlay file systems is set, which can hide files in some engines",
    "reserved-name": "a name is reserved for layers, and is left out; some programs show it",
    "time-out-of-range": "its time is before 1970 or after 2262; engines set it to 1970",
    "twice": "a path occurs twice in one layer; some engines refuse it, in others the first one counts",
    "unknown-type": "an entry is of a type that no program unpacks; engines refuse it",
    "whiteout-device": "a character device 0:0, which an overlay engine takes for a whiteout",
    "whiteout-of-nothing": "a whiteout names nothing, and is left out; engines refuse it",
}
"""Each kind, with a clause that says what it is and how programs read it."""

_PLAIN: Final = frozenset((TYPE_DIR, TYPE_FILE))
_NONE: Final = (1 << 32) - 1
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4094  # after a slash, and with a NUL at its end
_LAST_SECOND: Final = ((1 << 63) - 1) // 10**9
_MAJOR: Final = (1 << 12) - 1
_MINOR: Final = (1 << 20) - 1


def leads_up(path: str) -> bool:
    """Return whether a path has a part ``..`` in it, other than as its only one."""
    return path.startswith("../") or "/../" in path or path.endswith("/..")


def oddities(path: str, entry: TarEntry) -> Iterable[str]:
    """Return the kinds of what is odd in an entry by itself, whatever else its layer has."""
    # Nearly all entries are so, and there are many.
    if (
        entry.type in _PLAIN
        and len(path) <= (_LONGEST_NAME if path.isascii() else _LONGEST_NAME // 4)
        and not entry.xattrs
        and 0 <= entry.uid < _NONE > entry.gid >= 0
        and 0 <= entry.mtime[0] < _LAST_SECOND
    ):
        return ()
    return _oddities(path, entry)


def _oddities(path: str, entry: TarEntry) -> Iterator[str]:
    kind = entry.type
    if not 0 <= entry.mtime[0] < _LAST_SECOND:
        yield "time-out-of-range"
    if not 0 <= entry.uid < _NONE > entry.gid >= 0:
        yield "no-owner"
    if len(_bytes(path)) > _LONGEST_PATH or any(len(_bytes(name)) > _LONGEST_NAME for name in path.split("/")):
        yield "not-for-a-disk"
    if entry.xattrs and are_refused(kind, entry.xattrs):
        yield "attribute-refused"
    if entry.xattrs and any(key.startswith("trusted.overlay.") for key in entry.xattrs):
        yield "overlay-attribute"
    if kind == TYPE_HARDLINK and leads_up(entry.linkname):
        yield "outside"
    elif kind == TYPE_SYMLINK and not 0 < len(_bytes(entry.linkname)) <= LONGEST:
        yield "not-for-a-disk"
    elif kind == TYPE_OTHER:
        yield "unknown-type"
    elif kind == TYPE_CHAR and not entry.devmajor & _MAJOR and not entry.devminor & _MINOR:
        # A device has so many bits on Linux; the rest is cut off.
        yield "whiteout-device"


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
