"""Origins: who a URL leads to. Where a server may lead its client, and who may see whose credentials.

A server names further places in four ways: a redirection, the ``Location`` of an upload, the ``Link`` to a next page,
and the ``realm`` where tokens are had. Each is read here, by one strict grammar: programs that disagree about where a
host ends have sent credentials to strangers (CVE-2019-10214, CVE-2020-15157). A URL with a user in it, a backslash, a
space or another scheme than ``http`` and ``https`` is refused rather than understood.

Two questions are asked about what was read, and they are not the same:

- *May a request go there at all?* Never from ``https`` to ``http``; never from a public host to an address that is
  private, loopback or link-local, since that is where a cloud's metadata and a company's printers live; nor from a
  private one to this machine, or from anywhere else to a link-local one. A name may hide an address of the link: it is
  looked at once more when the connection is made, unless the user named that host.
- *May credentials go along?* A registry's credentials go to its own origin: scheme, host and port. To a token server
  they go where it is of the same site, or where the user named it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urljoin

from orlop.errors import UnsafeRedirect
from orlop.model.regex import regex
from orlop.model.urls import shown
from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS: Final = {"http": 80, "https": 443}
_URL: Final = regex(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!-\[\]-~]*)?"
)
_SCHEME: Final = regex(r"[A-Za-z][A-Za-z0-9+.-]*:")
_MOST: Final = 65535
_NUMBER: Final = regex(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset({IPv6Address("fd00:ec2::254"), IPv4Address("100.100.100.200")})
_COMPATIBLE: Final = IPv6Network("::/96")
_SHARED: Final = frozenset(
    {
        *("amazonaws.com", "aliyuncs.com", "appspot.com", "azurecr.io", "azurewebsites.net", "cloudapp.net"),
        *("cloudfront.net", "gitlab.io", "github.io", "herokuapp.com", "ngrok.io", "ngrok-free.app", "nip.io"),
        *("on.aws", "pkg.dev", "r2.dev", "sslip.io", "vercel.app", "windows.net", "workers.dev"),
    }
)
"""Domains under which strangers are neighbours. It need not be whole: see `is_same_site`."""
_SECOND_LEVELS: Final = frozenset(
    {"ac", "co", "com", "edu", "gob", "gov", "gouv", "mil", "ne", "net", "nom", "or", "org", "sch"}
)


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host in lower case, and a port. An IPv6 address stands without its brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the origin of a URL. Raises `UnsafeRedirect` where it is not a plain one of ``http`` or ``https``."""
        return cls._read(url)[0]

    @classmethod
    def _read(cls, url: str) -> tuple[Self, str]:
        found = _URL.fullmatch(url.partition("#")[0])
        if found is None:
            raise UnsafeRedirect(f"{shown(url)!r} is not a URL of http or https that is safe to follow")
        scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]").rstrip(".")
        port = int(found["port"] or PORTS[scheme])
        if not host or not 0 < port <= _MOST or _is_odd_number(host):
            raise UnsafeRedirect(f"{shown(url)!r} has no valid host and port")
        target = found["target"] or "/"
        return cls(scheme, host, port), target if target[0] == "/" else f"/{target}"

    @property
    def authority(self) -> str:
        """The host and, unless it is the scheme's own, the port, as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host where it is an address."""
        return _address(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, by its name or address alone."""
        address = self.address
        if address is None:
            return self.host == "localhost" or self.host.endswith(".localhost")
        return address.is_loopback

    @property
    def is_private(self) -> bool:
        """Whether the host is this machine, or an address that is not public."""
        address = self.address
        return self.is_loopback or (address is not None and not all(one.is_global for one in _reached(address)))

    @property
    def is_here(self) -> bool:
        """Whether requests to the host end at this machine, through gateways too, as far as its address says."""
        address = self.address
        return self.is_loopback or (
            address is not None and any(one.is_loopback or one.is_unspecified for one in _reached(address))
        )

    @property
    def is_link_local(self) -> bool:
        """Whether the host is an address of the link, or the one at which a cloud keeps its metadata beside these."""
        return is_of_link(self.host)

    @property
    def plain(self) -> Origin:
        """The same host without encryption."""
        return Origin("http", self.host, PORTS["http"] if self.port == PORTS["https"] else self.port)

    def __str__(self) -> str:
        """Return the beginning of its URLs, without a slash at the end."""
        return f"{self.scheme}://{self.authority}"


def is_of_link(host: str) -> bool:
    """Return whether a host is an address of the link, or the one at which a cloud keeps its metadata beside these."""
    address = _address(host)
    return address is not None and any(one.is_link_local or one in _METADATA for one in _reached(address))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_odd_number(host: str) -> bool:
    """Return whether a host is a number that resolvers take for an address, as ``127.1`` and ``0x7f000001``."""
    if _NUMBER.fullmatch(host.rpartition(".")[2]) is None:
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def _reached(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """Yield an address, and the one of IPv4 to which a gateway passes on what is sent there."""
    yield address
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            yield address.sixtofour
        elif address.teredo is not None:
            yield from address.teredo
        elif address in _COMPATIBLE:
            yield IPv4Address(int(address))


def target_of(url: str) -> str:
    """Return the path and query of a URL, byte for byte as they stand in it. Raises `UnsafeRedirect`."""
    return Origin._read(url)[1]  # noqa: SLF001 - one reader of URLs


def resolved(base: str, location: str) -> str:
    """Return the absolute URL that a server means by a text, its path and query unchanged.

    Raises:
        UnsafeRedirect: nothing may be sent there: see the head of this module.
    """
    here = Origin.of(base)
    if _SCHEME.match(location):
        url = location
    elif location.startswith("//"):
        url = f"{here.scheme}:{location}"
    elif location.startswith("/"):
        url = f"{here}{location}"
    elif location.startswith("?"):
        url = base.partition("?")[0] + location
    else:
        try:
            url = urljoin(base, location)
        except ValueError as error:
            raise UnsafeRedirect(f"{shown(location)!r} is not a URL that is safe to follow") from error
    url = url.partition("#")[0]
    check_way(here, Origin.of(url), url)
    return url


def check_way(here: Origin, there: Origin, url: str) -> None:
    """Check that a server may lead its client from one origin to another. Raises `UnsafeRedirect`."""
    if there.is_private and not here.is_private:
        raise UnsafeRedirect(f"{here} leads to {shown(url)}, which is not a public address", registry=here.authority)
    leads_home = there.is_here and not here.is_here
    if leads_home or (there.is_link_local and not here.is_link_local):
        what = "an address of this machine" if leads_home else "a link-local address"
        raise UnsafeRedirect(f"{here} leads to {shown(url)}, {what}", registry=here.authority)
    if (here.scheme, there.scheme) == ("https", "http"):
        why = f"{here} leads to {shown(url)}, which is not encrypted"
        if here.host == there.host:
            why += "; its proxy must tell it the scheme (X-Forwarded-Proto: https)"
        raise UnsafeRedirect(why, registry=here.authority)


def is_same_site(one: Origin, other: Origin) -> bool:
    """Return whether two hosts belong together, so that one may ask for what was given for the other.

    They do where they are one host (on any port), where one's domain holds the other, and where both lie in one domain
    that is not known to have room for strangers. What is mistaken for a neighbour here is still a place that the
    registry itself chose, and the registry could have asked for the same credentials.
    """
    if one.host == other.host:
        return True
    if one.address is not None or other.address is not None:
        return one.is_loopback and other.is_loopback and "localhost" in {one.host, other.host}
    mine, others = one.host.split(".")[::-1], other.host.split(".")[::-1]
    shared = 0
    while shared < min(len(mine), len(others)) and mine[shared] == others[shared]:
        shared += 1
    domain = mine[:shared][::-1]
    if len(domain) < 2 or ".".join(domain[-2:]) in _SHARED or ".".join(domain) in _SHARED:
        return False
    is_suffix = len(domain) == 2 and len(domain[1]) == 2 and domain[0] in _SECOND_LEVELS
    # One domain holds the other, or both lie right in it.
    return not is_suffix and max(len(mine), len(others)) - shared <= 2 and min(len(mine), len(others)) - shared <= 1
