"""Where a manifest or an index leads, as its bytes say: what a database records of it that has no JSON of its own."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from orlop.model.digest import Digest
from orlop.model.manifest import MAX_DEPTH
from orlop.store.rows.content import CHILD, CONFIG, LAYER, SUBJECT, EdgeRow

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROLES: Final = {"manifests": CHILD, "config": CONFIG, "subject": SUBJECT, "layers": LAYER, "blobs": LAYER}
_LONGEST: Final = 255
"""The characters that a digest may have."""
_PARTS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, the last of which may not end, and brackets."""
_STEPS: Final = {"{": 1, "[": 1, "}": -1, "]": -1}


class _Members(list[tuple[str, Any]]):
    """The members of an object, those with a name that stands twice as well."""


def edges_of(digest: Digest, raw: bytes) -> list[EdgeRow]:
    """Return where a manifest or an index leads, sorted by role and position.

    A key counts in either case, as readers of manifests take it, so that the long s is an s too. Of two keys that
    stand for one thing one edge is kept. What is not JSON, or nested deeper than a document that is taken in, leads
    nowhere.
    """
    found: dict[tuple[str, int], EdgeRow] = {}
    for role, position, item in _items(_document(raw)):
        edge = _edge(digest, role, position, item)
        if edge is not None:
            before = found.get((role, position), edge)
            found[role, position] = min(before, edge, key=lambda one: str(one.child))
    return [found[key] for key in sorted(found)]


def _document(raw: bytes) -> object:
    """Return what a document holds; nothing where it is not JSON, or nested too deep."""
    text = raw.decode("utf-8", "replace")
    if _is_deep(text):
        return None
    found: list[object] = []

    def read() -> None:
        with suppress(ValueError):
            found.append(json.loads(text, object_pairs_hook=_Members))

    try:
        read()
    except RecursionError:
        # The caller's frames count as well, so that it would depend on these what can be read: a thread has none.
        fresh = Thread(target=read)
        fresh.start()
        fresh.join()
    return found[0] if found else None


def _is_deep(text: str) -> bool:
    """Return whether objects and arrays nest deeper than `MAX_DEPTH`."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    depth = 0
    for part in _PARTS.finditer(text):
        depth += _STEPS.get(part[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False


def _items(document: Any) -> Iterator[tuple[str, int, _Members]]:
    for key, value in document if isinstance(document, _Members) else ():
        role = _ROLES.get(_folded(key))
        if role is None:
            continue
        items = [value] if isinstance(value, _Members) else value if isinstance(value, list) else ()
        for position, item in enumerate(items):
            if isinstance(item, _Members):
                yield role, position, item


def _edge(parent: Digest, role: str, position: int, item: _Members) -> EdgeRow | None:
    child, media_type, size = _member(item, "digest"), _member(item, "mediaType"), _member(item, "size")
    media_type = "" if media_type is None else media_type
    size = 0 if size is None else size
    if not isinstance(child, str) or len(child) > _LONGEST or not isinstance(media_type, str):
        return None
    if type(size) is not int or not 0 <= size < 1 << 63 or "\0" in child + media_type:
        return None
    return EdgeRow(parent, role, position, Digest.unchecked(child), media_type, size)


def _member(item: _Members, name: str) -> Any:
    exact = [value for key, value in item if key == name and value is not None]
    folded = [value for key, value in item if _folded(key) == name.lower()]
    return next(iter(exact or folded), None)


def _folded(key: str) -> str:
    return key.lower().replace("\u017f", "s")
