"""What ends the waits of a thread: whoever waits for a server looks at it at least once a second.

One transport serves the threads of many transfers, and each of these may be ended alone: by an error in another of its
threads, by Ctrl-C, by a client that hangs up. So what ends a wait belongs to the thread that waits, for a block.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _OfThread(threading.local):
    checks: tuple[Callable[[], object], ...] = ()


_here = _OfThread()


def check_interruption() -> None:
    """Raise what ends the work of this thread, if anything does."""
    for check in _here.checks:
        check()


def inherited() -> Callable[[], None]:
    """Return what ends the work of this thread, for other threads that do a part of it."""
    checks = _here.checks

    def check() -> None:
        for one in checks:
            one()

    return check


@contextmanager
def interrupted_by(check: Callable[[], object] | None) -> Iterator[None]:
    """End the waits of this thread in a block by what a function raises, beside what ends them already."""
    before = _here.checks
    _here.checks = before if check is None else (*before, check)
    try:
        yield
    finally:
        _here.checks = before
