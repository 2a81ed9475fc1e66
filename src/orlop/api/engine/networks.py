"""The one network: the default one, as engines have it before anything is connected to it.

Test frameworks that run in a container ask it for the address of their host. It has none, as no containers run here,
and they go on without. No container can be connected to it, as there is none: that is what engines look at first.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.shapes.filters import check_filters, parse_filters
from orlop.api.engine.shapes.network import bridge
from orlop.api.streamed import chunks
from orlop.errors import InvalidInput, NotFound, RequestRefused
from orlop.service.host import this_host

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from orlop.api.engine.call import Call
    from orlop.api.engine.shapes.encoding import Document

_LONGEST: Final = 1 << 16
_TYPE: Final = "application/json"
_BOOLEANS: Final = frozenset({"0", "1", "false", "true"})
_FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def _list(call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, _FILTERS, call.version)
    dangling = values.get("dangling", ())
    if len(dangling) > 1 or not _BOOLEANS.issuperset(dangling):
        raise InvalidInput(f"invalid filter 'dangling=[{' '.join(sorted(dangling))}]'")
    network = bridge(this_host(), call.version)
    return [network] if all(_passes(network, name, given) for name, given in values.items()) else []


def _passes(network: Document, name: str, given: Collection[str]) -> bool:
    if not given:
        return True
    if name in {"id", "name"}:
        return any(part in network[name.title()] for part in given)
    # What engines bring along never dangles, and has no labels.
    here = {"dangling": {"0", "false"}, "driver": {network["Driver"]}, "scope": {network["Scope"]}, "type": {"builtin"}}
    return bool(here.get(name, set()) & {*given})


def _inspect(call: Call) -> object:
    # Without a name all are meant.
    return _found(call) if call.name else _list(call)


def _remove(call: Call) -> NoReturn:
    raise RequestRefused(f"{_found(call)['Name']} is a pre-defined network and cannot be removed")


def _found(call: Call) -> Document:
    network = bridge(this_host(), call.version)
    if call.name == network["Name"] or str(network["Id"]).startswith(call.name):
        return network
    raise NotFound(f"network {call.name} not found")


async def _join(call: Call, *, leaves: bool) -> NoReturn:
    """Connect a container, or take it away."""
    kind = call.headers.get("content-type", "")
    if kind and kind.partition(";")[0].strip().lower() != _TYPE:
        raise InvalidInput(f"Content-Type specified ({kind}) must be '{_TYPE}'")
    wanted = _read(b"".join([chunk async for chunk in chunks(call.receive, most=_LONGEST)]))
    container = wanted.get("container") or ""
    if not isinstance(container, str):
        raise InvalidInput("the Container that the body names is not a text")
    if leaves and wanted.get("force") is True:
        _found(call)
        raise NotFound(f"endpoint {container} not found")
    if not container:
        raise InvalidInput('invalid name or ID supplied: ""')
    raise NotFound(f"No such container: {container}")


def _read(raw: bytes) -> dict[str, object]:
    """Return the members of an object by their names in lower case; what follows it is not looked at."""
    if not raw.strip():
        raise InvalidInput("got EOF while reading request body")
    try:
        document, _ = json.JSONDecoder().raw_decode(raw.decode().strip())
    except (ValueError, RecursionError):
        raise InvalidInput("the body cannot be read as JSON") from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not an object of JSON")
    return {name.lower(): value for name, value in document.items()}


ENDPOINTS = (
    documents("GET", "/networks", _list),
    documents("GET", "/networks/{name:path}", _inspect),
    documents("DELETE", "/networks/{name:path}", _remove, asks_since=None),
)
ABSENT = (
    Endpoint("POST", "/networks/{name:path}/connect", partial(_join, leaves=False)),
    Endpoint("POST", "/networks/{name:path}/disconnect", partial(_join, leaves=True)),
)
"""What engines do with a network and orlop never does."""
