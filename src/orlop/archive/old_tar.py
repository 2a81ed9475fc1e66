"""An archive that is there and is to become part of a new one: its members, and their bytes as they stand.

Members are known by where they lie, as readers see it, however their names are spelt; and they go over with the names
that they have. Three things would come out as something else, and are refused: a global PAX header, which other readers
apply to all that follows; a hard link to a document that is written anew; and a link where a folder for new members
would be.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from orlop.archive.located import Window
from orlop.archive.members import member_key
from orlop.errors import InvalidArchive, InvalidJSON, InvalidTar
from orlop.model import gojson
from orlop.streams.files import CHUNK
from orlop.streams.tar import TarReader
from orlop.streams.tar_entry import BLOCK, TYPE_DIR, TYPE_FILE, TYPE_HARDLINK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.model.limits import Limits
    from orlop.streams.tar_entry import TarEntry


class OldTar:
    """A plain tar, by its members.

    Args:
        descriptor: of the file, which stays the caller's.
        shown: how messages call it.
        limits: what it may ask for.

    Raises:
        InvalidArchive: it is not a plain tar, has a member twice or outside of it, or has a global PAX header.
            LimitExceeded: it asks for too much.
    """

    def __init__(self, descriptor: int, shown: str, limits: Limits) -> None:
        self._descriptor = descriptor
        self._shown = shown
        self._limits = limits
        self._state = _state(descriptor)
        self.members: dict[str, TarEntry] = {}
        self._end = 0
        try:
            for entry in TarReader(Window(descriptor, 0, None), limits=limits):
                self._add(entry)
        except InvalidTar as error:
            raise self.refused(f"{error}; it must be an archive that is not compressed") from error

    def require_unchanged(self) -> None:
        """Check that nobody wrote to it since it was opened: what came meanwhile would be lost.

        Raises `InvalidArchive` where somebody did.
        """
        if _state(self._descriptor) != self._state:
            raise self.refused("it was changed meanwhile; do it again")

    def refused(self, why: str) -> InvalidArchive:
        """Return the error that says why nothing can be added."""
        return InvalidArchive(f"cannot add to {self._shown}: {why}")

    def raw(self, entry: TarEntry) -> Iterator[bytes]:
        """Yield a member as it stands there, with its headers and its padding."""
        yield from self._bytes(entry.header_offset, _end_of(entry))

    def content(self, entry: TarEntry) -> Iterator[bytes]:
        """Yield the content of a member that is not sparse."""
        yield from self._bytes(entry.offset, entry.offset + entry.stored_size)

    def _bytes(self, start: int, end: int) -> Iterator[bytes]:
        window = Window(self._descriptor, start, end - start)
        while start < end:
            data = window.read(min(CHUNK, end - start))
            if not data:
                msg = "it is incomplete"
                raise self.refused(msg)
            start += len(data)
            yield data

    def require_folders(self, names: Iterable[str]) -> None:
        """Check that members with these names, which are added, lie in folders, and not behind a link or a file.

        Raises `InvalidArchive` where they do not.
        """
        above = {
            "/".join(parts[:depth]) for parts in (name.split("/") for name in names) for depth in range(1, len(parts))
        }
        for folder in sorted(above & self.members.keys()):
            if self.members[folder].type != TYPE_DIR:
                raise self.refused(f"its {folder} is not a folder, and new members would lie in it; save to a new file")

    def require_own(self, names: Iterable[str]) -> None:
        """Check that no other member is a hard link to one of these, which are written anew: it would change with it.

        Raises `InvalidArchive` where one is.
        """
        documents = set(names)
        for name, entry in self.members.items():
            if entry.type == TYPE_HARDLINK and member_key(entry.linkname, self._limits) in documents:
                raise self.refused(
                    f"its {name} is a hard link to {entry.linkname}, which is rewritten; load it, and save its"
                    " images anew"
                )

    def _add(self, entry: TarEntry) -> None:
        if entry.header_offset != self._end:
            raise self.refused(
                f"it has a global PAX header at byte {self._end}, which readers apply to all that follows; load it, and"
                " save its images again"
            )
        self._end = _end_of(entry)
        name = member_key(entry.name, self._limits)
        if name in self.members:
            raise self.refused(f"it has the member {name!r} twice; load it, and save its images again")
        if len(self.members) >= self._limits.members:
            raise self._limits.exceeded("members", f"{self._shown} has more than {self._limits.members} members")
        self.members[name] = entry

    def is_blob(self, entry: TarEntry, algorithm: str, hex_digest: str) -> bool:
        """Return whether a member is a file whose content has a digest."""
        if entry.type != TYPE_FILE or entry.sparse:
            return False
        hashed = hashlib.new(algorithm)
        for chunk in self.content(entry):
            hashed.update(chunk)
        return hashed.hexdigest() == hex_digest

    def read(self, name: str) -> bytes:
        """Return the content of a small member. Raises `LimitExceeded`."""
        entry = self.members[name]
        if entry.type != TYPE_FILE or entry.sparse:
            raise self.refused(f"its {name} is not a file")
        if entry.size > (most := self._limits.manifest_size):
            raise self._limits.exceeded("manifest_size", f"{name} of {self._shown} has more than {most} bytes")
        return b"".join(self.content(entry))

    def document(self, name: str, keys: gojson.Keys = gojson.Keys.LAST) -> Any:
        """Return what a small member says in JSON."""
        try:
            return gojson.loads(gojson.bounded(self.read(name)), allow_trailing=True, keys=keys)
        except InvalidJSON as error:
            raise self.refused(f"{name}: {error}") from error


def _end_of(entry: TarEntry) -> int:
    """Return where the next member begins."""
    end = entry.offset + entry.stored_size
    return end + -end % BLOCK


def _state(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns
