"""Copying what is at a path of an image into a directory of this machine.

Nothing outside the destination is ever written. Names come from a tree of the merged view, in which a name has no slash
and is not ``..``; each directory is entered by descriptor and never through a link, so neither a link of the image nor
one that lies at the destination leads anywhere else. A link is copied as a link, whatever it says. A file that is there
is replaced, not written into. Devices and the like are never replaced, and something else than a directory that is in
a directory's place is an error.

Owners are kept where that is asked for, and so are setuid and setgid bits; else everything belongs to the user who
copies. Names of one file are hard links in the copy too, where the file system has them. Devices are left out, since
one could be opened by mistake.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import FileNotThere, InvalidInput, TargetExists
from orlop.inside.export import first_names, top_name
from orlop.streams.files import explaining
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FIFO, TYPE_FILE, TYPE_SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.content import Contents
    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["extract"]

_LINKLESS: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_UNCHANGED: Final = (1 << 32) - 1
"""The number that leaves an owner as it is; those of owners are less."""
_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | _LINKLESS


def extract(
    files: ImageFiles,
    path: str,
    target: str,
    *,
    follow: bool = False,
    owners: bool = False,
    verify: bool = False,
) -> list[str]:
    """Copy what is at a path, with all below it, as ``docker cp`` does, and return the paths that were left out.

    Args:
        files: the view.
        path: what to copy; of a directory that is named with ``/.`` at the end, what is in it.
        target: a directory that is there gets a copy with the last name of the path, also if that is a link that is
            followed; else the copy has this name.
        follow: copy what a symbolic link at the path leads to, instead of the link.
        owners: keep owners, and setuid and setgid bits; needs root.
        verify: read each layer that has content to its end, and fail where it is damaged. What was copied stays.

    Raises:
        PathNotFound: nothing is at the path. InvalidInput: the target is empty. FileNotThere: the directory that the
            target is to be in is not there.
        TargetExists: something that is not a directory is in the place of one, or a device, pipe or socket in that of a
            file. StorageError: the target cannot be written. Beside them, what reading layers raises.
    """
    real = files.real_path(path, follow=follow)
    top = files.node(real, follow=False)
    folder, name = _place(top_name(path, real), target, whole=top.type == TYPE_DIR)
    members = list(files.below(real))
    wanted = [node for _, node in members if node.type == TYPE_FILE]
    with ExitStack() as stack:
        contents = stack.enter_context(
            files.places([(node.origin, node.content) for node in wanted], verify=verify, longest_hole=0)
        )
        with explaining("write", target):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
        copy = _Copy(contents, target, first_names(members), owners=owners)
        copy.run(descriptor, name, members)
        contents.finish()
    return copy.left_out


def _place(own: str, target: str, *, whole: bool) -> tuple[str, str]:
    """Return the directory that a copy goes to, and its name there; no name where it is that directory itself.

    Args:
        own: the name of what is copied; none where only what is in a directory is copied.
        target: where the copy goes.
        whole: whether it is a directory.
    """
    if not target:
        raise InvalidInput("the name of the copy is empty; name a file or directory")
    if os.path.isdir(target):
        return target, own
    if target.endswith("/") and not whole:
        raise FileNotThere(f"the directory {target!r} does not exist; create it, or leave out the slash")
    folder, name = os.path.split(target.rstrip("/") or "/")
    if not os.path.isdir(folder or "."):
        raise FileNotThere(f"the directory {folder!r} does not exist; create it first")
    return folder or ".", name


class _Copy:
    """A copy under way."""

    def __init__(self, contents: Contents, target: str, firsts: dict[Node, str], *, owners: bool) -> None:
        self._contents = contents
        self._target = target
        self._firsts = firsts
        self._top: tuple[str, int] | None = None
        self._owners = owners
        self.left_out: list[str] = []

    def run(self, descriptor: int, name: str, members: list[tuple[str, Node]]) -> None:
        """Copy members, which come as a walk has them, into an open directory."""
        top = members[0][0]
        if members[0][1].type != TYPE_DIR:
            self._put(descriptor, name, *members[0])
            return
        # The directories from the top to the one at hand, each open; they get their attributes when they are left.
        open_ones: list[tuple[str, int, Node]] = []
        try:
            for path, node in members:
                while open_ones and not _is_below(path, open_ones[-1][0]):
                    self._leave(*open_ones.pop()[1:])
                parent = open_ones[-1][1] if open_ones else descriptor
                own = name if path == top else path.rpartition("/")[2]
                if node.type == TYPE_DIR:
                    with self._explained(path):
                        open_ones.append((path, _entered(parent, own, path), node))
                    self._top = open_ones[0][:2]
                else:
                    self._put(parent, own, path, node)
        finally:
            self._leave_all(open_ones)

    def _leave_all(self, open_ones: list[tuple[str, int, Node]]) -> None:
        """Leave directories, the last first; one that cannot be settled keeps none of them open."""
        with ExitStack() as stack:
            for _, descriptor, node in open_ones:
                stack.callback(self._leave, descriptor, node)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        with explaining("write", f"{self._target} (for {path})"):
            yield

    def _put(self, parent: int, name: str, path: str, node: Node) -> None:
        """Make anything that is not a directory."""
        if node.type not in {TYPE_FILE, TYPE_SYMLINK, TYPE_FIFO}:
            self.left_out.append(path)
            return
        with self._explained(path):
            _cleared(parent, name, path, node)
            if self._is_linked(parent, name, path, node):
                return
            if node.type == TYPE_SYMLINK:
                os.symlink(os.fsencode(node.content.linkname), os.fsencode(name), dir_fd=parent)
                self._settle_link(parent, name, node)
                return
            if node.type == TYPE_FIFO:
                os.mkfifo(os.fsencode(name), 0o600, dir_fd=parent)
                # For reading and writing both, so that it does not wait for another process.
                pipe = os.open(os.fsencode(name), os.O_RDWR | os.O_NONBLOCK | _LINKLESS, dir_fd=parent)
                self._leave(pipe, node)
                return
            file = os.open(os.fsencode(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | _LINKLESS, 0o600, dir_fd=parent)
        try:
            for at, piece in self._contents.located((node.origin, node.content)):
                with self._explained(path):
                    _write(file, at, piece)
            with self._explained(path):
                if node.content.sparse:
                    os.ftruncate(file, node.size)  # its last hole
                self._settle(file, node)
        finally:
            os.close(file)

    def _is_linked(self, parent: int, name: str, path: str, node: Node) -> bool:
        """Make a further name of what was copied under another one; return whether that is what it is.

        It is not where the system refuses that: not all file systems have hard links, or any number of them.
        """
        first = self._firsts.get(node, path)
        if first == path or self._top is None:
            return False
        top, descriptor = self._top
        *folders, own = first[len(top) :].strip("/").split("/")
        with ExitStack() as stack, suppress(OSError):
            for folder in folders:
                descriptor = os.open(os.fsencode(folder), _ENTER, dir_fd=descriptor)
                stack.callback(os.close, descriptor)
            source, link = os.fsencode(own), os.fsencode(name)
            os.link(source, link, src_dir_fd=descriptor, dst_dir_fd=parent, follow_symlinks=False)
            return True
        return False

    def _leave(self, descriptor: int, node: Node) -> None:
        try:
            with explaining("write", self._target):
                self._settle(descriptor, node)
        finally:
            os.close(descriptor)

    def _settle(self, descriptor: int, node: Node) -> None:
        if self._owners:
            os.fchown(descriptor, *_owner(node))
        os.fchmod(descriptor, self._mode(node))
        with suppress(OSError, OverflowError):  # a time that the file system cannot hold
            os.utime(descriptor, ns=_times(node))

    def _settle_link(self, parent: int, name: str, node: Node) -> None:
        if self._owners:
            os.chown(os.fsencode(name), *_owner(node), dir_fd=parent, follow_symlinks=False)
        with suppress(OSError, OverflowError):
            os.utime(os.fsencode(name), ns=_times(node), dir_fd=parent, follow_symlinks=False)

    def _mode(self, node: Node) -> int:
        return node.mode if self._owners else node.mode & 0o1777


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder if folder.endswith("/") else f"{folder}/")


def _owner(node: Node) -> tuple[int, int]:
    """Return the numbers of the owner and the group. Raises OSError where no file can have them."""
    uid, gid = node.attributes.uid, node.attributes.gid
    if not (0 <= uid < _UNCHANGED and 0 <= gid < _UNCHANGED):
        raise OSError(f"it belongs to the user {uid} and the group {gid}, and no file can")
    return uid, gid


def _times(node: Node) -> tuple[int, int]:
    seconds, nanoseconds = node.attributes.mtime
    total = seconds * 1_000_000_000 + nanoseconds
    return total, total


def _write(file: int, at: int, piece: bytes) -> None:
    """Write a piece at a place: what was left out before it becomes a hole."""
    rest = memoryview(piece)
    while rest:
        written = os.pwrite(file, rest, at)
        at, rest = at + written, rest[written:]


def _entered(parent: int, name: str, path: str) -> int:
    """Open a directory, made where it is not there; without a name the parent itself."""
    if not name:
        return os.dup(parent)
    with suppress(FileExistsError):
        os.mkdir(os.fsencode(name), 0o700, dir_fd=parent)
    try:
        return os.open(os.fsencode(name), _ENTER, dir_fd=parent)
    except NotADirectoryError as error:
        raise TargetExists(f"a link or file is in the place of the directory {path}; remove it first") from error


def _cleared(parent: int, name: str, path: str, node: Node) -> None:
    """Remove what is in the place of a file: another file or a link, and of a pipe also a pipe."""
    try:
        found = os.stat(os.fsencode(name), dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found):
        raise TargetExists(f"a directory is in the place of {path}; remove it first")
    # /dev/null, say, which the machine needs.
    if not (stat.S_ISREG(found) or stat.S_ISLNK(found) or (stat.S_ISFIFO(found) and node.type == TYPE_FIFO)):
        raise TargetExists(f"a device, pipe or socket is in the place of {path}; remove it first")
    os.unlink(os.fsencode(name), dir_fd=parent)
