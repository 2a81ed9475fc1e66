"""Extended attributes that Linux, or its most common disk, does not take: programs refuse the layer, or drop them."""

from __future__ import annotations

from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE, TYPE_HARDLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

__all__ = ["are_refused"]

_SPACES: Final = ("user.", "trusted.", "security.", "system.")
_USER: Final = "user."
_CAPABILITY: Final = "security.capability"
_ACLS: Final = ("system.posix_acl_access", "system.posix_acl_default")
_LONGEST_NAME: Final = 255
_ROOM: Final = 4000
"""What ext4 has room for beside its own bytes, in a block of 4,096; other disks take more."""
_ENTRY: Final = 16
_HAVE_USERS: Final = frozenset((TYPE_FILE, TYPE_DIR, TYPE_HARDLINK))
_CAPABILITIES: Final = {2: 20, 3: 24}
"""The sizes of the versions of capabilities that can be set."""


def are_refused(kind: str, xattrs: Mapping[str, bytes]) -> bool:
    """Return whether an entry of a type has attributes that cannot all be set on ext4."""
    if sum(_ENTRY + len(name) + len(value) for name, value in xattrs.items()) > _ROOM:
        return True
    return any(_is_refused(kind, name, value) for name, value in xattrs.items())


def _is_refused(kind: str, name: str, value: bytes) -> bool:
    space = next((one for one in _SPACES if name.startswith(one)), None)
    if space is None or name == space or len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
        return True
    if space == _USER:
        return kind not in _HAVE_USERS
    if name == _CAPABILITY:
        return len(value) < 4 or _CAPABILITIES.get(value[3]) != len(value)
    return name in _ACLS and (value[:4] != b"\2\0\0\0" or len(value) % 8 != 4)
