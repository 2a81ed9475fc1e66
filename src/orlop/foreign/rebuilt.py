"""A layer as an engine unpacked it: its tar, made again of a tar-split and of the files below a directory.

Theory of operation. A root stands still, so that it may be read twice. The common case comes first, and what costs
more comes only where that has failed.

1. Segments and files are strung together, as fast as they can be read. No CRC is computed: whoever takes the layer
   computes the SHA-256 of all of it anyway, and compares it with the diff ID.
2. Where a file is missing or has another size, or the diff ID is another one, all contents are looked at, each with its
   size and CRC-64. What is damaged is looked for elsewhere: under other names of the same file in the layer, then among
   all files of the root with that size and that CRC.
3. With what was found, or with contents that seemed to have no bytes (one in 2^64 has that CRC by chance), the tar is
   strung together once more. Again only the diff ID decides.

So a wrong byte can never come out: a layer is right as a whole, or it is reported with its first damaged member.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import InvalidTar, LimitExceeded, OrlopError, RootDamaged
from orlop.foreign import tarsplit
from orlop.foreign.ahead import SMALL, Ahead
from orlop.foreign.disk import Walker, close, files_below, parts_of, reading, unreadable
from orlop.foreign.tarsplit import Run, Segment
from orlop.streams.crc64 import EMPTY, finished, updated
from orlop.streams.files import CHUNK
from orlop.streams.tar_header import TYPE_HARDLINK
from orlop.streams.tar_read import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from orlop.foreign.disk import Folder
    from orlop.foreign.tarsplit import Content
    from orlop.streams.compression import Readable
    from orlop.streams.meter import Meter

# Of a layer that has lost more than that, the rest is not looked for.
_SOUGHT: Final = 10_000
_FILES: Final = 10_000_000
# Headers and contents that become one chunk.
_JOINED: Final = 512
_WHITEOUT: Final = ".wh."

Path = tuple[str, ...]


class Damage(NamedTuple):
    """A member whose content is not in its place, and why not; it is gone where no file has its name."""

    content: Content
    reason: str
    is_gone: bool


class Gap(NamedTuple):
    """So many bytes of a tar that are lost."""

    size: int


@dataclass(slots=True)
class UnpackedLayer:
    """A layer's tar-split and the directory of its files, both by their paths below a root.

    ``reason`` is why the layer could not be rebuilt, once that was tried. Where the directory is a guess, it is either
    right or it is not: nothing else is tried.
    """

    root: Folder
    split: Path
    files: Path
    is_guess: bool = False
    reason: str = field(default="", compare=False)

    @property
    def digest(self) -> None:
        """Nothing: the tar is rebuilt, and has no other form."""

    def problem(self) -> str:
        """Return what is wrong with it as far as can be told without reading it, or nothing."""
        if self.is_guess:
            return "the directory of its files is lost, though one of those that belong to no layer may be it"
        try:
            with self.root.below(*self.split[:-1]) as folder:
                descriptor, size = folder.open_file(self.split[-1])
                close(descriptor)
            if not size:
                return f"{_shown(self.split)} is empty"
            self.root.below(*self.files).close()
        except RootDamaged as error:
            return str(error)
        return ""

    def attempts(self, meter: Meter) -> Generator[Readable]:
        """Yield readers of what may be the layer's tar, the likeliest first.

        A caller that asks for one more has read a wrong one.

        Reading raises RootDamaged where the tar cannot be completed, and LimitExceeded.
        """
        yield Rebuilt(self._chunks(meter))
        if self.is_guess:
            return
        try:
            yield from self._second_attempts(meter)
        except (LimitExceeded, RootDamaged) as error:
            self.reason = str(error)

    def _second_attempts(self, meter: Meter) -> Generator[Readable]:
        """Yield readers of the tar with all that can be found of it. Raises `RootDamaged`, `LimitExceeded`."""
        to_damage = False
        try:
            damages, hollow = self._survey(meter)
        except RootDamaged as error:
            self.reason = str(error)
            # The damage may stand behind all that is needed, or beside it.
            to_damage = True
            damages, hollow = self._survey(meter, to_damage=to_damage)
        found = self._substitutes(damages, meter, to_damage=to_damage)
        if damages:
            first, count = damages[0], len(damages)
            if not to_damage:
                self.reason = first.reason + (f", and {count - 1} more are damaged" if count > 1 else "")
            if all(damage.content in found for damage in damages):
                yield Rebuilt(self._chunks(meter, found, to_damage=to_damage))
        elif to_damage:
            yield Rebuilt(self._chunks(meter, to_damage=True))
        elif hollow:
            yield Rebuilt(self._chunks(meter, literal=True))
            self.reason = "it has members with a size but no content, of which its tar cannot be made again"
        else:
            self.reason = "its tar-split and its files fit each other, but they are not those of this layer"

    def surviving(self, meter: Meter) -> Generator[bytes | Gap]:
        """Yield the bytes of the tar, and a gap for each content that is not as it was, going by its size and CRC.

        Raises:
            RootDamaged: the tar-split cannot be read any further. LimitExceeded.
        """
        found: Mapping[Content, Path] = {}
        with suppress(RootDamaged):
            found = self._substitutes(self._survey(meter, to_damage=True)[0], meter, to_damage=True)
        with self.root.below(*self.files) as folder, Walker(folder) as files, Walker(self.root) as root:
            for part in self._parts(meter, checked=False):
                if isinstance(part, Segment):
                    yield part.data
                elif part.is_stored:
                    if part.size > meter.limits.plain_size:
                        raise meter.limits.exceeded("plain_size", f"a member has {part.size} bytes")
                    if part.pieces is not None:
                        # The CRC is not that of the file.
                        yield Gap(sum(length for _, length in part.pieces))
                    elif self._damage(files, part) is None:
                        yield from _content(self._open(files, part), part)
                    elif part in found:
                        yield from _content(_of_size(root.open_file(found[part]), part), part)
                    else:
                        yield Gap(part.size)

    def _parts(self, meter: Meter, *, to_damage: bool = False, checked: bool = True) -> Generator[Segment | Content]:
        for part in self._runs(meter, to_damage=to_damage, checked=checked):
            if isinstance(part, Run):
                yield from part.parts()
            else:
                yield part

    def _runs(
        self, meter: Meter, *, to_damage: bool = False, checked: bool = True
    ) -> Generator[Run | Segment | Content]:
        """Yield the parts of the tar; with ``to_damage`` up to where they cannot be read any further.

        Then, or unless it is ``checked``, it does not matter either what the sums of gzip are.
        """
        with self.root.below(*self.split[:-1]) as folder:
            descriptor, _ = folder.open_file(self.split[-1])
        path = _shown(self.split)
        try:
            source = meter.counted(FileReader(descriptor, path))
            yield from tarsplit.read_runs(source, what=path, limits=meter.limits, checked=checked and not to_damage)
        except RootDamaged:
            if not to_damage:
                raise
        finally:
            close(descriptor)

    def _chunks(
        self,
        meter: Meter,
        substitutes: Mapping[Content, Path] | None = None,
        *,
        literal: bool = False,
        to_damage: bool = False,
    ) -> Iterator[bytes]:
        """Yield the bytes of the tar; with ``literal`` contents have bytes whatever their CRC says.

        With ``to_damage`` it ends where the tar-split cannot be read any further.
        """
        others = substitutes or {}
        with (
            self.root.below(*self.files) as folder,
            Walker(folder) as files,
            Ahead(files) as ahead,
            closing((self._parts if others or literal else self._runs)(meter, to_damage=to_damage)) as parts,
        ):
            for part, found in ahead.filled(parts):
                if isinstance(part, Run):
                    yield from self._members(part, found, files, meter)
                elif isinstance(part, Segment):
                    yield part.data
                elif part.is_stored or (literal and part.size):
                    yield from self._file(files, part, meter, others.get(part))

    def _members(self, run: Run, found: list[bytes | None], files: Walker, meter: Meter) -> Iterator[bytes]:
        """Yield the bytes of some members; the contents of small files are given, those that could be read."""
        there = [data for data in found if data is not None]
        meter.read(sum(map(len, there)))
        if len(there) == len(run.headers) - run.stored.count(0):
            yield from _joined(run, there)
            return
        contents = iter(found)
        for number, (header, size) in enumerate(zip(run.headers, run.stored, strict=True)):
            yield header
            if not size:
                continue
            if size <= SMALL and (data := next(contents)) is not None:
                yield data
            else:
                yield from self._file(files, run.content(number), meter)

    def _file(self, files: Walker, content: Content, meter: Meter, other: Path | None = None) -> Iterator[bytes]:
        """Yield what the tar has of the file of a content, or of the one that takes its place, counted.

        Raises RootDamaged, LimitExceeded.
        """
        if content.size > meter.limits.plain_size:
            raise meter.limits.exceeded("plain_size", f"a member has {content.size} bytes")
        if other is None:
            opened = self._open(files, content)
        else:
            with self.root.below(*other[:-1]) as folder:
                opened = folder.open_file(other[-1])
        for chunk in _content(opened, content):
            meter.read(len(chunk))
            yield chunk

    def _open(self, files: Walker, content: Content) -> tuple[int, int]:
        """Open the file of a content; its size is that of the content. Raises `RootDamaged`."""
        path = parts_of(content.name)
        if path is None:
            raise RootDamaged(f"{_shown(self.split)} has a member {content.name!r}, which leads out of the layer")
        try:
            opened = files.open_file(path)
        except RootDamaged as error:
            if path[-1].startswith(_WHITEOUT):
                msg = f"the whiteout {_text(content.name)} had a content, which engines do not keep"
                raise RootDamaged(msg) from None
            raise RootDamaged(f"its file {_text(content.name)} is lost: {error}") from None
        return _of_size(opened, content)

    def _survey(self, meter: Meter, *, to_damage: bool = False) -> tuple[list[Damage], bool]:
        """Return what is damaged, and whether there are contents that have a size, but no bytes."""
        damages: list[Damage] = []
        hollow = False
        size = 0
        with self.root.below(*self.files) as folder, Walker(folder) as files:
            for part in self._parts(meter, to_damage=to_damage):
                if isinstance(part, Segment):
                    continue
                hollow |= part.size > 0 and not part.is_stored
                size += part.size if part.is_stored else 0
                if size > meter.limits.plain_size:
                    raise meter.limits.exceeded("plain_size", f"the layer has {size} bytes or more")
                if part.is_stored and len(damages) < _SOUGHT and (damage := self._damage(files, part)):
                    damages.append(damage)
        return damages, hollow

    def _damage(self, files: Walker, content: Content) -> Damage | None:
        try:
            opened = self._open(files, content)
        except RootDamaged as error:
            return Damage(content, str(error), is_gone=True)
        if content.pieces is not None or _crc(opened) == content.crc:
            return None
        return Damage(content, f"its file {_text(content.name)} is damaged: its CRC is another one", is_gone=False)

    def _substitutes(self, damages: list[Damage], meter: Meter, *, to_damage: bool) -> dict[Content, Path]:
        """Return other files with the same content: other names in the layer, then any file of the root.

        A tar may have a name more than once, with another content each time, so a name alone does not tell which is
        meant.
        """
        found: dict[Content, Path] = {}
        if not damages:
            return found
        lost = dict.fromkeys(damage.content for damage in damages if damage.content.pieces is None)
        gone: dict[Path | None, list[Content]] = {}
        for damage in damages:
            if damage.is_gone:
                gone.setdefault(parts_of(damage.content.name), []).append(damage.content)
        for target, path in self._links(meter, to_damage=to_damage):
            for content in gone.get(target, ()):
                if content not in found and _crc_at(self.root, (*self.files, *path), content.size) == content.crc:
                    found[content] = (*self.files, *path)
        wanted: dict[int, list[Content]] = {}
        for content in lost:
            if content not in found:
                wanted.setdefault(content.size, []).append(content)
        if not wanted:
            return found
        for path, state in files_below(self.root, most=_FILES):
            sought = wanted.get(state.st_size)
            if not sought:
                continue
            # One look at a file serves all contents of its size.
            crc = _crc_at(self.root, path, state.st_size)
            for content in sought:
                if content.crc == crc:
                    found[content] = path
            left = [content for content in sought if content.crc != crc]
            if len(left) < len(sought):
                wanted[state.st_size] = left
        return found

    def _links(self, meter: Meter, *, to_damage: bool) -> Iterator[tuple[Path | None, Path]]:
        """Yield the targets of the layer's hard links, and their own names."""
        with closing(self._parts(meter, to_damage=to_damage)) as parts:
            try:
                for entry in TarReader(_Skeleton(parts), limits=meter.limits):
                    if entry.type == TYPE_HARDLINK:
                        path = parts_of(os.fsencode(entry.name))
                        if path is not None:
                            yield parts_of(os.fsencode(entry.linkname)), path
            except InvalidTar:
                return


