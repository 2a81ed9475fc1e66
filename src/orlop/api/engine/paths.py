"""Paths as Go's routers clean them: a request for another spelling of a path is sent to that path itself."""

from __future__ import annotations

import posixpath
from typing import Final
from urllib.parse import quote

_PLAIN: Final = "/$&+,:;=@~"
"""What Go leaves as it is in a path, beside letters, digits, hyphens, points and underscores."""


def cleaned(path: str) -> str:
    """Return a path without empty parts and parts that are points; a slash at its end stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def location(path: str, query: bytes) -> bytes:
    """Return the header ``Location`` that leads to a path, with the query as it came."""
    return quote(path, safe=_PLAIN).encode() + (b"?" + query if query else b"")
