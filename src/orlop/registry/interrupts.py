"""What may end the waits of one thread: a download in a thread of its own stops when the work of all is in vain."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Here(threading.local):
    check: Callable[[], None] | None = None


_here = _Here()


def look() -> None:
    """Call what may end the waits of this thread, if there is anything; what it raises ends them."""
    if _here.check is not None:
        _here.check()


@contextmanager
def ended_by(check: Callable[[], None] | None) -> Iterator[None]:
    """Have every wait of this thread call a function, at least once a second, until the block ends."""
    before, _here.check = _here.check, check
    try:
        yield
    finally:
        _here.check = before