class _Skeleton:
    """A tar as it would be if all contents were zeros; to pass over them costs nothing, however many there are."""

    def __init__(self, parts: Iterator[Segment | Content]) -> None:
        self._parts = parts
        self._data = b""
        self._zeros = 0

    def seekable(self) -> bool:
        """Return that `seek` passes over bytes."""
        return True

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""
        if not self._fill():
            return b""
        if self._data:
            data, self._data = self._data[:size], self._data[size:]
            return data
        count = min(size, self._zeros, CHUNK)
        self._zeros -= count
        return bytes(count)

    def seek(self, count: int, whence: int, /) -> None:
        """Pass over bytes from here on; others than these are not asked for."""
        del whence
        while count and self._fill():
            if self._data:
                passed = min(count, len(self._data))
                self._data = self._data[passed:]
            else:
                passed = min(count, self._zeros)
                self._zeros -= passed
            count -= passed

    def _fill(self) -> bool:
        """Take the next part where nothing is left of the last one, and return whether there is something."""
        while not self._data and not self._zeros:
            part = next(self._parts, None)
            if part is None:
                return False
            if isinstance(part, Segment):
                self._data = part.data
            elif part.is_stored:
                self._zeros = part.size if part.pieces is None else sum(length for _, length in part.pieces)
        return True


