"""Templates: an own subset of Go's ``text/template`` with docker's functions, as `docs/templates.md` describes it.

What docker prints for a template, this prints; what is outside the subset is an error that says so and where.
"""

from __future__ import annotations

import re
from itertools import pairwise

from orlop.cli.show.template.parse import Block, Chain, Function, Literal, Pipeline, parse, refuse
from orlop.cli.show.template.values import (
    NIL_MAP,
    NIL_SET,
    NIL_SLICE,
    NULL,
    Map,
    Nil,
    Struct,
    cut,
    is_true,
    json_of,
    kind,
    printf,
    text_of,
)
from orlop.errors import OrlopError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Final, NoReturn

    from orlop.cli.show.template.parse import Command, Node, Operand

_WORD_START: Final = re.compile(r"(?<![\w])\w")
_MOST_SPACES: Final = 100_000
_HEADINGS: Final = frozenset({"json", "split", "join", "title", "lower", "upper", "pad", "truncate"})


class Template:
    """A template, read once, filled often.

    Args:
        text: the template, without ``table`` before it.

    Raises:
        InvalidTemplate: it is none, or uses what is outside the subset.
    """

    def __init__(self, text: str) -> None:
        self._nodes = parse(text, _FUNCTIONS)

    def fill(self, value: object) -> str:
        """Return the text for a value, see `orlop.cli.show.template.values`. Raises `InvalidTemplate` for a misfit."""
        return _Filling(value, _FUNCTIONS).text(self._nodes)

    def fill_heading(self, headings: Mapping[str, str]) -> str:
        """Return the heading of a table: functions that change a text leave headings as they are."""
        return _Filling(Struct(headings), {**_FUNCTIONS, **dict.fromkeys(_HEADINGS, _unchanged)}).text(self._nodes)

    def root_fields(self) -> set[tuple[str, int]]:
        """Return the fields that are asked of the value itself, each with its position, to be checked without one."""
        return set(_root_fields(self._nodes, dot=True))


def _root_fields(nodes: Iterable[Node], *, dot: bool) -> Iterable[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, Block):
            yield from _fields_of(node.pipeline, dot=dot)
            yield from _root_fields(node.body, dot=dot and node.word == "if")
            yield from _root_fields(node.otherwise, dot=dot)
        elif isinstance(node, Pipeline):
            yield from _fields_of(node, dot=dot)


def _fields_of(pipeline: Pipeline, *, dot: bool) -> Iterable[tuple[str, int]]:
    for command in pipeline.commands:
        for operand in command.operands:
            if not isinstance(operand, Chain):
                continue
            if isinstance(operand.base, Pipeline):
                yield from _fields_of(operand.base, dot=dot)
            elif operand.fields and (operand.base == "$" or (operand.base is None and dot)):
                yield operand.fields[0], operand.start


