"""What a listener asks of those who come, by where it listens: nobody is let in by oversight."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.api.access import Policy
from orlop.api.listeners import Address, Listener
from orlop.api.server import Door, Serves
from orlop.api.tls import RenewableContext
from orlop.errors import InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.api.listeners import Activation
    from orlop.api.tls import Certificates

_OPEN: Final = "give --tlsverify, so that clients show a certificate, or --token-file, or --allow-anonymous"


@dataclass(frozen=True, slots=True)
class Security:
    """How a server keeps strangers out.

    Args:
        certificates: for TLS on TCP.
        token: a secret that clients on TCP must send.
        anonymous: clients on TCP may come without certificate and token.
        read_only: nothing may be changed by anybody.
        hosts: names under which a server on TCP without TLS may be asked, besides its address.
        group: the number of a group that may use Unix sockets too.
    """

    certificates: Certificates | None = None
    token: str | None = None
    anonymous: bool = False
    read_only: bool = False
    group: int | None = None
    hosts: tuple[str, ...] = ()


def doors(
    addresses: Sequence[Address],
    security: Security,
    activation: Activation | None = None,
    serves: Serves = Serves.ENGINE,
) -> list[Door]:
    """Listen at addresses; whoever gets the doors closes their listeners.

    Unix sockets are kept by their mode. TCP asks for certificates or a token, unless it was said that anybody may come,
    and goes beyond this machine with TLS only. Where only the registry is served, this machine may ask for it.

    Raises:
        InvalidAddress: an address may not be served so. ListenFailed: it cannot be listened there.
    """
    tls = None if security.certificates is None else RenewableContext(security.certificates)
    for address in addresses:
        if address.kind == "tcp":
            _check(str(address), security, serves, is_local=address.is_local)
    opened: list[Door] = []
    try:
        for address in addresses:
            listener = Listener(address, tls=tls is not None, group=security.group, activation=activation)
            opened.append(Door(listener, Policy(read_only=security.read_only)))
            opened[-1] = _door(listener, security, tls, serves)
    except BaseException:
        for door in opened:
            door.listener.close()
        raise
    return opened


def _door(listener: Listener, security: Security, tls: RenewableContext | None, serves: Serves) -> Door:
    if all(one.family == socket.AF_UNIX for one in listener.sockets):
        return Door(listener, Policy(read_only=security.read_only), serves=serves)
    if listener.address.kind == "fd":
        # What systemd handed over is only known now.
        for place in listener.places():
            _check(place, security, serves, is_local=Address.parse(place).is_local)
    # With TLS the certificate says who the server is: no page can give it another name.
    names = {"localhost", listener.address.place.lower(), *(one.partition(":")[0].lower() for one in security.hosts)}
    hosts = None if tls is not None else frozenset(names)
    return Door(listener, Policy(security.token, hosts, security.read_only), tls, serves)


def _check(place: str, security: Security, serves: Serves, *, is_local: bool) -> None:
    if security.certificates is None and not is_local:
        raise InvalidAddress(f"{place} can be reached from other machines: give --tls or --tlsverify with certificates")
    if is_local and serves is Serves.REGISTRY:
        return
    verified = security.certificates is not None and security.certificates.authority is not None
    if not verified and security.token is None and not security.anonymous:
        raise InvalidAddress(f"{place} would be open to anyone who can connect: {_OPEN}")
