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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from orlop.errors import InvalidTar, LimitExceeded, OrlopError, RootDamaged
from orlop.foreign import tarsplit
from orlop.foreign.ahead import SMALL, Ahead
from orlop.foreign.disk import FileReader, Walker, close, files_below, go_on, parts_of, unreadable
from orlop.foreign.skeleton import Skeleton
from orlop.foreign.tarsplit import Run, Segment
from orlop.streams.crc64 import EMPTY, finished, updated
from orlop.streams.files import CHUNK
from orlop.streams.tar_entry import TYPE_HARDLINK
from orlop.streams.tar_read import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

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
    """A number of bytes of a tar that are lost."""

    size: int


@dataclass(slots=True)
class UnpackedLayer:
    """A layer's tar-split and the directory of its files, both by their paths below a root.

    ``reason`` is why the layer could not be rebuilt, once that was tried; ``is_another`` says that all of it was there,
    and that it is another layer. Where the directory is a guess, it is either
    right or it is not: nothing else is tried. ``beside`` are other roots where the tar-split may be, at the same path.
    """

    root: Folder
    split: Path
    files: Path
    is_guess: bool = False
    beside: Sequence[Folder] = field(default=(), compare=False)
    reason: str = field(default="", compare=False)
    is_another: bool = field(default=False, compare=False)

    @property
    def digest(self) -> None:
        """Nothing: the tar is rebuilt, and has no other form."""

    def problem(self) -> str:
        """Return what is wrong with it as far as can be told without reading it, or nothing."""
        if self.is_guess:
            return "the directory of its files is lost, though one of those that belong to no layer may be it"
        try:
            descriptor, size = self._open_split()
            close(descriptor)
            if not size:
                return f"{_shown(self.split)} is empty"
            self.root.below(*self.files).close()
        except RootDamaged as error:
            return str(error)
        return ""

    def _open_split(self) -> tuple[int, int]:
        """Open the tar-split, and return its size, too. Raises `RootDamaged`."""
        *above, name = self.split
        lost: RootDamaged | None = None
        for root in (self.root, *self.beside):
            try:
                with root.below(*above) as folder:
                    return folder.open_file(name)
            except RootDamaged as error:
                lost = lost or error
        assert lost is not None
        raise lost

    def attempts(self, meter: Meter, check: Callable[[], object] = go_on) -> Generator[Readable]:
        """Yield readers of what may be the layer's tar, the likeliest first.

        A caller that asks for one more has read a wrong one.

        Reading raises RootDamaged where the tar cannot be completed, and LimitExceeded.
        """
        yield Rebuilt(self._chunks(meter))
        if self.is_guess:
            return
        try:
            yield from self._second_attempts(meter, check)
        except (LimitExceeded, RootDamaged) as error:
            self.reason = str(error)

    def _second_attempts(self, meter: Meter, check: Callable[[], object]) -> Generator[Readable]:
        """Yield readers of the tar with all that can be found of it. Raises `RootDamaged`, `LimitExceeded`."""
        to_damage = False
        try:
            damages, hollow = self._survey(meter, check)
        except RootDamaged as error:
            self.reason = str(error)
            # The damage may stand behind all that is needed, or beside it.
            to_damage = True
            damages, hollow = self._survey(meter, check, to_damage=to_damage)
        found = self._substitutes(damages, meter, check, to_damage=to_damage)
        if damages:
            first, count = damages[0], len(damages)
            if not to_damage:
                self.reason = first.reason + (f", and {count - 1} more are damaged" if count > 1 else "")
            if all(damage.content in found for damage in damages):
                yield Rebuilt(self._chunks(meter, found, to_damage=to_damage))
                self.is_another = True
        elif to_damage:
            yield Rebuilt(self._chunks(meter, to_damage=True))
        elif hollow:
            yield Rebuilt(self._chunks(meter, literal=True))
            self.reason = "it has members with a size but no content, of which its tar cannot be made again"
        else:
            self.is_another = True
            self.reason = "its tar-split and its files fit each other, but they are not those of this layer"

    def surviving(self, meter: Meter) -> Generator[bytes | Gap]:
        """Yield the bytes of the tar, and a gap for each content that is not as it was, going by its size and CRC.

        Raises:
            RootDamaged: the tar-split cannot be read any further. LimitExceeded.
        """
        found: Mapping[Content, Path] = {}
        with suppress(RootDamaged):
            found = self._substitutes(self._survey(meter, go_on, to_damage=True)[0], meter, go_on, to_damage=True)
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
                    elif self._damage(files, part, go_on) is None:
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
        descriptor, _ = self._open_split()
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

    def _survey(
        self, meter: Meter, check: Callable[[], object], *, to_damage: bool = False
    ) -> tuple[list[Damage], bool]:
        """Return what is damaged, and whether there are contents that have a size, but no bytes."""
        damages: list[Damage] = []
        hollow = False
        size = 0
        with self.root.below(*self.files) as folder, Walker(folder) as files:
            for part in self._parts(meter, to_damage=to_damage):
                # A layer may have millions of members of which nothing is read.
                check()
                if isinstance(part, Segment):
                    continue
                hollow |= part.size > 0 and not part.is_stored
                size += part.size if part.is_stored else 0
                if size > meter.limits.plain_size:
                    raise meter.limits.exceeded("plain_size", f"the layer has {size} bytes or more")
                if part.is_stored and len(damages) < _SOUGHT and (damage := self._damage(files, part, check)):
                    damages.append(damage)
        return damages, hollow

    def _damage(self, files: Walker, content: Content, check: Callable[[], object]) -> Damage | None:
        try:
            opened = self._open(files, content)
        except RootDamaged as error:
            return Damage(content, str(error), is_gone=True)
        if content.pieces is not None:
            # Its CRC is that of its pieces alone.
            close(opened[0])
            return None
        if _crc(opened, check) == content.crc:
            return None
        return Damage(content, f"its file {_text(content.name)} is damaged: its CRC is another one", is_gone=False)

    def _substitutes(
        self, damages: list[Damage], meter: Meter, check: Callable[[], object], *, to_damage: bool
    ) -> dict[Content, Path]:
        """Return other files with the same content: other names in the layer, then any file of the root.

        A tar may have a name more than once, with another content each time, so a name alone does not tell which is
        meant.
        """
        search = _Search(self.root, meter.limits.plain_size, check)
        lost = dict.fromkeys(damage.content for damage in damages if damage.content.pieces is None)
        gone: dict[Path | None, list[Content]] = {}
        for damage in damages:
            if damage.is_gone:
                gone.setdefault(parts_of(damage.content.name), []).append(damage.content)
        if gone:
            sought = {target: _by_size(contents) for target, contents in gone.items()}
            for target, path in self._links(meter, to_damage=to_damage):
                check()
                if target in sought:
                    search.look_at((*self.files, *path), sought[target])
        wanted = _by_size(content for content in lost if content not in search.found)
        for path, state in files_below(self.root, most=_FILES) if wanted else ():
            check()
            if state.st_size in wanted:
                search.look_at(path, wanted, state.st_size)
        return search.found

    def _links(self, meter: Meter, *, to_damage: bool) -> Iterator[tuple[Path | None, Path]]:
        """Yield the targets of the layer's hard links, and their own names."""
        with closing(self._parts(meter, to_damage=to_damage)) as parts:
            try:
                for entry in TarReader(Skeleton(parts), limits=meter.limits):
                    if entry.type == TYPE_HARDLINK:
                        path = parts_of(os.fsencode(entry.name))
                        if path is not None:
                            yield parts_of(os.fsencode(entry.linkname)), path
            except InvalidTar:
                return


