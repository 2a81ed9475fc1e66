"""What is asked of images as rows: lists, inspection, history, names, removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.shapes.filters import image_filters, parse_filters
from orlop.api.engine.shapes.history import history
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.removal import removed
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from orlop.api.engine.call import Call


def _list(call: Call) -> object:
    query = call.query_params
    filters = image_filters(parse_filters(query.get("filters")))
    if "filter" in query:
        # Versions before 1.25 had a parameter for a repository's name alone.
        filters = (*filters, f"reference={query['filter']}")
    found = call.service.listed_images(all=_flag(call, "all"), filters=filters)
    return image_list(found, call.version)


def _inspect(call: Call) -> object:
    return image(call.service.inspect(call.name), call.version)


def _history(call: Call) -> object:
    return history(call.service.history(call.name))


async def _tag(call: Call) -> Response:
    repository, tag = call.query_params.get("repo", ""), call.query_params.get("tag", "")
    call.about(repository)
    target = Reference.parse(repository)
    target = target.with_tag(tag) if tag else target.with_default_tag()
    call.about(call.name)
    await call.context.workers.run(call.service.tag, call.name, target.familiar)
    return Response(status_code=201)


def _remove(call: Call) -> object:
    report = call.service.remove(call.name, force=_flag(call, "force"), prune=not _flag(call, "noprune"))
    return removed(report)


def _flag(call: Call, name: str) -> bool:
    return call.query_params.get(name, "").strip().lower() not in {"", "0", "no", "false", "none"}


ENDPOINTS = (
    documents("GET", "/images/json", _list),
    documents("GET", "/images/{name:path}/json", _inspect, Verb.INSPECT),
    documents("GET", "/images/{name:path}/history", _history),
    Endpoint("POST", "/images/{name:path}/tag", _tag, Verb.TAG),
    documents("DELETE", "/images/{name:path}", _remove),
)
