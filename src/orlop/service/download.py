"""What a URL names, as a stream."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, Protocol

from orlop._version import __version__
from orlop.errors import DownloadFailed, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

_SCHEMES: Final = ("http://", "https://")
_PATIENCE: Final = 60
"""Seconds without a byte after which a download is given up."""
_LONGEST_REASON: Final = 256
_PARTS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_PORT: Final = re.compile(r"(?:\[.*\]|[^:]*)(?P<port>:.*)?", re.DOTALL)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""


def is_url(text: str) -> bool:
    """Say whether a text is a URL that can be downloaded."""
    return text.startswith(_SCHEMES)


@contextmanager
def downloaded(url: str) -> Iterator[Readable]:
    """Open a URL of ``http`` or ``https``, through the proxies that the environment names.

    Reading raises `DownloadFailed` where the body ends too early. No redirection leads to another scheme.

    Raises:
        DownloadFailed: there is no answer, or one that is no success.
    """
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"orlop/{__version__}"})  # noqa: S310 - see _opener
        response = _opener().open(request, timeout=_PATIENCE)
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
        raise InvalidInput(f'parse "{url}": {why}')


def _refused(url: str, error: urllib.error.HTTPError) -> DownloadFailed:
    with error:
        try:
            reason = error.read(_LONGEST_REASON).decode(errors="replace").strip()
        except (OSError, HTTPException):
            reason = "error reading body"
    return DownloadFailed(f"failed to GET {url} with status {error.code} {error.reason}: {reason}", answered=error.code)


def _opener() -> urllib.request.OpenerDirector:
    # The usual one also reads files and FTP, to which a server might redirect.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Body:
    """The body of an answer, which must be as long as its header says."""

    def __init__(self, response: HTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def read(self, n: int, /) -> bytes:
        """Give at most ``n`` bytes."""
        try:
            data = self._response.read(n)
        except (OSError, HTTPException) as error:
            msg = f"cannot download {self._url}: {error}"
            raise DownloadFailed(msg) from error
        if not data and self._response.length:
            msg = f"cannot download {self._url}: it ends {self._response.length} bytes too early"
            raise DownloadFailed(msg)
        return data
