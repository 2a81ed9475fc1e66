"""Scanning a layer as it passes through: whether it is a tar, how much it contains, and its table of contents.

Pieces of any size come in, once, and nothing can be read again. So the scanner is a state machine over bytes:

- ``_skip`` bytes of content and padding are still to come, and are skipped without being read;
- otherwise a header is next. Its beginning waits in ``_held`` until ``_want`` bytes have come: one block or, for an
  extended header, all that it announces, which limits bound;
- a sparse file continues in more blocks (``_sparse``), or begins with a map in its content (``_map``);
- a block of zeros must be followed by another one, or by nothing: that is the end (``_end``), and the rest is
  ignored; limits bound how much that is.

Half a million small files a second leave no time for a careful look at each header. `_scan` is a fast loop that knows
the headers which nearly all layers consist of. It checks sums and numbers by remembering the results for equal bytes
(`Known`), and handles many members at once (`_Batch`). Any header that is not certainly common goes to `_step`, which
knows all headers, and alone decides what is refused. Both must agree on everything that both can read, and the place
where a piece ends must make no difference.

Equal paths count once, with the last size. Only a hash of each path is kept, for at most ``distinct_paths`` members. If
two are equal, or there are more members, the summary is partial, and a reader must read the layer itself.
"""

from __future__ import annotations

import json
import posixpath
from array import array
from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import adler32

