"""Checks of the values that callers pass. For the first line of a verb."""

from __future__ import annotations

from orlop.errors import WrongType
from orlop.model.generic import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

T = TypeVar("T")

_LONGEST = 200


def brief(value: object) -> str:
    """Return how Python writes a value, for an error: on one line, and no more of it than people read."""
    try:
        text = repr(value).replace("\n", " ")
    except Exception:  # noqa: BLE001 - whatever it is, that it is wrong is what is to be told
        return "…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def shown(value: object) -> str:
    """Return a value with its type, for an error."""
    return f"{type(value).__name__} {brief(value)}"


def go_quoted(text: str) -> str:
    """Return a text between quotes, as the engine's errors quote what a client gave."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def check_text(value: object, what: str) -> None:
    """Raise `WrongType` unless a value is a text; ``what`` it is begins the sentence."""
    if not isinstance(value, str):
        raise WrongType(f"{what} is a str, not {shown(value)}")


def check_bytes(value: object, what: str) -> None:
    """Raise `WrongType` unless a value is bytes; ``what`` it is begins the sentence."""
    if not isinstance(value, bytes | bytearray):
        raise WrongType(f"{what} is bytes, not {shown(value)}")


def check_number(value: object, what: str) -> None:
    """Raise `WrongType` unless a value is a whole number; ``what`` it is begins the sentence.

    A float is none, since no comparison with one that is not a number holds.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType(f"{what} is an int, not {shown(value)}")


def given_list(values: Iterable[T], what: str) -> list[T]:
    """Return what several values are, in their order.

    Raises:
        WrongType: they are a single text, or cannot be listed; ``what`` they are begins the sentence.
    """
    if isinstance(values, str | bytes | bytearray):
        raise WrongType(f"{what} are a list, not {shown(values)}")
    try:
        return list(values)
    except TypeError as error:
        raise WrongType(f"{what} are a list, not {shown(values)}") from error


def given_texts(values: Iterable[str], what: str) -> list[str]:
    """Return several texts. Raises `WrongType` as `given_list` does, and where one is not a text."""
    found = given_list(values, what)
    for value in found:
        if not isinstance(value, str):
            raise WrongType(f"{what} are texts, and {shown(value)} is not one")
    return found


class Single:
    """Something that holds descriptors or the like, or protects content, which a copy of it would release."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raise `WrongType`: `copy` and `pickle` ask for this."""
        del protocol
        raise WrongType(f"{type(self).__name__} objects cannot be copied or pickled; open another one")
