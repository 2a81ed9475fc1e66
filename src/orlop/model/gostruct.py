"""Typed values from JSON and back, by tables of fields, with the rules of Go's ``encoding/json`` for structs.

A codec stands for a Go type. Reading has two steps, because in Go a repeated key writes into the value of the earlier
one: `Codec.read` merges a JSON value into a state, and `Codec.finish` turns the last state into the value that callers
see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from orlop.errors import InvalidJSON, InvalidTimestamp
from orlop.model import gojson
from orlop.model.generic import Generic, TypeVar
from orlop.model.gojson import Number, Object
from orlop.model.timestamp import ZERO, Timestamp
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final, TypeAlias

    from orlop.model.gojson import Value

Quote: TypeAlias = "Callable[[str], str]"
"""Writes a text as a JSON string."""
T = TypeVar("T")


class Codec(ABC):
    """A way to read and write one Go type. A state of None stands for Go's zero value."""

    @abstractmethod
    def read(self, value: Value, state: Any) -> Any:
        """Return the state after this value was read over an earlier one; raises `InvalidJSON` for a wrong kind."""

    def finish(self, state: Any) -> Any:
        """Return the value that callers see."""
        return state

    def is_empty(self, value: Any) -> bool:
        """Whether ``omitempty`` leaves the value out."""
        return not value

    @abstractmethod
    def write(self, value: Any, quote: Quote) -> str:
        """Return the value as JSON text."""


def mismatch(expected: str, value: Value) -> InvalidJSON:
    """Make the error for a value of the wrong kind."""
    return InvalidJSON(f"expected {expected}, found {gojson.kind_of(value)}")


def is_text(value: Value) -> bool:
    """Whether the value is a JSON string."""
    return isinstance(value, str) and not isinstance(value, Number)


class Text(Codec):
    """A Go string; ``wrap`` and ``unwrap`` turn it into another type and back."""

    def __init__(self, wrap: Callable[[str], object] = str, unwrap: Callable[[Any], str] = str) -> None:
        """Take the functions between text and value."""
        self._wrap, self._unwrap = wrap, unwrap

    def read(self, value: Value, state: Any) -> Any:
        """Take a string; null leaves the state as it was."""
        if value is None:
            return state
        if not is_text(value):
            raise mismatch("a string", value)
        return value

    def finish(self, state: Any) -> Any:
        """Return the wrapped text."""
        return self._wrap(state or "")

    def is_empty(self, value: Any) -> bool:
        """Whether the text is empty."""
        return not self._unwrap(value)

    def write(self, value: Any, quote: Quote) -> str:
        """Return a string."""
        return quote(self._unwrap(value))


class Bool(Codec):
    """A Go bool."""

    def read(self, value: Value, state: Any) -> Any:
        """Take a boolean; null leaves the state as it was."""
        if value is None:
            return state
        if not isinstance(value, bool):
            raise mismatch("a boolean", value)
        return value

    def finish(self, state: Any) -> bool:
        """Return the boolean."""
        return bool(state)

    def write(self, value: Any, quote: Quote) -> str:  # noqa: ARG002
        """Return ``true`` or ``false``."""
        return "true" if value else "false"


class Int(Codec):
    """A Go integer of 64 bits."""

    _LENGTH: Final = len(str(-(2**63)))

    def read(self, value: Value, state: Any) -> Any:
        """Take a number without a point or an exponent; null leaves the state as it was."""
        if value is None:
            return state
        if (
            not isinstance(value, Number)
            or not value.lstrip("-").isdigit()
            or len(value) > self._LENGTH
            or not -(2**63) <= int(value) < 2**63
        ):
            raise mismatch("an integer of 64 bits", value)
        return int(value)

    def finish(self, state: Any) -> int:
        """Return the integer."""
        return int(state or 0)

    def write(self, value: Any, quote: Quote) -> str:  # noqa: ARG002
        """Return the number."""
        return str(value)


class Time(Codec):
    """A Go ``time.Time``; None is its zero time."""

    def read(self, value: Value, state: Any) -> Any:
        """Take a string; null leaves the state as it was."""
        if value is None:
            return state
        if not isinstance(value, str) or isinstance(value, Number):
            raise mismatch("a time", value)
        return Timestamp.parse(value)

    def is_empty(self, value: Any) -> bool:  # noqa: ARG002
        """Return False: to Go it is a struct."""
        return False

    def write(self, value: Any, quote: Quote) -> str:
        """Return RFC 3339."""
        return quote(str(ZERO if value is None else value))


