"""An archive as a table of members: small documents, possible layers, and links between them.

Nothing is extracted: a member's name is a key and never becomes a path on disk. Of a file that can be sought in, the
members are located first and read when they are asked for; of a pipe, each is taken as it comes.
"""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Generic

from orlop.archive.names import algorithm_of
from orlop.errors import InvalidArchive, InvalidInput, StoreClosed
from orlop.intake.taking import L, refused
from orlop.intake.words import Words
from orlop.model.closing import Closing
from orlop.store.blobs.ingest import IngestedLayer
from orlop.streams.compression import Compression, detect
from orlop.streams.tar_entry import BLOCK
from orlop.streams.tar_header import ZERO_BLOCK, MalformedError, verify_checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orlop.archive.scratch import Held
    from orlop.errors import OrlopError
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.store.blobs.ingest import Readable, TakenBlob

ARCHIVE: Final = Words(
    name="the archive",
    part="member",
    verb="load",
    meanwhile="while the archive was loaded",
    advice="save the image on a machine that has this layer",
    error=InvalidArchive,
)
"""How messages speak of archives."""

READ = frozenset(("dir", "file", "hardlink", "symlink"))
"""The types of members of a tar that are read; others are passed over."""

ENTRANCES: Final = ("manifest.json", "index.json", "oci-layout", "repositories")
"""The documents that say what an archive is; some may be missing."""

_LISTS: Final = ("manifest.json", "index.json", "repositories")
"""Those that say which images it has; ``oci-layout`` leads to none, whoever finds it."""

_MAX_LINKS = 40


def member_key(name: str, limits: Limits) -> str:
    """Return the key of a member: ``./x``, ``/x`` and ``x`` are one.

    Raises:
        InvalidArchive: the name climbs out of the archive. LimitExceeded: it is too long or too deep.
    """
    if len(name) > limits.name_length:
        raise limits.exceeded("name_length", f"the archive has a name of {len(name)} characters, {name[:40]!r}…")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                msg = f"the archive names {name!r}, which lies outside of it; it is refused"
                raise InvalidArchive(msg)
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    if len(parts) - 1 > limits.path_depth:
        raise limits.exceeded("path_depth", f"the archive has a name of {len(parts) - 1} folders, {name[:40]!r}…")
    return "/".join(parts)


@dataclass(slots=True)
class Member(Generic[L]):
    """One entry of the table: a link's ``target`` is a key; of a file, one of the others says where its bytes are.

    A document is there as ``data``; what is ``held`` is not a document, and small. Of a ``sparse`` one ``stored`` says
    how many bytes are there without its holes. Of one that is gone, as it is not a layer (``failure``), ``is_tar_like``
    keeps what its first bytes looked like.
    """

    size: int = 0
    target: str | None = None
    offset: int = 0
    sparse: bool = False
    stored: int = 0
    data: bytes | None = None
    held: Held | None = None
    layer: L | None = None
    blob: TakenBlob | None = None
    failure: OrlopError | None = None
    is_tar_like: bool = False


# How much more than the documents may have may be read of them again: small ones may lead to large ones, and often.
_OFTEN: Final = 4


