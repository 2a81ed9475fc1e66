"""Lines of files of an image that fit a pattern.

Each layer is read once, bottom first, and the files of a layer in the order in which it has them; so that is the order
of what is found. Files that have several names are searched once, under the first of them. Little is in memory: lines
of more than `_PIECE` bytes are searched in pieces that overlap by `_OVERLAP`, and shown as the piece that fits, or as
the last one where lines are asked for that do not fit.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from orlop.inside.automaton import Automaton
from orlop.inside.expression import literal, parse, whole_word
from orlop.inside.holes import LONGEST_HOLE
from orlop.inside.merge import clean
from orlop.model.given import check_number, given_list
from orlop.model.pattern import Pattern
from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Protocol

    from orlop.inside.content import Contents, Place
    from orlop.inside.info import ImageLayer
    from orlop.inside.layer import Layer
    from orlop.inside.node import Node

    class Searched(Protocol):
        """What is needed of a view, which imports this module."""

        layers: tuple[ImageLayer, ...]

        @property
        def content_layers(self) -> Sequence[Layer]: ...
        def below(self, real: str = "/") -> Iterator[tuple[str, Node]]: ...
        def real_path(self, path: str, *, follow: bool = True) -> str: ...
        def places(
            self, places: Sequence[Place], *, verify: bool = False, longest_hole: int | None = None
        ) -> Contents: ...


_Piece = tuple[bytes, bool, bool]

__all__ = ["FileMatch", "Search", "grep"]

_PIECE: Final = 1 << 20
_OVERLAP: Final = 4 << 10
_LOOKED_AT: Final = 8000
"""How many bytes decide whether a file is binary: it is if one of them is NUL, as for git."""


class FileMatch(NamedTuple):
    """A line that fits.

    Attributes:
        path: of the file, from the root.
        layer: the number, from 1, of the layer that has its content.
        line: the number of the line, from 1; 0 for a binary file.
        text: the line without its newline; empty for a binary file, of which one match is reported.
        binary: whether the file is binary.
    """

    path: str
    layer: int
    line: int
    text: bytes
    binary: bool


class Search:
    """A pattern, ready to search with.

    Args:
        pattern: an extended regular expression (`orlop.inside.expression`).
        fixed: take the pattern as plain text.
        ignore_case: do not tell capital letters of ASCII from small ones.
        word: match whole words only.
        invert: look for the lines that do not match.

    Raises:
        InvalidFilter: the pattern is malformed, or uses what is not supported.
    """

    def __init__(
        self,
        pattern: str,
        *,
        fixed: bool = False,
        ignore_case: bool = False,
        word: bool = False,
        invert: bool = False,
    ) -> None:
        tree = (literal if fixed else parse)(pattern, ignore_case=ignore_case)
        self._automaton = Automaton(whole_word(tree) if word else tree)
        self._invert = invert

    def lines(self, chunks: Iterable[bytes], *, every: bool = False) -> Iterator[tuple[int, bytes] | None]:
        """Yield the number and the text of each line that fits; of a binary content None, once or for every line."""
        number, found_last = 1, 0
        chunks = iter(chunks)
        head = _head(chunks)
        binary = b"\0" in head[:_LOOKED_AT]
        lines = self._others if self._invert else self._fitting
        for text, ends, found in lines(_pieces(chain([head], chunks))):
            counted = 0
            for start, end in found:
                number += text.count(b"\n", counted, start)
                counted = start
                if number != found_last:
                    yield None if binary else (number, text[start:end])
                    if binary and not every:
                        return
                found_last = number
            number += text.count(b"\n", counted) + (1 if ends else 0)

    def _fitting(self, pieces: Iterable[_Piece]) -> Iterator[tuple[bytes, bool, Iterable[tuple[int, int]]]]:
        """Yield each piece, whether it ends where a line does, and where the lines in it are that fit."""
        for text, begins, ends in pieces:
            yield text, ends, self._automaton.lines(text, begins=begins, ends=ends)

    def _others(self, pieces: Iterable[_Piece]) -> Iterator[tuple[bytes, bool, Iterable[tuple[int, int]]]]:
        """Yield what `_fitting` does for the lines that do not fit, of a line in pieces none of them."""
        fitted = False
        for text, begins, ends in pieces:
            others = _between(text, self._automaton.lines(text, begins=begins, ends=ends))
            if not ends:
                fitted = next(others, None) is None or (fitted and not begins)
                yield text, ends, ()
                continue
            yield text, ends, (one for one in others if one[0] or begins or not fitted)
            fitted = False


def _between(text: bytes, lines: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield where the lines of a text are that are not among some lines."""
    at = 0
    for start, end in chain(lines, ((len(text) + 1, 0),)):
        while at < start:
            stop = text.find(b"\n", at)
            stop = len(text) if stop < 0 else stop
            yield at, stop
            at = stop + 1
        at = end + 1


