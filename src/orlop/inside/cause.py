"""Why two builds that should be the same are not: the first thing that makes their IDs differ."""

from __future__ import annotations

import json
from bisect import bisect_right
from contextlib import closing
from typing import TYPE_CHECKING, Final

from orlop.inside.holes import digest_of
from orlop.inside.layer import ChunkReader
from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.layer import Layer
    from orlop.inside.view import ImageFiles
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Cause", "config_changes", "first_cause"]

_ORDERED: Final = (
    *("type", "mode", "uid", "gid", "uname", "gname", "mtime", "linkname", "devmajor", "devminor", "xattrs", "size"),
    "sparse",
)
_DELIMITERS: Final = frozenset(' :"[]')
_KINDS: Final = {
    "uid": "owners",
    "gid": "owners",
    "uname": "owners",
    "gname": "owners",
    "mtime": "times",
    "size": "content",
    "sparse": "headers",
}
_LONGEST: Final = 120
_FORMS: Final = {b"ustar\x0000": "POSIX", b"ustar  \0": "GNU"}
"""Formats of tars by the bytes at a place in each header."""
_MAGIC: Final = slice(257, 265)
_TYPE: Final = 156
_EXTENDED: Final = b"xgLK"
_PIECE: Final = 1 << 18
_Way = tuple["str | int", ...]
"""The names and numbers that lead to a value of a config."""
_WORDS: Final = {
    "mtime": "time",
    "linkname": "target",
    "devmajor": "major number",
    "devminor": "minor number",
    "sparse": "form, as a sparse file or not",
}


class Cause(NamedTuple):
    """The first cause: its ``kind``, and a sentence that says where it is and what differs.

    ``kind`` is ``none``, ``layers`` (one has more), ``paths``, ``order``, ``times``, ``owners``, ``attributes``,
    ``content``, ``headers`` (the tars are written in another way) or ``config``.
    """

    kind: str
    text: str


def first_cause(old: ImageFiles, new: ImageFiles) -> Cause:
    """Return why two images have different IDs. Reads tables of contents, and content only in a layer of equal headers.

    Raises:
        What reading layers raises.
    """
    for number, (left, right) in enumerate(zip(old.content_layers, new.content_layers, strict=False), start=1):
        if left.diff_id != right.diff_id:
            return _in_layer(number, left, right)
    if len(old.layers) != len(new.layers):
        return Cause("layers", f"the images have {len(old.layers)} and {len(new.layers)} layers")
    changes = config_changes(old, new)
    for key, before, after in changes:
        return Cause("config", f"the configs differ, first in {key}: {_short(before)} and {_short(after)}")
    if old.config.id != new.config.id:
        return Cause("config", "the configs say the same in other bytes")
    return Cause("none", "it is the same image; archives of it can differ only in names and compression")


def config_changes(old: ImageFiles, new: ImageFiles) -> list[tuple[str, object, object]]:
    """Return what differs between two configs: dotted keys, and the values of both; None where there is none.

    A part of a key that is empty, or has spaces, colons, brackets, quotes or characters that do not print, is in quotes
    and brackets.
    """
    return [(_dotted(way), before, after) for way, before, after in _unlike(old, new)]


def _unlike(old: ImageFiles, new: ImageFiles) -> Iterator[tuple[_Way, object, object]]:
    """Yield where two configs differ: the way there, and the values of both."""
    stack: list[tuple[_Way, object, object]] = [((), json.loads(old.config.raw_json), json.loads(new.config.raw_json))]
    while stack:
        way, before, after = stack.pop()
        left, right = _parts(before), _parts(after)
        # An empty collection, or none, beside one with something in it differs in what is in that one.
        if (left or right) and (left or _is_empty(before)) and (right or _is_empty(after)):
            names = dict.fromkeys([*left, *right])
            stack += [((*way, name), left.get(name), right.get(name)) for name in reversed(names)]
        elif type(before) is not type(after) or before != after:
            yield way, before, after


def _parts(value: object) -> dict[str | int, object]:
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list) else {}


def _is_empty(value: object) -> bool:
    return value is None or value in ({}, [])


def _dotted(way: _Way) -> str:
    return "".join(map(_part, way)).removeprefix(".")


