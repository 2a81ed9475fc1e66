"""Where a manifest or an index leads, as its bytes say: what a database records of it that has no JSON of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from orlop.model.digest import Digest
from orlop.store.rows.content import CHILD, CONFIG, LAYER, SUBJECT, EdgeRow

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROLES: Final = {"manifests": CHILD, "config": CONFIG, "subject": SUBJECT, "layers": LAYER, "blobs": LAYER}
_LONGEST: Final = 255
"""The characters that a digest may have."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, those with a name that stands twice as well."""


def edges_of(digest: Digest, raw: bytes) -> list[EdgeRow]:
    """Return where a manifest or an index leads, sorted by role and position.

    A key counts in either case, as readers of manifests take it, so that the long s is an s too. Of two keys that
    stand for one thing one edge is kept. What is not JSON leads nowhere.
    """
    try:
        document = json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return []
    found: dict[tuple[str, int], EdgeRow] = {}
    for role, position, item in _items(document):
        edge = _edge(digest, role, position, item)
        if edge is not None:
            before = found.get((role, position), edge)
            found[role, position] = min(before, edge, key=lambda one: str(one.child))
    return [found[key] for key in sorted(found)]


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
