"""Calls that nothing can interrupt, such as a search for a host's addresses, and what is to end a wait for them."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Started: TypeAlias = threading.Thread
"""A thread that `started` has started."""


def awaited(work: Callable[[], T], look: Callable[[], object], *, every: float) -> T:
    """Return what a call returns that nothing can interrupt, and look around while it goes on.

    Args:
        work: what is called, in a thread of its own; what it raises is raised.
        look: called at first, and then again and again. What it raises ends the wait: the work is left alone then, and
            does not keep the process alive.
        every: how many seconds lie between two looks.
    """
    done: SimpleQueue[tuple[T] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(),))
        except Exception as error:  # noqa: BLE001 - raised below
            done.put(error)

    threading.Thread(target=run, name="orlop-awaited", daemon=True).start()
    while True:
        look()
        with suppress(Empty):
            answer = done.get(timeout=every)
            break
    if isinstance(answer, Exception):
        raise answer
    return answer[0]


def started(work: Callable[[], object], *, name: str) -> Started:
    """Start work in a thread of its own, which others may join, and which does not keep the process from ending."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