def _part(part: str | int) -> str:
    """Return a part of a key with a dot before it, or in brackets; what could pass for something else, in quotes."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isprintable() and _DELIMITERS.isdisjoint(part) and part else f"[{json.dumps(part)}]"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _in_layer(number: int, left: Layer, right: Layer) -> Cause:
    """Return why two layers are not the same."""
    where = f"in layer {number}"
    old, new = list(left.entries()), list(right.entries())
    old_names, new_names = [one.name for one in old], [one.name for one in new]
    missing = sorted(set(old_names) - set(new_names)) or sorted(set(new_names) - set(old_names))
    if missing:
        side = "first" if missing[0] in set(old_names) else "second"
        return Cause("paths", f"{where} only the {side} image has {missing[0]!r}")
    if old_names != new_names:
        common = min(len(old), len(new))
        place = next((at for at in range(common) if old_names[at] != new_names[at]), common)
        shown = [repr(names[place]) if place < len(names) else "its end" for names in (old_names, new_names)]
        return Cause("order", f"{where} member {place + 1} is {shown[0]} in the first image, {shown[1]} in the second")
    for before_entry, after_entry in zip(old, new, strict=True):
        found = _fact(before_entry, after_entry)
        if found is not None:
            values = _values(before_entry, after_entry, found)
            return Cause(_KINDS.get(found, "attributes"), f"{where} {before_entry.name!r} has another {values}")
    return _in_content(where, left, right)


def _fact(before: TarEntry, after: TarEntry) -> str | None:
    return next((fact for fact in _ORDERED if getattr(before, fact) != getattr(after, fact)), None)


def _values(before: TarEntry, after: TarEntry, fact: str) -> str:
    """Return how a fact is called, and what it is in both entries."""
    word = _WORDS.get(fact, fact)
    left, right = getattr(before, fact), getattr(after, fact)
    if fact == "xattrs":
        name = min(one for one in {*left, *right} if left.get(one) != right.get(one))
        word, left, right = f"extended attribute {name!r}", left.get(name), right.get(name)
    return f"{word}: {_value(left, fact)} and {_value(right, fact)}"


def _value(value: object, fact: str) -> str:
    if value is None:
        return "none"
    if fact == "mode":
        return f"{value:04o}"
    if fact == "mtime" and isinstance(value, tuple):
        return f"{value[0]}.{value[1]:09}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _in_content(where: str, left: Layer, right: Layer) -> Cause:
    """Return where the bytes of two layers begin to differ whose headers say the same."""
    from orlop.inside.content import Contents  # noqa: PLC0415 - most causes are in headers

    pairs = [(a, b) for a, b in zip(left.entries(), right.entries(), strict=True) if a.size]
    with (
        Contents([left], [(0, a) for a, _ in pairs], longest_hole=0) as old,
        Contents([right], [(0, b) for _, b in pairs], longest_hole=0) as new,
    ):
        for before, after in pairs:
            holes = before.sparse or after.sparse
            if digest_of(old, (0, before), holes=holes) != digest_of(new, (0, after), holes=holes):
                return Cause("content", f"{where} {before.name!r} has another content of the same size")
    return Cause("headers", f"{where} {_first_bytes(left, right)}")


def _first_bytes(left: Layer, right: Layer) -> str:
    """Return where two tars begin to differ that have the same members."""
    place, sizes = _first_difference(left, right)
    entries = list(left.entries())
    at = bisect_right(entries, place, key=lambda one: one.header_offset) - 1
    if at < 0 or place >= _padded(entries[at]):
        ends = "" if sizes is None else f": the tars have {sizes[0]:,} and {sizes[1]:,} bytes"
        return f"the tars differ after their last member{ends}"
    entry = entries[at]
    if place >= entry.offset + entry.stored_size:
        return f"the padding after the content of {entry.name!r} differs"
    heads = []
    for layer in (left, right):
        with layer.at(entry.header_offset) as file:
            heads.append(file.read(BLOCK))
    forms = [_FORMS.get(head[_MAGIC], "old") for head in heads]
    if forms[0] != forms[1]:
        return f"the header of {entry.name!r} has another format: that of {forms[0]} tars and that of {forms[1]} ones"
    extended = [head[_TYPE] in _EXTENDED for head in heads]
    if extended[0] != extended[1]:
        return f"{entry.name!r} has an extended header in the {'first' if extended[0] else 'second'} image only"
    which = "extended header" if extended[0] else "header"
    return f"the {which} of {entry.name!r} is written in another way, from byte {place - entry.header_offset} on"


def _padded(entry: TarEntry) -> int:
    return -(-(entry.offset + entry.stored_size) // BLOCK) * BLOCK


def _first_difference(left: Layer, right: Layer) -> tuple[int, tuple[int, int] | None]:
    """Return the first byte in which two tars differ, and, if one is the beginning of the other, their sizes."""
    place = 0
    with closing(ChunkReader(left.chunks())) as old, closing(ChunkReader(right.chunks())) as new:
        while True:
            before = old.read(_PIECE)
            after = b"".join(_pieces(new, len(before) or 1))
            if before != after or not before:
                break
            place += len(before)
        differing = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
        if differing is not None:
            return place + differing, None
        sizes = [place + len(part) + sum(map(len, _pieces(one))) for part, one in ((before, old), (after, new))]
        return place + min(len(before), len(after)), (sizes[0], sizes[1])


def _pieces(reader: ChunkReader, size: int | None = None) -> Iterator[bytes]:
    """Yield the next bytes of a tar, so many or all."""
    while (size is None or size) and (piece := reader.read(_PIECE if size is None else size)):
        size = None if size is None else size - len(piece)
        yield piece
