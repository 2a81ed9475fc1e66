"""Where a request comes from, also behind proxies."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from starlette.types import Scope

_FORWARDED: Final = b"x-forwarded-for"
_MOST: Final = 32


def client_of(scope: Scope, proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the address of a client, or the name of its user on a Unix socket.

    ``X-Forwarded-For`` is read from its end, and only as long as a proxy that is trusted has written it. A Unix socket
    is trusted where any proxy is: only who may open it can write there.

    Args:
        scope: the request.
        proxies: the networks of proxies that are trusted.
    """
    client = scope.get("client")
    found = client[0] if client else "-"
    if not proxies:
        return str(found)
    lines = [value for name, value in scope["headers"] if name == _FORWARDED]
    named = [one.strip() for line in lines for one in line.decode("latin-1").split(",")]
    is_trusted = _address(found) is None
    for one in reversed(named[-_MOST:]):
        if not is_trusted and not _is_within(found, proxies):
            break
        address = _address(one)
        if address is None:
            break
        found, is_trusted = str(address), False
    return str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_within(text: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)
