"""What a URL names, as a stream."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from orlop._version import __version__
from orlop.errors import DownloadFailed, InvalidInput
from orlop.model.proxies import NO_PROXIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

    from orlop.model.proxies import Proxies

_SCHEMES: Final = ("http://", "https://")
_PATIENCE: Final = 60
"""Seconds without a byte after which a download is given up."""
_LONGEST_REASON: Final = 256
_PARTS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_PORT: Final = re.compile(r"(?:\[.*\]|[^:]*)(?P<port>:.*)?", re.DOTALL)
_CREDENTIALS: Final = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^/?#]*@", re.DOTALL)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""


def is_url(text: str) -> bool:
    """Say whether a text is a URL that can be downloaded."""
    return text.startswith(_SCHEMES)


def without_credentials(url: str) -> str:
    """Return a URL, with or without its scheme, without the name and password before its host: what may be shown."""
    return _CREDENTIALS.sub(r"\1", url, count=1) if _CREDENTIALS.match(url) else url


@contextmanager
def downloaded(url: str, proxies: Proxies | None = None) -> Iterator[Readable]:
    """Open a URL of ``http`` or ``https`` for a block, and yield its body. Nothing is read from the environment.

    Reading raises `DownloadFailed` where the body ends too early. A name and password in the URL are sent to its own
    scheme, host and port alone, as Basic authorization, and are part of no error.

    Raises:
        DownloadFailed: there is no answer, or one that is no success.
    """
    whole, url = url, without_credentials(url)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"orlop/{__version__}"})  # noqa: S310 - see _opener
        response = _opener(proxies or NO_PROXIES, _Authorization(whole)).open(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        raise _refused(url, error) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        msg = f"cannot download {url}: {reason}"
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
    return DownloadFailed(f"failed to GET {url} with status {error.code} {error.reason}: {reason}", answered=error.code)


def _opener(proxies: Proxies, authorization: _Authorization) -> urllib.request.OpenerDirector:
    # The usual one also reads files and FTP, to which a server might redirect.
    opener = urllib.request.OpenerDirector()
    for handler in (
        authorization,
        _ThroughProxies(proxies),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Authorization(urllib.request.BaseHandler):
    """Adds the name and password of a URL to each request for its own server, also one after a redirection."""

    def __init__(self, url: str) -> None:
        self._whole = url

    def http_request(self, req: urllib.request.Request) -> urllib.request.Request:
        """Return a request with the header that it needs."""
        place = urlsplit(self._whole)
        if place.username is not None and _server(req.full_url) == _server(self._whole):
            req.add_unredirected_header("Authorization", _basic(place.username, place.password))
        return req

    https_request = http_request


def _server(url: str) -> tuple[str, str | None, int]:
    place = urlsplit(url)
    return place.scheme, place.hostname, place.port or (443 if place.scheme == "https" else 80)


def _basic(name: str, password: str | None) -> str:
    pair = f"{unquote(name)}:{unquote(password or '')}"
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
        through = urlsplit(url if "://" in url else f"http://{url}")
        if through.scheme != "http" or not through.hostname:
            raise urllib.error.URLError(f"the proxy for {type} is not an http:// URL")
        if through.username is not None:
            # A redirection must not carry it to somebody else.
            req.add_unredirected_header("Proxy-Authorization", _basic(through.username, through.password))
        req.set_proxy(through.netloc.rpartition("@")[2], through.scheme)


class _Body:
    """The body of an answer, which must be as long as its header says."""

    def __init__(self, response: HTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""
        try:
            # What is there, and not all of it: whoever fetches may have to stop.
            data = self._response.read1(n)
        except (OSError, HTTPException) as error:
            msg = f"cannot download {self._url}: {error}"
            raise DownloadFailed(msg) from error
        if not data and self._response.length:
            msg = f"cannot download {self._url}: it ends {self._response.length} bytes too early"
            raise DownloadFailed(msg)
        return data
