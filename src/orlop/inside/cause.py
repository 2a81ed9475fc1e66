"""Why two builds that should be the same are not: the first thing that makes their IDs differ."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.layer import Layer
    from orlop.inside.view import ImageFiles
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Cause", "config_changes", "first_cause"]

_ORDERED: Final = ("type", "mode", "uid", "gid", "uname", "gname", "mtime", "linkname", "xattrs", "size")
_KINDS: Final = {"uid": "owners", "gid": "owners", "uname": "owners", "gname": "owners", "mtime": "times"}
_WORDS: Final = {"mtime": "time", "linkname": "target", "xattrs": "extended attributes"}


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
    """Return what differs between two configs: dotted keys, and the values of both; None where there is none."""
    left = dict(_flat("", json.loads(old.config.raw_json)))
    right = dict(_flat("", json.loads(new.config.raw_json)))
    keys = dict.fromkeys([*left, *right])
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    stack = [(key, value)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict) and value:
            stack += [(f"{key}.{name}" if key else name, one) for name, one in reversed(value.items())]
        elif isinstance(value, list) and value:
            stack += [(f"{key}[{place}]", one) for place, one in reversed(list(enumerate(value)))]
        else:
            yield key, value


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"


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
        place = next((at for at, (a, b) in enumerate(zip(old_names, new_names, strict=False)) if a != b), len(old))
        shown = [repr(names[place]) if place < len(names) else "its end" for names in (old_names, new_names)]
        return Cause("order", f"{where} member {place + 1} is {shown[0]} in the first image, {shown[1]} in the second")
    for before_entry, after_entry in zip(old, new, strict=True):
        found = _fact(before_entry, after_entry)
        if found is not None:
            name = before_entry.name
            values = [_value(getattr(one, found), found) for one in (before_entry, after_entry)]
            word = _WORDS.get(found, found)
            kind = _KINDS.get(found, "content" if found == "size" else "attributes")
            return Cause(kind, f"{where} {name!r} has another {word}: {values[0]} and {values[1]}")
    return _in_content(where, left, right)


def _fact(before: TarEntry, after: TarEntry) -> str | None:
    return next((fact for fact in _ORDERED if getattr(before, fact) != getattr(after, fact)), None)


def _value(value: object, fact: str) -> str:
    if fact == "mode":
        return f"{value:04o}"
    if fact == "mtime" and isinstance(value, tuple):
        return f"{value[0]}.{value[1]:09}"
    return repr(value)


def _in_content(where: str, left: Layer, right: Layer) -> Cause:
    """Return where the bytes of two layers begin to differ whose headers say the same."""
    from orlop.inside.content import Contents  # noqa: PLC0415 - most causes are in headers

    pairs = [(a, b) for a, b in zip(left.entries(), right.entries(), strict=True) if a.size]
    with Contents([left], [(0, a) for a, _ in pairs]) as old, Contents([right], [(0, b) for _, b in pairs]) as new:
        for before, after in pairs:
            if _digest(old.chunks((0, before))) != _digest(new.chunks((0, after))):
                return Cause("content", f"{where} {before.name!r} has another content of the same size")
    return Cause("headers", f"{where} the tars have the same members, written in another way or with other padding")


def _digest(chunks: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