def grep(
    files: Searched,
    search: Search,
    paths: Sequence[str] = ("/",),
    *,
    hidden: bool = False,
    include: Sequence[str] = (),
    max_size: int | None = None,
    once: bool = False,
    every: bool = False,
    lacking: bool = False,
    verify: bool = False,
) -> Iterator[FileMatch]:
    """Yield the lines that fit, in the order of the layers.

    Args:
        files: the view.
        search: what to look for.
        paths: search what is at these paths and below.
        hidden: search the files of all layers, also those that later layers overwrite or remove.
        include: search only files whose names fit one of these patterns of the shell; none for all files.
        max_size: pass over files that have more bytes.
        once: report only the first match in each file.
        every: report a match for every line of a binary file that fits, each without its text.
        lacking: report the files that have no such line instead, without a line.
        verify: read each layer that has such files whole, and fail at the end if it does not match its digest.

    Raises:
        PathNotFound: a path is not there. InvalidFilter: a pattern of names is malformed. Beside these, what reading
        layers raises.
    """
    if max_size is not None:
        check_number(max_size, "the largest size of files to search")
    patterns = [Pattern.parse_glob(one) for one in given_list(include, "patterns of names")]
    found_at = _of_layers(files, paths, patterns) if hidden else _of_view(files, paths, patterns)
    wanted = [one for one in found_at if max_size is None or one[1][1].size <= max_size]
    wanted.sort(key=_in_layers)
    with files.places(
        [place for _, place in wanted if place[1].size], verify=verify, longest_hole=LONGEST_HOLE
    ) as contents:
        for path, place in wanted:
            layer = files.layers[place[0]].number
            lines = search.lines(contents.chunks(place) if place[1].size else (), every=every)
            if lacking:
                if next(lines, place) is place:
                    yield FileMatch(path, layer, 0, b"", binary=False)
                continue
            for found in lines:
                line, text = found or (0, b"")
                yield FileMatch(path, layer, line, text, found is None)
                if once:
                    break
        contents.finish()


def _is_named(path: str, patterns: Sequence[Pattern]) -> bool:
    name = path.rpartition("/")[2]
    return not patterns or any(pattern.matches(name) for pattern in patterns)


def _in_layers(one: tuple[str, Place]) -> tuple[int, int]:
    layer, entry = one[1]
    return layer, entry.header_offset


def _of_view(files: Searched, paths: Sequence[str], patterns: Sequence[Pattern]) -> list[tuple[str, Place]]:
    """Return the files that a container sees at paths and below, each once."""
    found: dict[tuple[int, int], tuple[str, Place]] = {}
    for path in paths:
        for at, node in files.below(files.real_path(path)):
            if node.type == TYPE_FILE and _is_named(at, patterns):
                found.setdefault((node.origin, node.content.header_offset), (at, (node.origin, node.content)))
    return list(found.values())


def _of_layers(files: Searched, paths: Sequence[str], patterns: Sequence[Pattern]) -> list[tuple[str, Place]]:
    """Return the files of all layers at paths and below, hidden ones too; links in the paths are not followed."""
    tops = [clean(path) for path in paths]
    found: list[tuple[str, Place]] = []
    for index, layer in enumerate(files.content_layers):
        for entry in layer.entries():
            path = clean(entry.name)
            below = any(not top or path == top or path.startswith(f"{top}/") for top in tops)
            if below and entry.type == TYPE_FILE and _is_named(path, patterns) and "/.wh." not in f"/{path}":
                found.append((f"/{path}", (index, entry)))
    return found


def _head(chunks: Iterator[bytes]) -> bytes:
    """Return the beginning of a content, long enough to tell whether it is binary."""
    head = b""
    while len(head) < _LOOKED_AT and (chunk := next(chunks, b"")):
        head += chunk
    return head


def _pieces(chunks: Iterator[bytes]) -> Iterator[_Piece]:
    """Yield whole lines, without the last newline, and whether a piece begins and ends where a line does."""
    waiting: list[bytes] = []
    size = 0
    begins = True
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if b"\n" in chunk:
            text, _, rest = b"".join(waiting).rpartition(b"\n")
            yield text, begins, True
            begins = True
        elif size >= _PIECE:
            text = b"".join(waiting)
            yield text, begins, False
            begins, rest = False, text[-_OVERLAP:]
        else:
            continue
        waiting, size = [rest], len(rest)
    if size:
        yield b"".join(waiting), begins, True