class _Filling:
    """One template being filled with one value."""

    def __init__(self, root: object, functions: Mapping[str, Callable[..., object]]) -> None:
        self._functions = functions
        # Variables by name, the innermost scope last.
        self._scopes: list[dict[str, object]] = [{"$": root}]
        self._root = root

    def text(self, nodes: tuple[Node, ...]) -> str:
        out: list[str] = []
        self._fill(nodes, self._root, out)
        return "".join(out)

    def _fill(self, nodes: tuple[Node, ...], dot: object, out: list[str]) -> None:
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif isinstance(node, Pipeline):
                value = self._value(node, dot)
                self._set(node, node.variables, (value,))
                if not node.variables:
                    out.append(text_of(value))
            else:
                self._scopes.append({})
                if node.word == "range":
                    self._range(node, dot, out)
                else:
                    self._choose(node, dot, out)
                self._scopes.pop()

    def _choose(self, block: Block, dot: object, out: list[str]) -> None:
        value = self._value(block.pipeline, dot)
        self._set(block.pipeline, block.pipeline.variables, (value,))
        if is_true(value):
            self._fill(block.body, value if block.word == "with" else dot, out)
        else:
            self._fill(block.otherwise, dot, out)

    def _range(self, block: Block, dot: object, out: list[str]) -> None:
        value = self._value(block.pipeline, dot)
        members: list[tuple[object, object]]
        if value is None or isinstance(value, Nil):
            members = []
        elif isinstance(value, list):
            members = list(enumerate(value))
        elif isinstance(value, dict) and not isinstance(value, Struct):
            members = [(key, value[key]) for key in sorted(value)]
        else:
            refuse(block.pipeline.start, f"{{{{range}}}} goes over lists and maps, and this is {kind(value)}")
        names = block.pipeline.variables
        # The value that they have in {{else}}.
        self._set(block.pipeline, names, (value,) * len(names))
        for key, member in members:
            self._scopes.append({})
            self._set(block.pipeline, names, (member,) if len(names) == 1 else (key, member))
            self._fill(block.body, member, out)
            self._scopes.pop()
        if not members:
            self._fill(block.otherwise, dot, out)

    def _set(self, pipeline: Pipeline, names: tuple[str, ...], values: tuple[object, ...]) -> None:
        for name, value in zip(names, values, strict=False):
            scope = self._scopes[-1]
            if not pipeline.declares:
                scope = next(scope for scope in reversed(self._scopes) if name in scope)
            scope[name] = value

    def _value(self, pipeline: Pipeline, dot: object) -> object:
        first, *rest = pipeline.commands
        value = self._run(first, dot, ())
        for command in rest:
            value = self._run(command, dot, (value,))
        return value

    def _run(self, command: Command, dot: object, piped: tuple[object, ...]) -> object:
        first, *operands = command.operands
        if not isinstance(first, Function):
            if isinstance(first, Literal) and first.value is None:
                refuse(command.start, "nil alone is not a value to print or test")
            return self._operand(first, dot)
        if first.name in {"and", "or"}:
            return self._decide(first, operands, dot, piped)
        return self._call(first, [self._operand(operand, dot) for operand in operands] + list(piped))

    def _decide(self, function: Function, operands: list[Operand], dot: object, piped: tuple[object, ...]) -> object:
        """Return the first operand that decides, or the last; those after it are not looked at."""
        value: object = None
        if not operands and not piped:
            refuse(function.start, f"{function.name} needs an argument")
        for operand in operands:
            value = self._operand(operand, dot)
            if is_true(value) == (function.name == "or"):
                return value
        return piped[0] if piped else value

    def _call(self, function: Function, arguments: list[object]) -> object:
        if function.name != "join":
            # Only where a list has to be given does it matter what kind of nothing it is.
            arguments = [None if one is NULL else one for one in arguments]
        try:
            return self._functions[function.name](*arguments)
        except OrlopError:
            raise
        except ValueError as error:
            refuse(function.start, str(error))
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # the function was called rightly, and went wrong by itself
            refuse(function.start, f"{function.name} takes another number of arguments than {len(arguments)}")

    def _operand(self, operand: Operand, dot: object) -> object:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Function):
            return self._call(operand, [])
        if operand.base is None:
            value = dot
        elif isinstance(operand.base, str):
            value = next(scope[operand.base] for scope in reversed(self._scopes) if operand.base in scope)
        else:
            value = self._value(operand.base, dot)
        for name in operand.fields:
            value = _field(value, name, operand.start)
        return value


def _field(value: object, name: str, start: int) -> object:
    if isinstance(value, Struct):
        if name in value:
            return value[name]
        refuse(start, f"there is no field {name!r}; there are {', '.join(sorted(value))}")
    if isinstance(value, dict):
        if isinstance(value, Map) and value.strict and name not in value:
            refuse(start, f"there is no key {name!r}")
        return value.get(name)
    if value is not NIL_MAP and value is not NIL_SET:
        refuse(start, f"{kind(value)} has no field {name!r}")
    return None


def _unchanged(value: object, *_: object) -> object:
    return value


def _fail(why: str) -> NoReturn:
    raise ValueError(why)


def _text(value: object, function: str) -> str:
    return value if isinstance(value, str) else _fail(f"{function} takes a text, not {kind(value)}")


def _whole(value: object, function: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    _fail(f"{function} takes an integer here, not {kind(value)}")


def _join(items: object, separator: object) -> str:
    if items is None or items is NIL_SLICE:
        items = []
    if not isinstance(items, list):
        _fail(f"join takes a list of texts, not {kind(items)}")
    return _text(separator, "join").join(_text(item, "join") for item in items)


def _split(text: object, separator: object) -> list[object]:
    text, separator = _text(text, "split"), _text(separator, "split")
    return list(text.split(separator)) if separator else list(text)


def _simple(text: str, change: Callable[[str], str]) -> str:
    # Go changes character by character: none becomes two.
    return "".join(changed if len(changed := change(character)) == 1 else character for character in text)


def _upper(text: object) -> str:
    return _simple(_text(text, "upper"), str.upper)


def _lower(text: object) -> str:
    return _simple(_text(text, "lower"), str.lower)


def _title(text: object) -> str:
    return _WORD_START.sub(lambda match: _simple(match[0], str.title), _text(text, "title"))


def _truncate(text: object, length: object) -> str:
    text, length = _text(text, "truncate"), _whole(length, "truncate")
    if length < 0:
        _fail("truncate takes a length that is not negative")
    return cut(text, 0, length)


def _pad(text: object, before: object, after: object) -> str:
    text = _text(text, "pad")
    spaces = [_whole(one, "pad") for one in (before, after)]
    if max(spaces) > _MOST_SPACES:
        _fail(f"pad adds at most {_MOST_SPACES:,} spaces, not {max(spaces):,}")
    return " " * spaces[0] + text + " " * spaces[1] if text else text


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, Nil) and value.length is not None:
        return value.length
    if isinstance(value, (list, dict)) and not isinstance(value, Struct):
        return len(value)
    _fail(f"len takes a text, a list or a map, not {kind(value)}")


