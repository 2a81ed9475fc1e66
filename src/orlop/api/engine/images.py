"""What is asked of images as rows: lists, inspection, history, names, removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.platforms import all_platforms, first_platform, only_platform
from orlop.api.engine.registries import asking, distribution_there, has_keys
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import NO_NAME, Verb
from orlop.api.engine.shapes.filters import list_filters, parse_filters, prune_filters
from orlop.api.engine.shapes.history import history
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.manifest import distribution
from orlop.api.engine.shapes.removal import pruned, removed
from orlop.api.engine.shapes.target import tag_target
from orlop.api.engine.versions import V1_42, V1_47, V1_48, V1_49, V1_50, V1_54
from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from orlop.api.engine.call import Call


def _list(call: Call) -> object:
    asked = call.parameters
    values = parse_filters(asked.get("filters"))
    pattern = asked.get("filter")
    manifests = call.version >= V1_47 and asked.boolean("manifests")
    if call.version >= V1_54 and asked.boolean("identity") and not manifests:
        raise InvalidInput("conflicting options: identity requires manifests=1")
    # A filter may name an image that is not there, or is not a name.
    if names := (*values.get("before", ()), *values.get("since", ())):
        call.about(names[0])
    found = call.service.listed_images(
        all=asked.boolean("all"),
        filters=list_filters(values, call.version, pattern),
        shared_size=call.version >= V1_42 and asked.boolean("shared-size"),
        manifests=manifests,
        canonical_names=call.version >= V1_42,
    )
    return image_list(found, call.version)


def _inspect(call: Call) -> object:
    manifests = call.version >= V1_48 and call.parameters.boolean("manifests")
    platform = first_platform(call, V1_49)
    if manifests and platform is not None:
        raise InvalidInput("conflicting options: manifests and platform options cannot both be set")
    details = call.service.inspect(call.image, platform=platform)
    if call.version < V1_48:
        return image(details, call.version)
    return image(details, call.version, call.service.manifests(call.image), with_manifests=manifests)


def _history(call: Call) -> object:
    return history(call.service.history(call.image, platform=first_platform(call, V1_48)), call.version)


async def _tag(call: Call) -> Response:
    repository, tag = call.parameters.get("repo"), call.parameters.get("tag")

    def give() -> None:
        if call.version < V1_42:
            # Engine 20.10 looks for the image first, later ones read the name first.
            call.service.inspect(call.image)
        call.wants(Verb.TAG_TARGET)
        target = tag_target(repository, tag, call.version)
        call.wants(Verb.OTHER)
        call.service.tag(call.image, target)

    await call.context.workers.run(give)
    return Response(status_code=201)


def _remove(call: Call) -> object:
    if not call.name.strip():
        raise InvalidInput(NO_NAME)
    force, keeps_parents = call.parameters.boolean("force"), call.parameters.boolean("noprune")
    platform = only_platform(all_platforms(call, "platforms", V1_50))
    return removed(call.service.remove(call.image, force=force, prune=not keeps_parents, platform=platform))


def _prune(call: Call) -> object:
    filters, every = prune_filters(parse_filters(call.parameters.get("filters")), call.version)
    return pruned(call.service.prune(all=every, filters=filters))


async def _distribution(call: Call) -> Response:
    if has_keys(call):
        return await asking(call, distribution_there)
    return Response(await call.context.workers.run(_distribution_here, call), media_type="application/json")


def _distribution_here(call: Call) -> bytes:
    platform = call.service.inspect(call.image).image.platform
    return body(distribution(call.name, call.service.manifests(call.image), platform))


ENDPOINTS = (
    documents("GET", "/images/json", _list),
    documents("POST", "/images/prune", _prune),
    Endpoint("GET", "/distribution/{name:path}/json", _distribution),
    documents("GET", "/images/{name:path}/json", _inspect, Verb.INSPECT, asks_since=V1_42),
    documents("GET", "/images/{name:path}/history", _history, asks_since=V1_42),
    Endpoint("POST", "/images/{name:path}/tag", _tag),
    documents("DELETE", "/images/{name:path}", _remove),
)
