"""What is asked of images as rows: lists, inspection, history, names, removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.platforms import asked_platforms, require_platform
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.shapes.filters import list_filters, parse_filters, prune_filters
from orlop.api.engine.shapes.history import history
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.manifest import distribution
from orlop.api.engine.shapes.parameters import boolean
from orlop.api.engine.shapes.removal import pruned, removed
from orlop.api.engine.shapes.target import tag_target
from orlop.api.engine.versions import V1_42, V1_47, V1_48, V1_49

if TYPE_CHECKING:
    from orlop.api.engine.call import Call


def _list(call: Call) -> object:
    query = call.query_params
    values = parse_filters(query.get("filters"))
    # A filter may name an image that is not there, or is no name.
    call.about(next((name for key in ("before", "since") for name in values.get(key, ())), ""))
    found = call.service.listed_images(
        all=_flag(call, "all"),
        filters=list_filters(values, call.version, query.get("filter")),
        shared_size=call.version >= V1_42 and _flag(call, "shared-size"),
        manifests=call.version >= V1_47 and _flag(call, "manifests"),
    )
    return image_list(found, call.version)


def _inspect(call: Call) -> object:
    require_platform(call.service, call.name, asked_platforms(call, V1_49))
    details = call.service.inspect(call.name)
    if call.version < V1_48:
        return image(details, call.version)
    manifests = call.service.manifests(call.name)
    return image(details, call.version, manifests, with_manifests=_flag(call, "manifests"))


def _history(call: Call) -> object:
    require_platform(call.service, call.name, asked_platforms(call, V1_48))
    return history(call.service.history(call.name), call.version)


async def _tag(call: Call) -> Response:
    query = call.query_params

    def tag() -> None:
        # The image is looked for before the name is read, as daemons do it.
        call.service.inspect(call.name)
        call.wants(Verb.TAG_TARGET)
        target = tag_target(query.get("repo"), query.get("tag"), call.version)
        call.service.tag(call.name, target)

    await call.context.workers.run(tag)
    return Response(status_code=201)


def _remove(call: Call) -> object:
    report = call.service.remove(call.name, force=_flag(call, "force"), prune=not _flag(call, "noprune"))
    return removed(report)


def _prune(call: Call) -> object:
    filters, every = prune_filters(parse_filters(call.query_params.get("filters")), call.version)
    return pruned(call.service.prune(all=every, filters=filters))


def _distribution(call: Call) -> object:
    platform = call.service.inspect(call.name).image.platform
    return distribution(call.name, call.service.manifests(call.name), platform)


def _flag(call: Call, name: str) -> bool:
    return boolean(call.query_params.get(name))


ENDPOINTS = (
    documents("GET", "/images/json", _list),
    documents("POST", "/images/prune", _prune),
    documents("GET", "/distribution/{name:path}/json", _distribution),
    documents("GET", "/images/{name:path}/json", _inspect, Verb.INSPECT),
    documents("GET", "/images/{name:path}/history", _history),
    Endpoint("POST", "/images/{name:path}/tag", _tag),
    documents("DELETE", "/images/{name:path}", _remove),
)