from orlop.errors import InvalidTar
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.values import dataclass, fields
from orlop.streams.tar_common import Known, Rest, check_trailing, checksum_of, is_common, quick_pax, rest_of, size_of
from orlop.streams.tar_entry import BLOCK, TYPE_FILE, TYPE_SYMLINK
from orlop.streams.tar_header import ZERO_BLOCK, MalformedError, MemberParser, is_pax_sparse
from orlop.streams.tar_sparse import (
    SparseMap,
    check_pieces,
    is_map_in_content,
    pieces_in_header,
    pieces_in_pax,
    too_many,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.limits import Limits
    from orlop.streams.tar_entry import TarEntry
    from orlop.streams.tar_header import Header
    from orlop.streams.tar_sparse import Piece

__all__ = ["END_RECORD", "TarScanner", "TarSummary"]

DISTINCT_PATHS: Final = 1 << 20
"""The number of members up to which equal paths are noticed; with more a summary is partial."""

END_RECORD: Final = b"9" * (BLOCK - 8)
"""The end of the headers in a table of contents: no header can look like it, since 9 is not an octal digit."""

_FILE, _SYMLINK, _PAX = b"02x"
_SLASH: Final = ord("/")
_LINKS_AND_DIRS: Final = frozenset(b"125")
_PARTS: Final = Struct("148s8s356s").unpack_from  # what the table keeps, the checksum between, what the table keeps
_FIELDS: Final = Struct("100s24s12s12s").unpack_from  # name; mode and owners; size; time
_WHITEOUT: Final = b".wh."
_UNCLEAN: Final = frozenset((b"", b".", b".."))  # parts that a path in its normal form does not have


@dataclass(frozen=True, slots=True)
class TarSummary:
    """A summary of a layer's tar.

    Attributes:
        entries: members, without extended headers.
        content_size: bytes of all regular files (sparse ones with their holes) and of the targets of symbolic links;
            hard links, whiteouts, devices and pipes count as 0, and of equal paths only the last counts.
        tar_size: bytes of the whole stream.
        partial: whether a reader of the table of contents must not rely on it alone; `reason` says why.
        reason: one clause for people, empty if the summary is not partial.
    """

    entries: int
    content_size: int
    tar_size: int
    partial: bool = False
    reason: str = ""


class TarScanner:
    """Takes a layer in pieces of any size, checks that it is a tar, and summarises it.

    Like the daemons, it refuses a damaged header and an early end. A missing end, an empty stream and bytes after the
    end are fine. Equal paths make the summary partial, and are not an error. Memory stays bounded: about 9 MB for
    100,000 members, up to ``distinct_paths`` of them.

    ``headers``, if given, receives the bytes of the table of contents while the layer passes, and those that end it at
    `close`; `orlop.streams.toc` describes, writes and reads them.
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
        # A name of at most this many bytes is neither too long nor too deep.
        self._short = min(limits.name_length, 2 * limits.path_depth + 1)
        self._parser = MemberParser(limits)
        self._fed = 0
        self._held = bytearray()  # the beginning of something that the next pieces complete
        self._want = BLOCK  # how many bytes it needs
        self._skip = 0  # content and padding that is still to come
        self._padding = 0  # how much of that is padding
        self._zero = False
        self._end: int | None = None  # the first byte after the two blocks
        self._sparse: Header | None = None  # an old sparse header that continues in more blocks
        self._pieces: list[Piece] = []  # of its map
        self._blocks = 0  # of that
        self._map: SparseMap | None = None  # a map at the beginning of the content at hand
        self._checksums = Known(checksum_of, 1 << 14)
        self._file_sizes = Known(size_of, 1 << 14)
        self._common = Known(is_common, 1 << 12)
        self._rests = Known(rest_of, 1 << 6)
        self._seen: set[int] = set()
        self._hashes = array("q")
        self._sizes = array("q")
        self._content_size = 0
        self._reason = ""
        self._repeated = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the stream.

        Raises InvalidTar, and LimitExceeded if something is too large, too long, too deep or too many; do not use the
        scanner afterwards. Exceptions of ``headers`` pass through.
        """
        data = chunk if isinstance(chunk, bytes) else bytes(chunk)
        self._fed += len(data)
        if self._end is not None:
            self._check_trailing()
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
        self._check_trailing()
        if position >= len(data):
            self._skip = position - len(data)
        else:
            self._held += data[position:]

    def close(self) -> TarSummary:
        """Return the summary after the last piece. Raises InvalidTar if the stream ends inside a member."""
        parser = self._parser
        offset = self._fed - len(self._held)
        if self._skip > self._padding:
            raise parser.invalid("the stream ends before its content is complete", self._fed)
        if self._sparse is not None:
            raise parser.invalid("the stream ends inside its sparse map", self._fed)
        if self._map is not None:
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
            self._headers(
                END_RECORD
                + json.dumps({one.name: getattr(summary, one.name) for one in fields(summary)}).encode()
                + b"\n"
            )
        return summary

    def _check_trailing(self) -> None:
        if self._end is not None:
            check_trailing(self._fed - self._end, "the layer", self._limits)

    def _close_held(self, held: bytes, offset: int) -> None:
        """Check what waited for more bytes: extended headers with nothing after them are fine if they are complete."""
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
        """Scan the headers in ``data`` from ``position``; return where the next one begins, maybe after the end.

        If it begins before the end, it is incomplete. The loop knows the headers that nearly all layers consist of; any
        other goes to `_step`, which knows all.
        """
        parser = self._parser
        checksums, file_sizes, common, rests = self._checksums, self._file_sizes, self._common, self._rests
        last = len(data) - BLOCK
        batch = _Batch([], [], [])
        table, paths, sizes = batch.table, batch.paths, batch.sizes
        pax: dict[bytes, bytes] | None = None
        limit = self._limits.extension_size
        start = mark = 0  # where the PAX header before this header is, and what the table had before it
        padding = self._padding
        counts = 0
        known_rest, facts = b"", Rest(0, 0, b"")
        special = self._is_special()
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
                # 148 bytes add up to less than 65,521, where the low half of Adler-32 wraps around.
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
                if (pax := quick_pax(body)) is not None:
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
                special = self._is_special()
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

        Returns where the next one begins, and whether there was enough data; if not, `_want` is how much is needed.
        """
        parser = self._parser
        block = data[position : position + BLOCK]
        offset = self._fed - len(data) + position
        after = position + BLOCK
        if self._map is not None:
            return self._go_on_with_map(self._map, block, after), True
        if self._sparse is not None:
            batch.table.append(block)
            self._add_pieces(block[:504], offset)
            if block[504]:
                return after, True
            header, self._sparse = self._sparse, None
            return self._finish(header, after, offset + BLOCK, batch), True
        if block == ZERO_BLOCK:
            if self._zero:
                self._end = offset + BLOCK
                return len(data), True
            self._zero = True
            return after, True
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
        if header.is_old_sparse and header.gnu:
            self._pieces, self._blocks = [], 0
            self._add_pieces(block[386:482], offset)
            if block[482]:
                self._sparse = header
                return after, True
        return self._finish(header, after, offset + BLOCK, batch), True

    def _is_special(self) -> bool:
        """Return whether the next bytes may be something other than a common header."""
        return self._zero or self._sparse is not None or self._map is not None or self._parser.start is not None

    def _add_pieces(self, table: bytes, offset: int) -> None:
        """Take a part of an old sparse map."""
        try:
            self._pieces += pieces_in_header(table)
        except MalformedError as error:
            raise self._parser.invalid(str(error), offset) from None
        self._blocks += 1
        if (count := self._blocks * 21) > self._limits.sparse_pieces:
            raise too_many(self._limits, f"tar member {self._parser.count + 1} (at byte {self._parser.start})", count)

    def _finish(self, header: Header, position: int, offset: int, batch: _Batch) -> int:
        """Record the entry of ``header``, whose content begins at ``position``; return where the next header begins."""
        entry, pax = self._parser.finish(header, offset)
        batch.paths.append(entry.name.encode("utf-8", "surrogateescape").rstrip(b"/"))
        batch.sizes.append(_counts(entry))
        if entry.sparse and not self._is_map_complete(entry, pax):
            return position
        self._padding = -entry.stored_size % BLOCK
        return position + entry.stored_size + self._padding

    def _is_map_complete(self, entry: TarEntry, pax: dict[bytes, bytes]) -> bool:
        """Check the map of a sparse entry, as Go does before the content; return whether it was in its headers."""
        where = f"tar member {self._parser.count} (at byte {entry.header_offset})"
        if is_map_in_content(pax):
            self._map = SparseMap(entry, self._limits, where)
            return False
        try:
            pieces = pieces_in_pax(pax, self._limits, where) if is_pax_sparse(pax) else self._pieces
            check_pieces(pieces, entry.size, entry.stored_size)
        except MalformedError as error:
            raise InvalidTar(f"{where}: {error}") from None
        return True

    def _go_on_with_map(self, sparse_map: SparseMap, block: bytes, position: int) -> int:
        """Take a block of content, which ends at ``position``, as a part of a map; return where to continue."""
        entry = sparse_map.entry
        try:
            if not sparse_map.take(lambda: block):
                return position
        except MalformedError as error:
            where = f"tar member {self._parser.count} (at byte {entry.header_offset})"
            raise InvalidTar(f"{where}: {error}") from None
        self._map = None
        self._padding = -entry.stored_size % BLOCK
        return position - sparse_map.size + entry.stored_size + self._padding

    def _work_off(self, batch: _Batch) -> None:
        """Pass on a batch's part of the table of contents, add up its sizes and look for equal paths."""
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
        # 64 bits of a hash with a secret key stand for each path: a collision is not to be expected.
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


class _Batch:
    """The members in one piece of the stream."""

    __slots__ = ("counted", "paths", "sizes", "table")

    def __init__(self, table: list[bytes], paths: list[bytes], sizes: list[int], counted: int = 0) -> None:
        self.table = table
        self.paths = paths
        self.sizes = sizes
        self.counted = counted  # how many of the paths the parser has counted

    def tidy(self) -> None:
        """Bring the paths into their normal form, and count whiteouts as 0."""
        # Most batches have only paths in that form: checking all at once takes a fraction of the time.
        together = b"/" + b"/".join(self.paths)
        if b"/." in together or b"//" in together:
            self.paths = [_clean(path) for path in self.paths]
            self.sizes = [0 if _is_whiteout(path) else size for path, size in zip(self.paths, self.sizes, strict=True)]


def _begin(path: bytes) -> str:
    """Return the beginning of a long name, for a message."""
    return f"{path[:40].decode('utf-8', 'surrogateescape')!r}…"


def _clean(path: bytes) -> bytes:
    """Return a path without a slash at its end in the form in which paths are compared: no "." or "..", no root."""
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
