"""What moves content: loads, saves and imports."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Final, cast

from orlop.api.engine.call import Endpoint
from orlop.api.engine.platforms import asked_platforms, require_platform
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.shapes.load import loaded_lines
from orlop.api.engine.shapes.parameters import boolean
from orlop.api.engine.shapes.progress import LayerLines, error_line, status_line
from orlop.api.engine.shapes.target import import_target
from orlop.api.engine.versions import V1_44, V1_48
from orlop.api.streamed import Streamed
from orlop.errors import InvalidInput, NotSupported, OrlopError, RequestAborted, StorageError
from orlop.model.reference import parse_any
from orlop.service.download import downloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from starlette.responses import Response

    from orlop.api.engine.call import Call
    from orlop.api.flow import Download, Upload
    from orlop.model.progress import ProgressEvent
    from orlop.service.download import Readable

_log = logging.getLogger(__name__)

_BODY: Final = "-"
_NO_PULL: Final = "orlop does not pull from registries; load an archive that was saved where the image is"


async def _get(call: Call) -> Response:
    return _saved(call, call.query_params.getlist("names"))


async def _get_one(call: Call) -> Response:
    return _saved(call, [call.name])


def _saved(call: Call, names: Sequence[str]) -> Response:
    # Engine 25, whose API is 1.44, came with the newer layout.
    form = "docker" if call.version >= V1_44 else "docker-20.10"
    wanted = asked_platforms(call, V1_48)

    def save(download: Download, _: Upload) -> None:
        for name in names:
            call.about(name)
            parse_any(name)
            require_platform(call.service, name, wanted)
        with closing(call.service.save_chunks(names, format=form)) as chunks:
            for chunk in chunks:
                download.put(chunk)

    return _streamed(call, save, media_type="application/x-tar")


async def _load(call: Call) -> Response:
    quiet = boolean(call.query_params.get("quiet"), default=True)
    platforms = asked_platforms(call, V1_48)
    if len(platforms) > 1:
        raise InvalidInput("only one platform can be loaded at once; name one, or none for all")

    def load(download: Download, upload: Upload) -> None:
        layers = LayerLines(call.version)

        def tell(event: ProgressEvent) -> None:
            line = None if quiet else layers.line(event)
            if line is not None:
                download.offer(line)

        try:
            platform = platforms[0] if platforms else None
            report = call.service.load(upload.stream(), platform=platform, progress=tell)
        except OrlopError as error:
            # No status will say it. What is wrong with an archive is its client's business, the store is the server's.
            level = logging.WARNING if isinstance(error, StorageError) else logging.DEBUG
            _log.log(level, "a load failed: %s", error)
            # The daemon answers so, too, whatever is wrong.
            download.put(error_line(str(error)))
        else:
            download.put(b"".join(loaded_lines(report)))

    return _streamed(call, load, media_type="application/json", reads=True)


async def _create(call: Call) -> Response:
    query = call.query_params
    if query.get("fromImage"):
        raise NotSupported(_NO_PULL)
    source = query.get("fromSrc", "")
    if not source:
        raise InvalidInput("the parameter fromSrc is missing: give - for the body of the request, or a URL")
    target = import_target(query.get("repo"), query.get("tag"), call.version)
    changes = [line for change in query.getlist("changes") for line in change.split("\n") if line.strip()]
    message, platform = query.get("message") or None, query.get("platform") or None

    def create(download: Download, upload: Upload) -> None:
        def keep(content: BinaryIO, comment: str | None) -> None:
            image_id = call.service.import_image(content, target, changes=changes, message=comment, platform=platform)
            download.put(status_line(str(image_id)))

        if source == _BODY:
            keep(upload.stream(), message)
            return
        url = source if "://" in source else f"http://{source}"
        with downloaded(url) as body:
            keep(_WhileWanted(body, download).stream(), message or f"Imported from {url}")

    return _streamed(call, create, media_type="application/json", reads=source == _BODY)


class _WhileWanted:
    """What is fetched from elsewhere, as long as the client waits for it."""

    def __init__(self, source: Readable, download: Download) -> None:
        self._source = source
        self._download = download

    def read(self, size: int = -1, /) -> bytes:
        """Give at most ``size`` bytes. Raises `RequestAborted` where the client has hung up."""
        if self._download.cancelled:
            raise RequestAborted("the client hung up before everything was fetched")
        return self._source.read(size)

    def stream(self) -> BinaryIO:
        """Give it as a binary stream."""
        return cast("BinaryIO", self)


def _streamed(
    call: Call, work: Callable[[Download, Upload], None], *, media_type: str, reads: bool = False
) -> Response:
    context = call.context
    return Streamed(work, context.workers, reads=reads, most=context.bounds.body, media_type=media_type)


ENDPOINTS = (
    Endpoint("POST", "/images/load", _load),
    Endpoint("POST", "/images/create", _create),
    Endpoint("GET", "/images/get", _get, Verb.SAVE),
    Endpoint("GET", "/images/{name:path}/get", _get_one, Verb.SAVE),
)