class Members(Closing, ABC, Generic[L]):
    """The members of one archive.

    Where ``parallel`` is set, several layers may be taken at once, by several threads.

    Args:
        taking: makes a layer of a member's bytes, counts what is read and what comes out, and has the limits.
    """

    words: ClassVar[Words] = ARCHIVE
    parallel: ClassVar[bool] = False

    def __init__(self, taking: Taking[L]) -> None:
        self.limits = taking.limits
        self.meter = taking.meter
        self.taking = taking
        self._table: dict[str, Member[L]] = {}
        self._absolute: list[tuple[str, str, str]] = []
        self._relative: dict[str, str] = {}
        self._hard: dict[str, str] = {}
        self._rising: list[tuple[str, str, str, str]] = []
        self._others: dict[str, None] = {}
        self._document_bytes = self._bytes_again = self._values = 0
        self._counted: dict[str, int] = {}
        self._last: tuple[str, bytes] = ("", b"")
        self._is_closed = False

    def names(self) -> Iterator[str]:
        """Yield the keys of all files and links."""
        return iter(self._table)

    def has(self, name: str) -> bool:
        """Return whether a name leads to a member."""
        return self._find(name) is not None

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return the bytes of a JSON document, whole.

        Args:
            name: its name in the archive.
            what: what it is to the reader, for the error.
            limit: which of the limits is for its size.

        Raises:
            InvalidArchive: it is not there. LimitExceeded: it is too large, or has too many values to be parsed.
        """
        key = self.key_of(name, what=what)
        if key == self._last[0]:
            return self._last[1]
        member, limits = self._table[key], self.limits
        if member.size > getattr(limits, limit):
            raise limits.exceeded(limit, f"{what} {name!r} has {member.size} bytes")
        raw = self._read(member, key)
        # Each value is the first in brackets or follows a comma; some of these may stand in strings.
        values = 1 + raw.count(b",") + raw.count(b"[") + raw.count(b"{")
        if values > limits.json_values:
            raise limits.exceeded("json_values", f"{what} {name!r} has up to {values} values")
        # What is read again counts once.
        self.count_values(max(0, values - self._counted.get(key, 0)))
        self._counted[key] = values
        self._last = key, raw
        return raw

    def count_values(self, values: int) -> None:
        """Note values of documents, or references between them that are followed. Raises `LimitExceeded`."""
        self._values += values
        if self._values > self.limits.json_values_total:
            found = f"the archive's documents have up to {self._values} values and references"
            raise self.limits.exceeded("json_values_total", found)

    def key_of(self, name: str, *, what: str) -> str:
        """Return the key that a name leads to when all links are followed. Raises `InvalidArchive`."""
        found = self._find(name)
        if found is None:
            raise self.missing(name, what=what)
        return found

    def place_of(self, name: str) -> str:
        """Return the key that a name leads to when all links are followed, or its own where nothing is there."""
        return self._find(name) or self._key(name)

    def size_of(self, name: str, *, what: str) -> int:
        """Return how many bytes a member has, as it stands in the archive. Raises `InvalidArchive`."""
        return self._required(name, what).size

    def layer(self, name: str, *, label: str, check: Callable[[], None] | None = None) -> L:
        """Return a member as a layer, taken, hashed and scanned; the same member gives the same layer.

        Args:
            name: its name in the archive.
            label: how progress calls it.
            check: called now and then; what it raises ends the work.

        Raises:
            InvalidArchive: it is not there. InvalidTar, InvalidCompression: it is not a layer.
        """
        member = self._required(name, "the layer")
        if member.failure is not None:
            raise member.failure
        if member.layer is None:
            try:
                if member.sparse:
                    self.meter.claimed(member.size, member.stored)
                with self._reading(member, self.key_of(name, what="the layer")) as source:
                    member.layer = self.taking.layer(
                        source, label=label, total=member.size, check=check, algorithm=algorithm_of(name)
                    )
            except InvalidInput as error:
                raise refused(error, "the layer", name) from error
        return member.layer

    def blob(self, name: str, *, label: str, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a member as it is, taken and hashed; nothing looks into it. Takes what `layer` takes.

        Raises:
            InvalidArchive: it is not there. ReadFailed: the archive came through a pipe, and it is gone.
        """
        member = self._required(name, "the blob")
        if member.blob is None:
            if isinstance(member.layer, IngestedLayer):
                # It was taken as a layer, since nothing had named it yet.
                member.blob = member.layer
            else:
                with self._reading(member, self.key_of(name, what="the blob")) as source:
                    member.blob = self.taking.blob(
                        source, label=label, total=member.size, check=check, algorithm=algorithm_of(name)
                    )
        return member.blob

    def could_be_layer(self, name: str) -> bool:
        """Return whether a member is there and begins like a tar, plain or compressed."""
        key = self._find(name)
        if key is None:
            return False
        member = self._table[key]
        if member.layer is not None or member.failure is not None:
            return member.layer is not None or member.is_tar_like
        with self._reading(member, key) as source:
            return begins_like_layer(source.read(BLOCK))

    @contextmanager
    def reading(self, name: str, *, what: str) -> Iterator[Readable]:
        """Return a reader of a member's bytes as they stand, unverified.

        Raises:
            InvalidArchive: it is not there. ReadFailed: the archive came through a pipe, and is gone.
        """
        with self._reading(self._required(name, what), self.key_of(name, what=what)) as source:
            yield source

    @abstractmethod
    def _reading(self, member: Member[L], key: str) -> AbstractContextManager[Readable]: ...

    def _read(self, member: Member[L], key: str) -> bytes:
        if key in self._counted:
            self._count_again(member.size)
        else:
            self.count_bytes(member.size)
        with self._reading(member, key) as source:
            return read_exactly(source, member.size, key)

    def count_bytes(self, size: int) -> None:
        """Note the bytes of a document or a name that is kept in memory. Raises `LimitExceeded`."""
        self._document_bytes += size
        if self._document_bytes > self.limits.documents_size:
            found = f"the archive's documents and names have {self._document_bytes} bytes"
            raise self.limits.exceeded("documents_size", found)

    def _count_again(self, size: int) -> None:
        """Note bytes that are read again, which takes no more memory, but time. Raises `LimitExceeded`."""
        self._bytes_again += size
        if self._bytes_again > _OFTEN * self.limits.documents_size:
            found = f"the archive leads again and again to its documents, to {self._bytes_again} bytes of them"
            raise self.limits.exceeded("documents_size", found)

    def _required(self, name: str, what: str) -> Member[L]:
        if self._is_closed:
            raise StoreClosed("the archive was closed; open it again")
        return self._table[self.key_of(name, what=what)]

    def missing(self, name: str, *, what: str) -> InvalidArchive:
        """Return the error for a name that leads to no member."""
        key = self._key(name)
        above = [key[:end] for end, letter in enumerate(key) if letter == "/"]
        for folder in above:
            if (target := self._target(folder)) is not None:
                kind = f"a link to {target or '.'!r}; links to folders are not followed"
            elif folder in self._table:
                kind = "a file, perhaps a link that was copied as one; links to folders are not followed"
            else:
                continue
            return InvalidArchive(f"the archive names {what} {name!r}, but {folder!r} is {kind}")
        return InvalidArchive(f"the archive names {what} {name!r}, but has no such member; it is incomplete")

    def _target(self, key: str) -> str | None:
        """Return where a key leads, if it is a link."""
        member = self._table.get(key)
        return None if member is None else member.target

    def _find(self, name: str) -> str | None:
        key = self._key(name)
        for _ in range(_MAX_LINKS):
            member = self._table.get(key)
            if member is None:
                return None
            if member.target is None:
                return key
            key = member.target
        msg = f"the links of the archive's member {name!r} form a loop; it is refused"
        raise InvalidArchive(msg)

    def _key(self, name: str) -> str:
        return member_key(name, self.limits)

    def _add(self, name: str, member: Member[L], same: Callable[[Member[L]], bool]) -> None:
        key = self._key(name)
        # Names stay in memory as documents do.
        self.count_bytes(len(key) + len(member.target or ""))
        before = self._table.get(key)
        if before is not None and not (before.target == member.target and same(before)):
            msg = f"the archive has two different members of the name {key!r}; it is refused"
            raise InvalidArchive(msg)
        if before is None:
            self._check_count(len(self._table) + 1)
            self._table[key] = member

    def _check_count(self, count: int) -> None:
        if count > self.limits.members:
            raise self.limits.exceeded("members", f"the archive has {count} members or more")

    def _add_link(self, name: str, linkname: str, *, hard: bool) -> None:
        key = self._key(name)
        below = posixpath.dirname(key)
        rooted = hard or linkname.startswith("/")
        target = self._key(linkname if rooted else posixpath.join(below, linkname))
        # A hard link between two of one name leads where the first one does.
        text = None if rooted else linkname
        self._add(name, Member(target=target), lambda _: self._relative.get(key) == text)
        if hard:
            self._hard[key] = target
            return
        if not rooted:
            self.count_bytes(len(linkname))
            self._relative[key] = linkname
        elif below:
            self._absolute.append((name, target, self._key(f"{below}/{linkname}")))
        self._note_way(name, target, "" if rooted else below, linkname)

    def _note_way(self, name: str, target: str, below: str, linkname: str) -> None:
        """Note a symbolic link that leaves again what it names on the way to its target: that may be a link itself."""
        if next(_left(below, linkname), None) is not None:
            # What it leaves is not kept: it may have many times the bytes of the link.
            self.count_bytes(len(linkname))
            self._rising.append((name, target, below, linkname))

    def _note_other(self, name: str) -> None:
        """Note a member that is neither a file nor a link nor a folder, and is passed over."""
        key = self._key(name)
        self.count_bytes(len(key))
        self._others[key] = None

    def _check_places(self) -> None:
        """Check that no name leads engines, which unpack an archive, and others, which do not, to two members.

        Raises:
            InvalidArchive: a member is a folder of others, too, so that unpacking moves or removes them; or a link with
                an absolute target has one inside of the archive and one beside the link; or a link leads up from what
                is a link itself; or a hard link has a symbolic one as its target, whose own is another one from there;
                or a member of a type that is passed over has the name of another.
        """
        for key in self._others:
            if key in self._table:
                msg = (
                    f"the archive has two different members of the name {key!r}, one of which is of a type that skopeo"
                    " reads as a file and others do not; it is refused"
                )
                raise InvalidArchive(msg)
        keys = sorted(key.replace("/", "\0") for key in self._table)
        for one, other in pairwise(keys):
            if other.startswith(f"{one}\0"):
                above, below = one.replace("\0", "/"), other.replace("\0", "/")
                msg = (
                    f"the archive's member {above!r} is the folder of {below!r} at once: Docker, which unpacks the"
                    " archive, and skopeo, which does not, would read two things; it is refused"
                )
                raise InvalidArchive(msg)
        for name, target, beside in self._absolute:
            if target in self._table and beside in self._table and beside not in {target, self._key(name)}:
                msg = (
                    f"the archive's link {name!r} leads to {target!r} for Docker and to {beside!r} for skopeo and"
                    " containerd; it is refused"
                )
                raise InvalidArchive(msg)
        self._check_links()

    def _check_links(self) -> None:
        for name, target, below, linkname in self._rising:
            above = self._link_left(below, linkname) if target in self._table else None
            if above is not None:
                msg = (
                    f"the archive's link {name!r} leads up from {above!r}, which is a link itself: what reads it as it"
                    f" stands finds {target!r}, and what has unpacked it something else; it is refused"
                )
                raise InvalidArchive(msg)
        for name, target in self._hard.items():
            moved = self._moved(name, target)
            if moved is not None:
                msg = (
                    f"the archive's hard link {name!r} leads to a symbolic one, and with that to {moved!r} for Docker,"
                    " which unpacks it, and elsewhere for others; it is refused"
                )
                raise InvalidArchive(msg)
        for name in _LISTS:
            member = self._table.get(name)
            if member is not None and member.target is not None and self._find(name) is None:
                msg = (
                    f"the archive's {name!r} is a link to {member.target!r}, which is not there as the archive stands;"
                    " what has unpacked it may find it by way of other links; it is refused"
                )
                raise InvalidArchive(msg)

    def _link_left(self, below: str, linkname: str) -> str | None:
        """Return what a link leaves again on the way to its target, if that is a link itself."""
        for above in _left(below, linkname):
            self.count_bytes(len(above))
            if self._target(above) is not None:
                return above
        return None

    def _moved(self, name: str, target: str) -> str | None:
        """Return where a hard link may lead once it is unpacked, if that is not where its target leads.

        A symbolic link with a second name leads from there to where its text does, also by way of links to folders.
        """
        for _ in range(_MAX_LINKS):
            if target not in self._hard:
                break
            target = self._hard[target]
        text = self._relative.get(target)
        below = posixpath.dirname(name)
        if text is None or below == posixpath.dirname(target):
            return None
        # Any number of hard links may lead to one long text.
        self.count_bytes(len(text))
        moved = posixpath.normpath(posixpath.join("/", below, text)).lstrip("/")
        if moved != self._target(target) and moved in self._table:
            return moved
        for above in _passed(below, text):
            self.count_bytes(len(above))
            if self._target(above) is not None:
                return moved
        return None

    def close(self) -> None:
        """Close the archive; nothing can be read any more."""
        self._is_closed = True


