"""Named tuples that are quick to define: like `typing.NamedTuple`, but without importing `typing` or compiling code.

Type checkers see the name from `typing`. At run time the classes behave alike: a test compares the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple
else:
    try:
        # What `collections.namedtuple` uses, without the import of that.
        from _collections import _tuplegetter as _field
    except ImportError:
        from operator import itemgetter

        def _field(place: int, doc: str) -> property:
            return property(itemgetter(place), doc=doc)

    class _Meta(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            del bases
            names = tuple(body.get("__annotations__", ()))
            defaults = {one: body.pop(one) for one in names if one in body}
            body |= {one: _field(place, f"Alias for field number {place}") for place, one in enumerate(names)}
            body |= {"__slots__": (), "__match_args__": names, "_fields": names, "_field_defaults": defaults}
            body = _METHODS | body | {"__new__": _new(name, names, defaults)}
            # The class is an ordinary one, like those of `typing`.
            return type.__new__(type, name, (tuple,), body)

    NamedTuple = type.__new__(_Meta, "NamedTuple", (), {})

__all__ = ["NamedTuple"]


def _new(kind: str, names: tuple[str, ...], defaults: dict[str, object]) -> Any:
    count = len(names)
    new = tuple.__new__

    def __new__(cls: Any, *values: object, **named: object) -> Any:  # noqa: N807 - a method
        if named or len(values) != count:
            values = _completed(kind, names, defaults, values, named)
        return new(cls, values)

    return __new__


def _completed(
    kind: str, names: tuple[str, ...], defaults: dict[str, object], values: tuple[object, ...], named: dict[str, object]
) -> tuple[object, ...]:
    given = dict(zip(names, values, strict=False))
    wrong = [name for name in named if name in given or name not in names]
    whole = defaults | given | named
    missing = [name for name in names if name not in whole]
    if wrong or missing or len(values) > len(names):
        msg = f"{kind}.__new__() takes {', '.join(names)}: {missing or wrong or len(values)} does not fit"
        raise TypeError(msg)
    return tuple(whole[name] for name in names)


def _repr(self: Any) -> str:
    text = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"{self.__class__.__name__}({text})"


def _make(cls: Any, values: Iterable[object]) -> Any:
    """Make a value from an iterable with one item for each field."""
    return cls(*values)


def _asdict(self: Any) -> dict[str, object]:
    """Return the fields by their names."""
    return dict(zip(self._fields, self, strict=True))


def _replace(self: Any, /, **changes: object) -> Any:
    """Return a value that differs in some fields."""
    unknown = changes.keys() - set(self._fields)
    if unknown:
        msg = f"Got unexpected field names: {sorted(unknown)!r}"
        raise ValueError(msg)
    return self.__class__(**(_asdict(self) | changes))


def _getnewargs(self: Any) -> tuple[object, ...]:
    return tuple(self)


_METHODS = {
    "__getnewargs__": _getnewargs,
    "__replace__": _replace,
    "__repr__": _repr,
    "_asdict": _asdict,
    "_make": classmethod(_make),
    "_replace": _replace,
}
