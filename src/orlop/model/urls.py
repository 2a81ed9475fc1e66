"""URLs without the names and passwords in them, which may be shown, logged and stored.

The host of a URL ends at the first ``/``, ``?`` or ``#``, so a password with one of these, unescaped, makes a URL with
another host. Such a URL is never fetched; it is recognised by its port, which is not a number.
"""

from __future__ import annotations

import re
from typing import Final

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST_END: Final = re.compile(r"[/?#]|\Z")
_PORT: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?", re.DOTALL)
_IN_TEXT: Final = re.compile(r"://\S+")
_MOST_DIGITS: Final = 5


def without_credentials(url: str) -> str:
    """Return a URL, with or without its scheme, without the name and password before its host."""
    scheme, rest = _split(url)
    return scheme + _bare(rest)[0]


def credentials(url: str) -> str | None:
    """Return the name and password of a URL, as they are written in it, or None if it has none."""
    return _bare(_split(url)[1])[1]


def is_torn(url: str) -> bool:
    """Return whether the password in a URL ends its host, so that the URL leads elsewhere."""
    _, rest = _split(url)
    host, behind = _cut(rest)
    return "@" not in host and "@" in behind and not _has_port(host)


def scrubbed(text: str) -> str:
    """Return a text without the names and passwords of the URLs in it."""
    return _IN_TEXT.sub(lambda found: "://" + _bare(found[0][3:])[0], text) if "@" in text else text


def shown(url: str) -> str:
    """Return a URL that came from a server in a form that may be shown: without its query too, which may be signed."""
    bare, mark, _ = without_credentials(url).partition("?")
    return f"{bare}?…" if mark else bare


def _split(url: str) -> tuple[str, str]:
    scheme, mark, rest = url.partition("://")
    return (scheme + mark, rest) if mark and _SCHEME.fullmatch(scheme) else ("", url)


def _cut(rest: str) -> tuple[str, str]:
    found = _HOST_END.search(rest)
    end = len(rest) if found is None else found.start()
    return rest[:end], rest[end:]


def _bare(rest: str) -> tuple[str, str | None]:
    """Return the part after a scheme without its name and password, and these two."""
    host, behind = _cut(rest)
    if "@" in host:
        secret, _, host = host.rpartition("@")
        return host + behind, secret
    if "@" in behind and not _has_port(host):
        secret, _, host = rest.rpartition("@")
        return host, secret
    return rest, None


def _has_port(host: str) -> bool:
    """Return whether a host has a valid port, or no port."""
    found = _PORT.fullmatch(host)
    port = None if found is None else found["port"]
    return found is not None and (port is None or (port.isdecimal() and port.isascii() and len(port) <= _MOST_DIGITS))
