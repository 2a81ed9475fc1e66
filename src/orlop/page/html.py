"""A page as one HTML file that needs nothing else.

The script, the style and the markup are made by `docs/generate_page.py` from `web/`, and lie beside this module. A
policy in the page allows that script and that style, by their digests, and nothing else: no request, no other script,
no markup from data. Data is JSON in an element that browsers do not run. It is compressed, and in base64, which cannot
end the element; a page is made of parts that are joined, so no text of an image is ever searched for places to fill.
"""

from __future__ import annotations

import html
import zlib
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from orlop.page.document import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["asset", "html_page", "policy"]

_LEVEL: Final = 9


@cache
def asset(name: str) -> bytes:
    """Return what a page is made of: ``page.js``, ``page.css`` or ``page.html``."""
    return files("orlop.page").joinpath("made", name).read_bytes()


def policy() -> str:
    """Return the content security policy of a page in a file."""
    script, style = (b64encode(sha256(asset(name)).digest()).decode() for name in ("page.js", "page.css"))
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def html_page(documents: Sequence[dict[str, Any]]) -> bytes:
    """Return a page that shows an image.

    Args:
        documents: of the image, and the comparison with another one if there is one.

    The same documents give the same bytes with the same version of Python's zlib.
    """
    image = documents[0]
    data = to_json({"image": image, "comparison": documents[1] if len(documents) > 1 else None})
    title = html.escape(_plain(image["image"]["name"]))
    head = (
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}</title>",
        "<style>",
    )
    parts = (
        "\n".join(head).encode(),
        asset("page.css"),
        b"</style>\n</head>\n<body>\n",
        asset("page.html"),
        f"<noscript>\n{_summary(image)}</noscript>\n".encode(),
        b'<script type="text/plain" id="data">',
        b64encode(zlib.compress(data.encode("ascii"), _LEVEL)),
        b"</script>\n<script>",
        asset("page.js"),
        b"</script>\n</body>\n</html>\n",
    )
    return b"".join(parts)


def _summary(image: dict[str, Any]) -> str:
    """Return what browsers show that run no scripts: the layers."""
    lines = [
        f"<h1>{html.escape(_plain(image['image']['name']))}</h1>",
        "<table>",
        "<tr><th>Layer<th>Bytes<th>Hidden<th>Step",
    ]
    lines += [
        f"<tr><td>{layer['number']}<td>{layer['size']}<td>{layer['hidden']}<td>{html.escape(_plain(layer['step']))}"
        for layer in image["layers"]
    ]
    return "\n".join([*lines, "</table>", ""])


def _plain(text: str) -> str:
    """Return a text with U+FFFD in place of characters that do not print, or that turn the text around them."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
