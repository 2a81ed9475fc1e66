"""What is asked of the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from orlop.api.engine.call import Endpoint

if TYPE_CHECKING:
    from starlette.responses import Response

    from orlop.api.engine.call import Call


async def _ping(call: Call) -> Response:
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}
    return PlainTextResponse("" if call.method == "HEAD" else "OK", headers=headers)


ENDPOINTS = (
    Endpoint("GET", "/_ping", _ping),
    Endpoint("HEAD", "/_ping", _ping),
)
