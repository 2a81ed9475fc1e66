"""What moves content: loads and saves."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from orlop.api.engine.call import Endpoint
from orlop.api.engine.shapes.encoding import stream_line
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.versions import V1_44
from orlop.api.streamed import Streamed
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from orlop.api.engine.call import Call
    from orlop.api.flow import Download, Upload


async def _get(call: Call) -> Response:
    return _saved(call, call.query_params.getlist("names"))


async def _get_one(call: Call) -> Response:
    return _saved(call, [call.name])


def _saved(call: Call, names: Sequence[str]) -> Response:
    call.about(names[0] if names else "")
    # Engine 25, whose API is 1.44, came with the newer layout.
    form = "docker" if call.version >= V1_44 else "docker-20.10"

    def save(download: Download, _: Upload) -> None:
        with closing(call.service.save_chunks(names, format=form)) as chunks:
            for chunk in chunks:
                download.put(chunk)

    context = call.context
    return Streamed(save, context.workers, patience=context.limits.patience, media_type="application/x-tar")


async def _load(call: Call) -> Response:
    service = call.service

    def load(download: Download, upload: Upload) -> None:
        try:
            report = service.load(upload.stream())
        except OrlopError as error:
            # The daemon answers so, too, whatever is wrong.
            download.put(stream_line({"errorDetail": {"message": str(error)}, "error": str(error)}))
            return
        for message in report.messages():
            download.put(stream_line({"stream": f"{message}\n"}))

    limits = call.context.limits
    return Streamed(
        load,
        call.context.workers,
        patience=limits.patience,
        reads=True,
        most=limits.body,
        media_type="application/json",
    )


ENDPOINTS = (
    Endpoint("POST", "/images/load", _load),
    Endpoint("GET", "/images/get", _get, Verb.SAVE),
    Endpoint("GET", "/images/{name:path}/get", _get_one, Verb.SAVE),
)
