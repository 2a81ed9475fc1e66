"""What a URL names, as a stream: fetched by the transport of registries, within its bounds of time and size.

Where a server may lead, and who sees a name and password, is decided as for registries: see `orlop.registry.origin`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

from orlop.errors import DownloadFailed, InvalidInput, RegistryError
from orlop.model.given import go_quoted
from orlop.model.proxies import NO_PROXIES
from orlop.model.urls import credentials, is_torn, scrubbed, without_credentials
from orlop.registry.certificates import HostTrust
from orlop.registry.messages import Request
from orlop.registry.origin import Origin, resolved
from orlop.registry.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.proxies import Proxies
    from orlop.registry.messages import Answer, Transport
    from orlop.registry.patience import Waiting

_SCHEMES: Final = ("http://", "https://")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOPS: Final = 10
_LONGEST_REASON: Final = 256
_PARTS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_PORT: Final = re.compile(r"(?:\[.*\]|[^:]*)(?P<port>:.*)?", re.DOTALL)
_TORN: Final = "write the characters /, ?, # and @ of a password as %2F, %3F, %23 and %40"
_SECRET: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]*")
"""What may stand before a host in a place to which a server leads; other programs find another host behind the rest."""
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")


class Readable(Protocol):
    """Anything that gives bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


def is_url(text: str) -> bool:
    """Return whether a text is a URL that can be downloaded."""
    return text.startswith(_SCHEMES)


@contextmanager
def downloaded(url: str, proxies: Proxies | None = None, waiting: Waiting | None = None) -> Iterator[Readable]:
    """Open a URL of ``http`` or ``https`` for a block, and yield its body. Nothing is read from the environment.

    Reading raises `DownloadFailed` where the body ends too early, or hardly moves. A name and password in the URL are
    sent to its own scheme, host and port alone, as Basic authorization, and are part of no error.

    Args:
        url: what is fetched.
        proxies: through which it may be; this machine is always reached directly.
        waiting: how long the server is waited for, and what ends that.

    Raises:
        DownloadFailed: there is no answer, or one that is not a success, or it leads where nothing may be sent. What
        ``waiting`` ends the wait with.
    """
    bare = without_credentials(url)
    transport = HttpTransport(HostTrust(), proxies=proxies or NO_PROXIES, waiting=waiting)
    try:
        try:
            answer = _answer(transport, url)
        except RegistryError as error:
            raise _failed(bare, error) from error
        with answer:
            if answer.status not in range(200, 300):
                raise _refused(bare, answer)
            yield _Body(answer, bare)
    finally:
        transport.close()


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
    else:
        why = _host_fault(parts["host"])
    if why:
        raise InvalidInput(f"parse {go_quoted(without_credentials(url))}: {why}")


def _host_fault(host: str) -> str:
    """Return why Go would not read a host, in the order in which it looks."""
    if host.startswith("[") and "]" not in host:
        return "missing ']' in host"
    port = _PORT.fullmatch(host)
    if port is not None and port["port"] and not re.fullmatch(":[0-9]*", port["port"]):
        return f"invalid port {go_quoted(port['port'])} after host"
    if bad := re.search(r"%(?!25)[0-7].", host):
        return f'invalid URL escape "{bad[0]}"'
    if bad := re.search(r"[ \\^`{|}]", host):
        return f"invalid character {go_quoted(bad[0])} in host name"
    return ""


def _answer(transport: Transport, url: str) -> Answer:
    """Return the answer to which a URL leads in the end. Raises `DownloadFailed`, `RegistryError`."""
    if is_torn(url):
        raise DownloadFailed(f"cannot download {without_credentials(url)}: {_TORN}")
    secrets: dict[Origin, str] = {}
    bare = _without(url, secrets)
    named = Origin.of(bare).host
    for _ in range(_HOPS):
        here = Origin.of(bare)
        secret = secrets.get(here)
        headers = () if secret is None else (("Authorization", _basic(secret)),)
        answer = transport.send(Request("GET", bare, headers, is_led=here.host != named))
        location = answer.headers.get("Location")
        if answer.status not in _REDIRECTS or location is None:
            return answer
        answer.close()
        where = without_credentials(location)
        if is_torn(location) or _SECRET.fullmatch(credentials(location) or "") is None:
            raise DownloadFailed(f"cannot download {without_credentials(url)}: it leads to {where}: {_TORN}")
        following = resolved(bare, where)
        if where != location:
            _without(location, secrets)
        bare = following
    raise DownloadFailed(f"cannot download {without_credentials(url)}: it leads on more than {_HOPS} times")


def _without(url: str, secrets: dict[Origin, str]) -> str:
    """Return a URL without its name and password, which are noted for its own server."""
    bare, secret = without_credentials(url), credentials(url)
    if secret is not None:
        secrets[Origin.of(bare)] = secret
    return bare


def _basic(secret: str) -> str:
    name, _, password = secret.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}"
    return f"Basic {b64encode(pair.encode(errors='surrogateescape')).decode()}"


def _refused(url: str, answer: Answer) -> DownloadFailed:
    try:
        said = b""
        while len(said) < _LONGEST_REASON and (piece := answer.read(_LONGEST_REASON - len(said))):
            said += piece
        reason = said.decode(errors="replace").strip()
    except RegistryError:
        reason = "error reading body"
    try:
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    except ValueError:
        status = str(answer.status)
    return DownloadFailed(scrubbed(f"failed to GET {url} with status {status}: {reason}"), answered=answer.status)


def _failed(url: str, error: RegistryError) -> DownloadFailed:
    return DownloadFailed(scrubbed(f"cannot download {url}: {error}"))


class _Body:
    """The body of an answer, which must be as long as its header says."""

    def __init__(self, answer: Answer, url: str) -> None:
        self._answer = answer
        self._url = url

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        try:
            return self._answer.read(n)
        except RegistryError as error:
            raise _failed(self._url, error) from error
