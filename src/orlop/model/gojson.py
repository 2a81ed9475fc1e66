"""JSON with the rules of Go's ``encoding/json``, with which engines write and read every image document.

Python's `json` differs where it matters: it recurses, accepts NaN and lone surrogates, and forgets the text of numbers,
the order of duplicate keys and the positions of values. This module reads a document without recursion into a tree that
keeps all of it, and writes it as Go does, to the byte.
"""

from __future__ import annotations

from enum import Enum

from orlop.errors import InvalidJSON
from orlop.model import plain_json
from orlop.model.regex import regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, TypeAlias

MAX_DEPTH: Final = 10_000
"""The depth to which objects and arrays may nest, as in Go."""
MAX_VALUES: Final = 700_000
"""How many values a document of a stranger may have where no limit of `Limits` tells: see `bounded`."""


class Number(str):
    """A number exactly as it was written."""

    __slots__ = ()


class Object:
    """An object with every member in document order, duplicates included."""

    __slots__ = ("members",)

    def __init__(self, members: list[tuple[str, Value]] | None = None) -> None:
        """Make an object of these members, which become its own, or of none."""
        self.members: list[tuple[str, Value]] = [] if members is None else members


class Keys(Enum):
    """How keys that occur more than once in an object are treated."""

    LAST = "last"
    """The last one counts, as in Go."""
    ONCE = "once"
    """They are refused."""
    FOLDED = "folded"
    """They are refused, even if they differ in case, which Go ignores; except in annotations, where case matters."""


_FREE: Final = frozenset({"annotations"})
"""The keys of objects under these names are free text."""

Value: TypeAlias = "bool | str | Number | list[Value] | Object | None"
"""A JSON value; a `Number` is also a `str`, so test for it first."""

