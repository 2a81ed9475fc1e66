"""What moves content: loads, saves and imports."""

from __future__ import annotations

import logging
from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING, Final, cast

from orlop.api.engine.call import Endpoint
from orlop.api.engine.platforms import only_platform, transferred_platforms
from orlop.api.engine.pull import pulling
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.shapes.load import loaded_lines
from orlop.api.engine.shapes.platform import parse_words
from orlop.api.engine.shapes.progress import LayerLines, error_line, status_line
from orlop.api.engine.shapes.target import import_target, pull_target
from orlop.api.engine.source import SourcePatience
from orlop.api.engine.versions import V1_32, V1_42, V1_44, V1_48
from orlop.api.streamed import Streamed
from orlop.errors import InvalidInput, OrlopError, RequestAborted, StorageError
from orlop.model.names import ImageName
from orlop.model.urls import without_credentials
from orlop.registry.download import check_url, downloaded
from orlop.registry.patience import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from starlette.responses import Response

    from orlop.api.engine.call import Call
    from orlop.api.flow import Download, Upload
    from orlop.model.progress import ProgressEvent

_log = logging.getLogger(__name__)

_BODY: Final = "-"


async def _get(call: Call) -> Response:
    return _saved(call, call.parameters.all("names"))


async def _get_one(call: Call) -> Response:
    return _saved(call, [call.name])


def _saved(call: Call, names: Sequence[str]) -> Response:
    # Engine 25, whose API is 1.44, came with the newer layout.
    form = "docker" if call.version >= V1_44 else "docker-20.10"
    wanted = transferred_platforms(call, V1_48) or None

    def save(download: Download, _: Upload) -> None:
        images: list[ImageName] = []
        for name in names:
            call.about(name)
            images.append(ImageName.parse(name))
        with closing(call.service.save_chunks(images, format=form, platform=wanted)) as chunks:
            for chunk in chunks:
                download.put(chunk)

    return _streamed(call, save, media_type="application/x-tar")


async def _load(call: Call) -> Response:
    platforms = transferred_platforms(call, V1_48)
    quiet = call.parameters.boolean("quiet", default=True)

    def load(download: Download, upload: Upload) -> None:
        layers = LayerLines(call.version)

        def tell(event: ProgressEvent) -> None:
            line = None if quiet else layers.line(event)
            if line is not None:
                download.offer(line)

        try:
            report = call.service.load(upload.stream(), platform=only_platform(platforms), progress=tell)
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
    asked = call.parameters
    image, repository, tag, message = (asked.get(name) for name in ("fromImage", "repo", "tag", "message"))
    words = asked.get("platform") if call.version >= V1_32 else ""
    platform = parse_words(words, call.version) if words else None
    if image:
        target = pull_target(image, tag, call.version)
        return _streamed(call, pulling(call, target, platform), media_type="application/json")
    source = asked.get("fromSrc")
    if not source:
        raise InvalidInput("the parameter fromSrc is missing: give - for the body of the request, or a URL")
    imported = import_target(repository, tag, call.version)
    changes = asked.all("changes")
    reads = source == _BODY and call.has_archive
    url = source if "://" in source else f"http://{source}"
    if source != _BODY:
        check_url(url)

    def keep(content: BinaryIO, download: Download, comment: str) -> None:
        image_id = call.service.import_image(content, imported, changes=changes, message=comment, platform=platform)
        download.put(status_line(str(image_id)))

    def create(download: Download, upload: Upload) -> None:
        if source == _BODY:
            content = upload.stream() if reads else BytesIO()
            keep(content, download, message or f"Imported from {_BODY}")
            return
        waiting = Waiting(beside=SourcePatience(download, call.context))
        with downloaded(url, call.service.proxies, waiting) as body:
            download.put(status_line(f"Downloading from {without_credentials(url)}"))
            try:
                comment = message or f"Imported from {without_credentials(url if call.version < V1_42 else source)}"
                keep(cast("BinaryIO", body), download, comment)
            except RequestAborted:
                raise
            except OrlopError as error:
                # The status is on its way.
                download.put(error_line(str(error)))

    return _streamed(call, create, media_type="application/json", reads=reads)


def _streamed(
    call: Call, work: Callable[[Download, Upload], None], *, media_type: str, reads: bool = False
) -> Response:
    context = call.context
    return Streamed(work, context.workers, reads=reads, most=context.bounds.body, media_type=media_type)


ENDPOINTS = (
    Endpoint("POST", "/images/load", _load, is_archive=lambda _: True),
    Endpoint("POST", "/images/create", _create, is_archive=lambda query: query.get("fromSrc") == _BODY),
    Endpoint("GET", "/images/get", _get, Verb.SAVE),
    Endpoint("GET", "/images/{name:path}/get", _get_one, Verb.SAVE),
)
