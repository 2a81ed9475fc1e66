"""What engines do and orlop does not: answers that are true, and errors that say so.

There are no containers, networks, volumes, plugins and swarms here, so lists of them are empty, one that is named is
not there, and to prune them takes nothing away. Whatever would make or run one is refused with a sentence.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.api.engine.call import Endpoint, documents
from orlop.errors import NoSwarm, NotFound, NotServed, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from orlop.api.engine.call import Call

_EMPTY: Final[Mapping[tuple[str, str], object]] = {
    ("GET", "/containers/json"): [],
    ("GET", "/networks"): [],
    ("GET", "/volumes"): {"Volumes": [], "Warnings": None},
    ("GET", "/plugins"): [],
    ("POST", "/containers/prune"): {"ContainersDeleted": None, "SpaceReclaimed": 0},
    ("POST", "/networks/prune"): {"NetworksDeleted": None},
    ("POST", "/volumes/prune"): {"VolumesDeleted": [], "SpaceReclaimed": 0},
    ("POST", "/build/prune"): {"CachesDeleted": None, "SpaceReclaimed": 0},
}

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
_NO_REGISTRY: Final = "orlop does not speak with registries; load an archive that was saved where the image is"
_REASONS: Final = {
    "auth": _NO_REGISTRY,
    "build": _NO_BUILD,
    "containers": "orlop keeps images and runs no containers; load the image into an engine to run it",
    "grpc": _NO_BUILD,
    "networks": "orlop runs no containers, and has no networks",
    "plugins": "orlop has no plugins",
    "session": _NO_BUILD,
    "swarm": "orlop runs no containers, and joins no swarm",
    "volumes": "orlop runs no containers, and has no volumes",
}
"""Why what an engine has below a path is not here."""


def _empty(answer: object, _: Call) -> object:
    return answer


async def _commit(call: Call) -> Response:
    raise NotFound(f"No such container: {call.query_params.get('container', '')}")


async def _no_registry(call: Call) -> Response:
    raise _unsupported(call.scope, _NO_REGISTRY)


async def unknown(scope: Scope, receive: Receive, send: Send) -> NoReturn:
    """Refuse what no endpoint answers.

    Raises:
        NotFound: it is about something of which there is none. NoSwarm: it is about a swarm. NotSupported: only engines
            have it. NotServed: not even they.
    """
    del receive, send
    path: str = scope["path"]
    family, _, rest = path.removeprefix("/").partition("/")
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
    *(documents(method, path, partial(_empty, answer)) for (method, path), answer in _EMPTY.items()),
    Endpoint("POST", "/commit", _commit),
    Endpoint("GET", "/images/search", _no_registry),
    Endpoint("POST", "/images/{name:path}/push", _no_registry),
)
