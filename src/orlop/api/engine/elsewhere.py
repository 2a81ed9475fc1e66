"""What engines do and orlop does not: answers that are true, and errors that say so.

There are no containers, volumes, plugins and swarms here, so lists of them are empty, what is named is not there,
and to prune them takes nothing away. Whatever would make or run one is refused with a sentence.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response

from orlop.api.engine.call import documents
from orlop.api.engine.shapes.filters import check_filters, check_until, parse_filters
from orlop.api.engine.versions import check_version
from orlop.errors import InvalidInput, NoSwarm, NotFound, NotServed, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from starlette.types import Receive, Scope, Send

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

_MISSING: Final = {
    "containers": "No such container: {}",
    "exec": "No such exec instance: {}",
    "networks": "network {} not found",
    "volumes": "get {}: no such volume",
    "plugins": 'plugin "{}" not found',
}
_ACTIONS: Final = frozenset({"create", "json", "privileges", "prune", "pull"})
"""What stands in the place of a name and is none."""

_NO_SWARM: Final = (
    "This node is not a swarm manager."
    ' Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)
_OF_SWARMS: Final = frozenset({"swarm", "nodes", "services", "tasks", "secrets", "configs"})
_JOINING: Final = frozenset({"/swarm/init", "/swarm/join"})

_NO_BUILD: Final = "orlop does not build images; build with an engine, and load what it saves"
_NO_SEARCH: Final = "orlop does not search registries; ask the registry's own site"
_REASONS: Final = {
    "build": _NO_BUILD,
    "containers": "orlop keeps images and runs no containers; load the image into an engine to run it",
    "grpc": _NO_BUILD,
    "networks": "orlop runs no containers, and has no network but the default one",
    "plugins": "orlop has no plugins",
    "session": _NO_BUILD,
    "swarm": "orlop runs no containers, and joins no swarm",
    "volumes": "orlop runs no containers, and has no volumes",
}
"""Why what an engine has below a path is not here."""


def _empty(nothing: _Nothing, call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, nothing.filters, call.version)
    check_until(values)
    _check_number(call.parameters.get("limit"))
    return nothing.answer


def _commit(call: Call) -> NoReturn:
    raise NotFound(f"No such container: {call.parameters.get('container')}")


def _search(call: Call) -> NoReturn:
    _check_number(call.parameters.get("limit"))
    parse_filters(call.parameters.get("filters"))
    raise _unsupported(call.scope, _NO_SEARCH)


def _check_number(text: str) -> None:
    """Check a number as Go's ``strconv`` reads it; nothing is one, too."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": invalid syntax')


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse what no endpoint answers; the answer to what a path's options are is empty.

    Raises:
        NotFound: it is about something of which there is none. NoSwarm: it is about a swarm. NotSupported: only engines
            have it. NotServed: not even they. UnsupportedVersion: they have it, in versions that are not served here.
    """
    if scope["method"] == "OPTIONS":
        await Response()(scope, receive, send)
        return
    path: str = scope["path"]
    family, _, rest = path.removeprefix("/").partition("/")
    if family in _REASONS or family in _MISSING or family in _OF_SWARMS:
        check_version(scope["orlop.version"], scope["orlop.version_text"])
    name = rest.partition("/")[0]
    if family in _MISSING and name and name not in _ACTIONS:
        raise NotFound(_MISSING[family].format(name))
    if family in _OF_SWARMS and path not in _JOINING:
        raise NoSwarm(_NO_SWARM)
    if family in _REASONS:
        raise _unsupported(scope, _REASONS[family])
    raise NotServed("page not found")


def _unsupported(scope: Scope, reason: str) -> NotSupported:
    return NotSupported(f"{scope['method']} {scope['path']} is not served: {reason}")


ENDPOINTS = (
    *(documents(method, path, partial(_empty, nothing)) for (method, path), nothing in _EMPTY.items()),
    documents("POST", "/commit", _commit),
    documents("GET", "/images/search", _search),
)
