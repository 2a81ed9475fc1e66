"""Loggers that import `logging` only when there is something to log: most commands log nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_first: list[Callable[[], object]] = []


class Logger:
    """The logger of that name in `logging`, for warnings."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def warning(self, message: str, *arguments: object) -> None:
        """Log a warning; the arguments are for the ``%s`` of the message."""
        import logging  # noqa: PLC0415 - see above

        while _first:
            _first.pop()()
        # The record names the caller, not this method.
        logging.getLogger(self._name).warning(message, *arguments, stacklevel=2)


def before_first_warning(action: Callable[[], object]) -> None:
    """Call a function when the next warning is about to be logged, for example to configure where warnings go."""
    _first[:] = [action]
