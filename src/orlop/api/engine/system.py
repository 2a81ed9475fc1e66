"""What is asked of the server itself: who it is, what it holds, what it counted."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from orlop.api.engine.call import Endpoint, documents
from orlop.api.engine.shapes.system import State, info_document, version_document
from orlop.api.engine.shapes.usage import is_verbose, usage, usage_types
from orlop.api.engine.versions import V1_42
from orlop.api.metrics import CONTENT_TYPE
from orlop.model.timestamp import Timestamp
from orlop.service.host import this_host

if TYPE_CHECKING:
    from orlop.api.engine.call import Call

_SECOND = 1_000_000_000


async def _ping(call: Call) -> Response:
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}
    return PlainTextResponse("" if call.method == "HEAD" else "OK", headers=headers)


def _version(call: Call) -> object:
    return version_document(this_host(), call.version)


def _info(call: Call) -> object:
    service = call.service
    state = State(
        root=service.root,
        images=service.counts()["images"],
        time=str(Timestamp.from_unix(*divmod(time.time_ns(), _SECOND))),
        read_only=service.read_only or call.policy.read_only,
        debug=logging.getLogger("orlop").isEnabledFor(logging.DEBUG),
        descriptors=len(os.listdir("/proc/self/fd")),
        listeners=call.context.watch.listeners,
    )
    return info_document(this_host(), state, call.version)


def _usage(call: Call) -> object:
    types = usage_types(call.parameters.all("type"), call.version)
    verbose = is_verbose(call.parameters.get("verbose"), call.version)
    images = call.service.image_usage(listed_only=call.version < V1_42) if "image" in types else None
    return usage(images, call.version, types, verbose=verbose)


async def _metrics(call: Call) -> Response:
    context = call.context
    counts = await context.workers.run(context.service.counts)
    return Response(context.metrics.text(counts), media_type=CONTENT_TYPE)


ENDPOINTS = (
    Endpoint("GET", "/_ping", _ping, asks_since=None),
    Endpoint("HEAD", "/_ping", _ping, asks_since=None),
    documents("GET", "/version", _version, asks_since=None),
    documents("GET", "/info", _info, asks_since=None),
    documents("GET", "/system/df", _usage, asks_since=V1_42),
    Endpoint("GET", "/metrics", _metrics, asks_since=None),
)
