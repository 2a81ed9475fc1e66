"""The parameters of a request: its query, and what a form in its body adds, by the rules of Go's ``net/http``.

Engines read both before they do anything else. Only a body of the type ``application/x-www-form-urlencoded``, of POST,
PUT and PATCH, is a form: they never look into ``multipart/form-data``. Values of the body come before those of the
query; of a parameter that is given twice the first counts.

What cannot be read is refused, not passed over: a per cent sign that begins no escape, a semicolon between parameters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote_to_bytes

from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 1 << 18
"""The bytes that a form in a body may have."""

_TYPE: Final = "application/x-www-form-urlencoded"
_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_FALSE: Final = frozenset({"", "0", "no", "false", "none"})


class Form:
    """The parameters of one request.

    Args:
        fields: the values of each, in the order in which they count.
    """

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    @classmethod
    def read(cls, query: bytes, body: bytes = b"") -> Self:
        """Read a query and a form.

        Raises:
            InvalidInput: one cannot be read.
        """
        fields = _parsed(body)
        for name, values in _parsed(query).items():
            fields.setdefault(name, []).extend(values)
        return cls(fields)

    def get(self, name: str) -> str:
        """Return the first value of a parameter; one that is not given is empty."""
        values = self._fields.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [*self._fields.get(name, ())]

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """Return whether a parameter is true: every value is but an empty one, ``0``, ``no``, ``false`` and ``none``.

        The default is for a parameter that is not given at all.
        """
        if name not in self._fields:
            return default
        return self.get(name).strip().lower() not in _FALSE


def has_form(method: str, content_type: str) -> bool:
    """Return whether the body of a request with this ``Content-Type`` is a form."""
    return method in _METHODS and content_type.partition(";")[0].strip().lower() == _TYPE


def check_escapes(text: bytes) -> None:
    """Raise `InvalidInput` where a per cent sign begins no escape."""
    if (bad := _BAD_ESCAPE.search(text)) is not None:
        raise InvalidInput(f'invalid URL escape "{bad[0].decode(errors="replace")}"')


def _parsed(text: bytes) -> dict[str, list[str]]:
    """Read ``a=b&c=d``."""
    if b";" in text:
        raise InvalidInput("invalid semicolon separator in query")
    fields: dict[str, list[str]] = {}
    for pair in filter(None, text.split(b"&")):
        name, _, value = pair.partition(b"=")
        fields.setdefault(_unquoted(name), []).append(_unquoted(value))
    return fields


def _unquoted(text: bytes) -> str:
    check_escapes(text)
    return unquote_to_bytes(text.replace(b"+", b" ")).decode(errors="replace")