def _crc_at(root: Folder, path: Path, wanted: int) -> bytes:
    """Return the CRC-64 of a file of a size, or nothing where there is none that can be read."""
    try:
        with root.below(*path[:-1]) as folder:
            descriptor, size = folder.open_file(path[-1])
    except RootDamaged:
        return b""
    if size != wanted:
        close(descriptor)
        return b""
    return _crc((descriptor, size))


def _of_size(opened: tuple[int, int], content: Content) -> tuple[int, int]:
    """Return an open file whose size is that of a content. Raises `RootDamaged`, and closes it, where it is not."""
    if opened[1] == content.size:
        return opened
    close(opened[0])
    raise RootDamaged(f"its file {_text(content.name)} is damaged: it has {opened[1]} bytes, not {content.size}")


def _crc(opened: tuple[int, int]) -> bytes:
    """Return the CRC-64 of a file, which is closed."""
    descriptor, _ = opened
    try:
        state = EMPTY
        while chunk := os.read(descriptor, CHUNK):
            state = updated(state, chunk)
    except OSError:
        return b""
    finally:
        close(descriptor)
    return finished(state)


def _content(opened: tuple[int, int], content: Content) -> Iterator[bytes]:
    """Yield what the tar has of a file, and close it."""
    descriptor, size = opened
    try:
        for offset, length in ((0, size),) if content.pieces is None else content.pieces:
            end = offset + length
            while offset < end:
                chunk = os.pread(descriptor, min(end - offset, CHUNK), offset)
                if not chunk:
                    raise RootDamaged(f"its file {_text(content.name)} is damaged: it ends too early")
                yield chunk
                offset += len(chunk)  # noqa: PLW2901 - what is left of the piece
    except OrlopError:
        raise
    except OSError as error:
        raise unreadable(error, _text(content.name)) from error
    finally:
        close(descriptor)


