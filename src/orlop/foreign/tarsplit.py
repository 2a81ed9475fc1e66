"""tar-split: what engines keep of a layer's tar beside its unpacked files, so that the same tar can be made again.

Theory of operation. A tar is cut into what a file system keeps, the contents of its regular files, and everything
else: headers, extended headers, padding, the end, junk. That is written down in the order of the tar, one JSON object
a line, gzip around it:

- type 2, a *segment*: bytes as they stood in the tar (``payload``, base64).
- type 1, a *content*: the bytes of a member, under its ``name`` (``name_raw`` in base64 where it is not UTF-8), with
  the ``size`` of its header and the CRC-64 (``payload``) of the bytes that stood there.

To rebuild the tar, segments are written as they are, and for each content the file of that name. Owners, modes, times
and extended attributes are in the segments, so that a copy of a root by any program, without any of these, will do.

Three rules go beyond what the engines do, and let layers be rebuilt that their own ``save`` refuses:

1. A content whose CRC is that of no bytes had none in the tar, whatever its size: links and directories may state one.
2. Of a sparse file in the PAX formats 0.0 and 0.1 the tar has the pieces only that the header before it lists, whereas
   the file on disk has its holes.
3. Of several names of one file only the first has a content; if that name is lost, any of the others will do.

It is compressed by gzip, or by another program of those that are known by how a file begins, or not at all.

Nothing here decides whether the result is right: only the SHA-256 of all of it, the diff ID, does.
"""

from __future__ import annotations

import base64
import json
import re
from binascii import Error as BinasciiError
from binascii import a2b_base64
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import InvalidCompression, InvalidTar, RootDamaged
from orlop.foreign.payloads import Payloads
from orlop.foreign.unchecked import UncheckedGzip
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.compression import PREFIX_SIZE, Compression, decompressed, detect
from orlop.streams.crc64 import EMPTY, finished, updated
from orlop.streams.files import CHUNK
from orlop.streams.tar_entry import BLOCK
from orlop.streams.tar_header import MalformedError, is_pax_sparse, parse_header, parse_pax
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_sparse import is_map_in_content, pieces_in_pax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.model.limits import Limits
    from orlop.streams.compression import Readable
    from orlop.streams.tar_sparse import Piece

NO_BYTES: Final = bytes(8)
"""The CRC-64 of a content that had no bytes in the tar."""

_FILE: Final = 1
_SEGMENT: Final = 2
# Segments hold at most 1 MiB of junk, or an extended header; base64 makes four bytes of three.
_LINE: Final = 8 << 20
# The text of a segment is less than twice as long as what it stands for, and that of a name six times at most. What is
# beyond that, as lines without anything, could go on for ever.
_IDLE: Final = 16 << 20
_IDLE_EACH: Final = 256
_ZEROS: Final = 4 << 10
# More takes more memory, and not less time: thousands of members are then taken apart before they are hashed.
_AT_ONCE: Final = 256 << 10
# What holds a size in the programs that write these files.
_LARGEST: Final = (1 << 63) - 1
_SPARSE: Final = b"GNU.sparse."
# An extended header, its body and the member's own.
_SPARSE_HEADERS: Final = 3 * BLOCK
_LONGEST_HEADERS: Final = 4 << 20
_PAX: Final = ord("x")
_decoded: Final = json.JSONDecoder().decode
# Lines as tar-split writes nearly all of them, which need no JSON parser.
_segment_begin: Final = b'{"type":2,"payload":"'
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,17})"
_end: Final = re.compile(rb'","position":' + _NUMBER + rb"\}").fullmatch
_SEGMENT_LINE: Final = rb'\{"type":2,"payload":"([^"]*)","position":' + _NUMBER + rb"\}"
# Of the last digit of a CRC two bits are not used, and are zeros: there is one text for each.
_CONTENT_LINE: Final = (
    rb'\{"type":1,"name":"([ !#-\[\]-~]*)"(?:,"size":('
    + _NUMBER
    + rb'))?,"payload":"([A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]=|)","position":'
    + _NUMBER
    + rb"\}"
)
_content: Final = re.compile(_CONTENT_LINE).fullmatch
# Cuts lines into what stands between members, and of each member the texts of its header and its content.
_members: Final = re.compile(rb"(?m:^)" + _SEGMENT_LINE + rb"\n" + _CONTENT_LINE + rb"\n").split
_TEXTS: Final = 4
_BEGIN: Final = b"{"
_NO_CRC: Final = frozenset({b"", base64.b64encode(NO_BYTES)})


