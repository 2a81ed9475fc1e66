"""The members of an archive that comes once, through a pipe or a decompressor."""

from __future__ import annotations

import io
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from orlop.archive.members import READ, Member, Members, begins_like_layer
from orlop.archive.names import algorithm_of
from orlop.archive.scratch import SMALL, Scratch
from orlop.errors import InvalidArchive, InvalidInput, ReadFailed
from orlop.intake.taking import L, refused
from orlop.store.blobs.ingest import measure_layer
from orlop.streams.files import CHUNK
from orlop.streams.meter import Meter
from orlop.streams.tar import TarReader
from orlop.streams.tar_common import check_trailing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orlop.intake.taking import Taking
    from orlop.store.blobs.ingest import Readable
    from orlop.store.blobs.store import Spool
    from orlop.streams.tar import TarEntry

_BLOCK = 512


class StreamedMembers(Members[L]):
    """The members of a tar that comes once: documents and small members wait, all else is taken as a possible layer.

    Where the archive can be had again (``again``), members can be read later, each by going through it once more.
    ``scratch`` begins a spool for small members, where there is a store for it.
    """

    def __init__(
        self,
        source: Readable,
        taking: Taking[L],
        *,
        again: Callable[[], AbstractContextManager[Readable]] | None = None,
        scratch: Callable[[], Spool] | None = None,
    ) -> None:
        super().__init__(taking)
        self._again = again
        self._scratch = Scratch(scratch)
        try:
            reader = TarReader(source, limits=self.limits)
            for count, entry in enumerate(reader, 1):
                self._check_count(count)
                if entry.type not in READ:
                    self._note_other(entry.name)
                elif entry.type in {"hardlink", "symlink"}:
                    self._add_link(entry.name, entry.linkname, hard=entry.type == "hardlink")
                elif entry.type == "file":
                    # A name that is refused is refused before its content is kept.
                    self._key(entry.name)
                    member = self._take(reader, entry)
                    self._add(entry.name, member, partial(_equal, member))
            self._check_places()
            # What follows the end of an archive is read, so that who writes it does not meet a closed pipe. What has
            # no member is not an archive, and may never end.
            trailing = 0
            while self._table and (data := source.read(CHUNK)):
                trailing += len(data)
                check_trailing(trailing, "the archive", self.limits)
        except BaseException:
            self.close()
            raise

    def _take(self, reader: TarReader, entry: TarEntry) -> Member[L]:
        first = b""
        while len(first) < min(entry.size, _BLOCK) and (data := reader.read(_BLOCK - len(first))):
            first += data
        most = max(self.limits.config_size, self.limits.manifest_size)
        if entry.size < _BLOCK or (entry.size <= most and first.lstrip()[:1] in {b"{", b"["}):
            self.count_bytes(entry.size)
            return Member(size=entry.size, data=first + b"".join(reader.chunks()))
        member = Member[L](size=entry.size, offset=entry.offset)
        if entry.sparse:
            try:
                self.meter.claimed(entry.size, entry.stored_size)
            except InvalidInput as error:
                self._fail(member, error, entry, first)
                return member
        content: Readable = _Continued(first, reader)
        if entry.size < SMALL:
            self.meter.unpacked(max(0, entry.size - entry.stored_size))
            data = first + b"".join(reader.chunks())
            member.held = self._scratch.put(data)
            if member.held is not None:
                return member
            content = io.BytesIO(data)
        self._take_layer_of(member, content, entry, first)
        return member

    def _take_layer_of(self, member: Member[L], content: Readable, entry: TarEntry, first: bytes) -> None:
        """Take a member as a layer, whether it is one or not; what is clearly none as it is, where that is kept."""
        if self.taking.keeps_blobs and not begins_like_layer(first):
            try:
                measure_layer(io.BytesIO(first), meter=Meter(self.limits))
            except InvalidInput as error:
                self._fail(member, error, entry, first)
                algorithm = algorithm_of(entry.name)
                member.blob = self.taking.blob(content, label=_label(entry.name), total=entry.size, algorithm=algorithm)
                return
        try:
            member.layer = self.taking.layer(
                content,
                label=_label(entry.name),
                total=entry.size,
                algorithm=algorithm_of(entry.name),
                other=partial(setattr, member, "blob") if self.taking.keeps_blobs else None,
            )
        except InvalidInput as error:
            self._fail(member, error, entry, first)

    @staticmethod
    def _fail(member: Member[L], error: InvalidInput, entry: TarEntry, first: bytes) -> None:
        """Note why a member is not a layer: only what the manifest names has to be one."""
        member.failure = refused(error, "the member", entry.name)
        member.is_tar_like = begins_like_layer(first)

    @contextmanager
    def reading(self, name: str, *, what: str) -> Iterator[Readable]:
        """Return a reader of a member's bytes, see `Members.reading`; of a pipe they are gone, small ones too."""
        key = self.key_of(name, what=what)
        if self._table[key].held is not None and self._again is None:
            raise _gone(key)
        with super().reading(name, what=what) as source:
            yield source

    @contextmanager
    def _reading(self, member: Member[L], key: str) -> Iterator[Readable]:
        data = member.data if member.held is None else member.held()
        if data is not None:
            yield io.BytesIO(data)
            return
        if self._again is None:
            raise _gone(key)
        with self._again() as source:
            reader = TarReader(source, limits=self.limits)
            if not any(entry.offset == member.offset for entry in reader):
                msg = f"the archive has changed while it was read: its member {key!r} is not there any more"
                raise ReadFailed(msg)
            yield reader

    def _read(self, member: Member[L], key: str) -> bytes:
        if member.data is None:
            msg = f"the archive's document {key!r} is not JSON; it is refused"
            raise InvalidArchive(msg)
        return member.data

    def close(self) -> None:
        """Discard what waits to be a layer."""
        super().close()
        self._scratch.close()


def _gone(key: str) -> ReadFailed:
    return ReadFailed(f"the archive came through a pipe, and its member {key!r} is gone; name a file instead")


def _equal(new: Member[L], before: Member[L]) -> bool:
    """Compare a member with the one that has its name; the new one's layer, if any, is not needed either way."""
    if new.layer is not None:
        new.layer.discard()
        return before.layer is not None and before.layer.blob.digest == new.layer.blob.digest
    if new.held is not None:
        return before.held is not None and before.size == new.size and before.held() == new.held()
    if new.blob is not None:
        new.blob.discard()
        return before.blob is not None and before.blob.blob.digest == new.blob.blob.digest
    return new.data is not None and new.data == before.data


def _label(name: str) -> str:
    """Return a short name for progress: of the part of a path that looks like a digest, the first 12 digits."""
    parts = [part for part in name.split("/") if part not in {"", ".", "layer.tar"}]
    return parts[-1].partition(".")[0][:12] if parts else name


class _Continued:
    """A member's content, of which the first bytes have been read already."""

    def __init__(self, first: bytes, reader: TarReader) -> None:
        self._first = first
        self._reader = reader

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        if self._first:
            rest = self._reader.read(n - len(self._first)) if n > len(self._first) else b""
            data, self._first = self._first[:n] + rest, self._first[n:]
            return data
        return self._reader.read(n)
