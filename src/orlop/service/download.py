"""What a URL names, as a stream."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, Protocol

from orlop._version import __version__
from orlop.errors import DownloadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

_SCHEMES: Final = ("http://", "https://")
_PATIENCE: Final = 60
"""Seconds without a byte after which a download is given up."""


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
        error.close()
        msg = f"cannot download {url}: the server answers {error.code} {error.reason}"
        raise DownloadFailed(msg) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        msg = f"cannot download {url}: {reason}"
        raise DownloadFailed(msg) from error
    with response:
        yield _Body(response, url)


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
            # What is there, and not all of it: whoever fetches may have to stop.
            data = self._response.read1(n)
        except (OSError, HTTPException) as error:
            msg = f"cannot download {self._url}: {error}"
            raise DownloadFailed(msg) from error
        if not data and self._response.length:
            msg = f"cannot download {self._url}: it ends {self._response.length} bytes too early"
            raise DownloadFailed(msg)
        return data
