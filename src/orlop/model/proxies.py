"""Which proxy a request goes through."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import WrongType
from orlop.model.given import check_text, shown
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of a program: one for each scheme, and the hosts that are reached directly.

    Args:
        by_scheme: the URL of a proxy for each of ``http`` and ``https``. It may hold a user and a password, so it is
            not part of the ``repr``.
        direct: hosts that are reached without a proxy, as in ``no_proxy``: a domain with all below it (with or without
            a leading dot), an address, a network (``10.0.0.0/8``), each with or without a port, or ``*`` for all.
    """

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    direct: tuple[str, ...] = ()

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Return the proxies of the environment: ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy``.

        Each may also be written in capitals; lower case wins. ``HTTP_PROXY`` is ignored if a web server runs the
        program (``REQUEST_METHOD`` is set), because then a client can set it by a header.

        Raises:
            WrongType: these are not variables.
        """
        if not hasattr(variables, "keys") or not hasattr(variables, "get"):
            raise WrongType(f"variables are a mapping, such as os.environ, not {shown(variables)}")

        def value(name: str) -> str:
            upper = "" if name == "http_proxy" and "REQUEST_METHOD" in variables else variables.get(name.upper(), "")
            return variables.get(name, upper).strip()

        found = {scheme: value(f"{scheme}_proxy") or value("all_proxy") for scheme in _PORTS}
        exceptions = (one.strip().lower() for one in value("no_proxy").split(","))
        return cls({scheme: url for scheme, url in found.items() if url}, tuple(one for one in exceptions if one))

    def for_host(self, scheme: str, host: str, port: int | None = None) -> str | None:
        """Return the URL of the proxy for a host, or None if it is reached directly. Raises `WrongType`."""
        check_text(scheme, "a scheme")
        check_text(host, "a host")
        proxy = self.by_scheme.get(scheme)
        if proxy is None or self._is_direct(host.lower().strip("[]").rstrip("."), port or _PORTS.get(scheme)):
            return None
        return proxy

    def _is_direct(self, host: str, port: int | None) -> bool:
        return any(one == "*" or _covers(one, host, port) for one in self.direct)


def _covers(exception: str, host: str, port: int | None) -> bool:
    """Return whether an entry of ``no_proxy`` covers a host."""
    name, only_port = _split_port(exception)
    if only_port is not None and only_port != port:
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        # One of the two is not an address.
        domain = name.removeprefix("*").lstrip(".").rstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(exception: str) -> tuple[str, int | None]:
    """Return the host of an entry of ``no_proxy``, and its port if it has one. Only IPv6 needs brackets for that."""
    host, colon, port = exception.rpartition(":")
    if colon and port.isdecimal() and port.isascii() and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(port[:6])
    return exception.strip("[]"), None


NO_PROXIES: Final = Proxies()
"""Every host is reached directly."""
