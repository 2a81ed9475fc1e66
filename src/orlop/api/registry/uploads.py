"""Uploads of blobs: begun, appended to, finished, asked for and cancelled; and mounts, which need none."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.registry.answers import content_created
from orlop.api.registry.routes import Need
from orlop.errors import InvalidInput, InvalidRange, OrlopError
from orlop.model.digest import Digest
from orlop.service.hosted.uploads import ALGORITHMS

if TYPE_CHECKING:
    from orlop.api.registry.asked import Asked
    from orlop.service.hosted.uploads import Bound, Readable

_OCTETS: Final = "application/octet-stream"
_SPAN: Final = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d{1,19}|\*))?")


async def begin(asked: Asked) -> Response:
    """Answer a POST: mount a blob, take one whole, or begin an upload."""
    mounted = asked.parameter("mount")
    if mounted is not None and (digest := Digest.unchecked(mounted)).is_valid:
        source = await asked.run(partial(_mounted, asked, digest))
        if source is not None:
            asked.tell("mount", digest, media_type=_OCTETS, source=source)
            return content_created(asked, "blobs", digest)
    algorithm = asked.parameter("digest-algorithm")
    digest_text = asked.parameter("digest")
    whole = None if digest_text is None else Digest.parse(digest_text)
    algorithm = algorithm or (ALGORITHMS[0] if whole is None else whole.algorithm)
    uploads, repository = asked.registry.uploads, asked.repository
    key = await asked.run(partial(uploads.begin, repository, algorithm=algorithm, who=asked.who))
    if whole is None:
        return _session(asked, key, 0, 202)
    try:
        size = await asked.read(
            lambda body: uploads.finish(repository, key, whole, body, bound=asked.bound, who=asked.who)
        )
    except BaseException:
        # Nobody has heard of it, so that nobody can go on with it.
        await asked.run(partial(_cancelled, asked, key))
        raise
    asked.tell("push", whole, media_type=_OCTETS, size=size)
    return content_created(asked, "blobs", whole)


def _mounted(asked: Asked, digest: Digest) -> str | None:
    """Mount a blob, and return from where; nothing where it cannot be had."""
    if asked.parameter("from"):
        wishes = asked.route.wishes
    else:
        # Wherever it is that the client may pull from.
        names = [asked.route.repository, *asked.registry.holders(asked.repository, digest)]
        wishes = tuple(Need("repository", one, ("pull",)) for one in dict.fromkeys(names))
    sources = [asked.repository_of(wish.name) for wish in wishes if asked.may(wish)]
    found = asked.registry.mount(asked.repository, digest, sources)
    return None if found is None else found.name


def _cancelled(asked: Asked, key: str) -> None:
    with suppress(OrlopError):
        asked.registry.uploads.cancel(asked.repository, key, who=asked.who)


async def state(asked: Asked) -> Response:
    """Answer how far an upload is."""
    key = asked.route.reference
    size = await asked.run(partial(asked.registry.uploads.reached, asked.repository, key, who=asked.who))
    return _session(asked, key, size, 204)


async def append(asked: Asked) -> Response:
    """Take a part of a blob."""
    key, repository = asked.route.reference, asked.repository
    start, bound = _place(asked)

    def work(body: Readable) -> int:
        return asked.registry.uploads.append(repository, key, body, start=start, bound=bound, who=asked.who)

    size = await asked.read(work)
    return _session(asked, key, size, 202)


async def finish(asked: Asked) -> Response:
    """Take the last part of a blob, if there is one, and keep it."""
    key, repository = asked.route.reference, asked.repository
    text = asked.parameter("digest")
    if text is None:
        raise InvalidInput("the request lacks the parameter digest, which says what the blob must have")
    digest = Digest.parse(text)
    start, bound = _place(asked)

    def work(body: Readable) -> int:
        who = asked.who
        return asked.registry.uploads.finish(repository, key, digest, body, start=start, bound=bound, who=who)

    size = await asked.read(work)
    asked.tell("push", digest, media_type=_OCTETS, size=size)
    return content_created(asked, "blobs", digest)


async def cancel(asked: Asked) -> Response:
    """End an upload."""
    await asked.run(partial(asked.registry.uploads.cancel, asked.repository, asked.route.reference, who=asked.who))
    return Response(status_code=204)


def _place(asked: Asked) -> tuple[int | None, Bound]:
    """Return where the body belongs, if it says so, and what bounds it. Raises `InvalidInput`, `InvalidRange`."""
    text = asked.headers.get("content-range")
    if text is None:
        return None, asked.bound
    span = _SPAN.fullmatch(text.strip())
    if span is None:
        raise InvalidInput(f"the Content-Range {text[:64]!r} is not a range of bytes, such as 0-1023")
    first, last = int(span[1]), int(span[2])
    if last < first - 1:
        raise InvalidRange(f"the Content-Range {text[:64]!r} ends before it begins")
    if asked.length is not None and asked.length != last - first + 1:
        raise InvalidInput(f"the Content-Range {text[:64]!r} does not have the {asked.length} bytes of the body")
    # A body of no stated length may end early, or go on.
    return first, replace(asked.bound, exact=last - first + 1)


def _session(asked: Asked, key: str, size: int, status: int) -> Response:
    return Response(status_code=status, headers=session_headers(asked, key, size))


def session_headers(asked: Asked, key: str, size: int) -> dict[str, str]:
    """Return the headers that say where an upload is, and how far."""
    return {
        "Location": f"/v2/{asked.route.repository}/blobs/uploads/{key}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": key,
    }
