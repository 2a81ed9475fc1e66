"""Manifests and indexes: read by tag or digest, put, and deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.registry.answers import content_created
from orlop.api.registry.conditions import check, is_known, of_change
from orlop.api.registry.receiving import whole
from orlop.errors import InvalidInput
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from orlop.api.registry.asked import Asked

LARGEST: Final = 4 << 20
"""How many bytes a manifest may have."""
_MOST_TAGS: Final = 100


def _reference(asked: Asked) -> str | Digest:
    """Return the tag or the digest in a path. Raises `InvalidReference`, `InvalidDigest`."""
    text = asked.route.reference
    if ":" in text:
        return Digest.parse(text)
    asked.repository.tagged(text)
    return text


async def read(asked: Asked) -> Response:
    """Answer a GET or a HEAD of a manifest."""
    reference = _reference(asked)
    row, warning = await asked.look(partial(asked.registry.read_manifest, asked.repository, reference))
    headers = {
        "Content-Type": row.media_type,
        "Docker-Content-Digest": str(row.digest),
        "ETag": f'"{row.digest}"',
        "Content-Length": str(len(row.raw)),
    }
    if warning:
        headers["Warning"] = f'299 - "{warning}"'
    if is_known(asked, row.digest):
        del headers["Content-Length"]
        return Response(status_code=304, headers=headers)
    if asked.route.method == "HEAD":
        return Response(status_code=200, headers=headers)
    tag = "" if isinstance(reference, Digest) else reference
    asked.tell("pull", row.digest, tag=tag, media_type=row.media_type, size=len(row.raw))
    return Response(row.raw, headers=headers)


async def put(asked: Asked) -> Response:
    """Answer a PUT of a manifest: under its digest, or under a tag, or under both."""
    reference = _reference(asked)
    tags = asked.parameters.get("tag", [])
    if len(tags) > _MOST_TAGS:
        raise InvalidInput(f"the request has {len(tags)} tags, and may have {_MOST_TAGS}")
    for tag in tags:
        asked.repository.tagged(tag)
    wanted, condition = asked.parameter("digest"), of_change(asked)
    raw = await whole(asked.receive, most=LARGEST, length=asked.length)
    if isinstance(reference, Digest):
        digest = reference
    else:
        tags = [reference, *tags]
        # Another algorithm may be asked for, where the path has a tag.
        digest = Digest.of(raw) if wanted is None else Digest.parse(wanted)
    if not raw:
        raise InvalidInput("the request has no body; send the manifest")
    media_type = asked.headers.get("content-type", "")
    put = partial(asked.registry.put_manifest, condition=condition, of=reference)
    pushed = await asked.look(partial(put, asked.repository, raw, digest, media_type=media_type, tags=tags))
    for tag in tags or [""]:
        asked.tell("push", pushed.digest, tag=tag, media_type=pushed.media_type, size=pushed.size)
    headers = {} if pushed.subject is None else {"OCI-Subject": str(pushed.subject)}
    if "tag" in asked.parameters:
        headers["OCI-Tag"] = ", ".join(dict.fromkeys(tags))
    return content_created(asked, "manifests", pushed.digest, headers)


async def delete(asked: Asked) -> Response:
    """Answer a DELETE of a tag, or of a manifest with all its tags."""
    reference = _reference(asked)
    if isinstance(reference, Digest):
        look = partial(asked.registry.manifest, asked.repository, reference)
        await check(asked, reference, partial(asked.run, look))
        await asked.run(partial(asked.registry.delete_manifest, asked.repository, reference))
        asked.tell("delete", reference)
    else:
        delete = partial(asked.registry.delete_tag, condition=of_change(asked))
        await asked.run(partial(delete, asked.repository, reference))
        asked.tell("delete", tag=reference)
    return Response(status_code=202)