def _joined(run: Run, contents: list[bytes]) -> Iterator[bytes]:
    """Yield headers and contents in turn, many in each chunk; members of no bytes have none."""
    pieces = [b""] * (2 * len(run.headers))
    pieces[::2] = run.headers
    if len(contents) < len(run.headers):
        left = iter(contents)
        contents = [next(left) if size else b"" for size in run.stored]
    pieces[1::2] = contents
    for begin in range(0, len(pieces), _JOINED):
        yield b"".join(pieces[begin : begin + _JOINED])


def _text(name: bytes) -> str:
    return repr(os.fsdecode(name)) if not name.isascii() else f'"{name.decode()}"'


def _shown(path: Path) -> str:
    return "/".join(path)


class FileReader:
    """A reader of an open file, which stays the caller's to close."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes. Raises `RootDamaged`."""
        with reading(self._path):
            return os.read(self._descriptor, size)


class Rebuilt:
    """A reader of bytes that come in chunks of any size; very many small ones do not slow it down."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, that many unless the end is near."""
        if len(self._held) < size:
            parts, length = [self._held], len(self._held)
            for chunk in self._chunks:
                parts.append(chunk)
                length += len(chunk)
                if length >= size:
                    break
            self._held = b"".join(parts)
        if len(self._held) == size:
            data, self._held = self._held, b""
        else:
            data, self._held = self._held[:size], self._held[size:]
        return data

    def close(self) -> None:
        """Close what the chunks come from."""
        close: Callable[[], None] | None = getattr(self._chunks, "close", None)
        if close is not None:
            close()
