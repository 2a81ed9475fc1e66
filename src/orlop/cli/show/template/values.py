"""The values that templates work on, and how they are printed: as Go prints those that docker's templates see.

A value is a bool, int, float, str, list, `Map`, `Struct`, `Duration`, `Time`, `Nil`, or None for what is not there.
"""

from __future__ import annotations

import re

from orlop.model import gojson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

NO_VALUE: Final = "<no value>"
_BYTES: Final = "surrogateescape"
_PLAIN_EXPONENTS: Final = range(-4, 21)


class Map(dict[str, object]):
    """A map; ``zero`` is what ``index`` gives for a key that it does not have, ``strict`` makes ``.KEY`` fail there."""

    def __init__(self, members: Mapping[str, object], zero: object = None, *, strict: bool = False) -> None:
        super().__init__(members)
        self.zero = zero
        self.strict = strict


class Struct(dict[str, object]):
    """Fields in order, printed without their names; ``document`` is what ``json`` writes, in its own order."""

    def __init__(self, fields: Mapping[str, object], document: object = None) -> None:
        super().__init__(fields)
        self.document = document


class Duration(int):
    """A number of nanoseconds, printed with units."""


class Time:
    """A time: ``text`` is how it is printed, ``document`` its JSON."""

    def __init__(self, text: str, document: str) -> None:
        self.text = text
        self.document = document


class Nil:
    """A nil that has a type.

    ``text`` is how it is printed, ``length`` its length where it has one, and ``zero`` what each key of a map has.
    """

    def __init__(self, text: str, length: int | None, zero: object = None) -> None:
        self.text = text
        self.length = length
        self.zero = zero


NIL_SLICE: Final = Nil("[]", 0)
NIL_MAP: Final = Nil("map[]", 0, "")
NIL_SET: Final = Nil("map[]", 0, Struct({}, {}))
NIL_POINTER: Final = Nil("<nil>", None)
NULL: Final = Nil("<nil>", None)
"""A null of a document that is read without types, which is neither a list nor a map to any function."""


def is_true(value: object) -> bool:
    """Return whether a value counts as true: neither zero nor empty."""
    if isinstance(value, (Struct, Time)):
        return True
    return not isinstance(value, Nil) and bool(value)


def kind(value: object) -> str:
    """Name the kind of a value, for comparisons and for messages."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number with a fraction"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, (Struct, Time)):
        return "a structure"
    if isinstance(value, dict):
        return "a map"
    return "a list" if isinstance(value, list) else "nothing"


def text_of(value: object, *, top: bool = True) -> str:
    """Print a value as Go's ``%v`` does; ``top`` says that it is printed for itself, not inside another."""
    if value is None or value is NULL:
        return NO_VALUE if top else "<nil>"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Duration):
        return _duration(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, (Nil, Time)):
        return value.text
    return composed(value, lambda inner: text_of(inner, top=False))


def composed(value: object, write: Callable[[object], str]) -> str:
    """Print a list, a map or a structure, each value in it by ``write``; anything else as it is."""
    if isinstance(value, Struct):
        return "{" + " ".join(map(write, value.values())) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{write(key)}:{write(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(write, value)) + "]"
    return str(value)


def json_of(value: object) -> str:
    """Write a value as docker's function ``json`` does: maps sorted, structures in their own order."""
    return gojson.dumps(_plain(value), escape_html=False, short_escapes=False).decode()


def _plain(value: object) -> object:
    if isinstance(value, (Struct, Time)):
        return value.document
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return gojson.Number(float_text(value))
    return None if isinstance(value, Nil) else value


def float_text(value: float) -> str:
    """Print a number as Go's ``%v`` does: the shortest digits that tell it, with an exponent of 21 and more."""
    digits, _, power = f"{value:e}".partition("e")
    shortest = repr(value)
    if not power:
        return {"inf": "+Inf", "-inf": "-Inf"}.get(digits, "NaN")
    if int(power) in _PLAIN_EXPONENTS:
        from decimal import Decimal  # noqa: PLC0415 - templates with fractions are rare

        return f"{Decimal(shortest):f}".removesuffix(".0")
    if "e" not in shortest:
        return shortest
    mantissa, _, power = shortest.partition("e")
    return f"{mantissa.removesuffix('.0')}e{power[0]}{power[1:]:0>2}"


def cut(text: str, start: int, end: int | None) -> str:
    """Return some bytes of a text; what is then no whole character becomes U+FFFD."""
    return text.encode("utf-8", _BYTES)[start:end].decode("utf-8", "replace")


def _duration(nanoseconds: int) -> str:
    if abs(nanoseconds) < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if abs(nanoseconds) >= size:
                return _fraction(nanoseconds, size) + unit
        return "0s"
    minutes, rest = divmod(abs(nanoseconds), 60_000_000_000)
    text = f"{_fraction(rest, 1_000_000_000)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return f"-{text}" if nanoseconds < 0 else text


def _fraction(value: int, size: int) -> str:
    whole, rest = divmod(abs(value), size)
    digits = str(size + rest)[1:].rstrip("0") if size > 1 else ""
    return f"{'-' if value < 0 else ''}{whole}{f'.{digits}' if digits else ''}"


_VERB: Final = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d{0,4})(?:\.(?P<precision>\d{0,4}))?(?P<verb>.)?", re.DOTALL)
_INTEGER_VERBS: Final = "dxXobcqU"
_FLOAT_VERBS: Final = "feEgGF"


