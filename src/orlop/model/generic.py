"""Generic classes and protocols without importing `typing`, which takes as long as a bare interpreter.

Type checkers see the names from `typing`. At run time a generic class ignores what stands in brackets. A protocol is an
abstract class, and `runtime_checkable` makes `isinstance` look for its members. A test compares all that with `typing`.
Names that only annotations need are imported from `typing` where `TYPE_CHECKING` is true.
"""

from __future__ import annotations

from abc import ABCMeta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar, cast, final, runtime_checkable
else:

    class Generic:
        """A class with parameters."""

        __slots__ = ()

        def __class_getitem__(cls, _: object) -> type:
            return cls

    class TypeVar:
        """A parameter of a class or a function."""

        __slots__ = ("__name__",)

        def __init__(self, name: str, *_: object, **__: object) -> None:
            self.__name__ = name

    class _ProtocolMeta(ABCMeta):
        def __instancecheck__(cls, value: object) -> bool:
            if Protocol not in cls.__bases__ or ABCMeta.__instancecheck__(cls, value):
                return super().__instancecheck__(value)
            members = cls.__dict__.get("__protocol_attrs__")
            if members is None:
                msg = "Instance and class checks can only be used with @runtime_checkable protocols"
                raise TypeError(msg)
            return all(hasattr(value, name) for name in members)

    class Protocol(metaclass=_ProtocolMeta):
        """What a class must have for a purpose, whatever its bases."""

        __slots__ = ()

        def __class_getitem__(cls, _: object) -> type:
            return cls

    def runtime_checkable(cls: type) -> type:
        """Return a protocol for which `isinstance` looks for its members."""
        names = {name for base in cls.__mro__ if base not in {object, Protocol} for name in base.__dict__}
        cls.__protocol_attrs__ = {name for name in names if not name.startswith(("_abc_", "__"))}
        return cls

    def final(one: object) -> object:
        """Return a method that nothing overrides, or a class from which nothing derives, as type checkers check."""
        return one

    def cast(_: object, value: object) -> object:
        """Return the value: only type checkers look at the type."""
        return value


__all__ = ["Generic", "Protocol", "TypeVar", "cast", "final", "runtime_checkable"]
