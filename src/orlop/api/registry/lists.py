"""Lists: the tags of a repository, the catalog, and what refers to some content."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.api.registry.answers import document, link
from orlop.api.registry.routes import Need
from orlop.errors import InvalidInput
from orlop.model.manifest import OCI_INDEX, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.responses import Response

    from orlop.api.registry.asked import Asked
    from orlop.store.content import Node

_LONGEST_PAGE: Final = 10_000
"""How many names a page has at most, whatever is asked for."""


async def tags(asked: Asked) -> Response:
    """Answer the tags of a repository."""
    repository = asked.repository
    look = partial(asked.registry.tags, repository)
    return await _page(asked, f"/v2/{asked.route.repository}/tags/list", "tags", look, name=asked.route.repository)


async def catalog(asked: Asked) -> Response:
    """Answer the names of all repositories that the client may pull from."""
    host = asked.repository_of("any/name").host
    look = partial(_readable, asked, partial(asked.registry.repositories, host))
    return await _page(asked, "/v2/_catalog", "repositories", look)


def _readable(asked: Asked, look: Callable[..., list[str]], *, after: str, most: int) -> list[str]:
    """Return the first names that the client may pull from, at most so many."""
    found: list[str] = []
    while len(found) < most:
        names = look(after=after, most=_LONGEST_PAGE)
        found += [one for one in names if asked.may(Need("repository", one, ("pull",)))]
        if len(names) < _LONGEST_PAGE:
            break
        after = names[-1]
    return found[:most]


async def _page(asked: Asked, path: str, member: str, look: Callable[..., list[str]], **facts: str) -> Response:
    """Answer one page of a list, with a link to the next where there is more."""
    # No name has a NUL in it, which not every database takes: what sorts behind it sorts behind what is before it.
    most, last = _number(asked), (asked.parameter("last") or "").partition("\0")[0]
    # One more than a page says whether another one follows.
    found = await asked.look(partial(look, after=last, most=most + 1))
    page = found[:most]
    headers = {}
    if page and len(found) > most:
        headers["Link"] = _next(asked, path, {"n": most, "last": page[-1]})
    return document({**facts, member: page}, headers=headers)


def _next(asked: Asked, path: str, parameters: Mapping[str, object]) -> str:
    """Return the header that leads to the next page, of the same registry where the client has named one."""
    namespace = asked.parameter("ns")
    return link(path, {**parameters, **({"ns": namespace} if namespace else {})})


def _number(asked: Asked) -> int:
    text = asked.parameter("n")
    if text is None:
        return _LONGEST_PAGE
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput(f"n is {text[:32]!r}, but must be 0 or greater")
    return min(int(text[:9]), _LONGEST_PAGE)


async def referrers(asked: Asked) -> Response:
    """Answer what refers to some content, which need not be there."""
    digest = asked.digest()
    # In a query a plus stands for a space, which no type has: it was the plus of "+json".
    wanted = (asked.parameter("artifactType") or "").replace(" ", "+")
    after = (asked.parameter("last") or "").partition("\0")[0]
    look = partial(asked.registry.referrers, asked.repository, digest, after=after)
    found, last = await asked.look(partial(look, wants=lambda one: not wanted or _type_of(one) == wanted))
    headers = {}
    if last:
        more = {"artifactType": wanted} if wanted else {}
        headers["Link"] = _next(asked, f"/v2/{asked.route.repository}/referrers/{digest}", {**more, "last": last})
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(one) for one in found]}
    return document(body, OCI_INDEX, headers)


def _type_of(node: Node) -> str:
    """Return the type of an artifact: what it names, or else the type of its config; an index may have none."""
    implied = node.document.config.media_type if isinstance(node.document, Manifest) else ""
    return node.document.artifact_type or implied


def _descriptor(node: Node) -> dict[str, object]:
    """Return how a manifest is described in a list of referrers."""
    found: dict[str, object] = {"mediaType": node.media_type, "digest": str(node.digest), "size": node.size}
    if kind := _type_of(node):
        found["artifactType"] = kind
    if node.document.annotations:
        found["annotations"] = dict(node.document.annotations)
    return found
