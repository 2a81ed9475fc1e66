"""The one network: the default one, as engines have it before anything is connected to it.

Test frameworks that run in a container ask it for the address of their host. It has none, as no containers run here,
and they go on without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.call import documents
from orlop.api.engine.shapes.filters import check_filters, parse_filters
from orlop.api.engine.shapes.network import bridge
from orlop.errors import NotFound, RequestRefused
from orlop.service.host import this_host

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from orlop.api.engine.call import Call
    from orlop.api.engine.shapes.encoding import Document

_FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def _list(call: Call) -> object:
    values = parse_filters(call.parameters.get("filters"))
    check_filters(values, _FILTERS, call.version)
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
    network = bridge(this_host(), call.version)
    if not _is_named(network, call.name):
        raise _missing(call)
    return network


def _remove(call: Call) -> NoReturn:
    network = bridge(this_host(), call.version)
    if _is_named(network, call.name):
        raise RequestRefused(f"{network['Name']} is a pre-defined network and cannot be removed")
    raise _missing(call)


def _is_named(network: Document, name: str) -> bool:
    return name == network["Name"] or str(network["Id"]).startswith(name)


def _missing(call: Call) -> NotFound:
    return NotFound(f"network {call.name} not found")


ENDPOINTS = (
    documents("GET", "/networks", _list),
    documents("GET", "/networks/{name}", _inspect),
    documents("DELETE", "/networks/{name}", _remove, asks_since=None),
)