_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"((?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)"'
_NUMBER = rb"(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
_VALUE: Final = regex(_SPACE + rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|(true|false|null)|([\[{]))")
_KEY: Final = regex(_SPACE + _STRING + _SPACE + rb":")
_NEXT: Final = regex(_SPACE + rb"([,\]}])")
_CLOSE: Final = regex(_SPACE + rb"([\]}])")
_NULL = b"null"
_END: Final = regex(_SPACE)
_STRING_KIND, _NUMBER_KIND, _LITERAL_KIND = 1, 2, 3
_IN_DOCUMENT: Final = 2  # how long the reader's stack is directly inside the document's own object or array
_INT_LENGTH: Final = 40  # longer whole numbers become floats: no document has them, and Python refuses the longest
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_WIDEST: Final = 4  # bytes of a character in UTF-32
_LITERALS: Final[dict[bytes, bool | None]] = {b"true": True, b"false": False, b"null": None}

_OUTSIDE: Final = regex(rb'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]++')
# What has no end goes on to that of the document: each quote in it would be looked at to there otherwise.
_TEXT: Final = regex(rb'(?s)"(?:[^"\\]++|\\.)*+"?')
_RAW_ESCAPES: Final = (
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    (b"&", rb"\u0026"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)
_SURROGATES: Final = regex("[\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"
_SLICE: Final = 1 << 16


def parse(raw: bytes) -> Value:
    """Read one JSON document into a tree.

    Every invalid UTF-8 byte and every lone surrogate becomes one U+FFFD. Raises `InvalidJSON` for anything that Go
    refuses: a byte order mark, data after the value, control characters in strings, or nesting deeper than `MAX_DEPTH`.
    """
    return _read_whole(raw, MAX_DEPTH)


def raw_members(raw: bytes) -> dict[str, bytes]:
    """Return the members of a document that is an object, each value as its exact bytes.

    Of duplicate keys the last counts. ``null`` has no members, as in Go. Raises `InvalidJSON`.
    """
    if raw == _NULL:
        return {}
    value, end, spans = _read(raw)
    _expect_end(raw, end)
    if value is None:
        return {}
    if not isinstance(value, Object):
        raise InvalidJSON(f"expected an object, found {kind_of(value)}")
    keys = (key for key, _ in value.members)
    return {key: raw[start:stop] for key, (start, stop) in zip(keys, spans, strict=True)}


def raw_elements(raw: bytes) -> list[bytes]:
    """Return the elements of a document that is an array, each as its exact bytes.

    ``null`` has no elements, as in Go. Raises `InvalidJSON`.
    """
    if raw == _NULL:
        return []
    value, end, spans = _read(raw)
    _expect_end(raw, end)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidJSON(f"expected an array, found {kind_of(value)}")
    return [raw[start:stop] for start, stop in spans]


def loads(raw: bytes, *, allow_trailing: bool = False, keys: Keys = Keys.LAST, max_depth: int = MAX_DEPTH) -> object:
    """Read a document into plain dicts, lists, str, int, float, bool and None.

    With ``allow_trailing`` anything after the first value is ignored. Raises `InvalidJSON` as `parse` does, if it is
    nested deeper than ``max_depth``, and if a key is repeated in a way that ``keys`` does not allow.
    """
    value = _read(raw, max_depth)[0] if allow_trailing else _read_whole(raw, max_depth)
    return _plain(value, keys)


def dumps(value: object, *, escape_html: bool = True, sort_keys: bool = False, short_escapes: bool = True) -> bytes:
    """Write a plain value (dict with str keys, list, tuple, str, int, bool, None) as compact JSON, as Go writes it.

    Members keep their order unless ``sort_keys`` sorts them by bytes. ``<``, ``>`` and ``&`` are escaped unless
    ``escape_html`` is false, U+2028 and U+2029 always. See `quote` for ``short_escapes``. Raises `TypeError` for
    other types, such as floats, which no document that orlop writes has.
    """

    def write(item: object) -> str:
        if isinstance(item, Number):
            return item
        if isinstance(item, str):
            return quote(item, escape_html=escape_html, short_escapes=short_escapes)
        if item is None:
            return "null"
        if isinstance(item, bool):
            return "true" if item else "false"
        if isinstance(item, int):
            return str(item)
        if isinstance(item, dict):
            members = sorted(item.items()) if sort_keys else item.items()
            return "{" + ",".join(f"{write(str(key))}:{write(member)}" for key, member in members) + "}"
        if isinstance(item, (list, tuple)):
            return "[" + ",".join(map(write, item)) + "]"
        raise TypeError(f"cannot write {type(item).__name__} as JSON")

    return write(value).encode()


def _escapes(*, html: bool, short: bool) -> dict[int, str]:
    """Return the escape of each character that must be escaped, by its number."""
    table = {chr(code): f"\\u{code:04x}" for code in range(0x20)}
    table |= {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    if short:
        table |= {"\b": "\\b", "\f": "\\f"}
    if html:
        table |= {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    return str.maketrans(table)


_TABLES: Final = {(html, short): _escapes(html=html, short=short) for html in (True, False) for short in (True, False)}


def quote(text: str, *, escape_html: bool = True, short_escapes: bool = True) -> str:
    r"""Write a text as a JSON string with its quotes.

    ``short_escapes`` chooses ``\b`` and ``\f`` (Go 1.22 and newer) over ``\u0008`` and ``\u000c``. A lone surrogate
    becomes U+FFFD.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = _replaced(text)
    return f'"{text.translate(_TABLES[escape_html, short_escapes])}"'


def compact(raw: bytes) -> bytes:
    r"""Copy a valid JSON value as Go copies a raw message: no white space outside strings, ``< > &`` U+2028/9 escaped.

    All else stays as it is: order, duplicates, the text of numbers, escapes and invalid UTF-8.
    """
    raw = _OUTSIDE.sub(lambda match: match[1] or b"", raw)
    for character, escape in _RAW_ESCAPES:
        raw = raw.replace(character, escape)
    return raw


def object_of(members: Mapping[str, bytes], write_key: Callable[[str], str] = quote) -> bytes:
    """Write an object of values that are JSON already; keys sorted by bytes, values compacted (see `compact`)."""
    return b"{" + b",".join(write_key(key).encode() + b":" + compact(members[key]) for key in sorted(members)) + b"}"


def joined(members: Mapping[str, bytes]) -> bytes:
    """Write an object of values that are JSON already, in their order and to the byte."""
    return b"{" + b",".join(quote(key).encode() + b":" + value for key, value in members.items()) + b"}"


def fold(key: str) -> str:
    """Return a key's form for comparison without case: U+017F becomes s, U+212A becomes k, U+0130 does not become i."""
    return key.lower().replace("\u017f", "s")


def folded(document: Mapping[str, object]) -> dict[str, object]:
    """Return the members of a plain object by their folded keys; if several fold to one key, the last counts."""
    return {fold(key): value for key, value in document.items()}


def kind_of(value: Value) -> str:
    """Name the kind of a value for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Number):
        return f"the number {value[:32]}"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _read_whole(raw: bytes, max_depth: int) -> Value:
    found = _quickly_read(raw, max_depth)
    if found is not None:
        return found[0]
    value, end, _ = _read(raw, max_depth)
    _expect_end(raw, end)
    return value


def values_at_most(raw: bytes, most: int) -> bool:
    """Return whether a document has about so many values at most, without reading it."""
    # Each has a comma before it, or a bracket, unless these stand in a text.
    if len(raw) <= most or (count := _marks(raw)) <= most:
        return True
    return count - sum(_marks(found[0]) for found in _TEXT.finditer(raw)) <= most


def _marks(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def bounded(raw: bytes) -> bytes:
    """Return a document of a stranger. Raises `InvalidJSON` for one of more than `MAX_VALUES` values.

    Each takes up to 300 bytes of memory, and as little as three of the document. What is stored already is never
    refused so, and neither is what somebody has raised a limit for.
    """
    if not values_at_most(raw, MAX_VALUES):
        raise InvalidJSON(f"invalid JSON: more than {MAX_VALUES} values")
    return raw


def _quickly_read(raw: bytes, max_depth: int) -> tuple[Value] | None:
    """Return the tree of a document, alone in a tuple; nothing where Go may see another one than Python, or none.

    Nearly all documents are plain: they have no escape of a surrogate, and not as many brackets as may be nested.
    """
    try:
        text = raw.decode()
        if "\\ud" in text or "\\uD" in text or text.count("{") + text.count("[") > max_depth:
            return None
        return plain_json.scanned(text, plain_json.Rules(Object, Number))
    except (UnicodeDecodeError, RecursionError):
        return None


def _expect_end(raw: bytes, pos: int) -> None:
    match = _END.match(raw, pos)
    if match is not None and match.end() != len(raw):
        raise _syntax_error(raw, match.end(), "the end")


def _syntax_error(raw: bytes, pos: int, expected: str) -> InvalidJSON:
    match = _END.match(raw, pos)
    at = pos if match is None else match.end()
    if at <= 1 and (raw.startswith(_MARKS) or b"\0" in raw[:_WIDEST]):
        return InvalidJSON(
            "invalid JSON: it begins with a byte order mark, or is UTF-16 or UTF-32; JSON is plain UTF-8"
        )
    found = repr(raw[at : at + 1])[1:] if at < len(raw) else "the end"
    return InvalidJSON(f"invalid JSON at byte {at}: expected {expected}, found {found}")


def _text(raw: bytes) -> str:
    """Decode the text between the quotes of a string."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = _replaced(raw.decode("utf-8", "surrogateescape"))
    if "\\" in text:
        text = _replaced(plain_json.loads(f'"{text}"'))
    return text


def _replaced(text: str) -> str:
    """Return a text in which each lone surrogate is U+FFFD."""
    # A list of all pieces of a text of nothing else would take more memory than the rest of the work.
    return "".join(_SURROGATES.sub(_REPLACEMENT, text[at : at + _SLICE]) for at in range(0, len(text), _SLICE))


def _read_key(raw: bytes, pos: int) -> tuple[str, int]:
    match = _KEY.match(raw, pos)
    if match is None:
        raise _syntax_error(raw, pos, "a key and a colon")
    return _text(match[1]), match.end()


def _read(raw: bytes, max_depth: int = MAX_DEPTH) -> tuple[Value, int, list[tuple[int, int]]]:
    """Return the first value, the position after it, and the positions of its own members' or elements' values."""
    root: list[Value] = []
    stack: list[list[Value] | Object] = [root]
    top: list[Value] | Object = root
    spans: list[tuple[int, int]] = []
    key, pos, start = "", 0, 0
    value: Value
    while True:
        match = _VALUE.match(raw, pos)
        if match is None:
            raise _syntax_error(raw, pos, "a value")
        kind, pos = match.lastindex, match.end()
        if len(stack) == _IN_DOCUMENT:
            start = match.start(kind or 0) - (kind == _STRING_KIND)
        opened: list[Value] | Object | None = None
        if kind == _STRING_KIND:
            value = _text(match[1])
        elif kind == _NUMBER_KIND:
            value = Number(match[2], "ascii")
        elif kind == _LITERAL_KIND:
            value = _LITERALS[match[3]]
        else:
            value = opened = Object() if match[4] == b"{" else []
        if isinstance(top, Object):
            top.members.append((key, value))
        else:
            top.append(value)
        if opened is not None:
            if len(stack) > max_depth:
                raise InvalidJSON(f"invalid JSON: nested deeper than {max_depth}")
            close = _CLOSE.match(raw, pos)
            if close is None:
                stack.append(opened)
                top = opened
                if isinstance(opened, Object):
                    key, pos = _read_key(raw, pos)
                continue
            if (close[1] == b"}") != isinstance(opened, Object):
                raise _syntax_error(raw, pos, "a key" if isinstance(opened, Object) else "a value")
            pos = close.end()
        # The value ends at `pos`; so may the objects and arrays around it.
        while len(stack) > 1:
            if len(stack) == _IN_DOCUMENT:
                spans.append((start, pos))
            in_object = isinstance(top, Object)
            following = _NEXT.match(raw, pos)
            if following is None or following[1] == (b"]" if in_object else b"}"):
                raise _syntax_error(raw, pos, f"a comma or {'}' if in_object else ']'}")
            pos = following.end()
            if following[1] == b",":
                if in_object:
                    key, pos = _read_key(raw, pos)
                break
            stack.pop()
            top = stack[-1]
        else:
            return root[0], pos, spans


def _plain(value: Value, keys: Keys) -> object:
    """Turn a tree into plain values, without recursion. Its arrays are changed in place, to take memory only once."""
    holder: list[Any] = [value]
    work: list[list[Any] | dict[str, Any]] = [holder]
    while work:
        target = work.pop()
        for place, item in enumerate(target) if isinstance(target, list) else target.items():
            if isinstance(item, Object):
                members: dict[str, Any] = dict(item.members)
                if keys is not Keys.LAST:
                    _check_keys(item, members, folded=keys is Keys.FOLDED and place not in _FREE)
                item.members.clear()
                target[place] = members  # type: ignore[index]
                work.append(members)
            elif isinstance(item, list):
                work.append(item)
            elif isinstance(item, Number):
                target[place] = _plain_number(item)  # type: ignore[index]
    return holder[0]


def _check_keys(item: Object, members: Mapping[str, Any], *, folded: bool) -> None:
    """Raise `InvalidJSON` if a key occurs twice among these members of an object."""
    if len(members) != len(item.members):
        seen: set[str] = set()
        for key, _ in item.members:
            if key in seen:
                raise _twice(key)
            seen.add(key)
    if not folded:
        return
    forms: set[str] = set()
    for key in members:
        # Nearly all keys are in lower case, or have one capital.
        form = fold(key)
        if form != key:
            if form in members or form in forms:
                raise _twice(key)
            forms.add(form)


def _twice(key: str) -> InvalidJSON:
    return InvalidJSON(f"the key {key[:64]!r} stands more than once in an object, so that it could mean two things")


def _plain_number(number: Number) -> int | float:
    integer = len(number) <= _INT_LENGTH and number.lstrip("-").isdigit()
    return int(number) if integer else float(number)