class Pointer(Codec):
    """A Go pointer: None, or a value that a repeated key is merged into."""

    def __init__(self, to: Codec) -> None:
        """Take the codec of the value that the pointer leads to."""
        self.to = to

    def read(self, value: Value, state: Any) -> Any:
        """Take null for None, else the value that the pointer leads to."""
        return None if value is None else self.to.read(value, state)

    def finish(self, state: Any) -> Any:
        """Return None or the value."""
        return None if state is None else self.to.finish(state)

    def is_empty(self, value: Any) -> bool:
        """Whether it is None."""
        return value is None

    def write(self, value: Any, quote: Quote) -> str:
        """Return ``null`` or the value."""
        return "null" if value is None else self.to.write(value, quote)


class _Backing(list["Any"]):
    """The memory behind a Go slice: elements beyond ``used`` stay in it, and reappear when the slice grows."""

    used = 0


class Slice(Codec):
    """A Go slice: a tuple, or ``nil`` (None by default) for Go's nil."""

    def __init__(self, of: Codec, *, nil: tuple[()] | None = None) -> None:
        """Take the codec of an element."""
        self.of, self._nil = of, nil

    def read(self, value: Value, state: Any) -> Any:
        """Take an array, whose elements are read over the earlier ones; null for nil."""
        if value is None:
            return None
        if not isinstance(value, list):
            raise mismatch("an array", value)
        backing = _Backing() if state is None or not value else state
        for index, element in enumerate(value):
            if index < len(backing):
                backing[index] = self.of.read(element, backing[index])
            else:
                backing.append(self.of.read(element, None))
        backing.used = len(value)
        return backing

    def finish(self, state: Any) -> Any:
        """Return a tuple or nil."""
        return self._nil if state is None else tuple(map(self.of.finish, state[: state.used]))

    def write(self, value: Any, quote: Quote) -> str:
        """Return an array, or ``null`` for None."""
        return "null" if value is None else "[" + ",".join(self.of.write(element, quote) for element in value) + "]"


class Words(Slice):
    """The engine's string slice: an array of strings, or one string for an array of one; never merged."""

    def read(self, value: Value, state: Any) -> Any:  # noqa: ARG002
        """Take an array, a string, or null for nil."""
        return super().read([value] if is_text(value) else value, None)


class Set(Codec):
    """A Go map with empty structs for values: a frozenset of its keys, or None for nil."""

    def __init__(self, key: Callable[[str], str] = str) -> None:
        """Take the function that normalises a key; it raises `InvalidJSON`."""
        self._key = key

    def read(self, value: Value, state: Any) -> Any:
        """Take an object, whose keys are added to the earlier ones; null for nil."""
        if value is None:
            return None
        if not isinstance(value, Object):
            raise mismatch("an object", value)
        keys = set() if state is None else state
        for key, member in value.members:
            if member is not None and not isinstance(member, Object):
                raise mismatch("an object", member)
            keys.add(self._key(key))
        return keys

    def finish(self, state: Any) -> frozenset[str] | None:
        """Return the keys."""
        return None if state is None else frozenset(state)

    def write(self, value: Any, quote: Quote) -> str:
        """Return an object with sorted keys, or ``null`` for None."""
        if value is None:
            return "null"
        return "{" + ",".join(f"{quote(key)}:{{}}" for key in sorted(set(map(self._normal, value)))) + "}"

    def _normal(self, key: str) -> str:
        """Normalise a key that another dialect may have read; a key that this dialect would refuse stays as it is."""
        try:
            return self._key(key)
        except InvalidJSON:
            return key


