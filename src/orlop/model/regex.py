"""Regular expressions that are compiled when they are first used: a command uses few of those in its modules."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import AnyStr

_METHODS = ("finditer", "fullmatch", "match", "search", "split", "sub")


class _Regex:
    # The first use of a method sets it on this object: from then on it is the compiled expression's own.
    __slots__ = ("_text", *_METHODS)

    def __init__(self, text: str | bytes) -> None:
        self._text = text

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            # `copy` and `pickle` look for special methods, and must not find any.
            raise AttributeError(name)
        import re  # noqa: PLC0415 - see above

        compiled = re.compile(self._text)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def regex(text: AnyStr) -> re.Pattern[AnyStr]:
    """Return an object with the methods of a compiled regular expression.

    A wrong expression raises `re.error` at the first use.
    """
    return _Regex(text)  # type: ignore[return-value]


class Seldom:
    """Whether something was done fewer than ``times`` times: too few to be worth compiling an expression."""

    def __init__(self, times: int = 50) -> None:
        self._left = times

    def __call__(self) -> bool:
        """Return whether that is so, and count this time."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True
