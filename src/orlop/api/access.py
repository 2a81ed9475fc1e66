"""Who may ask for what: tokens, requests of web pages, servers that only show."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, RequestRefused, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::[0-9]*)?")
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FROM_NOWHERE: Final = "none"
_OWN: Final = frozenset({_FROM_NOWHERE, "same-origin"})


@dataclass(frozen=True, slots=True)
class Policy:
    """What a listener asks of every request.

    Args:
        token: a secret that each request must carry as ``Authorization: Bearer TOKEN``, if there is one.
        hosts: the names under which the server may be asked; without them, under all. It keeps out web pages that let a
            name of their own point to this machine.
        read_only: nothing may be changed.
    """

    token: str | None = None
    hosts: frozenset[str] | None = None
    read_only: bool = False

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """See whether a request may be made, by its method and its headers, whose names are in lower case.

        Raises:
            RequestRefused, Unauthorized: it may not. InvalidInput: it does not say which host it is for.
        """
        # Browsers send these, the clients of the API never do: whatever a page wants here is refused.
        if "origin" in headers or headers.get("sec-fetch-site", _FROM_NOWHERE) != _FROM_NOWHERE:
            raise RequestRefused("requests of web pages are not answered")
        # Clients of HTTP/1.0 may name no host; browsers always do.
        if self.hosts is not None and "host" in headers:
            self._check_host(headers["host"])
        if self.token is not None:
            self._check_token(headers.get("authorization", ""))
        if self.read_only and method not in _READING:
            raise RequestRefused("this server only shows images, and changes nothing")

    def check_page(self, method: str, headers: Mapping[str, str], *, is_part: bool) -> None:
        """See whether a browser may have a part of the page, or what the page itself asks for.

        Args:
            method: of the request.
            headers: their names are in lower case.
            is_part: it holds nothing of the store; a browser cannot send a token for it.

        Raises:
            RequestRefused, Unauthorized, InvalidInput: as `check`.
        """
        if "origin" in headers or headers.get("sec-fetch-site", _FROM_NOWHERE) not in _OWN:
            raise RequestRefused("requests of other web pages are not answered")
        if self.hosts is not None:
            self._check_host(headers.get("host", ""))
        if self.token is not None and not is_part:
            self._check_token(headers.get("authorization", ""))
        if method not in _READING:
            raise RequestRefused("the page only shows images, and changes nothing")

    def _check_host(self, host: str) -> None:
        if not host:
            raise InvalidInput("the request has an empty Host header")
        name = _without_port(host).lower()
        if name not in (self.hosts or ()) and not _is_address(name):
            raise RequestRefused(f"this server is not {name!r}; ask it by its address, or as localhost")

    def _check_token(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        expected = (self.token or "").encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
            raise Unauthorized("this server asks for a token: send the header Authorization: Bearer TOKEN")


def _without_port(host: str) -> str:
    """Return the name in a Host header; all of one that is malformed, which is the name of no server."""
    match = _HOST.fullmatch(host)
    return host if match is None else match[1] or match[2]


def _is_address(name: str) -> bool:
    # A page's own name is never an address.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