def printf(form: str, values: Sequence[object]) -> str:
    """Print values as Go's ``Sprintf`` does, by the verbs ``v s q d x X o b c t f e g %``, with flags and widths.

    Raises:
        ValueError: a verb is outside of this, does not fit its value, or the values are too few or too many.
    """
    rest = list(values)

    def replaced(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if verb is None or verb not in "vsqdxXobctfeEgGF":
            msg = f"printf does not know {match[0]!r}"
            raise ValueError(msg)
        if not rest:
            msg = f"printf has no value for {match[0]!r}"
            raise ValueError(msg)
        return _verb(rest.pop(0), match)

    text = _VERB.sub(replaced, form)
    if rest:
        msg = f"printf has {len(rest)} more values than its format has verbs"
        raise ValueError(msg)
    return text


def _verb(value: object, match: re.Match[str]) -> str:
    """Print one value; a list or map by its elements, each with the width and flags."""
    flags, verb = match["flags"], match["verb"]
    precision = None if match["precision"] is None else int(match["precision"] or "0")
    if isinstance(value, (list, dict)):
        return composed(value, lambda inner: _verb(inner, match))
    if isinstance(value, Nil) and value.length is not None:
        return value.text
    text = _formatted(value, verb, flags, precision)
    width = int(match["width"] or "0")
    missing = max(0, width - len(text))
    if "-" in flags:
        return text + " " * missing
    if "0" in flags and isinstance(value, (int, float)) and not isinstance(value, bool) and verb not in "sqvc":
        sign = text[:1] if text[:1] in {"-", "+", " "} else ""
        return sign + "0" * missing + text[len(sign) :]
    return " " * missing + text


def _formatted(value: object, verb: str, flags: str, precision: int | None) -> str:
    if verb == "v":
        return _signed(text_of(value, top=False), value, flags)
    if isinstance(value, bool):
        if verb == "t":
            return text_of(value)
    elif isinstance(value, Duration) and verb in "sq":
        return text_of(value) if verb == "s" else gojson.quote(text_of(value))
    elif isinstance(value, int):
        if verb in "cq":
            character = chr(value) if 0 <= value <= 0x10FFFF else "\ufffd"
            return character if verb == "c" else f"'{character}'"
        if verb in _INTEGER_VERBS:
            return _signed(format(value, f"{'#' if '#' in flags else ''}{verb}"), value, flags)
    elif isinstance(value, float):
        if verb in _FLOAT_VERBS:
            return _signed(_float(value, verb, precision), value, flags)
    elif isinstance(value, str):
        if verb in "sq":
            shown = value if precision is None else value[:precision]
            return shown if verb == "s" else quoted(shown)
        if verb in "xX":
            digits = value.encode("utf-8", _BYTES).hex()
            return digits.upper() if verb == "X" else digits
    msg = f"printf cannot print {kind(value)} by %{verb}"
    raise ValueError(msg)


def _signed(text: str, value: object, flags: str) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not text.startswith("-"):
        return ("+" if "+" in flags else " " if " " in flags else "") + text.removeprefix("+")
    return text


def _float(value: float, verb: str, precision: int | None) -> str:
    if precision is None and verb in "gG":
        text = float_text(value)
        return text.upper() if verb == "G" else text
    return format(value, f".{6 if precision is None else precision}{verb}")


_QUOTED: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\",
}  # fmt: skip


def quoted(text: str) -> str:
    """Write a text as Go writes a string literal: what cannot be seen as an escape."""

    def one(character: str) -> str:
        if character in _QUOTED:
            return _QUOTED[character]
        if character == " " or (character.isprintable() and not character.isspace()):
            return character
        code = ord(character)
        if code < 0x80:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(map(one, text)) + '"'
