"""The transport: HTTP/1.1 over connections that are kept alive, within bounds of time and size.

One request goes out, and one answer comes back as it is: redirections, repetitions and encodings are for those above.

- **Connections** are kept for each origin (and proxy), and the one used last is used next. One that its server closed
  meanwhile is noticed when it is taken, or when it fails before an answer began; then the request goes out once more on
  a new one, unless it carries a body with a place in a sequence (``PUT``, ``PATCH``).
- **Waiting** is in steps of at most half a second, whether for an address, a connection, its encryption, a socket that
  takes no more, or bytes, so that a watch can end it: because nothing moves, or because the user does not want it any
  more.
- **Answers may come early.** A registry that refuses a body says so before it is all sent. It is looked for before each
  piece where the connection is plain; where it is encrypted, a broken pipe is the sign. The connection is not
  used again.
- **Heads are bounded** by `http.client`: 100 headers of 64 KiB each; with all interim answers (1xx) before it, and for
  whatever is not part of a body (the sizes of chunks, what follows them), by `Watch`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from contextlib import closing
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from orlop._version import __version__
from orlop.errors import InvalidAnswer, OrlopError, ReadFailed, RegistryUnreachable, SizeMismatch
from orlop.model.proxies import NO_PROXIES
from orlop.model.urls import credentials, is_torn, scrubbed, without_credentials
from orlop.registry.connections import Connection, EncryptedConnection, resolved
from orlop.registry.messages import Answer, Headers
from orlop.registry.origin import Origin, target_of
from orlop.registry.patience import Waiting, Watch
from orlop.streams.files import exhausted, exhaustion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.model.proxies import Proxies
    from orlop.registry.handshakes import ClientContext
    from orlop.registry.messages import Body, Request
    from orlop.streams.awaited import Answered

USER_AGENT: Final = f"orlop/{__version__}"
_PIECE: Final = 1 << 20
_DRAINED: Final = 1 << 16
"""How much of a body that nobody wants is read to keep its connection."""
_KEPT: Final = 8
"""How many connections are kept for each origin while nobody uses them."""
_IN_SEQUENCE: Final = frozenset({"PUT", "PATCH"})
_TORN: Final = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
_FAILURES: Final = (OSError, HTTPException, ValueError)


class Trust(Protocol):
    """Whom encrypted connections trust."""

    def context(self, origin: Origin, *, verify: bool = True) -> ClientContext:
        """Return what encrypts connections to an origin, whose certificate is checked or not."""


class HttpTransport:
    """Carries requests to servers. Threads may share it. Close it at the end.

    Args:
        trust: whom encrypted connections trust.
        proxies: through which servers are reached; this machine never is.
        waiting: how long servers are waited for, and what ends that.
        resolve: returns the addresses of a host and port, as `socket.getaddrinfo` does.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        proxies: Proxies = NO_PROXIES,
        waiting: Waiting | None = None,
        resolve: Callable[[str, int], Sequence[tuple[Any, ...]]] | None = None,
    ) -> None:
        self._trust = trust
        self._proxies = proxies
        self._waiting = waiting or Waiting()
        self._resolve = resolve or resolved
        self._idle: dict[tuple[Origin, bool], list[Connection]] = {}
        self._turn = threading.Lock()

    def send(self, request: Request) -> Answer:
        """Send a request, and return its answer once the headers are there.

        Raises:
            RegistryUnreachable: there is no answer. UnsafeRedirect: its URL is not one. What ends the wait.
        """
        origin = Origin.of(request.url)
        connection = self._idle_one(origin, verify=request.verify)
        if connection is not None:
            may_repeat = request.can_repeat and request.method not in _IN_SEQUENCE
            try:
                return self._exchange(connection, origin, request)
            except RegistryUnreachable as error:
                if not may_repeat or not isinstance(error.__cause__, _TORN):
                    raise
        made = self._new_one(origin, verify=request.verify, is_led=request.is_led)
        return self._exchange(made, origin, request)

    def close(self) -> None:
        """Close all connections that nobody uses."""
        with self._turn:
            kept, self._idle = self._idle, {}
        for connections in kept.values():
            for connection in connections:
                connection.close()

    def _exchange(self, connection: Connection, origin: Origin, request: Request) -> Answer:
        watch = Watch(self._waiting, origin.authority)
        connection.begin(watch)
        watch.speaks_tls = isinstance(connection.sock, ssl.SSLSocket)
        connection.verify = request.verify
        try:
            with _explaining(origin):
                is_whole = _sent(connection, origin, request)
                watch.begin_head()
                response = connection.answer()
        except BaseException as error:
            if isinstance(error, RegistryUnreachable):
                error.speaks_tls = watch.speaks_tls
            connection.close()
            raise
        watch.begin_body()
        reading = _Reading(self, connection, origin, response, watch, can_keep=is_whole)
        headers = Headers(response.headers.items())
        return Answer(response.status, headers, request.url, read=reading.read, close=reading.close)

    def _idle_one(self, origin: Origin, *, verify: bool) -> Connection | None:
        while True:
            with self._turn:
                kept = self._idle.get((origin, verify))
                connection = kept.pop() if kept else None
            if connection is None or connection.is_connected:
                return connection
            connection.close()

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._turn:
            kept = self._idle.setdefault((origin, connection.verify), [])
            if len(kept) < _KEPT and connection.sock is not None:
                kept.append(connection)
                return
        connection.close()

    def _new_one(self, origin: Origin, *, verify: bool, is_led: bool) -> Connection:
        proxy = None if origin.is_loopback else self._proxies.for_host(origin.scheme, origin.host, origin.port)
        through = None if proxy is None else _proxy(proxy, origin)
        host, port, secret = through or (origin.host, origin.port, {})
        options: dict[str, Any] = {"timeout": self._waiting.patience.connect, "resolve": self._resolve}
        options["is_led"] = is_led and through is None
        if origin.scheme == "http":
            return Connection(host, port, forward=through is not None, added=secret, **options)
        context = self._trust.context(origin, verify=verify)
        encrypted = EncryptedConnection(host, port, name=origin.host, context=context, **options)
        if through is not None:
            encrypted.tunnel_to(origin.host, origin.port, secret)
        return encrypted


