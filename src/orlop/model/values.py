"""Dataclasses that are quick to define: what `dataclasses` offers for frozen classes with slots, and nothing else.

Importing `dataclasses` takes a third of the time that a bare interpreter needs to start, since it imports `inspect` and
the parser of Python's own syntax. It then compiles half a dozen methods for each class, one by one. A command that
lists images uses ten such classes, and none of that. This module compiles only the methods that are called for very
many values: the one that sets the fields with the class, those that compare values when two are first compared. The
others are shared closures over the names of the fields.

Type checkers see the names from `dataclasses`. At run time the classes behave alike: equality, hash, order, text,
`copy`, `pickle`, ``match``, and the error for a change. The functions of `dataclasses` accept them too: a class makes
the description that these functions look for when it is first needed. A test compares the two kinds of class.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field, fields, replace
    from typing import Any, Final
else:

    def dataclass(*, frozen: bool, slots: bool, order: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """Turn a class into a dataclass; it must be ``frozen`` and have ``slots``."""
        assert frozen
        assert slots
        return lambda original: _made(original, order=order, kw_only=kw_only)

    def field(**settings: Any) -> _Field:
        """Declare how a field is treated: ``default``, ``default_factory``, ``init``, ``repr`` and ``compare``."""
        return _Field(**settings)

    def fields(of: object) -> tuple[_Field, ...]:
        """Return the fields of such a class, or of a value of one."""
        return tuple(of.__value_fields__)

    def replace(value: Any, /, **changes: Any) -> Any:
        """Return a value that differs in some fields."""
        for one in value.__value_fields__:
            if not one.init:
                if one.name in changes:
                    msg = f"field {one.name} is declared with init=False, it cannot be specified with replace()"
                    raise ValueError(msg)
            elif one.name not in changes:
                changes[one.name] = getattr(value, one.name)
        return value.__class__(**changes)


__all__ = ["dataclass", "field", "fields", "replace"]

_MISSING: Final = object()


class _Field:
    __slots__ = ("annotation", "compare", "default", "default_factory", "init", "kw_only", "name", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        init: bool = True,
        repr: bool = True,  # noqa: A002 - the word of dataclasses
        compare: bool = True,
    ) -> None:
        self.name = self.annotation = ""
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare
        self.kw_only = False

    def real(self) -> Any:
        """Return the same field as one of `dataclasses`."""
        import dataclasses  # noqa: PLC0415 - only if it is needed

        given = {name: getattr(self, name) for name in ("default", "default_factory")}
        given = {name: value for name, value in given.items() if value is not _MISSING}
        return dataclasses.field(init=self.init, repr=self.repr, compare=self.compare, kw_only=self.kw_only, **given)


class _Described:
    """Attributes by which `dataclasses` recognises its classes, made when one is needed."""

    def __init__(self, original: type, own: list[_Field], *, order: bool) -> None:
        self._original = original
        self._own = own
        self._order = order
        self._real: type | None = None

    def of(self, name: str) -> _Attribute:
        return _Attribute(self, name)

    def real(self) -> type:
        if self._real is None:
            import dataclasses  # noqa: PLC0415 - as above

            original = self._original
            body = _body(original) | {one.name: one.real() for one in self._own}
            # `ClassVar` says nothing to `dataclasses` where a module imports that name for type checkers alone.
            body["__annotations__"] = {one.name: one.annotation for one in self._own}
            # Of a copy: several threads may need it at once, and `dataclasses` makes a class such only once.
            copy = type(original)(original.__name__, original.__bases__, body)
            self._real = dataclasses.dataclass(frozen=True, order=self._order)(copy)
        return self._real


class _Attribute:
    def __init__(self, described: _Described, name: str) -> None:
        self._described = described
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(self._described.real(), self._name)


def _body(original: type) -> dict[str, Any]:
    return {name: value for name, value in original.__dict__.items() if name not in {"__dict__", "__weakref__"}}


def _made(original: Any, *, order: bool, kw_only: bool) -> type:
    own = _own_fields(original, kw_only=kw_only)
    found: dict[str, _Field] = {}
    for base in reversed(original.__mro__[1:]):
        found |= {one.name: one for one in base.__dict__.get("__value_fields__", ())}
    inherited = frozenset(found)
    found |= {one.name: one for one in own}
    every = list(found.values())
    body = _body(original)
    for one in own:
        body.pop(one.name, None)
    described = _Described(original, own, order=order)
    body |= {
        "__slots__": tuple(one.name for one in own if one.name not in inherited),
        "__match_args__": tuple(one.name for one in every if one.init and not one.kw_only),
        "__value_fields__": tuple(every),
        "__dataclass_fields__": described.of("__dataclass_fields__"),
        "__dataclass_params__": described.of("__dataclass_params__"),
    }
    made: Any = type(original)(original.__name__, original.__bases__, body)
    made.__qualname__ = original.__qualname__
    # Methods that a class defines itself stay.
    kept = {name for name, value in original.__dict__.items() if value is not None}
    _add(made, [_setting(made, every), *_shared(made, every)], kept)
    _add(made, _comparing_later(made, every, kept, order=order), kept)
    finished: type = made
    return finished


def _add(made: Any, methods: list[Any], kept: set[str]) -> None:
    for method in methods:
        if method.__name__ not in kept:
            method.__qualname__ = f"{made.__qualname__}.{method.__name__}"
            method.__module__ = made.__module__
            setattr(made, method.__name__, method)


def _own_fields(original: type, *, kw_only: bool) -> list[_Field]:
    own = []
    for name, annotation in original.__annotations__.items():
        if annotation.removeprefix("typing.").startswith("ClassVar"):
            continue
        declared = original.__dict__.get(name, _MISSING)
        one = declared if isinstance(declared, _Field) else _Field(default=declared)
        one.name, one.annotation, one.kw_only = name, annotation, kw_only
        own.append(one)
    return own


def _setting(made: Any, every: list[_Field]) -> Any:
    """Compile the method that sets all fields."""
    names: dict[str, Any] = {"_missing": _MISSING}
    words, keywords, lines = ["self"], list[str](), list[str]()
    for one in every:
        name = one.name
        names[f"_set_{name}"] = getattr(made, name).__set__
        value = name
        if one.default is not _MISSING:
            names[f"_default_{name}"] = one.default
            word = f"{name}=_default_{name}"
        elif one.default_factory is not _MISSING:
            names[f"_factory_{name}"] = one.default_factory
            word, value = f"{name}=_missing", f"_factory_{name}() if {name} is _missing else {name}"
        else:
            word = name
        if one.init:
            (keywords if one.kw_only else words).append(word)
        else:
            value = f"_default_{name}"
        lines.append(f"    _set_{name}(self, {value})\n")
    if hasattr(made, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    given = ", ".join([*words, *(["*", *keywords] if keywords else [])])
    made_here = _compiled(f"def __init__({given}):\n{''.join(lines) or '    pass'}\n", names)
    made_here["__init__"].__annotations__ = {one.name: one.annotation for one in every if one.init} | {"return": None}
    return made_here["__init__"]


def _comparing(every: list[_Field], *, order: bool) -> dict[str, Any]:
    """Compile the methods that compare all fields."""
    mine, others = (
        f"({''.join(f'{whose}.{one.name}, ' for one in every if one.compare)})" for whose in ("self", "other")
    )
    source = [f"def __hash__(self):\n    return hash({mine})\n"]
    source += [
        f"def {name}(self, other):\n"
        f"    return {mine} {sign} {others} if other.__class__ is self.__class__ else NotImplemented\n"
        for name, sign in _SIGNS.items()
        if order or name == "__eq__"
    ]
    return _compiled("".join(source), {})


def _comparing_later(made: Any, every: list[_Field], kept: set[str], *, order: bool) -> list[Any]:
    """Return the methods that compare all fields; the first call of one puts compiled ones in the place of all."""

    def compiled(name: str) -> Any:
        methods = _comparing(every, order=order)
        _add(made, list(methods.values()), kept)
        return methods[name]

    def two(name: str) -> Any:
        def method(self: Any, other: object) -> Any:
            return compiled(name)(self, other)

        method.__name__ = name
        return method

    def __hash__(self: Any) -> int:  # noqa: N807 - a method
        return int(compiled("__hash__")(self))

    return [__hash__, *(two(name) for name in _SIGNS if order or name == "__eq__")]


def _compiled(source: str, names: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    exec(source, names, made)  # noqa: S102 - as dataclasses do
    return made


_SIGNS: Final = {"__eq__": "==", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


def _shared(made: Any, every: list[_Field]) -> list[Any]:
    names = [one.name for one in every]
    shown = [one.name for one in every if one.repr]

    def __repr__(self: Any) -> str:  # noqa: N807 - a method
        text = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.__class__.__qualname__}({text})"

    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807 - as above
        if type(self) is made or name in names:
            raise _frozen(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807 - as above
        if type(self) is made or name in names:
            raise _frozen(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    def __getstate__(self: Any) -> list[object]:  # noqa: N807 - as above
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[object]) -> None:  # noqa: N807 - as above
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:  # noqa: N807 - as above
        return replace(self, **changes)

    return [__repr__, __setattr__, __delattr__, __getstate__, __setstate__, __replace__]


def _frozen(message: str) -> Exception:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - only where something fails

    return FrozenInstanceError(message)
