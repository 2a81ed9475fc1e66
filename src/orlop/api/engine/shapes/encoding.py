"""How the daemon writes JSON into a body."""

from __future__ import annotations

from typing import Any, TypeAlias

from orlop.model.gojson import dumps

Document: TypeAlias = dict[str, Any]
"""A JSON object, its keys in the order in which they are written."""


def body(document: object) -> bytes:
    """Write a document as the body of an answer, or as a line of a stream that ends in a bare newline."""
    return dumps(document, escape_html=False) + b"\n"


def stream_line(document: Document) -> bytes:
    r"""Write a line of a stream of progress, which ends in CRLF; ``<``, ``>`` and ``&`` are escaped there."""
    return dumps(document) + b"\r\n"
