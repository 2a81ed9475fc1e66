"""Answers that several endpoints give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.api.registry.asked import Asked
    from orlop.model.digest import Digest


def content_created(asked: Asked, folder: str, digest: Digest, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for what a repository has now, in a folder of its paths: ``blobs`` or ``manifests``."""
    # A relative location is right whatever stands between the client and here.
    location = f"/v2/{asked.route.repository}/{folder}/{digest}"
    return Response(
        status_code=201, headers={"Location": location, "Docker-Content-Digest": str(digest), **(headers or {})}
    )


def document(body: object, media_type: str = "application/json", headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON document, with exactly this type."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, headers={"Content-Type": media_type, **(headers or {})})


def link(path: str, parameters: Mapping[str, object]) -> str:
    """Return the header that leads to the next page."""
    return f'<{quote(path)}?{urlencode(parameters)}>; rel="next"'