def _left(below: str, linkname: str) -> Iterator[str]:
    """Yield what a link's text names and leaves again by ``..``, from the root of the archive."""
    parts = below.split("/") if below else []
    base = len(parts)
    for part in linkname.split("/"):
        if part == "..":
            if len(parts) > base:
                yield "/".join(parts)
            base = min(base, len(parts) - 1)
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)


def _passed(below: str, linkname: str) -> Iterator[str]:
    """Yield what a link's text names on the way to its last part, from the root of the archive."""
    parts = below.split("/") if below else []
    is_named = False
    for part in linkname.split("/"):
        if part in {"", "."}:
            continue
        if is_named:
            yield "/".join(parts)
        is_named = part != ".."
        if is_named:
            parts.append(part)
        else:
            del parts[-1:]


def begins_like_layer(first: bytes) -> bool:
    """Return whether these first bytes are those of a compressed stream, of a tar, or of nothing at all."""
    if not first or detect(first) is not Compression.NONE:
        return True
    if len(first) < BLOCK:
        return False
    try:
        if first != ZERO_BLOCK:
            verify_checksum(first)
    except MalformedError:
        return False
    return True


def read_exactly(source: Readable, size: int, name: str) -> bytes:
    """Read a small member to its end. Raises `InvalidArchive` where it has not ``size`` bytes."""
    parts: list[bytes] = []
    missing = size + 1
    while missing and (data := source.read(missing)):
        parts.append(data)
        missing -= len(data)
    if missing != 1:
        msg = f"the archive's member {name!r} does not have the {size} bytes that it should have; it is damaged"
        raise InvalidArchive(msg)
    return b"".join(parts)
