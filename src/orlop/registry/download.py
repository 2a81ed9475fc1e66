"""What a URL names, as a stream."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from orlop._version import __version__
from orlop.errors import DownloadFailed, InvalidInput
from orlop.model.proxies import NO_PROXIES
from orlop.model.urls import credentials, is_torn, scrubbed, without_credentials
from orlop.registry.awaited import awaited_response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPMessage, HTTPResponse

    from orlop.model.proxies import Proxies
    from orlop.registry.awaited import Patience

_SCHEMES: Final = ("http://", "https://")
_PATIENCE: Final = 60
"""Seconds without a byte after which a download is given up."""
_LONGEST_REASON: Final = 256
_PARTS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_PORT: Final = re.compile(r"(?:\[.*\]|[^:]*)(?P<port>:.*)?", re.DOTALL)
_TORN: Final = "write the characters /, ?, # and @ of a password as %2F, %3F, %23 and %40"
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


def is_url(text: str) -> bool:
    """Return whether a text is a URL that can be downloaded."""
    return text.startswith(_SCHEMES)


@contextmanager
def downloaded(url: str, proxies: Proxies | None = None, patience: Patience | None = None) -> Iterator[Readable]:
    """Open a URL of ``http`` or ``https`` for a block, and yield its body. Nothing is read from the environment.

    Reading raises `DownloadFailed` where the body ends too early. A name and password in the URL are sent to its own
    scheme, host and port alone, as Basic authorization, and are part of no error.

    Args:
        url: what is fetched.
        proxies: through which it may be.
        patience: asked while the server is waited for. Without it, a server that sends nothing for a minute is given
            up; one that sends a little now and then may take as long as it likes.

    Raises:
        DownloadFailed: there is no answer, or one that is not a success. What ``patience`` raises.
    """
    whole, url = url, without_credentials(url)
    if is_torn(whole):
        msg = f"cannot download {url}: {_TORN}"
        raise DownloadFailed(msg)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"orlop/{__version__}"})  # noqa: S310 - see _opener
        opener = _opener(proxies or NO_PROXIES, _Authorization(whole), patience)
        response = opener.open(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        raise _refused(url, error) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        msg = scrubbed(f"cannot download {url}: {reason}")
        raise DownloadFailed(msg) from error
    with response:
        yield _Body(response, url)


def check_url(url: str) -> None:
    """Raise `InvalidInput` for a URL that Go's ``net/url`` would not read."""
    parts = _PARTS.match(url)
    why = ""
    if not all(character.isprintable() for character in url):
        why = "net/url: invalid control character in URL"
    elif parts is None:
        why = "missing protocol scheme"
    elif is_torn(url):
        why = f"invalid port after host: {_TORN}"
    elif bad := _BAD_ESCAPE.search(parts["host"] + parts["path"]):
        why = f'invalid URL escape "{bad[0]}"'
    elif bad := re.search(r"[ \\^`{|}]", parts["host"]):
        why = f'invalid character "{bad[0]}" in host name'
    elif (port := (_PORT.match(parts["host"]) or {"port": None})["port"]) and not re.fullmatch(":[0-9]*", port):
        why = f'invalid port "{port}" after host'
    if why:
        raise InvalidInput(f'parse "{without_credentials(url)}": {why}')


def _refused(url: str, error: urllib.error.HTTPError) -> DownloadFailed:
    with error:
        try:
            reason = error.read(_LONGEST_REASON).decode(errors="replace").strip()
        except (OSError, HTTPException):
            reason = "error reading body"
    msg = scrubbed(f"failed to GET {url} with status {error.code} {error.reason}: {reason}")
    return DownloadFailed(msg, answered=error.code)