class Segment(NamedTuple):
    """Bytes of the tar that are not the content of a member."""

    data: bytes


class Content(NamedTuple):
    """The place of a member's content: its name in the tar, the size that its header states, and its CRC-64.

    ``pieces`` are those of a sparse file, of which the tar has only these; nothing for any other file.
    """

    name: bytes
    size: int
    crc: bytes
    pieces: tuple[Piece, ...] | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the tar has bytes of it, going by its size and its CRC."""
        return self.size > 0 and self.crc != NO_BYTES


class Run(NamedTuple):
    """Plain members one after another, a segment each and the content behind it; all lists go together.

    ``sizes`` are those of the headers, ``stored`` how many bytes of each the tar has. ``crcs`` are still base64.
    """

    headers: list[bytes]
    names: list[bytes]
    stored: list[int]
    sizes: list[int]
    crcs: list[bytes]

    def content(self, number: int) -> Content:
        """Return one of the contents."""
        return Content(self.names[number], self.sizes[number], a2b_base64(self.crcs[number]) or NO_BYTES)

    def some(self, begin: int, end: int) -> Run:
        """Return some of the members."""
        return Run(
            self.headers[begin:end],
            self.names[begin:end],
            self.stored[begin:end],
            self.sizes[begin:end],
            self.crcs[begin:end],
        )

    def parts(self) -> Iterator[Segment | Content]:
        """Yield the segments and the contents in their order."""
        for number, header in enumerate(self.headers):
            yield Segment(header)
            yield self.content(number)


def read(source: Readable, *, what: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[Segment | Content]:
    """Yield the parts of a tar in their order, from the compressed file of tar-split.

    Args:
        source: the file, which may consist of several gzip members.
        what: what messages call it.
        limits: how many parts there may be, and the bounds of a sparse file's list of pieces.

    Raises:
        RootDamaged: it is cut off, or not in this format. LimitExceeded: it has too many parts.
        Whatever the source raises.
    """
    for part in read_runs(source, what=what, limits=limits):
        if isinstance(part, Run):
            yield from part.parts()
        else:
            yield part


def read_runs(
    source: Readable, *, what: str, limits: Limits = DEFAULT_LIMITS, checked: bool = True
) -> Iterator[Run | Segment | Content]:
    """Yield what `read` does, members that need no closer look together. Takes and raises what that does.

    Unless it is ``checked``, what gzip has beside the content, the sums at its end above all, may be wrong.
    """
    headers = _Headers(limits, what)
    count, most, idle = 0, 2 * limits.layer_entries, 0
    for lines in _blocks(source, what, limits, checked=checked):
        idle += len(lines)
        for part in _parts(lines, headers, what):
            if isinstance(part, Run):
                count += 2 * len(part.headers)
                idle -= 2 * sum(map(len, part.headers)) + sum(map(len, part.names))
            else:
                count += 1
                idle -= 2 * len(part.data) if isinstance(part, Segment) else 6 * len(part.name)
            if count > most:
                raise limits.exceeded("layer_entries", f"{what} has more than {most // 2} entries")
            yield part
        if idle > _IDLE + _IDLE_EACH * count:
            raise RootDamaged(f"{what} is damaged: it has {idle} bytes that say nothing")
    if not count:
        raise RootDamaged(f"{what} is empty")


def _parts(lines: bytes, headers: _Headers, what: str) -> Iterator[Run | Segment | Content]:
    """Yield the parts of some whole lines."""
    found = _members(lines)
    step = 1 + _TEXTS
    between = found[::step]
    # Where lines stand that are not those of plain members; nearly always at the ends only.
    others = [number for number, text in enumerate(between) if text]
    for number, end in zip((-1, *others), (*others, len(between) - 1), strict=True):
        if number >= 0:
            for line in between[number].split(b"\n"):
                if line:
                    yield headers.noted(_part(line, what))
        begin = max(number, 0)
        if begin < end:
            texts = found[begin * step + 1 : end * step + 1]
            yield from _run(texts, headers, what)


def _run(texts: list[bytes], headers: _Headers, what: str) -> Iterator[Run | Segment | Content]:
    """Yield plain members, of the texts that `_members` gives."""
    payloads, names, lengths, crcs = (texts[number :: 1 + _TEXTS] for number in range(_TEXTS))
    data = headers.payloads.decoded(payloads)
    sizes = [int(length or 0) for length in lengths]
    stored = [0 if crc in _NO_CRC else size for size, crc in zip(sizes, crcs, strict=True)]
    run = Run(data or [], names, stored, sizes, crcs)
    if data is not None and headers.pass_over(run):
        yield run
        return
    for number, payload in enumerate(payloads):
        yield headers.noted(_part(_segment_begin + payload + b'","position":0}', what))
        yield headers.noted(run.content(number))


def _blocks(source: Readable, what: str, limits: Limits, *, checked: bool) -> Iterator[bytes]:
    """Yield the lines, many at a time; the last one may have no end."""
    held = b""
    try:
        plain = _plain(_Begun(source), limits, checked=checked)
        while chunk := plain.read(_AT_ONCE):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join((held, memoryview(chunk)[:end])) if held else chunk[:end]
                held = chunk[end:]
            else:
                held += chunk
            if len(held) > _LINE:
                raise RootDamaged(f"{what} has a line of more than {_LINE} bytes")
    except InvalidCompression as error:
        raise RootDamaged(f"{what} is damaged: {error}") from None
    if held:
        yield held


def _plain(begun: _Begun, limits: Limits, *, checked: bool) -> Readable:
    """Return a reader of the lines. Raises `InvalidCompression`."""
    compression = detect(begun.prefix)
    is_plain = compression is Compression.NONE and begun.prefix.startswith(_BEGIN)
    if checked or is_plain or compression not in {Compression.NONE, Compression.GZIP}:
        return decompressed(begun, compression, limits=limits)
    return UncheckedGzip(begun, _BEGIN)


class _Begun:
    """A source whose first bytes are known. It ends where only zeros follow: a file may have any number, for free."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.prefix = b""
        while len(self.prefix) < PREFIX_SIZE and (more := source.read(PREFIX_SIZE - len(self.prefix))):
            self.prefix += more
        self._left = self.prefix

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""
        if not self._left:
            data = self._source.read(size)
            # In what is compressed, and in text, so many do not come one after another.
            return data if len(data) < _ZEROS or data.strip(b"\0") else b""
        data, self._left = self._left[:size], self._left[size:]
        return data