_Sought: TypeAlias = "dict[int, dict[bytes, list[Content]]]"
"""Contents by their size and their CRC."""


def _by_size(contents: Iterable[Content]) -> _Sought:
    sought: _Sought = {}
    for content in contents:
        sought.setdefault(content.size, {}).setdefault(content.crc, []).append(content)
    return sought


class _Search:
    """Looks into files of a root for contents that are lost. ``found`` has the files.

    Files may be holes alone, of any size and number: it ends where it has read as much as a layer may have.
    """

    def __init__(self, root: Folder, room: int, check: Callable[[], object]) -> None:
        self.found: dict[Content, Path] = {}
        self._root = root
        self._room = room
        self._check = check

    def look_at(self, path: Path, sought: _Sought, size: int | None = None) -> None:
        """Note a file for each content that it has; one look serves all of them.

        Args:
            path: which file.
            sought: those that it may have; without what is found when this returns.
            size: what it had before, or nothing where that is not known.
        """
        try:
            with self._root.below(*path[:-1]) as folder:
                opened = folder.open_file(path[-1])
        except RootDamaged:
            return
        contents = sought.get(opened[1])
        if not contents or size not in {None, opened[1]} or opened[1] > self._room:
            close(opened[0])
            return
        self._room -= opened[1]
        for content in contents.pop(_crc(opened, self._check), ()):
            self.found.setdefault(content, path)


def _of_size(opened: tuple[int, int], content: Content) -> tuple[int, int]:
    """Return an open file whose size is that of a content. Raises `RootDamaged`, and closes it, where it is not."""
    if opened[1] == content.size:
        return opened
    close(opened[0])
    raise RootDamaged(f"its file {_text(content.name)} is damaged: it has {opened[1]} bytes, not {content.size}")


def _crc(opened: tuple[int, int], check: Callable[[], object]) -> bytes:
    """Return the CRC-64 of a file, which is closed."""
    descriptor, _ = opened
    try:
        state = EMPTY
        while chunk := os.read(descriptor, CHUNK):
            state = updated(state, chunk)
            check()
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


class Rebuilt:
    """A reader of bytes that come in chunks of any size; very many small ones do not slow it down."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, that many unless the end is near."""
        if len(self._held) < size:
            parts, length = [self._held], len(self._held)
            # A stranger's tar-split may have millions of segments without a byte.
            for chunk in filter(None, self._chunks):
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