def _opener(
    proxies: Proxies, authorization: _Authorization, patience: Patience | None
) -> urllib.request.OpenerDirector:
    # The usual one also reads files and FTP, to which a server might redirect.
    opener = urllib.request.OpenerDirector()
    for handler in (
        authorization,
        _ThroughProxies(proxies),
        urllib.request.UnknownHandler(),
        _AwaitedHTTP(patience),
        _AwaitedHTTPS(patience),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirections(authorization),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _AwaitedHTTP(urllib.request.HTTPHandler):
    """Opens ``http``."""

    def __init__(self, patience: Patience | None) -> None:
        super().__init__()
        self._patience = patience

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Return the answer to a request."""
        return self.do_open(partial(_connection, HTTPConnection, self._patience), req)


class _AwaitedHTTPS(urllib.request.HTTPSHandler):
    """Opens ``https``."""

    def __init__(self, patience: Patience | None) -> None:
        super().__init__()
        self._patience = patience

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Return the answer to a request."""
        return self.do_open(partial(_connection, HTTPSConnection, self._patience), req)


def _connection(kind: type[HTTPConnection], patience: Patience | None, host: str, **options: Any) -> HTTPConnection:
    connection = kind(host, **options)
    if patience is not None:
        # Proxies are asked for a tunnel through the same class.
        connection.response_class = partial(awaited_response, patience)  # type: ignore[assignment]
    return connection


class _Authorization(urllib.request.BaseHandler):
    """Adds the name and password of a URL to each request for its own server, also one after a redirection."""

    def __init__(self, url: str) -> None:
        self._headers: dict[tuple[str, str | None, int], str] = {}
        self.learn(url)

    def learn(self, url: str) -> None:
        """Note the name and password of a URL, if it has them, for its own server."""
        secret = credentials(url)
        if secret is not None:
            self._headers[_server(without_credentials(url))] = _basic(secret)

    def http_request(self, req: urllib.request.Request) -> urllib.request.Request:
        """Return a request with the header that it needs."""
        header = self._headers.get(_server(req.full_url))
        if header is not None:
            req.add_unredirected_header("Authorization", header)
        return req

    https_request = http_request


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections; what is secret in their addresses is in no request but the one to their server."""

    def __init__(self, authorization: _Authorization) -> None:
        self._authorization = authorization

    def redirect_request(  # noqa: PLR0917 - the base class's arguments
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for the next address."""
        bare = without_credentials(newurl)
        try:
            if is_torn(newurl):
                raise urllib.error.URLError(f"it leads to {bare}: {_TORN}")
            self._authorization.learn(newurl)
        except (OSError, ValueError):
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, bare)


def _server(url: str) -> tuple[str, str | None, int]:
    place = urlsplit(url)
    return place.scheme, place.hostname, place.port or (443 if place.scheme == "https" else 80)


def _basic(secret: str) -> str:
    name, _, password = secret.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


class _ThroughProxies(urllib.request.ProxyHandler):
    """Sends each request, also one after a redirection, through the proxy for its host.

    The base class asks the environment which hosts need no proxy.
    """

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        super().__init__(dict(proxies.by_scheme))

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> None:  # noqa: A002, ARG002 - the base class's names
        """Set the proxy of a request, which another handler then opens."""
        place = urlsplit(req.full_url)
        url = self._proxies.for_host(type, place.hostname or "", place.port)
        if url is None:
            return
        url = url if "://" in url else f"http://{url}"
        if is_torn(url):
            raise urllib.error.URLError(f"the URL of the proxy for {type} cannot be read: {_TORN}")
        through, secret = urlsplit(without_credentials(url)), credentials(url)
        if through.scheme != "http" or not through.hostname:
            raise urllib.error.URLError(f"the proxy for {type} is not an http:// URL")
        if secret is not None:
            # A redirection must not carry it to somebody else.
            req.add_unredirected_header("Proxy-Authorization", _basic(secret))
        req.set_proxy(through.netloc, through.scheme)


class _Body:
    """The body of an answer, which must be as long as its header says."""

    def __init__(self, response: HTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        try:
            # What is there, and not all of it: whoever fetches may have to stop.
            data = self._response.read1(n)
        except (OSError, HTTPException) as error:
            msg = scrubbed(f"cannot download {self._url}: {error}")
            raise DownloadFailed(msg) from error
        if not data and self._response.length:
            msg = f"cannot download {self._url}: it ends {self._response.length} bytes too early"
            raise DownloadFailed(msg)
        return data
