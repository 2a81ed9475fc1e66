"""Regular expressions that are compiled when they are first used: a command uses few of those that its modules have."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import AnyStr

_METHODS = ("finditer", "fullmatch", "match", "search", "split", "sub")


class _Regex:
    # What the first use finds missing is there from then on, and is the compiled expression's own.
    __slots__ = ("_text", *_METHODS)

    def __init__(self, text: str | bytes) -> None:
        self._text = text

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            # What copies or pickles a value looks for such, and takes it for one that has none.
            raise AttributeError(name)
        import re  # noqa: PLC0415 - see above

        compiled = re.compile(self._text)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def regex(text: AnyStr) -> re.Pattern[AnyStr]:
    """Return what has the methods of a compiled regular expression.

    What is wrong with the expression raises `re.error` at the first use.
    """
    return _Regex(text)  # type: ignore[return-value]


class Seldom:
    """Whether something was done less than so many ``times``: too few to be worth compiling an expression for it."""

    def __init__(self, times: int = 50) -> None:
        self._left = times

    def __call__(self) -> bool:
        """Return whether it was, and count this time."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True
