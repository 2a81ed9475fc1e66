"""The query parameter ``filters``: a JSON object of filters with their values.

Clients send each filter's values as an object whose keys they are, or (up to Engine 1.9) as an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidFilter, InvalidJSON
from orlop.model import gojson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LIST_KEYS: Final = frozenset({"dangling", "label", "before", "since", "reference", "until"})
"""What a list of images can be filtered by."""
PRUNE_KEYS: Final = frozenset({"dangling", "label", "label!", "until"})
"""What the images to prune can be filtered by."""

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false"})


def parse_filters(text: str | None) -> dict[str, tuple[str, ...]]:
    """Read the parameter; an absent or empty one has no filters. Values keep their order, each once.

    Raises:
        InvalidFilter: it is neither of the forms that clients send.
    """
    if not text:
        return {}
    try:
        document = gojson.loads(text.encode("utf-8", "surrogatepass"))
    except InvalidJSON as error:
        raise InvalidFilter("invalid filter") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidFilter("invalid filter")
    values = document.values()
    if all(value is None or _is_set(value) for value in values):
        return {key: tuple(value or ()) for key, value in document.items()}
    if all(value is None or _is_list(value) for value in values):
        return {key: tuple(dict.fromkeys(item or "" for item in value or ())) for key, value in document.items()}
    raise InvalidFilter("invalid filter")


def image_filters(values: Mapping[str, Collection[str]], known: Collection[str] = LIST_KEYS) -> tuple[str, ...]:
    """Give filters in the form in which `ImageService` takes them, ``name=value``.

    Args:
        values: what `parse_filters` gave.
        known: the names that the endpoint knows: `LIST_KEYS` or `PRUNE_KEYS`.

    Raises:
        InvalidFilter: a name is not known, or ``dangling`` is neither true nor false, or both.
    """
    for name in sorted(values):
        if name not in known:
            raise InvalidFilter(f"invalid filter '{name}'")
    dangling = values.get("dangling")
    if dangling is not None and bool(_TRUE & {*dangling}) == bool(_FALSE & {*dangling}):
        shown = f"=[{' '.join(sorted(dangling))}]" if dangling else ""
        raise InvalidFilter(f"invalid filter 'dangling{shown}'")
    return tuple(f"{name}={value}" for name, given in values.items() for value in given)


def _is_set(value: object) -> bool:
    return isinstance(value, dict) and all(member is None or isinstance(member, bool) for member in value.values())


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)
