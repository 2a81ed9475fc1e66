"""The one network: the default one, as engines have it before anything is connected to it.

Test frameworks that run in a container ask it for the address of their host. It has none, as no containers run here,
and they go on without. No container can be connected to it, as there is none: that is what engines look at first.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.json_body import json_object
from orlop.api.engine.shapes.filters import check_filters, parse_filters
from orlop.api.engine.shapes.network import bridge
from orlop.api.engine.shapes.usage import GO_BOOLEANS
from orlop.api.engine.versions import V1_42
from orlop.errors import InvalidInput, NotFound, RequestRefused
from orlop.service.host import this_host

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from orlop.api.engine.call import Call
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion

_BOOLEANS: Final = frozenset({"0", "1", "false", "true"})
_FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def _list(call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, _FILTERS, call.version)
    _check_dangling(values.get("dangling", ()), call.version)
    network = bridge(this_host(), call.version)
    return [network] if all(_passes(network, name, given) for name, given in values.items()) else []


def _check_dangling(given: Collection[str], version: ApiVersion) -> None:
    if len(given) <= 1 and _BOOLEANS.issuperset(given):
        return
    if version >= V1_42:
        raise InvalidInput(f"invalid filter 'dangling=[{' '.join(sorted(given))}]'")
    if len(given) > 1:
        raise InvalidInput('got more than one value for filter key "dangling"')
    raise InvalidInput("""invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")""")


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
    if not call.name:
        return _list(call)
    verbose = call.parameters.get("verbose")
    if verbose and verbose not in GO_BOOLEANS:
        why = f'strconv.ParseBool: parsing "{verbose}": invalid syntax'
        raise InvalidInput(f"invalid value for verbose: {verbose}: {why}")
    return _found(call)


def _remove(call: Call) -> NoReturn:
    raise RequestRefused(f"{_found(call)['Name']} is a pre-defined network and cannot be removed")


def _found(call: Call) -> Document:
    network = bridge(this_host(), call.version)
    if call.name == network["Name"] or str(network["Id"]).startswith(call.name):
        return network
    raise NotFound(f"network {call.name} not found")


async def _join(call: Call, *, leaves: bool) -> NoReturn:
    """Connect a container, or take it away."""
    wanted = await json_object(call)
    container = wanted.get("container") or ""
    if not isinstance(container, str):
        raise InvalidInput("the Container that the body names is not a text")
    if leaves and wanted.get("force") is True:
        _found(call)
        raise NotFound(f"endpoint {container} not found")
    if not container:
        raise InvalidInput('invalid name or ID supplied: ""')
    raise NotFound(f"No such container: {container}")


ENDPOINTS = (
    documents("GET", "/networks", _list),
    documents("GET", "/networks/{name:path}", _inspect),
    documents("DELETE", "/networks/{name:path}", _remove),
)
ABSENT = (
    Endpoint("POST", "/networks/{name:path}/connect", partial(_join, leaves=False)),
    Endpoint("POST", "/networks/{name:path}/disconnect", partial(_join, leaves=True)),
)
"""What engines do with a network and orlop never does."""
