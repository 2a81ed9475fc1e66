"""Lists of what only engines have.

orlop has no containers, volumes or plugins, so lists of them are empty, and pruning them removes nothing.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.json_body import json_object
from orlop.api.engine.shapes.filters import check_filters, check_until, parse_filters
from orlop.api.engine.versions import V1_48
from orlop.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from orlop.api.engine.call import Call


class _Nothing(NamedTuple):
    """A list of what is not here, or a pruning of it: the answer, and the filters and sizes that engines know."""

    answer: object
    filters: frozenset[str]
    sizes: tuple[str, ...] = ()


_LISTED: Final = frozenset(
    {
        "ancestor",
        "annotation",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    }
)
_CACHES: Final = frozenset(
    {
        "description",
        "id",
        "inuse",
        "label",
        "label!",
        "parent",
        "private",
        "shared",
        "type",
        "until",
        "unused-for",
    }
)
_SIZES: Final = ("keep-storage", "reserved-space", "max-used-space", "min-free-space")
"""Sizes that a cache of builds may have; all but the first since version 1.48."""
_PRUNED: Final = frozenset({"label", "label!", "until"})
_VOLUMES: Final = frozenset({"dangling", "driver", "label", "name"})
_EMPTY: Final[Mapping[tuple[str, str], _Nothing]] = {
    ("GET", "/containers/json"): _Nothing([], _LISTED),
    ("GET", "/volumes"): _Nothing({"Volumes": [], "Warnings": None}, _VOLUMES),
    ("GET", "/plugins"): _Nothing([], frozenset({"capability", "enabled"})),
    ("POST", "/containers/prune"): _Nothing({"ContainersDeleted": None, "SpaceReclaimed": 0}, _PRUNED),
    ("POST", "/networks/prune"): _Nothing({"NetworksDeleted": None}, _PRUNED),
    ("POST", "/volumes/prune"): _Nothing({"VolumesDeleted": [], "SpaceReclaimed": 0}, _PRUNED - {"until"} | {"all"}),
    ("POST", "/build/prune"): _Nothing({"CachesDeleted": None, "SpaceReclaimed": 0}, _CACHES, _SIZES),
}
_DIGITS: Final = 19
_NUMBER: Final = re.compile(r"(?:[-+]?[0-9]+)?")


def _empty(nothing: _Nothing, call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, nothing.filters, call.version)
    check_until(values)
    check_number(call.parameters.get("limit"))
    for name in nothing.sizes if call.version >= V1_48 else nothing.sizes[:1]:
        _check_size(name, call.parameters.get(name))
    return nothing.answer


async def _commit(call: Call) -> NoReturn:
    await json_object(call, empty=True)
    container = call.parameters.get("container")
    if not container:
        raise InvalidInput('invalid name or ID supplied: ""')
    raise NotFound(f"No such container: {container}")


def check_number(text: str) -> None:
    """Check a number as Go's ``strconv`` reads it; nothing is one, too."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": invalid syntax')
    # Python refuses to read much longer numbers; none of them is in the range.
    if len(text.lstrip("+-0")) > _DIGITS or not -(1 << 63) <= int(text or "0") < 1 << 63:
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": value out of range')


def _check_size(name: str, text: str) -> None:
    try:
        check_number(text)
    except InvalidInput as error:
        raise InvalidInput(f"{name} is in bytes and expects an integer, got {text}: {error}") from None


ENDPOINTS = (
    *(documents(method, path, partial(_empty, nothing)) for (method, path), nothing in _EMPTY.items()),
    Endpoint("POST", "/commit", _commit),
)
