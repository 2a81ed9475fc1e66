"""What is to be done when a write has ended."""

from __future__ import annotations

from orlop.model.logger import Logger
from orlop.streams.files import explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = Logger(__name__)


def run_all(actions: Iterable[Callable[[], object]]) -> None:
    """Run every action; one that fails leaves garbage that is found later, and must not hide the others."""
    for action in actions:
        try:
            action()
        except OSError as error:
            found = explained(error, "remove or put back", error.filename or "a file of the store")
            _log.warning("the next gc has to clean up here: %s", found)
