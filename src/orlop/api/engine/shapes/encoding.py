"""How the daemon writes JSON into a body."""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from orlop.model.gojson import dumps

Document: TypeAlias = dict[str, Any]
"""A JSON object, its keys in the order in which they are written."""

_LINE_SEPARATOR: Final = "\u2028".encode()
_PARAGRAPH_SEPARATOR: Final = "\u2029".encode()


def body(document: object) -> bytes:
    """Write a document as the body of an answer, with its newline."""
    # The standard library's writer is ten times as fast, and differs in two characters and in lone surrogates.
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return dumps(document, escape_html=False) + b"\n"
    return text.replace(_LINE_SEPARATOR, rb"\u2028").replace(_PARAGRAPH_SEPARATOR, rb"\u2029") + b"\n"


def stream_line(document: Document) -> bytes:
    r"""Write a line of a stream of progress, which ends in CRLF; ``<``, ``>`` and ``&`` are escaped there."""
    return dumps(document) + b"\r\n"
