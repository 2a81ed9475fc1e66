"""How a write ends: by whom, and what is to be done then."""

from __future__ import annotations

import os

from orlop.errors import StoreInUse
from orlop.model.logger import Logger
from orlop.streams.files import explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = Logger(__name__)


def require_owner(owner: int, place: str) -> None:
    """Raise StoreInUse in a child that was forked in a block that writes, which only the ``owner`` process ends."""
    if os.getpid() != owner:
        why = "it was forked in a write of its parent, which alone can end it; write before the fork, or after it"
        raise StoreInUse(f"this process changes nothing in {place}: {why}")


def run_all(actions: Iterable[Callable[[], object]]) -> None:
    """Run every action; one that fails leaves garbage that is found later, and must not hide the others."""
    for action in actions:
        try:
            action()
        except OSError as error:
            found = explained(error, "remove or put back", error.filename or "a file of the store")
            _log.warning("the next gc has to clean up here: %s", found)
