"""Documents as ``docker inspect`` prints JSON."""

from __future__ import annotations

from orlop.model import gojson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INDENT = "    "


def array(documents: Iterable[Mapping[str, object]]) -> str:
    """Write documents as an indented JSON array, without a line end after it."""
    return _indented(list(documents), "\n")


def _quote(text: str) -> str:
    return gojson.quote(text, escape_html=False, short_escapes=False)


def _indented(value: object, line: str) -> str:
    inner = line + _INDENT
    if isinstance(value, dict) and value:
        members = (f"{inner}{_quote(key)}: {_indented(member, inner)}" for key, member in value.items())
        return "{" + ",".join(members) + line + "}"
    if isinstance(value, list) and value:
        return "[" + ",".join(f"{inner}{_indented(item, inner)}" for item in value) + line + "]"
    return gojson.dumps(value, escape_html=False, short_escapes=False).decode()
