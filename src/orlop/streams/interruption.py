"""What ends the waits of a thread: whoever waits for a server or for a lock looks at it at least once a second.

One transport serves the threads of many transfers, and each of these may be ended alone: by an error in another of its
threads, by Ctrl-C, by a client that hangs up. So what ends a wait belongs to the thread that waits, for a block.

Only the main thread sees signals, and it waits for its threads where one comes. Without this, a thread that waits for
what another process has would keep it from ending.

A child that is forked ends the waits of its parent's other threads as well: it has none of them, and no file of theirs.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _OfThread(threading.local):
    checks: tuple[Callable[[], object], ...] = ()


class _OfAll:
    """What every thread of the process has to heed."""

    def __init__(self) -> None:
        self.give_up_at: float | None = None


class GivenUp(Exception):
    """Ends a wait of a process that a signal ends: what is waited for took too long to come."""


_here = _OfThread()
_all = _OfAll()
_waited_with: set[int] = set()


def hasten(seconds: float | None) -> None:
    """End all waits of this process that last longer than some seconds from now on; with none, end that.

    Whoever ends cleans up, which may need what another process has, for as long as that pleases. `GivenUp` ends that.
    """
    _all.give_up_at = None if seconds is None else time.monotonic() + seconds


def check_interruption() -> None:
    """Raise what ends the work of this thread, if anything does."""
    for check in _here.checks:
        check()
    if _all.give_up_at is not None and time.monotonic() > _all.give_up_at:
        raise GivenUp


def may_be_interrupted() -> bool:
    """Return whether anything but a signal may end the waits of this thread."""
    return bool(_here.checks) or _all.give_up_at is not None


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


@contextmanager
def not_inherited(descriptor: int) -> Iterator[None]:
    """Close a descriptor in every child that is forked in a block: it would have the lock that its parent gets."""
    _waited_with.add(descriptor)
    try:
        yield
    finally:
        _waited_with.discard(descriptor)


def _close_inherited() -> None:
    while _waited_with:
        with suppress(OSError):
            os.close(_waited_with.pop())


os.register_at_fork(after_in_child=_close_inherited)