def _part(line: bytes, what: str) -> Segment | Content:
    try:
        if line.startswith(_segment_begin):
            begin = len(_segment_begin)
            end = line.find(b'"', begin)
            if _end(line, end):
                return Segment(a2b_base64(line[begin:end], strict_mode=True))
        elif plain := _content(line):
            name, size, crc = plain.groups()
            return Content(name, int(size or 0), a2b_base64(crc, strict_mode=True) or NO_BYTES)
    except BinasciiError:
        pass
    return _any_part(line, what)


def _any_part(line: bytes, what: str) -> Segment | Content:
    try:
        fields = _decoded(line.decode())
        payload = a2b_base64(fields["payload"] or "", strict_mode=True)
        if fields["type"] == _SEGMENT:
            return Segment(payload)
        size = fields.get("size", 0)
        if fields["type"] == _FILE and isinstance(size, int) and 0 <= size <= _LARGEST:
            raw = fields.get("name_raw")
            name = a2b_base64(raw, strict_mode=True) if raw else fields.get("name", "").encode()
            return Content(name, size, payload or NO_BYTES)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, BinasciiError):
        pass
    raise RootDamaged(f"{what} is damaged: it has a line that is not one of tar-split")


class _Headers:
    """Remembers the headers since the last content, to see whether a sparse file follows."""

    def __init__(self, limits: Limits, what: str) -> None:
        self.payloads = Payloads()
        self._limits = limits
        self._what = what
        self._padding = 0
        self._segments: list[bytes] = []
        self._length = 0

    def noted(self, part: Segment | Content) -> Segment | Content:
        """Return a part, with its pieces where it is a content, and the headers before it list some."""
        if isinstance(part, Content):
            return self._completed(part)
        if self._length < _LONGEST_HEADERS:
            self._segments.append(part.data)
            # Very many of nearly no bytes take memory, too.
            self._length += max(len(part.data), BLOCK)
        return part

    def pass_over(self, run: Run) -> bool:
        """Return whether members need no closer look, and pass over them if so."""
        if self._segments:
            return False
        if max(map(len, run.headers)) >= _SPARSE_HEADERS and any(_SPARSE in one for one in run.headers):
            return False
        self._padding = -run.stored[-1] % BLOCK
        return True

    def _completed(self, content: Content) -> Content:
        segments = b"".join(self._segments) if len(self._segments) != 1 else self._segments[0]
        padding = self._padding
        self._segments, self._length = [], 0
        if _SPARSE not in segments:
            self._padding = -content.size % BLOCK if content.is_stored else 0
            return content
        try:
            pieces = _pieces(segments[padding:], self._limits)
        except MalformedError:
            pieces = None
        if pieces is not None:
            content = content._replace(pieces=tuple(pieces))
            self._padding = -sum(length for _, length in pieces) % BLOCK
        else:
            self._padding = -content.size % BLOCK if content.is_stored else 0
        return content


