"""Pages of a list: the ``Link`` to the next one (RFC 8288), as registries really write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, UnsafeRedirect
from orlop.model.regex import regex
from orlop.model.urls import shown
from orlop.registry.origin import Origin, resolved, target_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINK: Final = regex(r"<([^<>]*)>((?:[^,\"<]|\"(?:[^\"\\]|\\.)*\")*)")
_REL: Final = regex(r";\s*[Rr][Ee][Ll]\s*=\s*(?:\"([^\"]*)\"|([^\s;,]+))")


def next_page(base: str, headers: Iterable[str]) -> str | None:
    """Return the URL of the page after one, or None where it is the last.

    Whatever the link's query is stays as it is: it may be a cursor that only the registry understands. The scheme and
    host are always those of the page itself; a registry behind a proxy may not know them. A first link without a
    relation is taken for the next page, too.

    Raises:
        UnsafeRedirect: the link leads to another host. InvalidAnswer: it leads to the page itself.
    """
    found = _target(headers)
    if found is None:
        return None
    here = Origin.of(base)
    if found.startswith("http://") and Origin.of(found).host == here.host:
        found = target_of(found)
    url = resolved(base, found)
    if Origin.of(url) != here:
        raise UnsafeRedirect(f"the page after {shown(base)} is on another host, {shown(url)}", registry=here.authority)
    if url == base.partition("#")[0]:
        raise InvalidAnswer(f"the page after {shown(base)} is the page itself", registry=here.authority)
    return url


def _target(headers: Iterable[str]) -> str | None:
    unnamed = None
    for header in headers:
        for link in _LINK.finditer(header):
            rel = _REL.search(link[2])
            if rel is None:
                unnamed = unnamed or link[1]
            elif "next" in (rel[1] or rel[2] or "").lower().split():
                return link[1]
    return unnamed