class _Reading:
    """The body of one answer, and the connection that it comes from."""

    def __init__(
        self,
        transport: HttpTransport,
        connection: Connection,
        origin: Origin,
        response: Answered,
        watch: Watch,
        *,
        can_keep: bool,
    ) -> None:
        self._transport = transport
        self._connection: Connection | None = connection
        self._origin = origin
        self._response = response
        self._watch = watch
        self._can_keep = can_keep

    def read(self, n: int) -> bytes:
        if n <= 0:
            return b""
        with _explaining(self._origin):
            data = self._response.some(n)
        if len(data) > n:
            self._discard()
            raise InvalidAnswer(f"{self._origin.authority} sends more than it says", registry=self._origin.authority)
        if not data:
            self._release()
        self._watch.came(len(data))
        return data

    def close(self, broken: bool) -> None:  # noqa: FBT001 - as `Answer` calls it
        if broken or not self._can_keep:
            self._discard()
            return
        left = self._response.length
        try:
            if left is not None and left <= _DRAINED:
                while self._connection is not None and self.read(_DRAINED):
                    pass
            elif self._response.isclosed():
                self._release()
        except (InvalidAnswer, RegistryUnreachable):
            pass
        self._discard()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._can_keep:
                self._transport.keep(self._origin, connection)
            else:
                connection.close()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._response.close()
            connection.close()


def _sent(connection: Connection, origin: Origin, request: Request) -> bool:
    """Send a request; return whether all of it was taken."""
    headers = {"Host": origin.authority, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    headers |= dict(request.headers)
    target = request.url.partition("#")[0] if connection.forward else target_of(request.url)
    if connection.forward:
        headers |= connection.added
    body = request.body
    size = 0 if body is None else body.size
    if size is not None and (body is not None or request.method in {"POST", "PUT", "PATCH"}):
        headers["Content-Length"] = str(size)
    connection.is_in_body = False
    try:
        connection.ask(request.method, target, headers, None if body is None else _pieces(connection, body))
    except _TORN:
        if connection.sock is None or not connection.is_in_body:
            raise
        return False
    finally:
        connection.is_in_body = False
    return True


def _pieces(connection: Connection, body: Body) -> Iterator[bytes]:
    """Yield a body piece by piece, exactly as long as it says."""
    connection.watch.begin_body()
    connection.is_in_body = True
    left = body.size
    with _reading(), closing(body.open()) as stream:
        while left is None or left > 0:
            piece = stream.read(_PIECE if left is None else min(left, _PIECE))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            yield piece
    if left:
        raise SizeMismatch(f"what was to be sent ends {left} bytes too early")


class _reading:  # noqa: N801 - used like a function
    """Explain what fails where a body is read, so that it is not taken for a failure of the connection."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, OrlopError):
            raise ReadFailed(f"cannot read what was to be sent: {error}") from error


class _explaining:  # noqa: N801 - used like a function
    """Explain what fails on the way to a server and back."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OrlopError) or not isinstance(error, _FAILURES):
            return
        host = self._origin.authority
        # Whoever looks for an address is not told why that cannot be done.
        found = exhausted(host) if isinstance(error, socket.gaierror) else None
        if found is None and isinstance(error, OSError):
            found = exhaustion(error)
        if found is not None:
            raise found from error
        if isinstance(error, ssl.SSLCertVerificationError):
            text = (
                f"the certificate of {host} is not trusted: {error.verify_message};"
                f" if it should be, put the certificate of its authority into certs.d/{host}/ca.crt"
            )
        elif isinstance(error, ssl.SSLError):
            text = f"cannot speak TLS with {host}: {getattr(error, 'reason', None) or error}"
        elif isinstance(error, ValueError):
            # What Python says of a header that it refuses shows the header.
            text = f"a request to {host} is not valid HTTP"
        elif isinstance(error, socket.gaierror):
            text = f"cannot find the host {host}: {error.strerror or error}"
        elif isinstance(error, IncompleteRead):
            how = f"ends {error.expected} bytes too early" if error.expected else "ends too early, or is malformed"
            text = f"the connection to {host} failed: the answer {how}"
        else:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            text = f"the connection to {host} failed: {words}"
        # What shows a header is not kept as the cause, either.
        cause = None if isinstance(error, ValueError) and not isinstance(error, OSError) else error
        raise RegistryUnreachable(scrubbed(text), registry=host) from cause


def _proxy(url: str, origin: Origin) -> tuple[str, int, dict[str, str]]:
    """Return the host and port of a proxy, and the header that it needs."""
    url = url if "://" in url else f"http://{url}"
    bare, secret = without_credentials(url), credentials(url)
    try:
        place = urlsplit(bare)
        port = place.port or 80
    except ValueError:
        place, port = urlsplit(""), 0
    if is_torn(url) or place.scheme != "http" or not place.hostname:
        raise RegistryUnreachable(
            f"cannot reach {origin.authority}: its proxy is not an http:// URL that can be read",
            registry=origin.authority,
        )
    name, _, password = (secret or "").partition(":")
    pair = b64encode(f"{unquote(name)}:{unquote(password)}".encode(errors="surrogateescape")).decode()
    return place.hostname, port, {"Proxy-Authorization": f"Basic {pair}"} if secret is not None else {}
