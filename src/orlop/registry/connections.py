"""Connections to servers, over `http.client`: they are made, send and read in steps, so that a watch can end any wait.

What the library does is to write a request's head and to read an answer's. Where it would wait in one call - for an
address, a connection, a proxy, a handshake, a socket that takes no more - this does so in steps.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import OrlopError, UnsafeRedirect
from orlop.registry.handshakes import AwaitedTLS, CameEarly, agreeing
from orlop.registry.origin import is_of_link
from orlop.streams.awaited import awaited_response, is_interim, queued
from orlop.streams.waiting import awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orlop.registry.handshakes import ClientContext
    from orlop.registry.patience import Watch
    from orlop.streams.awaited import Answered

    Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]

_TICK: Final = 0.5
_PIECE: Final = 1 << 20
_PEEKED: Final = 1 << 16
_SHORTEST: Final = 3.0
"""Seconds that an address of several is tried at least."""


def resolved(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Return the addresses of a host and port. Raises `OSError`, or `ValueError` for what cannot be a host."""
    # As text it would be encoded by a codec that takes longer to import than most searches.
    return socket.getaddrinfo(host.encode() if host.isascii() else host, port, type=socket.SOCK_STREAM)


class Connection(HTTPConnection):
    """A connection that carries one request after the other. `watch` is that of the request under way.

    Args:
        host: what it leads to: the server, or a proxy.
        port: of that.
        timeout: seconds that one step of a connection may take.
        resolve: returns the addresses of a host and port, as `socket.getaddrinfo` does.
        forward: whether it leads to a proxy that takes whole URLs.
        added: headers for that proxy alone.
        is_led: whether another server led here; then it does not go to the addresses of the link.
    """

    response_class: Any
    watch: Watch
    verify = True
    """Whether the certificate of its server was checked."""
    is_in_body = False
    """Whether the body of a request is being sent."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
        resolve: Resolve = resolved,
        forward: bool = False,
        added: Mapping[str, str] | None = None,
        is_led: bool = False,
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self.forward = forward
        self.added = dict(added or {})
        self._seconds = timeout
        self._resolve = resolve
        self._is_led = is_led
        self._through: tuple[str, int, Mapping[str, str]] | None = None

    def tunnel_to(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        """Have the proxy that it leads to connect it with a server; the headers are for the proxy."""
        self._through = host, port, headers

    def begin(self, watch: Watch) -> None:
        """Use a watch for the next request."""
        self.watch = watch
        watch.queued = self._queued
        self.response_class = partial(awaited_response, watch)

    @property
    def is_connected(self) -> bool:
        """Whether it is open, and its server has not closed it meanwhile."""
        return self.sock is not None and not _is_ready(self.sock, select.POLLIN, 0)

    def _queued(self) -> int:
        return 0 if self.sock is None else queued(self.sock)

    def connect(self) -> None:
        """Connect to the server, perhaps through a proxy."""
        self.sock = self._connected()
        if self._through is not None:
            self._ask_proxy(*self._through)

    def ask(self, method: str, target: str, headers: dict[str, str], body: Iterable[bytes] | None) -> None:
        """Send a request. A body whose size no header tells is sent in chunks."""
        self.request(method, target, body=body, headers=headers, encode_chunked=True)

    def answer(self) -> Answered:
        """Return the answer to the request, once its head is there."""
        response: Any = self.getresponse()
        return response  # type: ignore[no-any-return] # what `response_class` makes

    def _connected(self) -> socket.socket:
        addresses = self._addresses()
        limit = max(_SHORTEST, self.watch.connect / max(1, len(addresses)))
        last: OSError = OSError(errno.EADDRNOTAVAIL, "the host has no address")
        for family, kind, number, _, address in addresses:
            sock = socket.socket(family, kind, number)
            try:
                self._reach(sock, address, limit)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(self._seconds)
            except OSError as error:
                sock.close()
                if isinstance(error, OrlopError):
                    raise
                last = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise last

    def _addresses(self) -> Sequence[tuple[Any, ...]]:
        """Return the addresses of the host. A search for them cannot be ended: it is left alone if the wait ends."""
        work = partial(self._resolve, self.host, self.port or 0)
        found = awaited(work, partial(self.watch.look, is_awaited=True), every=_TICK)
        self.watch.look(is_awaited=False)
        if not self._is_led:
            return found
        # Where a name leads is known now only, and may be another place than a moment ago.
        safe = [one for one in found if not is_of_link(one[4][0])]
        if found and not safe:
            raise UnsafeRedirect(f"a server leads to {self.host}, which has a link-local address")
        return safe

    def _reach(self, sock: socket.socket, address: Any, limit: float) -> None:
        sock.setblocking(False)
        found = sock.connect_ex(address)
        ticks = 0
        while found == errno.EINPROGRESS:
            self.watch.look(is_awaited=True)
            if _is_ready(sock, select.POLLOUT, _TICK):
                found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            elif (ticks := ticks + 1) * _TICK >= limit:
                found = errno.ETIMEDOUT
        self.watch.look(is_awaited=False)
        if found:
            raise OSError(found, os.strerror(found))

    def _ask_proxy(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *(f"{name}: {text}" for name, text in headers.items())]
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
        response = self.response_class(self.sock, method="CONNECT")
        try:
            response.begin()
            if response.status != 200:
                self.close()
                raise OSError(f"Tunnel connection failed: {response.status} {response.reason}")
        finally:
            response.close()
        self.sock.settimeout(self._seconds)

    def send(self, data: Any) -> None:
        """Send bytes, as far as the server takes them."""
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        self.sock.settimeout(_TICK)
        while view:
            self.watch.look(is_awaited=True)
            if self.is_in_body and self._is_answered():
                raise BrokenPipeError(errno.EPIPE, "the server answered before all was sent")
            try:
                count = self.sock.send(view[:_PIECE])
            except TimeoutError:
                continue
            self.watch.sent(count)
            self.watch.look(is_awaited=False)
            view = view[count:]

    def _is_answered(self) -> bool:
        """Return whether an answer has begun, or the server has hung up. What only announces an answer is none."""
        # An encrypted connection has more to read than answers.
        if type(self.sock) is not socket.socket or not _is_ready(self.sock, select.POLLIN, 0):
            return False
        return not is_interim(self.sock.recv(_PEEKED, socket.MSG_PEEK))


class EncryptedConnection(Connection):
    """A connection that is encrypted from end to end. Takes what a `Connection` does, the server's name and how."""

    def __init__(self, host: str, port: int, *, name: str, context: ClientContext, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._name = name.rstrip(".")
        self._context = context
        context.sslsocket_class = AwaitedTLS
        context.set_alpn_protocols(["http/1.1"])

    @property
    def is_connected(self) -> bool:
        """Whether it is open, and its server has sent nothing that nobody asked for, decrypted already or not."""
        return super().is_connected and not (isinstance(self.sock, AwaitedTLS) and self.sock.pending())

    def connect(self) -> None:
        """Connect, and agree on how to encrypt."""
        with agreeing(self.watch):
            try:
                self._encrypt()
            except CameEarly:
                self._encrypt()

    def _encrypt(self) -> None:
        super().connect()
        name = self._name.encode() if self._name.isascii() else self._name  # see `resolved`
        self.sock = self._context.wrap_socket(self.sock, server_hostname=name)


def _is_ready(sock: socket.socket, event: int, seconds: float) -> bool:
    """Return whether a socket can be read or written, or is broken, within some time."""
    found = select.poll()
    found.register(sock, event)
    return bool(found.poll(seconds * 1000))
