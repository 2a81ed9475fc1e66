"""What engines do and orlop does not: all paths of theirs that are not served, and why.

orlop has no containers, volumes, plugins or swarms, so any that is named does not exist. Whatever would make or run one
is refused with a sentence. A path or method that engines do not have either is a page that is not found, as with them:
clients try which paths there are.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.engine.call import Endpoint
from orlop.api.engine.versions import V1_42, check_version
from orlop.errors import NoSwarm, NotFound, NotServed, NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NoReturn

    from starlette.types import Receive, Scope, Send

    from orlop.api.engine.call import Call

_CONTAINER: Final = "No such container: {}"
_EXEC: Final = "No such exec instance: {}"
_PLUGIN: Final = 'plugin "{}" not found'
_VOLUME: Final = "get {}: no such volume"
_NAMED: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("GET", "/containers/"): (_CONTAINER, "/archive /attach/ws /changes /export /json /logs /stats /top"),
    ("HEAD", "/containers/"): (_CONTAINER, "/archive"),
    ("PUT", "/containers/"): (_CONTAINER, "/archive"),
    ("POST", "/containers/"): (
        _CONTAINER,
        "/attach /exec /pause /rename /resize /restart /start /stop /unpause /update /wait",
    ),
    ("DELETE", "/containers/"): (_CONTAINER, ""),
    ("GET", "/exec/"): (_EXEC, "/json"),
    ("POST", "/exec/"): (_EXEC, "/resize /start"),
    ("GET", "/plugins/"): (_PLUGIN, "/json"),
    ("POST", "/plugins/"): (_PLUGIN, "/disable /enable /push /set /upgrade"),
    ("DELETE", "/plugins/"): (_PLUGIN, ""),
    ("GET", "/volumes/"): (_VOLUME, ""),
}
"""What is said of a name between the beginning and one of the ends of a path."""

_NO_SWARM: Final = (
    "This node is not a swarm manager."
    ' Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)
_OF_SWARMS: Final = {
    "GET": "/swarm /swarm/unlockkey /nodes /nodes/{id} /services /services/{id} /services/{id}/logs"
    " /tasks /tasks/{id} /tasks/{id}/logs /secrets /secrets/{id} /configs /configs/{id}",
    "POST": "/swarm/update /swarm/unlock /nodes/{id}/update /services/create /services/{id}/update"
    " /secrets/create /secrets/{id}/update /configs/create /configs/{id}/update",
    "DELETE": "/nodes/{id} /services/{id} /secrets/{id} /configs/{id}",
}

_NO_BUILD: Final = "orlop does not build images; build with an engine, and load what it saves"
_NO_PLUGIN: Final = "orlop has no plugins"
_NO_JOINING: Final = "orlop runs no containers, and joins no swarm"
_REFUSED: Final = {
    ("POST", "/build"): _NO_BUILD,
    ("POST", "/build/cancel"): _NO_BUILD,
    ("POST", "/containers/create"): (
        "orlop keeps images and runs no containers; load the image into an engine to run it"
    ),
    ("POST", "/grpc"): _NO_BUILD,
    ("POST", "/networks/create"): "orlop runs no containers, and has no network but the default one",
    ("POST", "/plugins/create"): _NO_PLUGIN,
    ("GET", "/plugins/privileges"): _NO_PLUGIN,
    ("POST", "/plugins/pull"): _NO_PLUGIN,
    ("POST", "/session"): _NO_BUILD,
    ("POST", "/swarm/init"): _NO_JOINING,
    ("POST", "/swarm/join"): _NO_JOINING,
    ("POST", "/volumes/create"): "orlop runs no containers, and has no volumes",
}


async def _refuse(reason: str, call: Call) -> NoReturn:
    raise refused(call, reason)


async def _miss(words: str, call: Call) -> NoReturn:
    raise NotFound(words.format(call.name) if call.name else words.replace(" {}", ""))


async def _miss_killed(call: Call) -> NoReturn:
    begin = "Cannot kill container" if call.version < V1_42 else "cannot kill container"
    raise NotFound(f"{begin}: {call.name}: {_CONTAINER.format(call.name)}")


async def _remove_volume(call: Call) -> Response:
    # A client that insists is told that the volume is gone, as engines tell it.
    if call.parameters.boolean("force"):
        return Response(status_code=204)
    return await _miss(_VOLUME, call)


async def _miss_swarm(words: str, _call: Call) -> NoReturn:
    raise NoSwarm(words)


def refused(call: Call, reason: str) -> NotSupported:
    """Return the error for a request that only an engine can carry out."""
    return NotSupported(f"{call.method} {call.scope['path']} is not served: {reason}")


def _paths() -> Iterator[Endpoint]:
    for (method, path), reason in _REFUSED.items():
        yield Endpoint(method, path, partial(_refuse, reason))
    for (method, beginning), (words, ends) in _NAMED.items():
        for end in ends.split(" "):
            yield Endpoint(method, f"{beginning}{{name:path}}{end}", partial(_miss, words))
    for method, paths in _OF_SWARMS.items():
        for path in paths.split():
            yield Endpoint(method, path, partial(_miss_swarm, _NO_SWARM))
    yield Endpoint("POST", "/swarm/leave", partial(_miss_swarm, "This node is not part of a swarm"))
    words = "volume update only valid for cluster volumes, but swarm is unavailable"
    yield Endpoint("PUT", "/volumes/{name:path}", partial(_miss_swarm, words), since=V1_42)
    yield Endpoint("POST", "/containers/{name:path}/kill", _miss_killed)
    yield Endpoint("DELETE", "/volumes/{name:path}", _remove_volume)


ABSENT: Final = (*_paths(),)
"""Answers for what only engines have, once nothing that is served fits."""


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse what even engines do not have; the answer to what a path's options are is empty.

    Raises:
        NotServed: always but for those. UnsupportedVersion: these are asked in a version that is not served.
    """
    if scope["method"] != "OPTIONS":
        scope["orlop.unknown"] = True
        raise NotServed("page not found")
    check_version(scope["orlop.version"], scope["orlop.version_text"])
    await Response()(scope, receive, send)
