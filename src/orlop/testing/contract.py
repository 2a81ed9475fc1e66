"""What all contract suites share: a suite is a class of tests with hooks, and refuses to be weakened."""

from __future__ import annotations

from typing import Any


class Contract:
    """A suite of tests over hooks. A subclass gives the hooks and nothing else.

    Subclassing fails with `TypeError` where a hook is left out or a test is overridden, so that a suite that passes has
    really been run. Names that begin with ``test_`` are tests; the names in ``hooks`` are the hooks.
    """

    hooks: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that is not an honest implementation."""
        super().__init_subclass__(**kwargs)
        if Contract in cls.__bases__:
            return
        weakened = [name for name in vars(cls) if name.startswith("test_") and _is_inherited(cls, name)]
        if weakened:
            msg = f"{cls.__name__} overrides {', '.join(weakened)}; a contract's tests cannot be replaced"
            raise TypeError(msg)
        missing = [name for name in cls.hooks if _home(cls, name) is None]
        if missing:
            msg = f"{cls.__name__} leaves out {', '.join(missing)}; give every hook of the contract"
            raise TypeError(msg)


def _is_inherited(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__[1:])


def _home(cls: type, name: str) -> type | None:
    """Return the class below the suite itself that defines a hook."""
    for base in cls.__mro__:
        if Contract in base.__bases__:
            return None
        if name in vars(base):
            return base
    return None
