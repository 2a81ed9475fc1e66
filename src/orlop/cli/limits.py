"""``--limit``: what an archive may ask for."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, option
from orlop.errors import InvalidInput
from orlop.model.limits import SIZES, Limits, option_of
from orlop.model.regex import regex
from orlop.model.values import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_NONE: Final = "none"
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_COUNT: Final = regex(r"[0-9]{1,18}")
_NAMES: Final = {option_of(field.name): field.name for field in fields(Limits)}


def limit_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--limit`` to a command that reads archives, which changes the session's limits."""
    defaults = ", ".join(f"{option}={_shown(name)}" for option, name in _NAMES.items())
    text = f"Change a limit on what is read. A size is such as 64m or 500MB; none means unlimited. Default: {defaults}."
    return _option(text)(command)


def archive_limit_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--limit`` to a command that may look into an archive, which changes the session's limits."""
    return _option("Change a limit on what is read; see `orlop load --help`.")(command)


def _option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return option(
        "--limit",
        metavar="NAME=NUMBER",
        multiple=True,
        read=_read_limits,
        into="limits",
        help=text,
    )


def _shown(name: str) -> str:
    """Return the default of a limit in the shortest way in which it can be written."""
    value: int = getattr(Limits(), name)
    if name in SIZES:
        for unit, size in reversed(_UNITS.items()):
            if value % size == 0:
                return f"{value // size}{unit}"
    return str(value)


def _read_limits(values: tuple[str, ...]) -> Limits:
    changes: dict[str, int] = {}
    for value in values:
        option, equals, text = value.partition("=")
        name = _NAMES.get(option)
        if not equals or name is None:
            msg = f"{value!r} sets none of the limits {', '.join(_NAMES)}"
            raise WrongUsage(msg)
        number = read_number(text, is_size=name in SIZES)
        if number is None:
            expected = "a number of bytes, such as 64m" if name in SIZES else "a number"
            msg = f"{text!r} is not a value for {option}: give {expected}, or {_NONE}"
            raise WrongUsage(msg)
        changes[name] = number
    return Limits(**changes)


def read_number(text: str, *, is_size: bool) -> int | None:
    """Return the value of a limit, a number of bytes or of something else; None if it is not valid."""
    if text == _NONE:
        return Limits.UNLIMITED
    if not is_size:
        return min(int(text), Limits.UNLIMITED) if _COUNT.fullmatch(text) else None
    from orlop.model.sizes import parse_size  # noqa: PLC0415 - only where a limit is given

    try:
        return min(parse_size(text), Limits.UNLIMITED)
    except InvalidInput:
        return None
