"""Scanning a layer that passes by: is it a tar, how much does it hold, and what belongs into its table of contents."""

from __future__ import annotations

import json
import posixpath
import re
from array import array
from dataclasses import asdict, dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from zlib import adler32

from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.tar_header import (
    BLOCK,
    TYPE_FILE,
    TYPE_SYMLINK,
    ZERO_BLOCK,
    MemberParser,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.limits import Limits
    from orlop.streams.tar_header import Header, TarEntry

__all__ = ["END_RECORD", "TarScanner", "TarSummary"]

DISTINCT_PATHS: Final = 1 << 20
"""Up to how many members equal paths are noticed; after that many a summary is partial."""

END_RECORD: Final = b"9" * (BLOCK - 8)
"""Ends the headers in a table of contents: no header can look like it, since 9 is no octal digit."""

_FILE, _SYMLINK, _PAX = b"02x"
_SLASH: Final = ord("/")
_LINKS_AND_DIRS: Final = frozenset(b"125")
_PARTS: Final = Struct("148s8s356s").unpack_from  # what the table keeps, the checksum between, what the table keeps
_FIELDS: Final = Struct("100s24s12s12s").unpack_from  # name; mode and owners; size; time
_NO_DEVICE: Final = frozenset((bytes(16), b"0000000\0" * 2, b"0000000 " * 2, b"000000 \0" * 2))
_OCTAL: Final = b"01234567\0"
_WHITEOUT: Final = b".wh."
_PAX_TIMES: Final = frozenset((b"mtime", b"atime", b"ctime"))
_PAX_USED: Final = frozenset((b"path", b"linkpath", b"size"))
_PAX_UNUSED: Final = (b"SCHILY.", b"LIBARCHIVE.", b"RHT.", b"MSWINDOWS.", b"comment", b"uname", b"gname")
_UNCLEAN: Final = frozenset((b"", b".", b".."))  # parts that a path in its one form has not
# Matched from where the last record ended: a search for the next one would take quadratic time on hostile input.
_RECORD: Final = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=([^\n]*)\n").match
_SPACED: Final = re.compile(rb"(?:[0-7]{6}[0-7 ][ \0]){3}|[0-7]{11}[ \0]").fullmatch  # some end numbers with spaces
_TIME: Final = re.compile(rb"[0-9]{1,18}(?:\.[0-9]*)?").fullmatch


@dataclass(frozen=True, slots=True)
class TarSummary:
    """What a layer's tar holds.

    Attributes:
        entries: members, extended headers not counted.
        content_size: bytes of all regular files (sparse ones with their holes) and of the targets of symbolic links;
            hard links, whiteouts, devices and pipes count nothing, of equal paths only the last counts.
        tar_size: bytes of the whole stream.
        partial: whether a reader of the table of contents must not rely on it alone; `reason` says why.
        reason: one clause for people, empty where nothing is partial.
    """

    entries: int
    content_size: int
    tar_size: int
    partial: bool = False
    reason: str = ""


V = TypeVar("V")


class _Known(dict[bytes, V], Generic[V]):
    """What is to be thought of the parts of headers that were met lately: nearly all have been met before."""

    def __init__(self, judge: Callable[[bytes], V], most: int) -> None:
        super().__init__()
        self._judge = judge
        self._most = most

    def __missing__(self, part: bytes) -> V:
        if len(self) >= self._most:
            self.clear()
        found = self[part] = self._judge(part)
        return found


def _checksum(field: bytes) -> int:
    """Give the sum of all bytes around a checksum's field that it states; -1 where it is no number."""
    digits = field.strip(b" \0")
    if not digits or digits.translate(None, b"01234567"):
        return -1
    # The sum is made with spaces in the field itself.
    return int(digits, 8) - sum(b"        ")


def _size(field: bytes) -> int:
    """Give the number in the field of a size; -1 where it is not written in the common way."""
    return int(field[:11], 8) if _SPACED(field) else -1


def _is_common(field: bytes) -> bool:
    """Say whether the fields of mode and owners, or that of the time, are numbers written in a common way."""
    return not field.translate(None, _OCTAL) or _SPACED(field) is not None


@dataclass(frozen=True, slots=True)
class _Rest:
    """What follows the checksum of a header: type, link name, magic, names of owners, device, and prefix."""

    kind: int  # 0 where anything in it is not common
    sum: int
    prefix: bytes


def _rest(rest: bytes) -> _Rest:
    # Adler-32 has 1 and the sum of all bytes in its low half, as long as that is below 65,521.
    total = (adler32(rest) & 0xFFFF) - 1 if rest.isascii() else sum(rest)
    prefix = _prefix(rest[101:])
    return _Rest(0, total, b"") if prefix is None else _Rest(rest[0], total, prefix)


class TarScanner:
    """Fed with a layer in pieces of any size, checks that it is a tar and sums it up.

    Refused is what the daemons refuse: a damaged header and an early end. A missing end, an empty stream and bytes
    after the end are fine. Equal paths make the summary partial, no error. Memory stays bounded: about 9 MB for 100,000
    members, up to ``distinct_paths`` of them.

    ``headers``, where given, receives the bytes of the table of contents while the layer passes, and at `close` those
    that end it; `orlop.streams.toc` says what they are, keeps and reads them.
    """

    def __init__(
        self,
        *,
        headers: Callable[[bytes], object] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        distinct_paths: int = DISTINCT_PATHS,
    ) -> None:
        self._headers = headers
        self._limits = limits
        self._distinct_paths = distinct_paths
        # A name of so many bytes, or fewer, is neither too long nor too deep.
        self._short = min(limits.name_length, 2 * limits.path_depth + 1)
        self._parser = MemberParser(limits)
        self._fed = 0
        self._held = bytearray()  # the beginning of something that the next pieces complete
        self._want = BLOCK  # how many bytes it needs
        self._skip = 0  # content and padding that is still to come
        self._padding = 0  # how much of that is padding
        self._zero = self._ended = False
        self._sparse: Header | None = None  # an old sparse header that goes on in more blocks
        self._sparse_blocks = 0
        self._checksums = _Known(_checksum, 1 << 14)
        self._file_sizes = _Known(_size, 1 << 14)
        self._common = _Known(_is_common, 1 << 12)
        self._rests = _Known(_rest, 1 << 6)
        self._seen: set[int] = set()
        self._hashes = array("q")
        self._sizes = array("q")
        self._content_size = 0
        self._reason = ""
        self._repeated = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the stream.

        Raises InvalidTar, and LimitExceeded for what is too large, too long, too deep or too many; the scanner is of no
        use afterwards. What ``headers`` raises passes through.
        """
        data = chunk if isinstance(chunk, bytes) else bytes(chunk)
        self._fed += len(data)
        if self._ended:
            return
        if self._held:
            self._held += data
            if len(self._held) < self._want:
                return
            data = bytes(self._held)
            self._held.clear()
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        position, self._skip = self._skip, 0
        position = self._scan(data, position)
        if position >= len(data):
            self._skip = position - len(data)
        else:
            self._held += data[position:]

    def close(self) -> TarSummary:
        """Sum up after the last piece. Raises InvalidTar where the stream ends inside a member."""
        parser = self._parser
        offset = self._fed - len(self._held)
        if self._skip > self._padding:
            raise parser.invalid("the stream ends before its content is complete", self._fed)
        if self._sparse is not None:
            raise parser.invalid("the stream ends inside its sparse map", self._fed)
        if self._held:
            self._close_held(bytes(self._held), offset)
        if self._repeated:
            last = dict(zip(self._hashes, self._sizes, strict=True))
            self._content_size += sum(last.values()) - sum(self._sizes)
        summary = TarSummary(
            entries=parser.count,
            content_size=self._content_size,
            tar_size=self._fed,
            partial=bool(self._reason),
            reason=self._reason,
        )
        if self._headers is not None:
            self._headers(END_RECORD + json.dumps(asdict(summary)).encode() + b"\n")
        return summary

    def _close_held(self, held: bytes, offset: int) -> None:
        """Judge what waited for more: extended headers with nothing after them are fine where they are complete."""
        parser = self._parser
        if len(held) < BLOCK:
            raise parser.invalid("the stream ends inside its header", offset)
        header = parser.begin(held[:BLOCK], offset)
        body = held[BLOCK : BLOCK + header.size]
        if len(body) < header.size:
            raise parser.invalid("the stream ends inside its extended header", offset)
        parser.extend(header, body, offset)
        if len(held) > BLOCK + header.size + -header.size % BLOCK:
            raise parser.invalid("the stream ends inside its header", offset)

    def _scan(self, data: bytes, position: int) -> int:
        """Go through the headers in ``data`` from ``position``; return where the next one begins, maybe behind its end.

        Where it lies before the end, what is there is incomplete. The loop knows the headers that nearly all layers
        consist of; whatever is not certainly one of them goes to `_step`, which knows all.
        """
        parser = self._parser
        checksums, file_sizes, common, rests = self._checksums, self._file_sizes, self._common, self._rests
        last = len(data) - BLOCK
        batch = _Batch([], [], [])
        table, paths, sizes = batch.table, batch.paths, batch.sizes
        pax: dict[bytes, bytes] | None = None
        limit = self._limits.extension_size
        start = mark = 0  # where the PAX header before this header stands, and what the table held before it
        padding = self._padding
        counts = 0
        known_rest, facts = b"", _Rest(0, 0, b"")
        special = self._zero or self._sparse is not None or parser.start is not None
        self._want = BLOCK
        while position <= last:
            head, checksum, rest = _PARTS(data, position)
            name, owners, size_field, time = _FIELDS(data, position)
            if rest != known_rest:
                known_rest, facts = rest, rests[rest]
            name = name.rstrip(b"\0")
            size = file_sizes[size_field]
            kind = facts.kind
            if (
                special
                # 148 bytes add up to less than 65,521, where the low half of Adler-32 begins anew.
                or (adler32(head) & 0xFFFF) - 1 + facts.sum != checksums[checksum]
                or size < 0
                or not common[owners]
                or not common[time]
                or not name
                or 0 in name
            ):
                kind = 0
            if kind == _FILE:
                counts = size
            elif kind in _LINKS_AND_DIRS:
                counts = size = 0
            elif kind == _PAX and pax is None and size <= limit:
                after = position + BLOCK + size + (-size & 511)
                if after > last:
                    self._want = after + BLOCK - position
                    break
                body = data[position + BLOCK : position + BLOCK + size]
                if (pax := _quick_pax(body)) is not None:
                    start, mark = position, len(table)
                    table += (head, rest, body)
                    position = after
                    continue
                kind = 0
            else:
                kind = 0
            if not kind:
                if pax is not None:
                    position, pax = start, None
                    del table[mark:]
                parser.count += len(paths) - batch.counted
                position, complete = self._step(data, position, batch)
                batch.counted = len(paths)
                padding = self._padding
                if not complete:
                    break
                special = self._zero or self._sparse is not None or parser.start is not None
                continue
            table += (head, rest)
            if facts.prefix:
                name = facts.prefix + name
            target = rest[1:101] if kind == _SYMLINK else b""
            if pax is not None:
                name = pax.get(b"path", name)
                target = pax.get(b"linkpath", target)
                if kind == _FILE and b"size" in pax:
                    counts = size = int(pax[b"size"])
                pax = None
            if kind == _SYMLINK:
                counts = len(target) if (end := target.find(0)) < 0 else end
            padding = -size & 511
            position += BLOCK + size + padding
            paths.append(name.rstrip(b"/") if name[-1] == _SLASH else name)
            sizes.append(counts)
        self._padding = padding
        parser.count += len(paths) - batch.counted
        self._work_off(batch)
        return position

    def _step(self, data: bytes, position: int, batch: _Batch) -> tuple[int, bool]:
        """Take one header of any kind, with its body if it is an extension.

        Returns where the next one begins, and whether there was enough data; if not, `_want` says how much is needed.
        """
        parser = self._parser
        block = data[position : position + BLOCK]
        offset = self._fed - len(data) + position
        after = position + BLOCK
        if self._sparse is not None:
            self._sparse_blocks += 1
            if (pieces := self._sparse_blocks * 21) > self._limits.sparse_pieces:
                where = f"tar member {parser.count + 1} (at byte {parser.start})"
                raise self._limits.exceeded("sparse_pieces", f"{where}: its sparse map has up to {pieces} pieces")
            batch.table.append(block)
            if block[504]:
                return after, True
            header, self._sparse = self._sparse, None
            return self._finish(header, after, offset + BLOCK, batch), True
        if block == ZERO_BLOCK:
            self._ended = self._zero
            self._zero = True
            return (len(data) if self._ended else after), True
        if self._zero:
            raise parser.invalid("one zero block is followed by something else", offset)
        header = parser.begin(block, offset)
        if header.is_extension:
            body_end = after + header.size
            after = body_end + -header.size % BLOCK
            if after > len(data):
                self._want = after - position
                return position, False
            parser.extend(header, data[position + BLOCK : body_end], offset)
            batch.table += (block[:148], block[156:], data[position + BLOCK : body_end])
            return after, True
        batch.table += (block[:148], block[156:])
        if header.is_old_sparse and header.gnu and block[482]:
            self._sparse, self._sparse_blocks = header, 0
            return after, True
        return self._finish(header, after, offset + BLOCK, batch), True

    def _finish(self, header: Header, position: int, offset: int, batch: _Batch) -> int:
        """Note the entry of ``header``, whose content begins at ``position``; return where the next header begins."""
        entry, _ = self._parser.finish(header, offset)
        batch.paths.append(entry.name.encode("utf-8", "surrogateescape").rstrip(b"/"))
        batch.sizes.append(_counts(entry))
        self._padding = -entry.stored_size % BLOCK
        return position + entry.stored_size + self._padding

    def _work_off(self, batch: _Batch) -> None:
        """Hand on a batch's share of the table of contents, sum its sizes up and look for equal paths."""
        if batch.table and self._headers is not None:
            self._headers(b"".join(batch.table))
        if not batch.paths:
            return
        batch.tidy()
        self._check(batch.paths)
        self._content_size += sum(batch.sizes)
        if len(self._hashes) >= self._distinct_paths:
            self._reason = self._reason or (
                f"it has more than {self._distinct_paths} members, which were not searched for equal paths"
            )
            return
        # 64 bits of a hash with a secret key stand for each path: two paths that share one are not to be expected.
        hashes = list(map(hash, batch.paths))
        seen = self._seen
        expected = len(seen) + len(hashes)
        seen.update(hashes)
        if not self._repeated and len(seen) != expected:
            self._repeated = True
            earlier = set(self._hashes)
            for path, key in zip(batch.paths, hashes, strict=True):
                if key in earlier:
                    self._reason = f"two members have the path {path.decode('utf-8', 'surrogateescape')!r}"
                    break
                earlier.add(key)
        self._hashes.fromlist(hashes)
        self._sizes.fromlist(batch.sizes)

    def _check(self, paths: list[bytes]) -> None:
        limits = self._limits
        if self._parser.count > limits.layer_entries:
            raise limits.exceeded("layer_entries", f"the layer has {self._parser.count} members or more")
        if max(map(len, paths)) <= self._short:
            return
        for path in paths:
            if len(path) > limits.name_length:
                raise limits.exceeded("name_length", f"the layer has a name of {len(path)} bytes, {_begin(path)}")
            if (depth := path.count(b"/")) > limits.path_depth:
                raise limits.exceeded("path_depth", f"the layer has a name of {depth} folders, {_begin(path)}")


@dataclass(slots=True)
class _Batch:
    """What one piece of the stream held."""

    table: list[bytes]
    paths: list[bytes]
    sizes: list[int]
    counted: int = 0  # how many of the paths the parser has counted

    def tidy(self) -> None:
        """Bring the paths into their one form, and count nothing for whiteouts."""
        # Most batches have only paths in that form: all are asked at once, which takes a fraction of the time.
        together = b"/" + b"/".join(self.paths)
        if b"/." in together or b"//" in together:
            self.paths = [_clean(path) for path in self.paths]
            self.sizes = [0 if _is_whiteout(path) else size for path, size in zip(self.paths, self.sizes, strict=True)]


def _prefix(tail: bytes) -> bytes | None:
    """Judge what follows a header's link name; return what stands before its name, None where it is not common."""
    if tail[72:88] not in _NO_DEVICE:
        return None
    rest = tail[88:]
    if not rest.strip(b"\0"):
        return b"" if tail[:8] in (b"ustar\x0000", b"ustar  \0") else None
    if tail[:8] != b"ustar\x0000" or rest[155:].strip(b"\0"):
        return None
    prefix = rest[:155].partition(b"\0")[0]
    return prefix + b"/" if prefix else b""


def _quick_pax(body: bytes) -> dict[bytes, bytes] | None:
    """Return the records of a PAX header that matter to the scanner, or None where it is not one of the common kind."""
    records: dict[bytes, bytes] = {}
    position = 0
    while match := _RECORD(body, position):
        length, key, value = match.groups()
        size = len(length) + len(key) + len(value) + 3
        if int(length) != size:
            return None
        position += size
        if key in _PAX_TIMES:
            if not _TIME(value):
                return None
        elif key in _PAX_USED:
            if not value or (key == b"size" and not (value.isdigit() and len(value) <= 18)):
                return None
            records[key] = value
        elif not key.startswith(_PAX_UNUSED):
            return None
    if position != len(body) or 0 in body:
        return None
    return records


def _begin(path: bytes) -> str:
    """Give the beginning of a long name, for a message."""
    return f"{path[:40].decode('utf-8', 'surrogateescape')!r}…"


def _clean(path: bytes) -> bytes:
    """Bring a path without slash at its end into the one form that paths are compared in: no "." or "..", no root."""
    path = path.removeprefix(b"./")
    if not _UNCLEAN.isdisjoint(path.split(b"/")):
        return posixpath.normpath(b"/" + path.lstrip(b"/"))[1:]
    return path


def _is_whiteout(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(_WHITEOUT)


def _counts(entry: TarEntry) -> int:
    if entry.type == TYPE_SYMLINK:
        return len(entry.linkname.encode("utf-8", "surrogateescape"))
    return entry.size if entry.type == TYPE_FILE else 0
