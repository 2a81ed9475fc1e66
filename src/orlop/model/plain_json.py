"""Plain JSON by the functions that `json` has in C, without importing `json`: that needs regular expressions.

The store reads many short documents, and nearly all are well-formed. Where C's scanner alone does not get through, as
with a mistake or another encoding, `json` is asked, so that values and errors are those of `json`. Where it matters how
Go reads JSON, `orlop.model.gojson` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

make_scanner: Any = None
quote: Any = None
try:
    # Not in every Python, and not promised by any.
    import _json
except ImportError:
    pass
else:
    make_scanner, quote = _json.make_scanner, _json.encode_basestring_ascii

_SPACE = " \t\n\r"


class Rules:
    """What the scanner asks its decoder.

    Args:
        pairs_hook: makes an object of its members; by default it is a dict.
        number: makes a number of its text; by default it is an int or a float.
    """

    strict = True
    object_hook = None

    def __init__(
        self,
        pairs_hook: Callable[[list[tuple[str, Any]]], object] | None = None,
        number: Callable[[str], object] | None = None,
    ) -> None:
        self.object_pairs_hook = pairs_hook
        self.parse_int, self.parse_float = number or int, number or float
        # What it calls a constant, such as NaN, is not JSON, and no number is written so.
        self.parse_constant = float if number is None else _refuse


def _refuse(name: str) -> object:
    raise ValueError(name)


def scanned(text: str, rules: Rules) -> tuple[Any] | None:
    """Return the value of a document, alone in a tuple; nothing where C's scanner does not get through all of it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if make_scanner is None:
        return None
    plain = text.strip(_SPACE)
    try:
        value, end = make_scanner(rules)(plain, 0)
    except (ValueError, StopIteration, AttributeError, TypeError, SystemError):
        # It is not well-formed, which before Python 3.12 the scanner cannot say as long as nobody has imported `json`;
        # or the scanner of another Python asks its decoder for more.
        return None
    return (value,) if end == len(plain) else None


def loads(text: str | bytes, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], object] | None = None) -> Any:
    """Return what `json.loads` returns.

    Raises:
        ValueError: as `json.loads` does, `json.JSONDecodeError` among them.
        RecursionError: it is nested too deeply.
    """
    with suppress(UnicodeDecodeError):
        found = scanned(text if isinstance(text, str) else text.decode(), Rules(object_pairs_hook))
        if found is not None:
            return found[0]
    import json  # noqa: PLC0415 - see above

    return json.loads(text, object_pairs_hook=object_pairs_hook)


def dumps(texts: Mapping[str, str] | Sequence[str]) -> str:
    """Return what `json.dumps` returns for an object or an array of texts."""
    if quote is None:
        import json  # noqa: PLC0415 - see above

        return json.dumps(dict(texts) if isinstance(texts, Mapping) else list(texts))
    if isinstance(texts, Mapping):
        return "{" + ", ".join(f"{quote(key)}: {quote(value)}" for key, value in texts.items()) + "}"
    return "[" + ", ".join(map(quote, texts)) + "]"
