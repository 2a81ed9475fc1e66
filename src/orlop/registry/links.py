"""Pages of a list: the ``Link`` to the next one (RFC 8288), as registries really write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, UnsafeRedirect
from orlop.model.regex import regex
from orlop.model.urls import shown
from orlop.registry.origin import Origin, resolved, target_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINK: Final = regex(r'<([^<>]*+)>((?:[^,"<]|"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z))*+)')
_REL: Final = regex(r";\s*[Rr][Ee][Ll]\s*=\s*(?:\"([^\"]*)\"|([^\s;,]+))")
_LONGEST: Final = 1 << 14
_MOST_PAGES: Final = 10_000
_MOST_EMPTY: Final = 16
_MOST_BYTES: Final = 64 << 20


class Turning:
    """Notes the pages of one list, and ends one that has no end. Not for several threads.

    Args:
        host: of the registry.
        what: what is asked for, for errors.
        most: how many entries all pages may have together.
    """

    def __init__(self, host: str, what: str, *, most: int | None = None) -> None:
        self._host = host
        self._what = what
        self._seen: set[str] = set()
        self._most = most
        self._bytes = self._empty = self._entries = 0

    def ask(self, url: str) -> None:
        """Note a page that is asked for. Raises `InvalidAnswer` where it was asked for before, or is one too many."""
        if url in self._seen:
            raise InvalidAnswer(f"the pages of {self._host} form a loop when asked to {self._what}")
        self._seen.add(url)
        if len(self._seen) > _MOST_PAGES:
            self._refuse(f"more than {_MOST_PAGES} pages")

    def came(self, size: int, count: int) -> None:
        """Note that a page came, its bytes and its entries. Raises `InvalidAnswer` where these pages have no end."""
        self._bytes += size
        self._entries += count
        self._empty = 0 if count else self._empty + 1
        if self._bytes > _MOST_BYTES:
            self._refuse(f"more than {_MOST_BYTES >> 20} MiB")
        if self._most is not None and self._entries > self._most:
            self._refuse(f"more than {self._most} entries")
        if self._empty > _MOST_EMPTY:
            self._refuse(f"more than {_MOST_EMPTY} empty pages in a row")

    def _refuse(self, why: str) -> None:
        raise InvalidAnswer(f"{self._host} sends {why} when asked to {self._what}", registry=self._host)


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
    found = found.strip()
    if found.lower().startswith("http://") and Origin.of(found).host == here.host:
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
        if len(header) > _LONGEST:
            raise InvalidAnswer(f"a header with the link to the next page is longer than {_LONGEST} bytes")
        for link in _LINK.finditer(header):
            rel = _REL.search(link[2])
            if rel is None:
                unnamed = unnamed or link[1]
            elif "next" in (rel[1] or rel[2] or "").strip("'").lower().split():
                return link[1]
    return unnamed
