"""What every answer below ``/ui`` tells a browser, errors too: what it may load, and who may show it."""

from __future__ import annotations

from typing import Final

__all__ = ["HEADERS", "is_page"]

HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
            b" frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def is_page(path: str) -> bool:
    """Return whether a path is one of the page's."""
    return path == "/ui" or path.startswith("/ui/")
