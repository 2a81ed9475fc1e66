"""Where a server listens: addresses as docker writes them, and the sockets for them."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidAddress, ListenFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGITS: Final = 9
_PORT: Final = 2375
_TLS_PORT: Final = 2376
_FIRST_FD: Final = 3
_BACKLOG: Final = 512
_LONGEST_PATH: Final = 107
_PATIENCE: Final = 5


@dataclass(frozen=True, slots=True)
class Address:
    """One place to listen: ``kind`` is ``unix`` (``place`` a path), ``tcp`` (a host, with a port), or ``fd``.

    For ``fd`` the place is a descriptor's number or name among those that systemd hands over; empty means all.
    """

    kind: str
    place: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``unix:///path``, ``tcp://host:port`` or ``fd://[number or name]``.

        Raises:
            InvalidAddress: it is none of these.
        """
        kind, separator, rest = text.partition("://")
        if kind == "unix" and separator and rest.startswith("/"):
            if len(os.fsencode(rest)) > _LONGEST_PATH:
                raise InvalidAddress(
                    f"the path of {text!r} is longer than {_LONGEST_PATH} bytes, the limit for a socket"
                )
            return cls(kind, rest)
        if kind == "fd" and separator and "/" not in rest:
            return cls(kind, rest)
        if kind == "tcp" and separator:
            return cls(kind, *_host_and_port(text, rest.rstrip("/")))
        raise InvalidAddress(f"{text!r} is not an address; give unix:///path, tcp://host:port or fd://")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.kind != "tcp":
            return True
        if self.place == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.place).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.kind != "tcp":
            return f"{self.kind}://{self.place}"
        host = f"[{self.place}]" if ":" in self.place else self.place
        return f"tcp://{host}" if self.port is None else f"tcp://{host}:{self.port}"


def _host_and_port(text: str, rest: str) -> tuple[str, int | None]:
    host, colon, port = rest.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = rest, ""
    host = host.removeprefix("[").removesuffix("]")
    if (port and not (port.isascii() and port.isdecimal() and int(port[:6]) <= 0xFFFF)) or "/" in host:
        raise InvalidAddress(f"{text!r} has no port between 0 and 65535; give tcp://host:port")
    return host, int(port) if port else None


@dataclass(frozen=True, slots=True)
class Activation:
    """The sockets that systemd hands over: how many, and their names, as its environment variables say."""

    count: int = 0
    names: tuple[str, ...] = ()


class Listener:
    """The listening sockets of an address.

    A Unix socket is for its owner alone, or for a group too. A file of one that nobody listens on any more is replaced.

    Args:
        address: where.
        tls: whether connections will be encrypted: it decides the port where none is given.
        group: the number of a group that may connect to a Unix socket too.
        activation: what systemd handed over, for an address of the kind ``fd``.

    Raises:
        ListenFailed: it cannot be listened there.
    """

    def __init__(
        self,
        address: Address,
        *,
        tls: bool = False,
        group: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        self.address = address
        self._file: tuple[int, int] | None = None
        self.sockets: list[socket.socket] = []
        try:
            if address.kind == "fd":
                self.sockets.extend(_handed_over(address, activation or Activation()))
            elif address.kind == "unix":
                self.sockets.append(_unix(address, group))
                self._file = _identity(address.place)
            else:
                self.sockets += _tcp(address, _TLS_PORT if tls else _PORT)
        except OSError as error:
            for one in self.sockets:
                one.close()
            # What the resolver of names says has numbers of its own.
            reason = error.strerror or str(error)
            raise ListenFailed(f"cannot listen on {address}: {reason}") from error

    def places(self) -> list[str]:
        """Return where it listens, for people."""
        return [_place(one) for one in self.sockets]

    def close(self) -> None:
        """Listen no more, and remove the file of a Unix socket, if it still is this one's."""
        for one in self.sockets:
            one.close()
        with suppress(OSError):
            if self._file is not None and self._file == _identity(self.address.place):
                os.unlink(self.address.place)


def _identity(path: str) -> tuple[int, int]:
    state = os.lstat(path)
    return state.st_dev, state.st_ino


def _place(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix://{os.fsdecode(name)}"
    return str(Address("tcp", name[0], name[1]))


def _unix(address: Address, group: int | None) -> socket.socket:
    _remove_stale(address)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # It must at no moment be open to others.
        before = os.umask(0o177)
        try:
            listener.bind(address.place)
        finally:
            os.umask(before)
        if group is not None:
            _open_to(group, address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _open_to(group: int, address: Address) -> None:
    """Allow a group to connect to a socket that was just made.

    Whoever may write to its directory can put a link in its place meanwhile, which would give another file away.
    """
    descriptor = os.open(address.place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISSOCK(state.st_mode) or state.st_uid != os.geteuid():
            raise ListenFailed(f"cannot listen on {address}: its socket was replaced; choose another directory")
        place = f"/proc/self/fd/{descriptor}"
        os.chown(place, -1, group)
        os.chmod(place, 0o660)
    finally:
        os.close(descriptor)


def _remove_stale(address: Address) -> None:
    """Remove the file of a socket that a server left behind when it was killed."""
    try:
        state = os.lstat(address.place)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(state.st_mode):
        raise ListenFailed(f"cannot listen on {address}: a file that is not a socket is in the way; move it away")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(address.place)
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(address.place)
            return
        except FileNotFoundError:
            return
        except TimeoutError:
            pass
    raise ListenFailed(f"cannot listen on {address}: another server listens there; stop it or choose another path")


def _tcp(address: Address, default: int) -> list[socket.socket]:
    port = default if address.port is None else address.port
    found: list[socket.socket] = []
    refused: OSError | None = None
    places = socket.getaddrinfo(address.place or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, kind, protocol, _, place in dict.fromkeys(places):
            try:
                found.append(_bound(socket.socket(family, kind, protocol), place))
            except OSError as error:
                # A name may stand for addresses of which this machine has only some.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                refused = error
    except BaseException:
        for one in found:
            one.close()
        raise
    if not found:
        raise refused or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return found


def _bound(listener: socket.socket, place: tuple[object, ...]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _handed_over(address: Address, activation: Activation) -> Iterator[socket.socket]:
    numbers = list(range(_FIRST_FD, _FIRST_FD + activation.count))
    if address.place.isascii() and address.place.isdecimal() and len(address.place) <= _DIGITS:
        numbers = [number for number in numbers if number == int(address.place)]
    elif address.place:
        named = zip(numbers, activation.names, strict=False)
        numbers = [number for number, name in named if name == address.place]
    if not numbers:
        raise ListenFailed(f"cannot listen on {address}: systemd handed over no such socket; check the socket unit")
    for number in numbers:
        listener = socket.socket(fileno=number)
        listener.setblocking(False)
        os.set_inheritable(number, False)
        yield listener