class TextMap(Codec):
    """A Go map of strings to strings: a dict, or None for nil."""

    def read(self, value: Value, state: Any) -> Any:
        """Take an object, whose members are added to the earlier ones; null for nil; a null member is empty."""
        if value is None:
            return None
        if not isinstance(value, Object):
            raise mismatch("an object", value)
        members = {} if state is None else state
        for key, member in value.members:
            if member is not None and not is_text(member):
                raise mismatch("a string", member)
            members[key] = member or ""
        return members

    def write(self, value: Any, quote: Quote) -> str:
        """Return an object with sorted keys, or ``null`` for None."""
        if value is None:
            return "null"
        return "{" + ",".join(f"{quote(key)}:{quote(member)}" for key, member in sorted(value.items())) + "}"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct: its JSON name, the attribute that has its value, its type.

    ``omit_empty`` is Go's ``omitempty``. A field that is not ``written`` belongs to another dialect: it is read if its
    value is valid, so that nothing is lost on the way to that dialect, and ignored otherwise. ``inside`` names the
    attribute of an embedded struct in which the value is kept.
    """

    name: str
    attribute: str
    codec: Codec
    omit_empty: bool = False
    written: bool = True
    inside: str = ""


class Struct(Codec, Generic[T]):
    """A Go struct: an instance of a dataclass, with its fields in declaration order."""

    def __init__(
        self, make: Callable[..., T], fields: Iterable[Field], *, embedded: dict[str, Struct[Any]] | None = None
    ) -> None:
        """Take the dataclass, its fields, and the structs embedded in it by attribute."""
        self._make = make
        self.fields = tuple(fields)
        self._embedded = embedded or {}
        self._by_name = {field.name: field for field in self.fields}
        self._by_folded = {gojson.fold(field.name): field for field in self.fields}

    def field(self, key: str) -> Field | None:
        """Return the field to which a key belongs, exactly or with case folded."""
        return self._by_name.get(key) or self._by_folded.get(gojson.fold(key))

    def read(self, value: Value, state: Any) -> Any:
        """Take an object: each key that belongs to a field, exactly or with case folded, sets it, in document order."""
        if value is None:
            return state
        if not isinstance(value, Object):
            raise mismatch("an object", value)
        state = {} if state is None else state
        for key, member in value.members:
            field = self.field(key)
            if field is None:
                continue
            target = state.setdefault(field.inside, {}) if field.inside else state
            try:
                target[field.attribute] = field.codec.read(member, target.get(field.attribute))
            except (InvalidJSON, InvalidTimestamp) as error:
                if field.written:
                    raise InvalidJSON(f"{field.name}: {error}") from error
        return state

    def finish(self, state: Any) -> T:
        """Return the dataclass; fields that were not read have Go's zero value."""
        state = state or {}
        values = {name: struct.finish(state.get(name)) for name, struct in self._embedded.items()}
        for field in self.fields:
            if not field.inside:
                values[field.attribute] = field.codec.finish(state.get(field.attribute))
        return self._make(**values)

    def is_empty(self, value: Any) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def members(self, value: Any, quote: Quote) -> dict[str, str]:
        """Return the JSON text of every field that is written, by name, in declaration order."""
        texts: dict[str, str] = {}
        for field in self.fields:
            if not field.written:
                continue
            item = getattr(getattr(value, field.inside) if field.inside else value, field.attribute)
            if not (field.omit_empty and field.codec.is_empty(item)):
                texts[field.name] = field.codec.write(item, quote)
        return texts

    def write(self, value: Any, quote: Quote) -> str:
        """Return an object."""
        return write_members(self.members(value, quote), quote)


def write_members(members: dict[str, str], quote: Quote) -> str:
    """Write an object of values that are JSON text already, in the order given."""
    return "{" + ",".join(f"{quote(name)}:{text}" for name, text in members.items()) + "}"


def decode(struct: Struct[T], raw: bytes, *, once: bool = False) -> T:
    """Read a document into a struct. ``null`` returns the struct with nothing set, as in Go.

    With ``once`` no field may have two values. Raises `InvalidJSON`.
    """
    value = gojson.parse(raw)
    if once:
        _check_once(struct, value)
    return struct.finish(struct.read(value, None))


def _check_once(codec: Codec, value: Value) -> None:
    """Raise `InvalidJSON` if a field occurs again with another value: other readers would take the first."""
    if isinstance(codec, Pointer):
        _check_once(codec.to, value)
    elif isinstance(codec, Slice) and isinstance(value, list):
        for element in value:
            _check_once(codec.of, element)
    elif isinstance(codec, Struct) and isinstance(value, Object):
        seen: dict[str, Value] = {}
        for key, member in value.members:
            field = codec.field(key)
            if field is None:
                continue
            if field.name in seen and not _is_same(seen[field.name], member):
                raise InvalidJSON(f"{field.name} stands in it more than once, so that it could mean two things")
            seen[field.name] = member
            _check_once(field.codec, member)


def _is_same(one: Value, other: Value) -> bool:
    """Return whether two values are one and the same text, number, boolean or null."""
    return type(one) is type(other) and not isinstance(one, (list, Object)) and one == other


TEXT: Final = Text()
BOOL: Final = Bool()
INT: Final = Int()
TIME: Final = Time()
