"""The page over a store: its parts, and the data that it asks for. Nothing here changes anything.

The parts are the same for every store and hold nothing of it, so a browser gets them without a token: it cannot send
one with an address. The page then asks for the token, keeps it in memory, and sends it with each request for data.
Everything else is as for the API: certificates, the names under which the server may be asked, limits.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import RedirectResponse, Response

from orlop.api.engine.call import Endpoint
from orlop.errors import LimitExceeded
from orlop.inside.audit import audit
from orlop.model.timestamp import Timestamp
from orlop.page.comparison import comparison_document
from orlop.page.document import image_document, image_paths, to_json
from orlop.page.html import asset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orlop.api.engine.call import Call
    from orlop.inside.view import ImageFiles
    from orlop.service.image_service import ImageService

__all__ = ["ENDPOINTS", "PARTS"]

PARTS: Final = frozenset({"/ui", "/ui/", "/ui/page.js", "/ui/page.css"})
"""Paths that hold nothing of a store."""

MOST_ENTRIES: Final = 1_000_000
"""How many entries the layers of an image may have that is shown; each takes about a kilobyte of memory."""

_HEAD: Final = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<title>orlop</title>
</head>
<body>
"""
_TAIL: Final = b"""<script src="page.js"></script>
</body>
</html>
"""


async def _index(call: Call) -> Response:
    del call
    return Response(_HEAD + asset("page.html") + _TAIL, media_type="text/html")


async def _script(call: Call) -> Response:
    del call
    return Response(asset("page.js"), media_type="text/javascript")


async def _style(call: Call) -> Response:
    del call
    return Response(asset("page.css"), media_type="text/css")


async def _to_index(call: Call) -> Response:
    del call
    return RedirectResponse("/ui/", 301)


def _images(call: Call) -> dict[str, Any]:
    """Return the images of a store and what its disk is used for."""
    usage = call.service.df()
    return {
        "images": [
            {
                "id": str(one.summary.id),
                "names": [name.familiar for name in one.summary.references],
                "created": str(Timestamp.from_unix(one.summary.created)),
                "size": one.summary.size,
                "shared": one.shared_size,
                "unique": one.unique_size,
                "freed": one.freed,
                "pinned": one.pinned,
                "layers": _layers(call.service, str(one.summary.id)),
            }
            for one in usage.images
        ],
        "disk": {"size": usage.size, "garbage": usage.garbage, "dangling": usage.dangling},
        "layers": {"size": usage.layers.image_size, "shared": usage.layers.shared, "unique": usage.layers.unique},
    }


def _layers(service: ImageService, image: str) -> list[str]:
    from orlop.model.digest import ImageID  # noqa: PLC0415 - read where an image is looked up

    return [str(diff_id) for diff_id in service.image_store.get(ImageID.parse(image)).rootfs.diff_ids]


def _image(call: Call) -> dict[str, Any]:
    """Return the document of an image, and how it differs from another one if one is named."""
    name, other = call.parameters.get("name"), call.parameters.get("old")
    with call.service.files(name) as files:
        _check_entries(name, files)
        paths = image_paths(files)
        document = image_document(name, files, audit(files, contents=False), paths)
        if not other:
            return {"image": document, "comparison": None}
        with call.service.files(other) as old:
            _check_entries(other, old)
            return {"image": document, "comparison": comparison_document((other, old), (name, files))}


def _check_entries(name: str, files: ImageFiles) -> None:
    """Check that the tree of an image has room in memory: all its entries are there at once. Raises `LimitExceeded`."""
    count = 0
    for layer in files.content_layers:
        # Nothing is kept of what is counted.
        count += sum(1 for _ in islice(layer.entries(), MOST_ENTRIES + 1 - count))
        if count > MOST_ENTRIES:
            raise LimitExceeded(
                f"the layers of {name!r} have more than {MOST_ENTRIES} entries, which this server does not show; make"
                f" its page with `orlop audit --html FILE {name}`"
            )


def _data(path: str, make: Callable[[Call], dict[str, Any]]) -> tuple[Endpoint, Endpoint]:
    """Make the endpoints of data. It is made for one request at a time, since it may be the tree of a large image."""

    def made(call: Call) -> bytes:
        return to_json(make(call)).encode("ascii")

    async def serve(call: Call) -> Response:
        body = await call.context.workers.alone(call.scope.get("orlop.client"), made, call)
        return Response(body, media_type="application/json")

    return Endpoint("GET", path, serve), Endpoint("HEAD", path, serve)


def _part(path: str, serve: Callable[[Call], Awaitable[Response]]) -> tuple[Endpoint, Endpoint]:
    return Endpoint("GET", path, serve, asks_since=None), Endpoint("HEAD", path, serve, asks_since=None)


ENDPOINTS: Final = (
    *_part("/ui", _to_index),
    *_part("/ui/", _index),
    *_part("/ui/page.js", _script),
    *_part("/ui/page.css", _style),
    *_data("/ui/images", _images),
    *_data("/ui/image", _image),
)
"""What a server answers below ``/ui``, if it shows the page."""