def _pieces(headers: bytes, limits: Limits) -> list[Piece] | None:
    """Return the pieces of a sparse file that some headers list, in the formats 0.0 and 0.1."""
    position = 0
    pax: dict[bytes, bytes] = {}
    while position + BLOCK <= len(headers):
        header = parse_header(headers[position : position + BLOCK])
        position += BLOCK
        if header.is_extension:
            body = headers[position : position + header.size]
            position += header.size + -header.size % BLOCK
            if header.kind == _PAX:
                pax = parse_pax(body)
        elif header.is_old_sparse:
            return None
    if not is_pax_sparse(pax) or is_map_in_content(pax):
        return None
    return pieces_in_pax(pax, limits, "a member")


def write(tar: Readable, line: Callable[[bytes], object], *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Read a tar, and write down what `read` reads again, a line at a time, not compressed.

    Args:
        tar: the tar, plain, which is read to its end.
        line: called with each line.
        limits: what the tar may ask for.

    Raises:
        InvalidTar: it is not a tar, or it has a sparse file, whose content is not on disk as it is in the tar.
        LimitExceeded: it asks for too much. Whatever the source raises.
    """
    source = _Remembering(tar)
    reader = TarReader(source, limits=limits)
    position = 0

    def put(kind: int, payload: bytes, **fields: object) -> None:
        nonlocal position
        record = {"type": kind, **fields, "payload": base64.b64encode(payload).decode(), "position": position}
        line(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        position += 1

    for entry in reader:
        if entry.sparse:
            raise InvalidTar(f"the tar has the sparse file {entry.name!r}, of which tar-split cannot be made")
        put(_SEGMENT, source.taken())
        source.remember = False
        state, size = EMPTY, 0
        while data := reader.read(CHUNK):
            state = updated(state, data)
            size += len(data)
        source.remember = True
        name = entry.name.encode(errors="surrogateescape")
        try:
            named: dict[str, object] = {"name": name.decode()}
        except UnicodeDecodeError:
            named = {"name_raw": base64.b64encode(name).decode()}
        if size:
            named["size"] = size
        put(_FILE, finished(state) if size else NO_BYTES, **named)
    put(_SEGMENT, source.taken())
    while data := tar.read(CHUNK):
        put(_SEGMENT, data)


class _Remembering:
    """A reader of a tar that remembers what is read while it is told to."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._taken: list[bytes] = []
        self.remember = True

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""
        data = self._source.read(size)
        if self.remember:
            self._taken.append(data)
        return data

    def taken(self) -> bytes:
        """Return what was remembered, and forget it."""
        taken, self._taken = b"".join(self._taken), []
        return taken
