"""What ends the waits of a thread: whoever waits for a server or for a lock looks at it at least once a second.

One transport serves the threads of many transfers, and each of these may be ended alone: by an error in another of its
threads, by Ctrl-C, by a client that hangs up. So what ends a wait belongs to the thread that waits, for a block.

Only the main thread sees signals, and it waits for its threads where one comes. Without this, a thread that waits for
what another process has would keep it from ending.

A child that is forked ends the waits of its parent's other threads as well: it has none of them, and no file of theirs.

Whoever works with threads of his own ends them before he leaves, whatever interrupts him: they work on files that are
removed then. Python alone does not promise that. What interrupts `Thread.start` leaves a thread running that cannot be
joined yet, and to 3.12 a join that is interrupted makes it take the thread for one that has ended. So such threads are
begun and joined by `start` and `join`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from itertools import count

from orlop.streams.forked import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final, Protocol

    class _Asking(Protocol):
        """A connection of SQLite."""

        def set_progress_handler(self, progress_handler: Callable[[], bool] | None, n: int, /) -> None: ...


OFTEN: Final = 4000
"""After how many steps SQLite asks: some tenths of a millisecond, or as many pages where it checks trees of pages."""


_PATIENCE: Final = 1.0
"""Seconds after which a thread that has not begun never does: the signal came before the system was asked for it."""
_TICK: Final = 0.001


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
def interruptible(connection: _Asking, turns: Iterable[object] | None = None) -> Iterator[None]:
    """End what a connection of SQLite reads in a block where a signal comes, or something else ends this thread's work.

    A statement is one call, in which Python does not look for signals: a check of a large database takes minutes. So
    SQLite asks in between whether it is to go on. What is raised there it cannot carry further: that is kept, and
    raised again at the end of the block. Where a change is ended, SQLite undoes its transaction by itself, and what
    follows in the block would be committed alone: this is for what reads.

    Args:
        connection: one for which nothing else has asked to be called.
        turns: how many times SQLite may ask, one for each of these; it ends what the connection does then.

    Raises:
        sqlite3.OperationalError: there was no turn left. Beside it, what `check_interruption` and handlers of signals
        raise.
    """
    caught: list[BaseException] = []
    asked = _asked(caught, count() if turns is None else turns)
    next(asked)
    connection.set_progress_handler(asked.__next__, OFTEN)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        if caught:
            raise caught[0] from None


def _asked(caught: list[BaseException], turns: Iterable[object]) -> Iterator[bool]:
    """Yield, each time that SQLite asks, whether it is to end.

    A signal is heard as a function begins, or as a generator goes on: that is inside of the block, but for the first
    time.
    """
    try:
        yield False
        for _ in turns:
            check_interruption()
            yield False
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised again
        caught.append(error)
    while True:
        yield True


def start(thread: threading.Thread) -> bool:
    """Start a thread, and return whether the system had one left. Raises what interrupts that."""
    try:
        thread.start()
    except BaseException as error:
        if isinstance(error, RuntimeError) and thread.ident is None and thread not in threading.enumerate():
            return False
        _settle(thread)
        if type(error) is RuntimeError and error.__context__ is not None:
            # The locks of Python's own wait say that they are not held where that is interrupted.
            raise error.__context__ from None
        raise
    return True


def require_start(thread: threading.Thread) -> None:
    """Start a thread. Raises RuntimeError where the system has none left, and what interrupts that."""
    if not start(thread):
        raise RuntimeError("can't start new thread")


def _settle(thread: threading.Thread) -> None:
    """Wait until a thread has begun and can be joined, or it is known that it never will."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with suppress(RuntimeError):
            thread.join(0)
            return
        time.sleep(_TICK)


def join(threads: Iterable[threading.Thread]) -> None:
    """Wait for the end of those of some threads that have begun."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()
            while thread in threading.enumerate():
                time.sleep(_TICK)


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


in_child(_close_inherited)
