"""The query parameter ``filters``: a JSON object of filters with their values.

Clients send each filter's values as an object whose keys they are, or (up to Engine 1.9) as an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.versions import V1_41, V1_42
from orlop.errors import InvalidFilter, InvalidJSON
from orlop.model import gojson
from orlop.service.listing.filters import LIST_FILTERS, PRUNE_FILTERS
from orlop.service.listing.filters import parse_filters as read_filters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orlop.api.engine.versions import ApiVersion

_NO_NAME: Final = ""
_NO_IMAGE: Final = ("label=", "label!=")
"""Filters that contradict each other, so that no image fits."""
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


def list_filters(values: Mapping[str, Collection[str]], version: ApiVersion, pattern: str | None = None) -> list[str]:
    """Return the filters of a list of images in the form in which `ImageService` takes them, ``name=value``.

    Args:
        values: what `parse_filters` gave.
        version: that of the request.
        pattern: the parameter ``filter``, which versions before 1.41 had in the place of ``reference``.

    Raises:
        InvalidFilter: a name is not known, or ``dangling`` is neither true nor false.
    """
    if pattern and version < V1_41 and "reference" not in values:
        values = {**values, "reference": (pattern,)}
    return _filters(values, LIST_FILTERS, version)


def prune_filters(values: Mapping[str, Collection[str]], version: ApiVersion) -> tuple[list[str], bool]:
    """Return the filters of a pruning, and whether images with names go too.

    Args:
        values: what `parse_filters` gave.
        version: that of the request.

    Raises:
        InvalidFilter: as for `list_filters`, or there are several times.
    """
    check_until(values)
    filters = _filters({name: given for name, given in values.items() if name != "dangling"}, PRUNE_FILTERS, version)
    if not values.get("label!", (_NO_NAME,)):
        # To engines an image has all the labels of an empty list.
        filters += _NO_IMAGE
    dangling = values.get("dangling")
    return filters, dangling is not None and not _dangling(dangling, version)


def check_filters(values: Mapping[str, Collection[str]], known: Collection[str], version: ApiVersion) -> None:
    """Check the filters of something of which there is nothing. Raises `InvalidFilter` where a name is not known."""
    for name in sorted(values):
        if name not in known:
            raise InvalidFilter(f"{invalid_filter(version)} '{name}'")


def check_until(values: Mapping[str, Collection[str]]) -> None:
    """Raise `InvalidFilter` where there is not one time, or one that cannot be read."""
    times = values.get("until", ())
    if "until" in values and not times:
        raise InvalidFilter("the filter until has no value; give it a time")
    if len(times) > 1:
        raise InvalidFilter("more than one until filter specified")
    read_filters([f"until={time}" for time in times], now=0)


def _filters(values: Mapping[str, Collection[str]], known: Collection[str], version: ApiVersion) -> list[str]:
    check_filters(values, known, version)
    if "dangling" in values:
        # To Engine 20.10 no value is every value.
        dangling = (not values["dangling"] and version < V1_42) or _dangling(values["dangling"], version)
        values = {**values, "dangling": (str(dangling).lower(),)}
    if not values.get("reference", (_NO_NAME,)):
        # No pattern fits any name; an empty one fits none, either.
        values = {**values, "reference": (_NO_NAME,)}
    return [f"{name}={value}" for name, given in values.items() for value in given]


def _dangling(given: Collection[str], version: ApiVersion) -> bool:
    is_true, is_false = bool(_TRUE & {*given}), bool(_FALSE & {*given})
    # Engine 20.10 lets true win; what is neither is refused by all.
    if (is_true and (not is_false or version < V1_42)) or (is_false and not is_true):
        return is_true
    shown = f"=[{' '.join(sorted(given))}]" if given else ""
    raise InvalidFilter(f"{invalid_filter(version)} 'dangling{shown}'")


def invalid_filter(version: ApiVersion) -> str:
    """Return the words with which a version refuses a filter."""
    return "Invalid filter" if version < V1_42 else "invalid filter"


def _is_set(value: object) -> bool:
    return isinstance(value, dict) and all(member is None or isinstance(member, bool) for member in value.values())


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)