def _index(value: object, *keys: object) -> object:
    if value is None:
        _fail("index takes a list, a map or a text, not nothing")
    for key in keys:
        if isinstance(value, dict) and not isinstance(value, Struct):
            zero = value.zero if isinstance(value, Map) else None
            value = value.get(_text(key, "index of a map"), zero)
            continue
        items = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if isinstance(value, Nil):
            if value.length is None:
                _fail("index takes a list, a map or a text, not nothing")
            if value is NIL_MAP or value is NIL_SET:
                _text(key, "index of a map")
                value = value.zero
                continue
            items = []
        if not isinstance(items, (list, bytes)):
            _fail(f"index takes a list, a map or a text, not {kind(value)}")
        number = _whole(key, "index")
        if not 0 <= number < len(items):
            _fail(f"index {number} is outside: there are {len(items)} elements, counted from 0")
        value = items[number]
    return value


def _slice(value: object, *bounds: object) -> object:
    if isinstance(value, Nil) and value.length is not None and value.text == "[]":
        value = []
    if not isinstance(value, (str, list)):
        _fail(f"slice takes a text or a list, not {kind(value)}")
    if len(bounds) > 2:
        _fail("slice takes at most two numbers")
    length = _len(value)
    start, end = [*(_whole(bound, "slice") for bound in bounds), *(0, length)[len(bounds) :]]
    if not 0 <= start <= end <= length:
        _fail(f"slice {start} to {end} is outside: there are {length}")
    return cut(value, start, end) if isinstance(value, str) else value[start:end]


def _comparable(value: object) -> str:
    if isinstance(value, (list, dict, Nil)):
        _fail(f"{kind(value)} cannot be compared")
    return kind(value)


def _equal(first: object, second: object) -> bool:
    if first is None or second is None:
        return (first is None or isinstance(first, Nil)) and (second is None or isinstance(second, Nil))
    one, other = _comparable(first), _comparable(second)
    if one != other:
        _fail(f"{one} and {other} cannot be compared")
    return first == second


def _eq(first: object, second: object, *more: object) -> bool:
    return any(_equal(first, other) for other in (second, *more))


def _less(first: object, second: object) -> bool:
    one, other = _comparable(first), _comparable(second)
    if one != other or not isinstance(first, (str, int, float)) or isinstance(first, bool):
        _fail(f"{one} and {other} have no order")
    if isinstance(first, str):
        return first.encode("utf-8", "surrogateescape") < str(second).encode("utf-8", "surrogateescape")
    return first < second  # type: ignore[operator]  # both are numbers of one kind


def _print(*values: object) -> str:
    # Between two values that are both no texts, a space.
    texts = ["<nil>" if value is None else text_of(value) for value in values]
    pairs = pairwise(values)
    spaces = [*("" if isinstance(a, str) or isinstance(b, str) else " " for a, b in pairs), ""]
    return "".join(text + space for text, space in zip(texts, spaces, strict=False))


def _println(*values: object) -> str:
    return " ".join("<nil>" if value is None else text_of(value) for value in values) + "\n"


_FUNCTIONS: Final[dict[str, Callable[..., object]]] = {
    "and": _unchanged,
    "eq": _eq,
    "ge": lambda a, b: not _less(a, b),
    "gt": lambda a, b: not _less(a, b) and not _equal(a, b),
    "index": _index,
    "join": _join,
    "json": json_of,
    "le": lambda a, b: _less(a, b) or _equal(a, b),
    "len": _len,
    "lower": _lower,
    "lt": _less,
    "ne": lambda a, b: not _equal(a, b),
    "not": lambda value: not is_true(value),
    "or": _unchanged,
    "pad": _pad,
    "print": _print,
    "printf": lambda form, *values: printf(_text(form, "printf"), values),
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": _upper,
}
