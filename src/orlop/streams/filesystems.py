"""The file system of a directory, according to the kernel's table of mounts (Linux, ``proc(5)``)."""

from __future__ import annotations

import os

from orlop.model.regex import regex
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Several machines, or a machine and its host, use these at the same time. Locks and shared memory, on which a database
# relies, do not work between them.
_NETWORK: Final = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "kafs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "prl_fs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    }
)
# A file system in user space may support neither locks nor shared memory.
_FUSE: Final = regex(r"fuse(\.|blk|\Z)")
# An overlay of local directories; the root of many rootless containers.
_LOCAL_FUSE: Final = frozenset({"fuse.fuse-overlayfs"})
_ESCAPED: Final = ((b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\040", b" "), (b"\\043", b"#"), (b"\\134", b"\\"))
"""What the kernel writes in the place of a character; the backslash, with which each begins, comes last."""


class FileSystem(NamedTuple):
    """A mounted file system: its type as in ``mount -t``, and where it is mounted."""

    type: str
    mount_point: str

    @property
    def is_network(self) -> bool:
        """Whether other machines may use it too, or a program in user space serves it."""
        if not self.type.startswith("fuse"):
            return self.type in _NETWORK
        return _FUSE.match(self.type) is not None and self.type not in _LOCAL_FUSE


def file_system_of(path: str, *, proc: str = "/proc/self") -> FileSystem | None:
    """Return the file system of a path, or of its nearest existing parent.

    Args:
        path: a path, which need not exist.
        proc: where the kernel describes this process.

    Returns None if the kernel does not provide it.
    """
    mount = _mount_at(os.path.abspath(path), proc)
    if mount is None:
        return None
    # The type is the first field after the hyphen, which any number of fields may precede.
    return FileSystem(_text(mount[mount.index(b"-", 6) + 1]), _text(mount[4]))


def place_on_disk(path: str, *, proc: str = "/proc/self") -> tuple[bytes, str] | None:
    """Return a number for the file system of a path, and the path in that: the same however it is mounted.

    Args:
        path: a path, which need not exist; links in it are followed.
        proc: where the kernel describes this process.

    Returns None if the kernel does not provide it.
    """
    path = os.path.realpath(path)
    mount = _mount_at(path, proc)
    if mount is None:
        return None
    return mount[2], os.path.normpath(os.path.join(_text(mount[3]), os.path.relpath(path, _text(mount[4]))))


def _mount_at(path: str, proc: str) -> list[bytes] | None:
    """Return what the kernel says of the mount of a path or of its nearest existing parent."""
    try:
        descriptor = _open_nearest(path)
        try:
            mount = _mount_of(descriptor, proc)
            return None if mount is None else _mounted(mount, proc)
        finally:
            os.close(descriptor)
    except OSError:
        return None


def _open_nearest(path: str) -> int:
    while True:
        try:
            return os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            parent = os.path.dirname(path)
            if parent == path:
                raise
            path = parent


def _mount_of(descriptor: int, proc: str) -> bytes | None:
    # The longest prefix of a path would be wrong if one mount hides another; the kernel knows the mount itself.
    with open(f"{proc}/fdinfo/{descriptor}", "rb") as facts:
        for line in facts:
            if line.startswith(b"mnt_id:"):
                return line.split()[1]
    return None


def _mounted(mount: bytes, proc: str) -> list[bytes] | None:
    with open(f"{proc}/mountinfo", "rb") as mounts:
        for line in mounts:
            fields = line.split()
            if fields and fields[0] == mount:
                return fields
    return None


def _text(field: bytes) -> str:
    for escape, character in _ESCAPED:
        field = field.replace(escape, character)
    return os.fsdecode(field)
