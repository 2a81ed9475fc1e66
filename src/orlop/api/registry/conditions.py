"""Conditions in the headers of a request: ``If-Match`` and ``If-None-Match``, with the digest as ``ETag``.

What cannot be read counts for nothing where something is read: the client gets all. Where something is changed, it is
refused: the client relies on it. ``W/"…"`` says that something is nearly the same. That does for ``If-None-Match``, but
never for ``If-Match``. A digest without quotation marks is taken, as distribution takes it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.service.hosted.conditions import Condition, Entities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orlop.api.registry.asked import Asked
    from orlop.model.digest import Digest

_MATCH, _NONE_MATCH = "if-match", "if-none-match"
_ENTITY: Final = re.compile(
    r"""
    [ \t]* (?: (?: (?P<weak>W/)? "(?P<quoted>[!#-~\x80-\xff]*)" | (?P<bare>[a-z0-9+._-]+:[0-9a-zA-Z=_-]+) ) [ \t]* )?
    (?: , | \Z )
    """,
    re.VERBOSE,
)
_USE: Final = 'use "DIGEST", as in ETag, several of them with commas between, or *'


def of_change(asked: Asked) -> Condition:
    """Return the condition of a request that changes something. Raises `InvalidInput` where it cannot be read."""
    return Condition(_entities(asked, _MATCH), _entities(asked, _NONE_MATCH))


def is_known(asked: Asked, digest: Digest) -> bool:
    """Return whether the client that reads has some content already, as it says.

    Raises:
        PreconditionFailed: it wants another one only.
    """
    with suppress(InvalidInput):
        Condition(_entities(asked, _MATCH)).check(str(digest), str(digest))
    try:
        known = _entities(asked, _NONE_MATCH)
    except InvalidInput:
        return False
    return known is not None and known.has(str(digest))


async def check(asked: Asked, digest: Digest, look: Callable[[], Awaitable[object]]) -> None:
    """Check the condition of a request that changes what has a digest. Raises `PreconditionFailed`, `InvalidInput`.

    Args:
        asked: the request.
        digest: its content's, which never changes.
        look: raises where that is not there, which counts more.
    """
    condition = of_change(asked)
    if condition:
        await look()
        condition.check(str(digest), str(digest))


def _entities(asked: Asked, name: str) -> Entities | None:
    """Return what a header names, if it is there. Raises `InvalidInput` where it cannot be read."""
    values = asked.all_of(name)
    if not values:
        return None
    text = ",".join(values)
    if text.strip(" \t") == "*":
        return Entities(any=True)
    at, tags = 0, list[re.Match[str]]()
    while at < len(text) and (one := _ENTITY.match(text, at)) is not None:
        at = one.end()
        if one["quoted"] is not None or one["bare"] is not None:
            tags.append(one)
    if not tags or at < len(text):
        raise InvalidInput(f"{name} cannot be read; {_USE}")
    equal = [one for one in tags if not (one["weak"] and name == _MATCH)]
    return Entities(frozenset(one["quoted"] if one["bare"] is None else one["bare"] for one in equal))
