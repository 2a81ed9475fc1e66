"""Lists of what only engines have.

orlop has no containers, volumes or plugins, so lists of them are empty, and pruning them removes nothing.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.api.engine.call import documents
from orlop.api.engine.shapes.filters import check_filters, check_until, parse_filters
from orlop.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from orlop.api.engine.call import Call


class _Nothing(NamedTuple):
    """A list of what is not here, or a pruning of it: the answer, and the filters that engines know."""

    answer: object
    filters: frozenset[str]


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
_PRUNED: Final = frozenset({"label", "label!", "until"})
_VOLUMES: Final = frozenset({"dangling", "driver", "label", "name"})
_EMPTY: Final[Mapping[tuple[str, str], _Nothing]] = {
    ("GET", "/containers/json"): _Nothing([], _LISTED),
    ("GET", "/volumes"): _Nothing({"Volumes": [], "Warnings": None}, _VOLUMES),
    ("GET", "/plugins"): _Nothing([], frozenset({"capability", "enabled"})),
    ("POST", "/containers/prune"): _Nothing({"ContainersDeleted": None, "SpaceReclaimed": 0}, _PRUNED),
    ("POST", "/networks/prune"): _Nothing({"NetworksDeleted": None}, _PRUNED),
    ("POST", "/volumes/prune"): _Nothing({"VolumesDeleted": [], "SpaceReclaimed": 0}, _PRUNED - {"until"} | {"all"}),
    ("POST", "/build/prune"): _Nothing({"CachesDeleted": None, "SpaceReclaimed": 0}, _CACHES),
}
_NUMBER: Final = re.compile(r"(?:[-+]?[0-9]+)?")


def _empty(nothing: _Nothing, call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, nothing.filters, call.version)
    check_until(values)
    check_number(call.parameters.get("limit"))
    return nothing.answer


def _commit(call: Call) -> NoReturn:
    raise NotFound(f"No such container: {call.parameters.get('container')}")


def check_number(text: str) -> None:
    """Check a number as Go's ``strconv`` reads it; nothing is one, too."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": invalid syntax')


ENDPOINTS = (
    *(documents(method, path, partial(_empty, nothing)) for (method, path), nothing in _EMPTY.items()),
    documents("POST", "/commit", _commit),
)
